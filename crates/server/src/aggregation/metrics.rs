//! What is counted of other servers, in the names that Kubernetes' dashboards and alerts know.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use parking_lot::Mutex;
use serde_json::Value;

use super::Routes;
use super::plan;

/// How often servers have become unavailable, by APIService and reason.
#[derive(Default)]
pub(super) struct Losses(Mutex<BTreeMap<(String, String), u64>>);

impl Losses {
    /// Counts a loss, if this change of the conditions is one.
    pub(super) fn note(&self, name: &str, before: &Value, after: &Value) {
        if let Some(reason) = plan::loss(before, after) {
            let key = (name.to_owned(), reason.to_owned());
            *self.0.lock().entry(key).or_default() += 1;
        }
    }

    /// The Prometheus text format.
    pub(super) fn text(&self, routes: &Routes) -> String {
        let mut out = String::from("# TYPE aggregator_unavailable_apiservice gauge\n");
        for route in routes.all() {
            let (name, away) = (&route.remote.name, u8::from(!route.available));
            // Writing into a String can't fail.
            let _ = writeln!(out, "aggregator_unavailable_apiservice{{name=\"{name}\"}} {away}");
        }
        out.push_str("# TYPE aggregator_unavailable_apiservice_total counter\n");
        for ((name, reason), count) in &*self.0.lock() {
            let _ = writeln!(
                out,
                "aggregator_unavailable_apiservice_total{{name=\"{name}\",reason=\"{reason}\"}} {count}"
            );
        }
        out
    }
}
