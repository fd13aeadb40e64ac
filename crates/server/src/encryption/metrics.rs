//! What is counted of encryption at rest, in the names that Kubernetes' dashboards know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::TransformError;
use super::kms::Calls;
use super::transformer::resource;
use crate::exposition::{self, Family, Histogram};
use crate::reloads::{Figures, Reloads};

const OPERATIONS: Family = Family {
    name: "apiserver_storage_transformation_operations_total",
    kind: "counter",
    help: "[ALPHA] Total number of transformations. Successful transformation will have a status 'OK' and a varied status \
           string when the transformation fails. The status, resource, and transformation_type fields can be used for \
           alerting purposes. For example, you can monitor for encryption/decryption failures using the \
           transformation_type (e.g., from_storage for decryption and to_storage for encryption). Additionally, these \
           fields can be used to ensure that the correct transformers are applied to each resource.",
};
const DURATIONS: Family = Family {
    name: "apiserver_storage_transformation_duration_seconds",
    kind: "histogram",
    help: "[ALPHA] Latencies in seconds of value transformation operations.",
};
const FILE: Figures = Figures {
    total: Family {
        name: "apiserver_encryption_config_controller_automatic_reloads_total",
        kind: "counter",
        help: "[ALPHA] Total number of reload successes and failures of encryption configuration split by apiserver identity.",
    },
    last: Family {
        name: "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
        kind: "gauge",
        help: "[ALPHA] Timestamp of the last successful or failed automatic reload of encryption configuration split by \
           apiserver identity.",
    },
    holds: Family {
        name: "apiserver_encryption_config_controller_last_config_info",
        kind: "gauge",
        help: "[ALPHA] Information about the last applied encryption configuration with hash as label, split by apiserver \
           identity.",
    },
};

/// Which way a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    ToStorage,
    FromStorage,
}

impl Direction {
    pub(super) fn name(self) -> &'static str {
        match self {
            Direction::ToStorage => "to_storage",
            Direction::FromStorage => "from_storage",
        }
    }
}

/// The counters.
#[derive(Default)]
pub(super) struct Transformations {
    counted: Mutex<Counted>,
    /// What plug-ins of key management services were asked.
    pub(super) calls: Arc<Calls>,
    /// The server's id, as labels have it.
    server: String,
}

#[derive(Default)]
struct Counted {
    /// By resource, how it ended, direction and prefix.
    operations: BTreeMap<(String, &'static str, Direction, String), u64>,
    durations: BTreeMap<(Direction, String), Histogram>,
    reloads: Reloads,
}

impl Transformations {
    /// For the server with this id.
    pub(super) fn new(server_id: &str) -> Transformations {
        Transformations {
            calls: Arc::new(Calls::new(server_id)),
            server: exposition::hash(server_id),
            counted: Mutex::default(),
        }
    }

    pub(super) fn add(
        &self,
        key: &str,
        direction: Direction,
        prefix: &str,
        took: Duration,
        error: Option<&TransformError>,
    ) {
        let resource = shown(resource(key).unwrap_or_default());
        let code = error.map_or("OK", TransformError::code);
        let mut counted = self.counted.lock();
        let operation = (resource, code, direction, prefix.to_owned());
        *counted.operations.entry(operation).or_default() += 1;
        if error.is_none() {
            let histogram = counted.durations.entry((direction, prefix.to_owned()));
            histogram.or_insert_with(|| Histogram::doubling(5e-6, 25)).observe(took);
        }
    }

    /// A configuration holds from now on.
    pub(super) fn holds(&self, fingerprint: &[u8; 32]) {
        let hash = format!("sha256:{}", hex::encode(fingerprint));
        self.counted.lock().reloads.holds(hash);
    }

    /// The configuration was read again.
    pub(super) fn reloaded(&self, success: bool) {
        self.counted.lock().reloads.ended(success);
    }

    /// Appends the Prometheus text format.
    pub(super) fn write(&self, out: &mut String) {
        self.counted.lock().write(out, &self.server);
        self.calls.write(out);
    }
}

impl Counted {
    fn write(&self, out: &mut String, server: &str) {
        let operations = self.operations.iter();
        let operations = operations.map(|((resource, code, direction, prefix), count)| {
            let labels = vec![
                ("resource", resource.as_str()),
                ("status", code),
                ("transformation_type", direction.name()),
                ("transformer_prefix", prefix),
            ];
            (labels, *count as f64)
        });
        OPERATIONS.write(out, operations);
        let durations = self.durations.iter();
        let durations = durations.map(|((direction, prefix), histogram)| {
            let direction = direction.name();
            let labels = vec![
                ("transformation_type", direction),
                ("transformer_prefix", prefix.as_str()),
            ];
            (labels, histogram)
        });
        DURATIONS.write_histograms(out, durations);
        self.reloads.write(out, &FILE, server);
    }
}

/// `GROUP/RESOURCE` as Kubernetes writes it.
fn shown(resource: &str) -> String {
    match resource.split_once('/') {
        Some(("core", resource)) => resource.to_owned(),
        Some((group, resource)) => format!("{resource}.{group}"),
        None => String::new(),
    }
}
