//! Values whose keys a key management service has, reached through a plug-in on this machine (KMS v2).
//!
//! The server makes a seed and has the plug-in encrypt it. Each value has a key of its own, derived from the seed and
//! random bytes; the encrypted seed lies beside the value. So the plug-in is asked once a seed, and not once a value. Its
//! status is asked for once a minute: when it names another key, a new seed is made, and what was written before is
//! stale. When it doesn't answer, reads go on, and writes do for three minutes.
//!
//! <https://kubernetes.io/docs/tasks/administer-cluster/kms-provider/>

mod api;
mod client;
mod metrics;
mod seed;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::Notify;

use self::api::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, EncryptedObject, SEED, StatusResponse,
};
use self::client::Client;
pub(super) use self::metrics::Calls;
use self::seed::Seed;
use super::TransformError;
use super::config::Kms;
use super::metrics::Direction;
use crate::traces;

/// How often the status is asked for, and how often while something is wrong.
const POLL: Duration = Duration::from_secs(60);
const POLL_BAD: Duration = Duration::from_secs(10);
/// So long after the last good status values are still written by its key.
const WRITE_FOR: Duration = Duration::from_secs(180);
/// How long the health check goes by the last answer, a good one and a bad one.
const GOOD_FOR: Duration = Duration::from_secs(20);
const BAD_FOR: Duration = Duration::from_secs(3);
/// Decrypted seeds are forgotten after this.
const SEED_FOR: Duration = Duration::from_secs(24 * 3600);
/// A seed that could not be decrypted isn't tried again for so long: there may be thousands of values behind it.
const FAILED_FOR: Duration = Duration::from_secs(3);
const MAX_KEY_ID: usize = 1024;
const MAX_SEED: usize = 1024;
const MAX_ANNOTATIONS: usize = 32 * 1024;

/// What a plug-in answers.
#[async_trait]
trait Service: Send + Sync {
    async fn status(&self) -> Result<StatusResponse, TransformError>;
    async fn encrypt(&self, request: EncryptRequest) -> Result<EncryptResponse, TransformError>;
    async fn decrypt(&self, request: DecryptRequest) -> Result<DecryptResponse, TransformError>;
}

/// A plug-in, with the seed that is written by now and those that were read.
pub(super) struct Plugin {
    name: String,
    service: Box<dyn Service>,
    writing: ArcSwapOption<Writing>,
    seeds: Mutex<HashMap<Source, Known>>,
    /// One seed is decrypted at a time: many values may wait for the same one.
    decrypting: tokio::sync::Mutex<()>,
    health: tokio::sync::Mutex<Health>,
    /// Told when it answers again after it didn't.
    healed: Arc<Notify>,
    count: Arc<Calls>,
    /// What time it is.
    clock: Clock,
}

type Clock = Box<dyn Fn() -> Instant + Send + Sync>;

/// An encrypted seed, with what the plug-in said of it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Source {
    key_id: String,
    encrypted: Vec<u8>,
    annotations: BTreeMap<String, Vec<u8>>,
}

/// What values are written by.
struct Writing {
    source: Source,
    seed: Arc<Seed>,
    until: Instant,
}

/// What is known of an encrypted seed.
enum Known {
    Seed(Arc<Seed>, Instant),
    Failed(TransformError, Instant),
}

struct Health {
    last: Option<(Instant, Result<(), String>)>,
    /// The version that the plug-in named first.
    version: String,
}

impl Plugin {
    /// Connects to a plug-in and begins to ask for its status. One that doesn't answer yet may come later.
    pub(super) fn start(kms: &Kms, healed: &Arc<Notify>, count: &Arc<Calls>) -> Result<Arc<Plugin>, TransformError> {
        let timeout = kms
            .timeout()
            .ok_or_else(|| TransformError::new("timeout should be a positive value"))?;
        let client = Client::new(&kms.endpoint, timeout);
        let (healed, count) = (Arc::clone(healed), Arc::clone(count));
        let plugin = Plugin::new(&kms.name, Box::new(client), healed, count, Box::new(Instant::now));
        tokio::spawn(Plugin::follow(Arc::downgrade(&plugin)));
        Ok(plugin)
    }

