//! Makes a container's first process, or a further one, and stays as its parent: writes the log, keeps the exit code,
//! answers on a socket.
//!
//! One process each, with one thread and no heap. Whoever started it may die at any time; nothing here may depend on
//! them after the program runs.
#![no_std]
#![no_main]

#[macro_use]
#[path = "sys/mod.rs"]
#[allow(dead_code, reason = "shared with other programs")]
mod sys;
#[path = "../src/cri.rs"]
#[allow(dead_code, reason = "shared with the engine")]
mod cri;
#[path = "../src/message.rs"]
#[allow(dead_code, reason = "shared with the engine")]
mod message;
#[path = "../src/plan.rs"]
#[allow(dead_code, reason = "shared with the engine")]
mod plan;

#[path = "shim/child.rs"]
mod child;
#[path = "shim/failpoint.rs"]
mod failpoint;
#[path = "shim/files.rs"]
mod files;
#[path = "shim/launch.rs"]
mod launch;
#[path = "shim/log.rs"]
mod log;
#[path = "shim/packet.rs"]
mod packet;
#[path = "shim/process.rs"]
mod process;
#[path = "shim/root.rs"]
mod root;
#[path = "shim/supervise.rs"]
mod supervise;

use sys::{Start, exit};

/// The engine's socket is standard input.
const CONTROL: i32 = 0;
const PR_SET_THP_DISABLE: usize = 41;

extern "C" fn entry(stack: *const usize) -> ! {
    // SAFETY: this is the program's entry.
    let start = unsafe { Start::new(stack) };
    failpoint::init(start.env(b"GANTRY_FAILPOINTS"));
    match process::fork() {
        Ok(0) => {}
        Ok(_) => exit(0),
        Err(errno) => exit(errno.0),
    }
    detach();
    launch::serve()
}

/// Lets go of everything that was inherited.
fn detach() {
    let _ = sys!(SETSID);
    let all = !0u64;
    let _ = sys!(SIGPROCMASK, 2, &raw const all, 0, 8);
    let _ = sys!(CLOSE_RANGE, 3, u32::MAX, 0);
    let _ = sys!(UMASK, 0o022);
    let _ = sys!(CHDIR, c"/".as_ptr());
    // The node keeps huge pages from itself, not from containers.
    let _ = sys!(PRCTL, PR_SET_THP_DISABLE, 0, 0, 0, 0);
    // A shim that dies for want of memory takes its container's exit code along. Lowering needs a privilege that the
    // caller may lack; then at least what it raised for itself is not kept.
    if files::write(b"/proc/self/oom_score_adj\0", b"-998", false).is_err() {
        let _ = files::write(b"/proc/self/oom_score_adj\0", b"0", false);
    }
}
