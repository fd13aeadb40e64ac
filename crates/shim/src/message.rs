//! Messages between engine and shim on a sequenced-packet socket. The format is **frozen**: a new engine speaks to old
//! shims. New kinds may be added; an unknown one is answered with [`FAILED`] and `EINVAL`.
//!
//! A request is three `u32` (kind, a, b), perhaps with descriptors. An answer is `kind u32, a i32, b u64, c u64`.

/// Run a first plan and wait; descriptors: the plan.
pub const PARK: u32 = 1;
/// Run a plan; descriptors: the plan, and for a further process its input, output, error and the container's pidfd.
pub const RUN: u32 = 2;
/// Send signal a to the process.
pub const SIGNAL: u32 = 3;
/// Set the terminal's size to a rows and b columns.
pub const RESIZE: u32 = 4;
/// Hand out standard input; the answer carries the descriptor.
pub const STDIN: u32 = 5;
/// Close standard input.
pub const CLOSE_STDIN: u32 = 6;
/// Copy output to the sockets that come along: standard output, standard error.
pub const ATTACH: u32 = 7;
/// Open the log anew.
pub const REOPEN: u32 = 8;

/// Done.
pub const OK: u32 = 0;
/// The program runs: a is its pid; b and the lower half of c the time, the upper half what the host withheld. With a
/// terminal its descriptor comes along.
pub const STARTED: u32 = 1;
/// Failed: a is the errno, b 0 for the shim itself and 1 for a step inside, c which step.
pub const FAILED: u32 = 2;
/// The process waits.
pub const PARKED: u32 = 3;
/// The process ended: a is its code or signal, b 1 if it was a signal, c nanoseconds since 1970.
pub const EXITED: u32 = 4;
/// Between the shim and its child only: a is something that the host withheld, and the start goes on.
pub const WITHHELD: u32 = 5;

/// Withheld: an OOM score as low as was asked for.
pub const OOM_SCORE: u32 = 1;
/// Withheld: resource limits as high as was asked for.
pub const LIMITS: u32 = 2;

/// Size of a request.
pub const REQUEST: usize = 12;
/// Size of an answer.
pub const ANSWER: usize = 24;

/// An answer's bytes.
pub fn answer(kind: u32, a: i32, b: u64, c: u64) -> [u8; ANSWER] {
    let mut bytes = [0; ANSWER];
    bytes[..4].copy_from_slice(&kind.to_ne_bytes());
    bytes[4..8].copy_from_slice(&a.to_ne_bytes());
    bytes[8..16].copy_from_slice(&b.to_ne_bytes());
    bytes[16..].copy_from_slice(&c.to_ne_bytes());
    bytes
}

/// A request's bytes.
pub fn request(kind: u32, a: u32, b: u32) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    bytes[..4].copy_from_slice(&kind.to_ne_bytes());
    bytes[4..8].copy_from_slice(&a.to_ne_bytes());
    bytes[8..].copy_from_slice(&b.to_ne_bytes());
    bytes
}
