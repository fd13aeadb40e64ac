//! System calls with their errors as results. Only what several programs need.

use super::syscall;

/// The kernel's error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

pub const EPERM: Errno = Errno(1);
pub const EACCES: Errno = Errno(13);
pub const ENOENT: Errno = Errno(2);
pub const EINTR: Errno = Errno(4);
pub const EAGAIN: Errno = Errno(11);
pub const EEXIST: Errno = Errno(17);
pub const EINVAL: Errno = Errno(22);

pub type Result<T> = core::result::Result<T, Errno>;

/// Calls the kernel with integers and addresses.
///
/// # Safety
/// What the call does with its arguments is the caller's business.
#[inline(never)]
pub unsafe fn call(nr: usize, a: [usize; 6]) -> Result<usize> {
    // SAFETY: handed on to the caller.
    let result = unsafe { syscall(nr, a) };
    if result < 0 { Err(Errno(-result as i32)) } else { Ok(result as usize) }
}

/// `sys!(NUMBER, args...)`: a call of up to six arguments, each cast to `usize`.
macro_rules! sys {
    ($nr:ident $(, $arg:expr)* $(,)?) => {{
        let given = [$($arg as usize),*];
        let mut args = [0usize; 6];
        let mut at = 0;
        while at < given.len() { args[at] = given[at]; at += 1; }
        // SAFETY: each use passes what that call's manual asks for; pointers are to live values.
        unsafe { $crate::sys::call($crate::sys::nr::$nr, args) }
    }};
}

pub fn exit(code: i32) -> ! {
    loop {
        let _ = sys!(EXIT_GROUP, code);
    }
}

pub fn write(fd: i32, bytes: &[u8]) -> Result<usize> {
    sys!(WRITE, fd, bytes.as_ptr(), bytes.len())
}

pub fn read(fd: i32, bytes: &mut [u8]) -> Result<usize> {
    sys!(READ, fd, bytes.as_mut_ptr(), bytes.len())
}

pub fn close(fd: i32) {
    let _ = sys!(CLOSE, fd);
}