    fn new(name: &str, service: Box<dyn Service>, healed: Arc<Notify>, count: Arc<Calls>, clock: Clock) -> Arc<Plugin> {
        Arc::new(Plugin {
            name: name.to_owned(),
            service,
            writing: ArcSwapOption::empty(),
            seeds: Mutex::default(),
            decrypting: tokio::sync::Mutex::default(),
            health: tokio::sync::Mutex::new(Health {
                last: None,
                version: String::new(),
            }),
            healed,
            count,
            clock,
        })
    }

    fn now(&self) -> Instant {
        (self.clock)()
    }

    fn since(&self, then: Instant) -> Duration {
        self.now().saturating_duration_since(then)
    }

    /// Asks for the status again and again, for as long as somebody uses the plug-in.
    async fn follow(plugin: Weak<Plugin>) {
        loop {
            let Some(now) = plugin.upgrade() else { return };
            let checked = now.check_within(Duration::ZERO).await;
            if let Err(error) = &checked {
                tracing::warn!(provider = now.name, error, "the KMS plug-in is not healthy");
            }
            drop(now);
            tokio::time::sleep(if checked.is_ok() { POLL } else { POLL_BAD }).await;
        }
    }

    /// Whether the plug-in is well; an answer that isn't old counts.
    pub(super) async fn check(&self) -> Result<(), String> {
        self.check_within(GOOD_FOR).await
    }

    async fn check_within(&self, good_for: Duration) -> Result<(), String> {
        let mut health = self.health.lock().await;
        if let Some((at, last)) = &health.last {
            let fresh = if last.is_ok() { good_for } else { BAD_FOR.min(good_for) };
            if self.since(*at) < fresh {
                return last.clone();
            }
        }
        let was_bad = health.last.as_ref().is_some_and(|(_, last)| last.is_err());
        let result = self.ask(&mut health.version).await;
        health.last = Some((self.now(), result.clone()));
        if was_bad && result.is_ok() {
            self.seeds.lock().retain(|_, known| matches!(known, Known::Seed(..)));
            self.healed.notify_one();
        }
        result
    }

    async fn ask(&self, version: &mut String) -> Result<(), String> {
        // Before the call: this is an upper bound.
        let until = self.now() + WRITE_FOR;
        let status = self.counted("/v2.KeyManagementService/Status", self.service.status());
        let status = status.await.map_err(|error| {
            format!(
                "failed to perform status section of the healthz check for KMS Provider {}, error: {error}",
                self.name
            )
        })?;
        let mut errors = Vec::new();
        if status.healthz != "ok" {
            errors.push(format!("got unexpected healthz status: {}", status.healthz));
        }
        if !matches!(status.version.as_str(), "v2" | "v2beta1") {
            errors.push(format!("expected KMSv2 API version v2, got {}", status.version));
        } else if version.is_empty() {
            version.clone_from(&status.version);
        } else if *version != status.version {
            errors.push(format!(
                "KMSv2 API version should not change after the initial status response version {version}, got {}",
                status.version
            ));
        }
        match check_key_id(&status.key_id) {
            Err(why) => {
                let code = if status.key_id.is_empty() { "empty" } else { "too_long" };
                self.count.invalid(&self.name, code);
                errors.push(format!("got invalid KMSv2 KeyID: {why}"));
            }
            Ok(()) => {
                self.count.told(&self.name, &status.key_id);
                if let Err(why) = self.rotate(&status.key_id, until).await {
                    errors.push(why);
                }
            }
        }
        match &errors[..] {
            [] => Ok(()),
            [only] => Err(format!("kmsv2 Provider {} is not healthy, error: {only}", self.name)),
            all => Err(format!(
                "kmsv2 Provider {} is not healthy, error: [{}]",
                self.name,
                all.join(", ")
            )),
        }
    }

