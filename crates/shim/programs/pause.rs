//! The first process of a shared process namespace: reaps what is orphaned there and ends on SIGTERM or SIGINT.
#![no_std]
#![no_main]
#![allow(dead_code, reason = "shares its system calls with other programs")]

#[macro_use]
#[path = "sys/mod.rs"]
mod sys;

use sys::exit;

/// Blocks what is waited for, then waits for nothing else.
extern "C" fn entry(_stack: *const usize) -> ! {
    const SIGINT: u64 = 1 << 1;
    const SIGTERM: u64 = 1 << 14;
    const SIGCHLD: u64 = 1 << 16;
    let set: u64 = SIGINT | SIGTERM | SIGCHLD;
    let _ = sys!(SIGPROCMASK, 0, &raw const set, 0, 8);
    let Ok(signals) = sys!(SIGNALFD4, -1isize, &raw const set, 8, 0) else { exit(1) };
    let mut info = [0u8; 128];
    loop {
        if sys::read(signals as i32, &mut info).is_err() {
            continue;
        }
        if info[0] != 17 {
            exit(0);
        }
        while sys!(WAIT4, -1isize, 0, 1, 0).is_ok_and(|pid| pid > 0) {}
    }
}
