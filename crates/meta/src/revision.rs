//! The store's one counter.

use std::fmt;

/// A moment in the store's history: every transaction takes the next one. Clients see it as `resourceVersion`, an
/// opaque string; 0 is before anything was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