    /// Goes on with the seed that there is, or makes another one when the plug-in's key is another one.
    async fn rotate(&self, key_id: &str, until: Instant) -> Result<(), String> {
        if let Some(now) = self.writing.load_full().filter(|now| now.source.key_id == key_id) {
            self.writing.store(Some(Arc::new(Writing {
                source: now.source.clone(),
                seed: Arc::clone(&now.seed),
                until,
            })));
            return Ok(());
        }
        let failed = |why: &dyn std::fmt::Display| format!("failed to rotate DEK: {why}");
        let began = Instant::now();
        let made = Seed::new();
        self.count.generated(began.elapsed(), made.is_ok());
        let (seed, bytes) = made.map_err(|error| failed(&error))?;
        let request = EncryptRequest {
            plaintext: bytes,
            uid: uid(),
        };
        let answer = self.counted("/v2.KeyManagementService/Encrypt", self.service.encrypt(request));
        let answer = answer
            .await
            .map_err(|error| failed(&format!("failed to encrypt DEK, error: {error}")))?;
        let source = Source {
            key_id: answer.key_id,
            encrypted: answer.ciphertext,
            annotations: answer.annotations,
        };
        source.check().map_err(|why| failed(&why))?;
        if source.key_id != key_id {
            return Err(failed(&"the status and the encryption name different keys"));
        }
        let seed = Arc::new(seed);
        self.remember(source.clone(), Known::Seed(Arc::clone(&seed), self.now()));
        self.writing.store(Some(Arc::new(Writing { source, seed, until })));
        Ok(())
    }

    /// A value as it is stored behind the prefix.
    pub(super) fn seal(&self, key: &str, value: &[u8]) -> Result<Vec<u8>, TransformError> {
        let mut span = traces::leaf("TransformToStorage with envelopeTransformer");
        span.set("transformer.provider.name", &self.name);
        let now = self.writing.load_full();
        let now = now.ok_or_else(|| TransformError::new("got unexpected nil transformer"))?;
        if self.now() > now.until {
            return Err(TransformError::new(
                "encryptedDEKSource has expired: the KMS plug-in does not answer",
            ));
        }
        let sealed = now.seed.seal(value, key.as_bytes())?;
        self.count.used(Direction::ToStorage, &self.name, &now.source.key_id);
        let object = EncryptedObject {
            encrypted_data: sealed,
            key_id: now.source.key_id.clone(),
            encrypted_seed: now.source.encrypted.clone(),
            annotations: now.source.annotations.clone(),
            source: SEED,
        };
        Ok(object.encode_to_vec())
    }

    /// The value behind stored bytes, and whether another key would write it now.
    pub(super) async fn open(&self, key: &str, stored: &[u8]) -> Result<(Bytes, bool), TransformError> {
        let mut span = traces::leaf("TransformFromStorage with envelopeTransformer");
        span.set("transformer.provider.name", &self.name);
        let object = EncryptedObject::decode(stored).map_err(|error| TransformError::new(error.to_string()))?;
        if object.source != SEED {
            let why = format!("unknown encryptedDEKSourceType: {}", object.source);
            return Err(TransformError::new(why));
        }
        let source = Source {
            key_id: object.key_id,
            encrypted: object.encrypted_seed,
            annotations: object.annotations,
        };
        source.check().map_err(TransformError::new)?;
        let now = self.writing.load_full();
        let is_stale = now.is_none_or(|now| now.source.key_id != source.key_id);
        let key_id = source.key_id.clone();
        let seed = self.seed(source).await?;
        self.count.used(Direction::FromStorage, &self.name, &key_id);
        let value = seed.open(&object.encrypted_data, key.as_bytes())?;
        Ok((value.into(), is_stale))
    }

