//! The embedded store against the contract, and against a disk that forgets, lies, fills up and rots.

mod contract;
mod damage;
mod durability;
mod frozen;
mod housekeeping;
mod sim;

use std::future::Future;
use std::time::Duration;

use super::Options;

/// Small files, so that a short test goes through all of them.
fn small() -> Options {
    Options {
        keep_for: Duration::from_secs(3600),
        segment_bytes: 4 << 10,
        checkpoint_bytes: 8 << 10,
        tick: Duration::from_millis(5),
        ..Options::default()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}
