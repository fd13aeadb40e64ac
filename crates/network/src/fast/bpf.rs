//! The bpf system call: maps and programs. It knows nothing of what is in them.
//!
//! The structures are those of the kernel's `union bpf_attr`, as far as they are needed; the rest of it is zero.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use crate::error::Error;

const MAP_CREATE: libc::c_int = 0;
#[cfg(test)]
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const MAP_DELETE: libc::c_int = 3;
#[cfg(test)]
const MAP_NEXT_KEY: libc::c_int = 4;
const PROGRAM_LOAD: libc::c_int = 5;

/// Programs at the hooks of traffic control.
const TRAFFIC_CONTROL: u32 = 3;
const NAME: usize = 16;
const LOG_SIZE: usize = 256 * 1024;

/// What kind of map it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any key may be there, up to the map's size.
    Hash = 1,
    /// The key that was not used for longest makes room.
    Recent = 9,
}

/// Memory is taken when an element comes, not for all of them at once.
const GROWING: u32 = 1;

#[repr(C)]
#[derive(Default)]
struct NewMap {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
    inner: u32,
    numa_node: u32,
    name: [u8; NAME],
}

#[repr(C)]
struct Element {
    map: u32,
    key: u64,
    /// Or the next key.
    value: u64,
    flags: u64,
}

#[repr(C)]
struct NewProgram {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME],
}

/// A map in the kernel. It is there as long as this value, or a program that uses it.
pub(super) struct Map {
    descriptor: OwnedFd,
    key_size: usize,
    value_size: usize,
}

impl Map {
    pub(super) fn new(
        kind: Kind,
        name: &str,
        (key_size, value_size): (usize, usize),
        entries: u32,
    ) -> Result<Map, Error> {
        let wanted = NewMap {
            kind: kind as u32,
            key_size: key_size as u32,
            value_size: value_size as u32,
            entries,
            flags: if kind == Kind::Hash { GROWING } else { 0 },
            name: short(name),
            ..NewMap::default()
        };
        // SAFETY: the structure is the command's own and holds no pointers.
        let made = unsafe { bpf(MAP_CREATE, &wanted) };
        let made = made.map_err(|source| Error::kernel(format!("making the BPF map {name}"), source))?;
        // SAFETY: the command returned a fresh descriptor that nobody else owns.
        let descriptor = unsafe { OwnedFd::from_raw_fd(made) };
        Ok(Map {
            descriptor,
            key_size,
            value_size,
        })
    }

    /// What programs name it by.
    pub(super) fn descriptor(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    /// Puts an element into the map, or another value in its place.
    pub(super) fn put(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        assert_eq!(value.len(), self.value_size, "values of a map have one size");
        let element = self.element(key, value.as_ptr() as u64);
        // SAFETY: key and value are as long as the map's, and outlive the call, which only reads them.
        unsafe { bpf(MAP_UPDATE, &element) }.map(|_| ())
    }

    /// Takes an element out of the map; whether it was there makes no difference.
    pub(super) fn remove(&self, key: &[u8]) -> io::Result<()> {
        let element = self.element(key, 0);
        // SAFETY: the key is as long as the map's, and outlives the call, which only reads it.
        match unsafe { bpf(MAP_DELETE, &element) } {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    /// All keys and values.
    #[cfg(test)]
    pub(super) fn elements(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut next = vec![0; self.key_size];
        loop {
            let mut element = self.element(&next.clone(), next.as_mut_ptr() as u64);
            let last = found.last().map(|(key, _)| key.clone());
            element.key = last.as_ref().map_or(0, |key| key.as_ptr() as u64);
            // SAFETY: the key before is null or as long as the map's, and so is the room for the next; both outlive
            // the call.
            if unsafe { bpf(MAP_NEXT_KEY, &element) }.is_err() {
                return found;
            }
            let mut value = vec![0; self.value_size];
            let element = self.element(&next, value.as_mut_ptr() as u64);
            // SAFETY: key and room for the value are as long as the map's, and outlive the call.
            if unsafe { bpf(MAP_LOOKUP, &element) }.is_ok() {
                found.push((next.clone(), value));
            }
        }
    }

    fn element(&self, key: &[u8], value: u64) -> Element {
        assert_eq!(key.len(), self.key_size, "keys of a map have one size");
        Element {
            map: self.descriptor() as u32,
            key: key.as_ptr() as u64,
            value,
            flags: 0,
        }
    }
}

/// Has the kernel check a program for a hook of traffic control and take it.
pub(super) fn load(name: &str, code: &[u8]) -> Result<OwnedFd, Error> {
    let mut log = Vec::new();
    let loaded = load_with(name, code, &mut log).or_else(|first| {
        // Only the second time it says why: the log costs it time and memory.
        log = vec![0; LOG_SIZE];
        load_with(name, code, &mut log).map_err(|_| first)
    });
    loaded.map_err(|source| {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        let text = String::from_utf8_lossy(&log[..end]);
        tracing::debug!(name, log = %text, "the kernel refused a BPF program");
        let verdict: Vec<&str> = text.lines().filter(|line| !line.starts_with("processed ")).collect();
        let verdict = verdict.last().map(|line| format!(": {line}")).unwrap_or_default();
        Error::kernel(format!("loading the BPF program {name}{verdict}"), source)
    })
}

fn load_with(name: &str, code: &[u8], log: &mut [u8]) -> io::Result<OwnedFd> {
    let wanted = NewProgram {
        kind: TRAFFIC_CONTROL,
        instructions: (code.len() / 8) as u32,
        code: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        kernel_version: 0,
        flags: 0,
        name: short(name),
    };
    // SAFETY: code, licence and log are described by pointer and length (the licence ends with a zero byte) and outlive
    // the call; only the log is written to.
    let made = unsafe { bpf(PROGRAM_LOAD, &wanted) }?;
    // SAFETY: the command returned a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// # Safety
///
/// `attributes` must be what the command wants, and pointers in it must be good for what it does with them.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<RawFd> {
    let pointer = std::ptr::from_ref(attributes);
    // SAFETY: pointer and size describe `attributes`; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))
}

/// A name as the kernel takes it: cut to its size, with a zero byte at the end.
fn short(name: &str) -> [u8; NAME] {
    let mut short = [0; NAME];
    for (to, from) in short.iter_mut().take(NAME - 1).zip(name.bytes()) {
        *to = from;
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_map_is_there_until_it_is_removed() {
        let map = Map::new(Kind::Hash, "test", (4, 4), 8).unwrap();
        map.put(&[1; 4], &[2; 4]).unwrap();
        map.put(&[3; 4], &[4; 4]).unwrap();
        map.put(&[3; 4], &[5; 4]).unwrap();
        let mut found = map.elements();
        found.sort();
        assert_eq!(found, [(vec![1; 4], vec![2; 4]), (vec![3; 4], vec![5; 4])]);
        map.remove(&[1; 4]).unwrap();
        map.remove(&[1; 4]).unwrap();
        assert_eq!(map.elements(), [(vec![3; 4], vec![5; 4])]);
    }

    #[test]
    fn a_refused_program_says_why() {
        // It ends without a result.
        let refused = load("test", &[0x95, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
        assert!(refused.to_string().contains("R0 !read_ok"), "{refused}");
    }
}
