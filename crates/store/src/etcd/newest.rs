//! The newest revision, read once for all that ask at the same time: every consistent read of the API asks.

use std::sync::atomic::{AtomicU64, Ordering};

use meta::Revision;
use tokio::sync::Mutex;

use super::failure::Failure;

type Answer = Result<Revision, Failure>;

/// The last read, and who may have its answer.
#[derive(Default)]
pub(crate) struct Newest {
    asked: AtomicU64,
    last: Mutex<Option<Read>>,
}

struct Read {
    /// It began after so many had asked.
    covers: u64,
    answer: Answer,
}

impl Newest {
    /// The answer of a read that began after this call: of `read`, or of another one's. A failure is shared, too, or those
    /// who wait would find out one after another.
    pub(crate) async fn ask(&self, read: impl Future<Output = Answer>) -> Answer {
        let number = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut last = self.last.lock().await;
        if let Some(read) = last.as_ref().filter(|read| read.covers >= number) {
            return read.answer.clone();
        }
        let covers = self.asked.load(Ordering::Acquire);
        let answer = read.await;
        *last = Some(Read {
            covers,
            answer: answer.clone(),
        });
        answer
    }
}
