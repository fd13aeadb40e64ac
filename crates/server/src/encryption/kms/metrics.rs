//! What is counted of plug-ins and their keys, in the names that Kubernetes' dashboards know. Keys are told by hashes of
//! their names.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::encryption::metrics::Direction;
use crate::exposition::{self, Family, Histogram};

const LATENCY: Family = Family {
    name: "apiserver_envelope_encryption_kms_operations_latency_seconds",
    kind: "histogram",
    help: "[ALPHA] KMS operation duration with gRPC error code status total.",
};
const USED: Family = Family {
    name: "apiserver_envelope_encryption_key_id_hash_total",
    kind: "counter",
    help: "[ALPHA] Number of times a keyID is used split by transformation type, provider, and apiserver identity.",
};
const LAST_USED: Family = Family {
    name: "apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds",
    kind: "gauge",
    help: "[ALPHA] The last time in seconds when a keyID was used.",
};
const LAST_TOLD: Family = Family {
    name: "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds",
    kind: "gauge",
    help: "[ALPHA] The last time in seconds when a keyID was returned by the Status RPC call.",
};
const INVALID: Family = Family {
    name: "apiserver_envelope_encryption_invalid_key_id_from_status_total",
    kind: "counter",
    help: "[ALPHA] Number of times an invalid keyID is returned by the Status RPC call split by error.",
};
const SEEDS: Family = Family {
    name: "apiserver_envelope_encryption_dek_source_cache_size",
    kind: "gauge",
    help: "[ALPHA] Number of records in data encryption key (DEK) source cache. On a restart, this value is an approximation \
           of the number of decrypt RPC calls the server will make to the KMS plugin.",
};
/// Of KMS v1, which isn't there: what kube-apiserver shows without it.
const FILLED: Family = Family {
    name: "apiserver_envelope_encryption_dek_cache_fill_percent",
    kind: "gauge",
    help: "[ALPHA] Percent of the cache slots currently occupied by cached DEKs.",
};
const MISSES: Family = Family {
    name: "apiserver_storage_envelope_transformation_cache_misses_total",
    kind: "counter",
    help: "[ALPHA] Total number of cache misses while accessing key decryption key(KEK).",
};
const GENERATION: Family = Family {
    name: "apiserver_storage_data_key_generation_duration_seconds",
    kind: "histogram",
    help: "[ALPHA] Latencies in seconds of data encryption key(DEK) generation operations.",
};
const NOT_GENERATED: Family = Family {
    name: "apiserver_storage_data_key_generation_failures_total",
    kind: "counter",
    help: "[ALPHA] Total number of failed data encryption key(DEK) generation operations.",
};

/// So many keys are told of, those that were used last.
const MOST: usize = 100;

/// The counters.
pub(in crate::encryption) struct Calls {
    counted: Mutex<Counted>,
    /// The server's id, as labels have it.
    server: String,
}

struct Counted {
    /// By code, method and provider.
    latency: BTreeMap<(&'static str, &'static str, String), Histogram>,
    /// By the key's name, provider and direction: how often, and when last.
    used: BTreeMap<(String, String, Direction), (u64, f64)>,
    /// By the key's name and provider.
    told: BTreeMap<(String, String), f64>,
    /// By what is wrong, and provider.
    invalid: BTreeMap<(&'static str, String), u64>,
    seeds: BTreeMap<String, usize>,
    misses: u64,
    generation: Histogram,
    not_generated: u64,
}

impl Default for Calls {
    fn default() -> Calls {
        Calls::new("")
    }
}

impl Calls {
    /// For the server with this id.
    pub(in crate::encryption) fn new(server_id: &str) -> Calls {
        Calls {
            counted: Mutex::new(Counted {
                latency: BTreeMap::new(),
                used: BTreeMap::new(),
                told: BTreeMap::new(),
                invalid: BTreeMap::new(),
                seeds: BTreeMap::new(),
                misses: 0,
                generation: Histogram::doubling(5e-6, 14),
                not_generated: 0,
            }),
            server: exposition::hash(server_id),
        }
    }

    /// A plug-in was called, and the call ended with a code.
    pub(super) fn called(&self, provider: &str, method: &'static str, code: &'static str, took: Duration) {
        let mut counted = self.counted.lock();
        let histogram = counted.latency.entry((code, method, provider.to_owned()));
        histogram
            .or_insert_with(|| Histogram::doubling(0.0001, 20))
            .observe(took);
    }