    async fn seed(&self, source: Source) -> Result<Arc<Seed>, TransformError> {
        if let Some(known) = self.known(&source) {
            return known;
        }
        let _one_at_a_time = self.decrypting.lock().await;
        if let Some(known) = self.known(&source) {
            return known;
        }
        let request = DecryptRequest {
            ciphertext: source.encrypted.clone(),
            uid: uid(),
            key_id: source.key_id.clone(),
            annotations: source.annotations.clone(),
        };
        let now = self.now();
        self.count.missed();
        let decrypted = self.counted("/v2.KeyManagementService/Decrypt", self.service.decrypt(request));
        let found = match decrypted.await {
            Ok(answer) => Seed::of(&answer.plaintext).map(Arc::new),
            Err(error) => Err(error.within("failed to decrypt DEK, error")),
        };
        let known = match &found {
            Ok(seed) => Known::Seed(Arc::clone(seed), now),
            Err(error) => Known::Failed(error.clone(), self.now()),
        };
        self.remember(source, known);
        found
    }

    fn known(&self, source: &Source) -> Option<Result<Arc<Seed>, TransformError>> {
        match self.seeds.lock().get(source)? {
            Known::Seed(seed, at) if self.since(*at) < SEED_FOR => Some(Ok(Arc::clone(seed))),
            Known::Failed(error, at) if self.since(*at) < FAILED_FOR => Some(Err(error.clone())),
            _ => None,
        }
    }

    fn remember(&self, source: Source, known: Known) {
        let mut seeds = self.seeds.lock();
        seeds.retain(|_, known| match known {
            Known::Seed(_, at) => self.since(*at) < SEED_FOR,
            Known::Failed(_, at) => self.since(*at) < FAILED_FOR,
        });
        seeds.insert(source, known);
        let count = seeds.values().filter(|known| matches!(known, Known::Seed(..))).count();
        self.count.known(&self.name, count);
    }

    /// A call, with how it ended and how long it took counted.
    async fn counted<A>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<A, TransformError>>,
    ) -> Result<A, TransformError> {
        let began = Instant::now();
        let answer = call.await;
        let code = answer.as_ref().map_or_else(TransformError::code, |_| "OK");
        self.count.called(&self.name, method, code, began.elapsed());
        answer
    }
}

impl Source {
    /// What a plug-in may answer.
    fn check(&self) -> Result<(), String> {
        match self.encrypted.len() {
            0 => return Err("failed to validate encrypted DEK source: encrypted DEK source is empty".to_owned()),
            len if len > MAX_SEED => {
                return Err(format!(
                    "failed to validate encrypted DEK source: encrypted DEK source is {len} bytes, which exceeds the max \
                     size of {MAX_SEED}"
                ));
            }
            _ => {}
        }
        check_key_id(&self.key_id).map_err(|why| format!("failed to validate key id: {why}"))?;
        let sizes = self.annotations.iter().map(|(key, value)| key.len() + value.len());
        let size: usize = sizes.sum();
        if size > MAX_ANNOTATIONS {
            return Err(format!(
                "failed to validate annotations: total size of annotations is {size}, which exceeds the max size of \
                 {MAX_ANNOTATIONS}"
            ));
        }
        let is_domain = |key: &&String| key.contains('.') && meta::names::dns_subdomain(key).is_empty();
        match self.annotations.keys().find(|key| !is_domain(key)) {
            Some(key) => Err(format!(
                "failed to validate annotations: annotations: Invalid value: {key:?}: should be a domain with at least \
                 two segments separated by dots"
            )),
            None => Ok(()),
        }
    }
}

fn check_key_id(id: &str) -> Result<(), String> {
    match id.len() {
        0 => Err("keyID is empty".to_owned()),
        len if len > MAX_KEY_ID => Err(format!(
            "keyID is {len} bytes, which exceeds the max size of {MAX_KEY_ID}"
        )),
        _ => Ok(()),
    }
}

fn uid() -> String {
    uuid::Uuid::new_v4().to_string()
}
