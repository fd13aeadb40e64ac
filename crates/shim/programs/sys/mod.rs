//! What a program without a standard library stands on: its entry, system calls, and the four functions on memory that
//! compilers take for granted. No policy.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[macro_use]
mod call;
mod mem;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::{nr, syscall};
pub use call::*;
#[cfg(target_arch = "x86_64")]
pub use x86_64::{nr, syscall};

use core::panic::PanicInfo;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(134)
}

/// Never called: programs abort on panic. The prebuilt `core` names it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// The arguments and environment that the kernel put on the stack.
#[derive(Clone, Copy)]
pub struct Start {
    stack: *const usize,
}

impl Start {
    /// # Safety
    /// `stack` is the stack pointer at the program's entry.
    pub unsafe fn new(stack: *const usize) -> Self {
        Self { stack }
    }

    /// Number of arguments.
    pub fn argc(self) -> usize {
        // SAFETY: the kernel puts the count at the stack's top.
        unsafe { *self.stack }
    }

    /// One argument, or an empty string.
    pub fn arg(self, index: usize) -> &'static [u8] {
        if index >= self.argc() {
            return b"";
        }
        // SAFETY: argv follows the count, with argc entries, each a string that lives as long as the process.
        unsafe { text(*self.stack.add(1 + index) as *const u8) }
    }

    /// The environment's entries, ended by a null pointer.
    pub fn envp(self) -> *const *const u8 {
        // SAFETY: the environment follows argv and its null.
        unsafe { self.stack.add(2 + self.argc()) as *const *const u8 }
    }

    /// The value of an environment variable.
    pub fn env(self, name: &[u8]) -> Option<&'static [u8]> {
        let mut at = self.envp();
        loop {
            // SAFETY: the array ends with a null, which ends this loop.
            let entry = unsafe { *at };
            if entry.is_null() {
                return None;
            }
            // SAFETY: entries are strings that live as long as the process.
            let entry = unsafe { text(entry) };
            if entry.len() > name.len() && entry.starts_with(name) && entry[name.len()] == b'=' {
                return Some(&entry[name.len() + 1..]);
            }
            // SAFETY: not yet at the null.
            at = unsafe { at.add(1) };
        }
    }
}

/// The bytes of a C string without its end.
///
/// # Safety
/// `at` points to a NUL-terminated string that is never freed.
pub unsafe fn text(at: *const u8) -> &'static [u8] {
    let mut len = 0;
    // SAFETY: the string ends with a zero.
    while unsafe { *at.add(len) } != 0 {
        len += 1;
    }
    // SAFETY: `len` bytes were just read.
    unsafe { core::slice::from_raw_parts(at, len) }
}