    /// A value was encrypted or is about to be decrypted by a key.
    pub(super) fn used(&self, direction: Direction, provider: &str, key_id: &str) {
        let mut counted = self.counted.lock();
        let key = (key_id.to_owned(), provider.to_owned(), direction);
        let (count, last) = counted.used.entry(key).or_default();
        *count += 1;
        *last = exposition::now();
        forget(&mut counted.used, |(_, last)| *last);
    }

    /// A plug-in has named its key.
    pub(super) fn told(&self, provider: &str, key_id: &str) {
        let mut counted = self.counted.lock();
        let key = (key_id.to_owned(), provider.to_owned());
        counted.told.insert(key, exposition::now());
        forget(&mut counted.told, |last| *last);
    }

    /// A plug-in has named a key that can't be one.
    pub(super) fn invalid(&self, provider: &str, why: &'static str) {
        let mut counted = self.counted.lock();
        *counted.invalid.entry((why, provider.to_owned())).or_default() += 1;
    }

    /// So many seeds of a provider are known.
    pub(super) fn known(&self, provider: &str, seeds: usize) {
        self.counted.lock().seeds.insert(provider.to_owned(), seeds);
    }

    /// A plug-in had to be asked for a seed.
    pub(super) fn missed(&self) {
        self.counted.lock().misses += 1;
    }

    /// A seed was made, or not.
    pub(super) fn generated(&self, took: Duration, success: bool) {
        let mut counted = self.counted.lock();
        match success {
            true => counted.generation.observe(took),
            false => counted.not_generated += 1,
        }
    }

    /// Appends the Prometheus text format.
    pub(in crate::encryption) fn write(&self, out: &mut String) {
        let counted = self.counted.lock();
        let latency = counted.latency.iter();
        let latency = latency.map(|((code, method, provider), histogram)| {
            let labels = vec![
                ("grpc_status_code", *code),
                ("method_name", *method),
                ("provider_name", provider.as_str()),
            ];
            (labels, histogram)
        });
        LATENCY.write_histograms(out, latency);
        counted.write_keys(out, &self.server);
        let invalid = counted.invalid.iter();
        let invalid = invalid.map(|((why, provider), count)| {
            let labels = vec![("error", *why), ("provider_name", provider.as_str())];
            (labels, *count as f64)
        });
        INVALID.write(out, invalid);
        let seeds = counted.seeds.iter();
        SEEDS.write(
            out,
            seeds.map(|(provider, count)| (vec![("provider_name", provider.as_str())], *count as f64)),
        );
        FILLED.write(out, [(Vec::new(), 0.0)]);
        MISSES.write(out, [(Vec::new(), counted.misses as f64)]);
        GENERATION.write_histograms(out, [(Vec::new(), &counted.generation)]);
        NOT_GENERATED.write(out, [(Vec::new(), counted.not_generated as f64)]);
    }
}

impl Counted {
    fn write_keys(&self, out: &mut String, server: &str) {
        let hashed = self.used.iter();
        let hashed =
            hashed.map(|((key, provider, direction), seen)| (exposition::hash(key), provider, direction, seen));
        let hashed: Vec<_> = hashed.collect();
        for (family, figure) in [(USED, 0), (LAST_USED, 1)] {
            let rows = hashed.iter().map(|(key, provider, direction, (count, last))| {
                let labels = vec![
                    ("apiserver_id_hash", server),
                    ("key_id_hash", key.as_str()),
                    ("provider_name", provider.as_str()),
                    ("transformation_type", direction.name()),
                ];
                (labels, if figure == 0 { *count as f64 } else { *last })
            });
            family.write(out, rows);
        }
        let told = self.told.iter();
        let told: Vec<_> = told
            .map(|((key, provider), last)| (exposition::hash(key), provider, last))
            .collect();
        let rows = told.iter().map(|(key, provider, last)| {
            let labels = vec![
                ("apiserver_id_hash", server),
                ("key_id_hash", key.as_str()),
                ("provider_name", provider.as_str()),
            ];
            (labels, **last)
        });
        LAST_TOLD.write(out, rows);
    }
}

/// Forgets what was seen longest ago, when there is too much.
fn forget<K: Clone + Ord, V>(seen: &mut BTreeMap<K, V>, last: impl Fn(&V) -> f64) {
    if seen.len() <= MOST {
        return;
    }
    let oldest = seen.iter().min_by(|(_, a), (_, b)| last(a).total_cmp(&last(b)));
    if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
        seen.remove(&oldest);
    }
}
