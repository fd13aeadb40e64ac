//! What is counted of a configuration file that is read again when it changes: how that ended, and which content holds.
//! Kubernetes' servers count the same of each such file, under the file's own names.

use std::collections::BTreeMap;

use crate::exposition::{self, Family};

/// What the figures of a file are called.
pub(crate) struct Figures {
    /// Successes and failures.
    pub(crate) total: Family,
    /// When the last of each was.
    pub(crate) last: Family,
    /// The hash of what holds.
    pub(crate) holds: Family,
}

/// The counters of one file.
#[derive(Default)]
pub(crate) struct Reloads {
    /// By how they ended: how often, and when last.
    ended: BTreeMap<&'static str, (u64, f64)>,
    holds: Option<String>,
}

/// What a label says of how something ended.
pub(crate) fn result(success: bool) -> &'static str {
    if success { "success" } else { "failure" }
}

impl Reloads {
    /// The file was read again.
    pub(crate) fn ended(&mut self, success: bool) {
        let (count, last) = self.ended.entry(result(success)).or_default();
        *count += 1;
        *last = exposition::now();
    }

    /// The content with this hash holds from now on.
    pub(crate) fn holds(&mut self, hash: String) {
        self.holds = Some(hash);
    }

    /// Appends the Prometheus text format; `server` is the server's id, as labels have it.
    pub(crate) fn write(&self, out: &mut String, figures: &Figures, server: &str) {
        let of = |status: &'static str| vec![("apiserver_id_hash", server), ("status", status)];
        let ended = || self.ended.iter();
        figures
            .total
            .write(out, ended().map(|(status, (count, _))| (of(status), *count as f64)));
        figures
            .last
            .write(out, ended().map(|(status, (_, last))| (of(status), *last)));
        let holds = self.holds.iter();
        let holds = holds.map(|hash| (vec![("apiserver_id_hash", server), ("hash", hash.as_str())], 1.0));
        figures.holds.write(out, holds);
    }
}
