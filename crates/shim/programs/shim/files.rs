//! Small files: reading and writing them whole, replacing one in one step.

use crate::sys;
use crate::sys::{Errno, Result};

pub const AT_FDCWD: isize = -100;
pub const O_WRONLY: usize = 1;
pub const O_RDWR: usize = 2;
pub const O_CREAT: usize = 0o100;
pub const O_TRUNC: usize = 0o1000;
pub const O_APPEND: usize = 0o2000;
pub const O_NONBLOCK: usize = 0o4000;
pub const O_CLOEXEC: usize = 0o2_000_000;
pub const O_PATH: usize = 0o10_000_000;
#[cfg(target_arch = "x86_64")]
pub const O_DIRECTORY: usize = 0o200_000;
#[cfg(target_arch = "aarch64")]
pub const O_DIRECTORY: usize = 0o40_000;
/// Opens a path that ends with NUL.
pub fn open(path: &[u8], flags: usize, mode: usize) -> Result<i32> {
    open_at(AT_FDCWD, path, flags, mode)
}

/// The same below a directory.
pub fn open_at(dir: isize, path: &[u8], flags: usize, mode: usize) -> Result<i32> {
    sys!(OPENAT, dir, path.as_ptr(), flags | O_CLOEXEC, mode).map(|fd| fd as i32)
}

/// Writes a file in one go, making it if asked.
pub fn write(path: &[u8], content: &[u8], create: bool) -> Result<()> {
    let flags = if create { O_WRONLY | O_CREAT | O_TRUNC } else { O_WRONLY };
    let fd = open(path, flags, 0o600)?;
    let result = sys::write(fd, content);
    sys::close(fd);
    match result {
        Ok(written) if written == content.len() => Ok(()),
        Ok(_) => Err(Errno(28)),
        Err(errno) => Err(errno),
    }
}

/// Puts a file in its place in one step; both names end with NUL.
pub fn replace(temporary: &[u8], path: &[u8], content: &[u8]) -> Result<()> {
    write(temporary, content, true)?;
    sys!(RENAMEAT, AT_FDCWD, temporary.as_ptr(), AT_FDCWD, path.as_ptr()).map(|_| ())
}

/// Reads the beginning of a file.
pub fn read<'a>(path: &[u8], buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    let fd = open(path, 0, 0)?;
    let result = sys::read(fd, buffer);
    sys::close(fd);
    result.map(|len| &buffer[..len])
}

/// The first number after `key` and a blank, at a line's beginning.
pub fn number_after(text: &[u8], key: &[u8]) -> Option<u64> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let rest = line.strip_prefix(key)?.strip_prefix(b" ")?;
        Some(rest.iter().take_while(|b| b.is_ascii_digit()).fold(0, |sum, b| sum * 10 + u64::from(b - b'0')))
    })
}
