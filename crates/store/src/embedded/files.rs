//! Which files make up the store now, and how an older value is found in them.

use std::sync::Arc;

use bytes::Bytes;
use meta::Revision;

use super::checkpoint::Checkpoint;
use super::segment::Segment;
use crate::{Error, Key};

/// The files at one moment; a reader keeps them readable by holding this, even after they were removed.
#[derive(Clone)]
pub(crate) struct Files {
    /// The log, without a gap from the base on; the last one is written to.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The state that the log begins with; `None`: with nothing. Never newer than what can be read.
    pub(crate) base: Option<Arc<Checkpoint>>,
    /// The next base: when history before it is compacted.
    pub(crate) next: Option<Arc<Checkpoint>>,
}

impl Files {
    /// The segment that has a revision's transaction.
    pub(crate) fn segment(&self, revision: Revision) -> Option<&Arc<Segment>> {
        let after = self.segments.partition_point(|segment| segment.base < revision);
        self.segments
            .get(after.checked_sub(1)?)
            .filter(|segment| revision <= segment.last())
    }

    /// The value that a revision gave a key, and when it expires.
    pub(crate) fn value(&self, key: &Key, revision: Revision) -> Result<(Bytes, u64), Error> {
        match (self.segment(revision), &self.base) {
            (Some(segment), _) => segment.value(key, revision),
            (None, Some(base)) => base.value(key, revision),
            (None, None) => Err(super::damaged(
                "the log",
                0,
                &format!("revision {revision} is in no file"),
            )),
        }
    }

    /// What the log takes.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len()).sum()
    }

    /// What of the log was written after the last checkpoint, to the accuracy of a segment.
    pub(crate) fn bytes_since_checkpoint(&self) -> u64 {
        let revision = self
            .next
            .as_ref()
            .or(self.base.as_ref())
            .map_or(Revision(0), |checkpoint| checkpoint.revision);
        let newer = self.segments.iter().filter(|segment| segment.last() > revision);
        newer.map(|segment| segment.len()).sum::<u64>()
    }

    /// What all files take.
    pub(crate) fn bytes(&self) -> u64 {
        let checkpoints = [&self.base, &self.next].into_iter().flatten();
        self.log_bytes() + checkpoints.map(|checkpoint| checkpoint.len).sum::<u64>()
    }
}
