//! The container's log: lines with time and stream, in the CRI's format, in files that are rotated by size.

use crate::cri::{LINE, PREFIX, Text, prefix};
use crate::sys::{self, Result};
use crate::{files, process};

type Path = Text<1024>;

/// The log's file.
pub struct Log {
    path: Path,
    fd: i32,
    size: u64,
    max_size: u64,
    max_files: u64,
    /// The last write was cut off in the middle of an entry.
    torn: bool,
}

/// What has been read of a stream and not yet written: a line without its end.
pub struct Pending {
    bytes: [u8; LINE],
    len: usize,
}

impl Pending {
    /// Nothing yet; a constant, so that it costs no memory until it is used.
    pub const EMPTY: Self = Self { bytes: [0; LINE], len: 0 };
}

/// Entries that are written at once.
const BATCH: usize = 64;

impl Log {
    /// Opens a log; an empty path is none.
    pub fn open(path: &[u8], max_size: u64, max_files: u64) -> Result<Self> {
        let mut log = Self { path: Path::default(), fd: -1, size: 0, max_size, max_files, torn: false };
        log.path.put(&path[..path.len() - 1]);
        log.reopen()?;
        Ok(log)
    }

    /// Opens the file anew, by its name.
    pub fn reopen(&mut self) -> Result<()> {
        if self.path.bytes().is_empty() {
            return Ok(());
        }
        let fd = files::open(self.path.c_str(), files::O_WRONLY | files::O_CREAT | files::O_APPEND, 0o640)?;
        let mut stat = [0u64; 18];
        sys!(FSTAT, fd, stat.as_mut_ptr())?;
        if self.fd >= 0 {
            sys::close(self.fd);
        }
        (self.fd, self.size) = (fd, stat[6]);
        Ok(())
    }

    /// Reads once from a stream, shows what came to `tee` and writes what lines there are. Gives the number of bytes; 0
    /// is the stream's end.
    pub fn pump(&mut self, from: i32, stdout: bool, pending: &mut Pending, tee: impl FnOnce(&[u8])) -> Result<usize> {
        let before = pending.len;
        let len = sys::read(from, &mut pending.bytes[before..])?;
        pending.len += len;
        if len == 0 {
            self.last(stdout, pending);
            return Ok(0);
        }
        tee(&pending.bytes[before..pending.len]);
        let (seconds, nanos) = process::now();
        let full = prefix(seconds, nanos as u32, stdout, true);
        let mut begin = 0;
        while begin < pending.len {
            let (mut pieces, mut count, mut bytes) = ([[0usize; 2]; 2 * BATCH], 0, 0);
            while count < 2 * BATCH {
                let rest = &pending.bytes[begin..pending.len];
                let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
                pieces[count] = [full.as_ptr() as usize, PREFIX];
                pieces[count + 1] = [rest.as_ptr() as usize, end + 1];
                (count, bytes, begin) = (count + 2, bytes + PREFIX + end + 1, begin + end + 1);
            }
            if count == 0 {
                break;
            }
            self.write(&mut pieces[..count], bytes);
        }
        pending.bytes.copy_within(begin..pending.len, 0);
        pending.len -= begin;
        if pending.len == LINE {
            self.last(stdout, pending);
        }
        Ok(len)
    }

    /// Writes a line that has no end yet.
    pub fn last(&mut self, stdout: bool, pending: &mut Pending) {
        if pending.len > 0 {
            let (seconds, nanos) = process::now();
            let partial = prefix(seconds, nanos as u32, stdout, false);
            let mut pieces = [
                [partial.as_ptr() as usize, PREFIX],
                [pending.bytes.as_ptr() as usize, pending.len],
                [c"\n".as_ptr() as usize, 1],
            ];
            self.write(&mut pieces, PREFIX + pending.len + 1);
            pending.len = 0;
        }
    }

    /// Writes pieces of memory; the container is never held up by a log that cannot be written.
    fn write(&mut self, pieces: &mut [[usize; 2]], bytes: usize) {
        if self.fd < 0 {
            return;
        }
        if self.max_size > 0 && self.size > 0 && self.size + bytes as u64 > self.max_size {
            self.rotate();
        }
        if self.torn {
            let _ = sys::write(self.fd, b"\n");
            self.torn = false;
        }
        let mut at = 0;
        while at < pieces.len() {
            let Ok(mut written) = sys!(WRITEV, self.fd, pieces[at..].as_ptr(), pieces.len() - at) else {
                self.torn = at > 0;
                return;
            };
            self.size += written as u64;
            while at < pieces.len() && written >= pieces[at][1] {
                written -= pieces[at][1];
                at += 1;
            }
            if at < pieces.len() {
                pieces[at] = [pieces[at][0] + written, pieces[at][1] - written];
            }
        }
    }

    /// Moves the files on by one: the log becomes `.1`, and the oldest falls off.
    fn rotate(&mut self) {
        for number in (1..self.max_files).rev() {
            let (from, to) = (self.numbered(number - 1), self.numbered(number));
            let _ = sys!(RENAMEAT, files::AT_FDCWD, from.c_str().as_ptr(), files::AT_FDCWD, to.c_str().as_ptr());
        }
        if self.max_files <= 1 {
            let _ = sys!(UNLINKAT, files::AT_FDCWD, self.path.c_str().as_ptr(), 0);
        }
        // Without a new file it is better to write on in the old one.
        let _ = self.reopen();
    }

    fn numbered(&self, number: u64) -> Path {
        let mut path = Path::default();
        path.put(self.path.bytes());
        if number > 0 {
            path.put(b".").number(number);
        }
        path
    }
}
