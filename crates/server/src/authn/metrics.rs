//! What is counted of other issuers and of the configuration that names them, in the names that Kubernetes' dashboards
//! know. Issuers are told by hashes of their URLs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;

use crate::exposition::{self, Family, Histogram};
use crate::reloads::{Figures, Reloads, result};

const LATENCY: Family = Family {
    name: "apiserver_authentication_jwt_authenticator_latency_seconds",
    kind: "histogram",
    help: "[ALPHA] Latency of jwt authentication operations in seconds. This is the time spent authenticating a token for \
           cache miss only (i.e. when the token is not found in the cache).",
};
const FETCHED: Family = Family {
    name: "apiserver_authentication_jwt_authenticator_jwks_fetch_last_timestamp_seconds",
    kind: "gauge",
    help: "[ALPHA] Timestamp of the last successful or failed JWKS fetch split by result, api server identity and jwt issuer \
           for the JWT authenticator.",
};
const KEY_SET: Family = Family {
    name: "apiserver_authentication_jwt_authenticator_jwks_fetch_last_key_set_info",
    kind: "gauge",
    help: "[ALPHA] Information about the last JWKS fetched by the JWT authenticator with hash as label, split by api server \
           identity and jwt issuer.",
};
const FILE: Figures = Figures {
    total: Family {
        name: "apiserver_authentication_config_controller_automatic_reloads_total",
        kind: "counter",
        help: "[BETA] Total number of automatic reloads of authentication configuration split by status and apiserver identity.",
    },
    last: Family {
        name: "apiserver_authentication_config_controller_automatic_reload_last_timestamp_seconds",
        kind: "gauge",
        help: "[BETA] Timestamp of the last automatic reload of authentication configuration split by status and apiserver \
           identity.",
    },
    holds: Family {
        name: "apiserver_authentication_config_controller_last_config_info",
        kind: "gauge",
        help: "[ALPHA] Information about the last applied authentication configuration with hash as label, split by apiserver \
           identity.",
    },
};

const BOUNDS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The counters.
pub(super) struct Counters {
    counted: Mutex<Counted>,
    /// The server's id, as labels have it.
    server: String,
}

#[derive(Default)]
struct Counted {
    /// By issuer and result.
    latency: BTreeMap<(String, &'static str), Histogram>,
    /// Those that are believed now. What comes of others is over.
    issuers: BTreeSet<String>,
    /// By issuer and result: when last.
    fetched: BTreeMap<(String, &'static str), f64>,
    /// By issuer: the hash of what was fetched last.
    key_sets: BTreeMap<String, String>,
    reloads: Reloads,
}

impl Counters {
    /// For the server with this id.
    pub(super) fn new(server_id: &str) -> Counters {
        Counters {
            counted: Mutex::default(),
            server: exposition::hash(server_id),
        }
    }

    /// These issuers are believed from now on.
    pub(super) fn believed<'a>(&self, issuers: impl Iterator<Item = &'a str>) {
        let mut counted = self.counted.lock();
        let now: BTreeSet<String> = issuers.map(exposition::hash).collect();
        counted.fetched.retain(|(issuer, _), _| now.contains(issuer));
        counted.key_sets.retain(|issuer, _| now.contains(issuer));
        counted.issuers = now;
    }

    /// A configuration holds from now on.
    pub(super) fn holds(&self, text: &str) {
        self.counted.lock().reloads.holds(exposition::hash(text));
    }

    /// The configuration was read again.
    pub(super) fn reloaded(&self, success: bool) {
        self.counted.lock().reloads.ended(success);
    }

    /// A token of an issuer was looked at.
    pub(super) fn authenticated(&self, issuer: &str, success: bool, took: Duration) {
        let mut counted = self.counted.lock();
        let histogram = counted.latency.entry((exposition::hash(issuer), result(success)));
        histogram
            .or_insert_with(|| Histogram::new(BOUNDS.to_vec()))
            .observe(took);
    }

    /// An issuer's keys were fetched; none when that failed.
    pub(super) fn fetched(&self, issuer: &str, key_set: Option<&[u8]>) {
        let issuer = exposition::hash(issuer);
        let mut counted = self.counted.lock();
        if !counted.issuers.contains(&issuer) {
            return;
        }
        let key = (issuer.clone(), result(key_set.is_some()));
        counted.fetched.insert(key, exposition::now());
        if let Some(key_set) = key_set {
            let hash = exposition::hash(&String::from_utf8_lossy(key_set));
            counted.key_sets.insert(issuer, hash);
        }
    }

    /// Appends the Prometheus text format.
    pub(super) fn write(&self, out: &mut String) {
        let counted = self.counted.lock();
        let server = self.server.as_str();
        let latency = counted.latency.iter();
        let latency = latency.map(|((issuer, result), histogram)| {
            let labels = vec![("jwt_issuer_hash", issuer.as_str()), ("result", *result)];
            (labels, histogram)
        });
        LATENCY.write_histograms(out, latency);
        let fetched = counted.fetched.iter();
        let fetched = fetched.map(|((issuer, result), last)| {
            let labels = vec![
                ("apiserver_id_hash", server),
                ("jwt_issuer_hash", issuer.as_str()),
                ("result", *result),
            ];
            (labels, *last)
        });
        FETCHED.write(out, fetched);
        let key_sets = counted.key_sets.iter();
        let key_sets = key_sets.map(|(issuer, hash)| {
            let labels = vec![
                ("apiserver_id_hash", server),
                ("hash", hash.as_str()),
                ("jwt_issuer_hash", issuer.as_str()),
            ];
            (labels, 1.0)
        });
        KEY_SET.write(out, key_sets);
        counted.reloads.write(out, &FILE, server);
    }
}
