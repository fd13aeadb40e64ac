//! From values to what is stored and back: for each resource the providers that its configuration names. The first one
//! writes; each is tried to read, and what another one than the first has written is stale.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::cipher::Cipher;
use super::config::{EncryptionConfiguration, Keys, Kms, ProviderConfiguration};
use super::kms::Plugin;
use super::metrics::{Direction, Transformations};
use super::validation::group_resource;
use super::{ENCRYPTED, TransformError};

const GCM: &str = "k8s:enc:aesgcm:v1:";
const CBC: &str = "k8s:enc:aescbc:v1:";
const SECRETBOX: &str = "k8s:enc:secretbox:v1:";
const KMS: &str = "k8s:enc:kms:v2:";

/// The providers of every resource.
pub(super) struct Transformers {
    /// By `GROUP/RESOURCE`, as they stand in keys; `*` for any.
    by_resource: HashMap<String, Providers>,
    plain: Providers,
    plugins: Vec<Arc<Plugin>>,
}

/// The providers of some resources, in their order.
pub(super) struct Providers(Vec<Arc<Provider>>);

enum Provider {
    /// Values as they are.
    Identity,
    Keys {
        /// What the stored bytes begin with.
        prefix: &'static str,
        keys: Vec<(String, Cipher)>,
    },
    Kms {
        prefix: String,
        plugin: Arc<Plugin>,
    },
}

/// A value that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) value: Bytes,
    /// It would be written otherwise now.
    pub(super) is_stale: bool,
}

/// What connects to a plug-in.
pub(super) type Connect<'a> = &'a mut dyn FnMut(&Kms) -> Result<Arc<Plugin>, TransformError>;

impl Transformers {
    /// Nothing is encrypted, and nothing encrypted can be read.
    pub(super) fn none() -> Transformers {
        Transformers {
            by_resource: HashMap::new(),
            plain: Providers(vec![Arc::new(Provider::Identity)]),
            plugins: Vec::new(),
        }
    }

    /// Makes the ciphers that a configuration names, and connects to its plug-ins.
    pub(super) fn new(
        configuration: &EncryptionConfiguration,
        connect: Connect<'_>,
    ) -> Result<Transformers, TransformError> {
        let mut all = Transformers::none();
        for of_resources in &configuration.resources {
            let mut providers = Vec::new();
            for provider in &of_resources.providers {
                providers.push(Arc::new(Provider::new(provider, connect, &mut all.plugins)?));
            }
            for name in &of_resources.resources {
                let (group, resource) = group_resource(name);
                let group = if group.is_empty() { "core" } else { group };
                let list = all.by_resource.entry(format!("{group}/{resource}"));
                let list = list.or_insert_with(|| Providers(Vec::new()));
                // A resource that is named again has the later providers behind the earlier ones.
                list.0.extend(providers.iter().cloned());
            }
        }
        Ok(all)
    }

    /// The providers for what lies at a key.
    pub(super) fn of(&self, key: &str) -> &Providers {
        if self.by_resource.is_empty() {
            return &self.plain;
        }
        let Some(resource) = resource(key) else {
            return &self.plain;
        };
        let group = resource.split('/').next().unwrap_or_default();
        let exact = self.by_resource.get(resource);
        let of_group = || self.by_resource.get(format!("{group}/*").as_str());
        let found = exact.or_else(of_group).or_else(|| self.by_resource.get("*/*"));
        found.unwrap_or(&self.plain)
    }

    /// The plug-ins of key management services that it uses.
    pub(super) fn plugins(&self) -> &[Arc<Plugin>] {
        &self.plugins
    }
}

/// `GROUP/RESOURCE` of a key; none for what is no object.
pub(super) fn resource(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("/registry/")?;
    let (second, _) = rest.match_indices('/').nth(1)?;
    Some(&rest[..second])
}

impl Providers {
    /// Whether values are stored as they are, and were never stored otherwise.
    pub(super) fn is_plain(&self) -> bool {
        matches!(&self.0[..], [only] if matches!(**only, Provider::Identity))
    }

    /// A value as it is to be stored at a key.
    pub(super) async fn seal(&self, key: &str, value: Bytes, count: &Transformations) -> Result<Bytes, TransformError> {
        let Some(first) = self.0.first().filter(|first| !matches!(***first, Provider::Identity)) else {
            return Ok(value);
        };
        let started = Instant::now();
        let sealed = first.seal(key, &value).await;
        count.add(
            key,
            Direction::ToStorage,
            first.prefix(),
            started.elapsed(),
            sealed.as_ref().err(),
        );
        sealed
    }

    /// The value behind what is stored at a key.
    pub(super) async fn open(
        &self,
        key: &str,
        stored: Bytes,
        count: &Transformations,
    ) -> Result<Opened, TransformError> {
        let is_encrypted = stored.starts_with(ENCRYPTED);
        if !is_encrypted && matches!(self.0.first().map(|first| &**first), Some(Provider::Identity)) {
            return Ok(Opened {
                value: stored,
                is_stale: false,
            });
        }
        let started = Instant::now();
        let mut errors = Vec::new();
        for (index, provider) in self.0.iter().enumerate() {
            let opened = match &**provider {
                // What is encrypted is left to those behind.
                Provider::Identity if is_encrypted => continue,
                Provider::Identity => Ok((stored.clone(), false)),
                other => match stored.strip_prefix(other.prefix().as_bytes()) {
                    Some(data) => other.open(key, data).await,
                    None => continue,
                },
            };
            let (took, name) = (started.elapsed(), provider.prefix());
            count.add(key, Direction::FromStorage, name, took, opened.as_ref().err());
            match opened {
                Ok((value, is_stale)) => {
                    let is_stale = is_stale || index > 0;
                    return Ok(Opened { value, is_stale });
                }
                // Another provider of the same kind may have the key.
                Err(error) => errors.push(error),
            }
        }
        if let Some(error) = TransformError::of_all(errors) {
            return Err(error);
        }
        let error = if self.is_plain() {
            TransformError::new("identity transformer tried to read encrypted data")
        } else {
            TransformError::new("no matching prefix found")
        };
        let took = started.elapsed();
        count.add(key, Direction::FromStorage, "unknown", took, Some(&error));
        Err(error)
    }
}

impl Provider {
    fn new(
        given: &ProviderConfiguration,
        connect: Connect<'_>,
        plugins: &mut Vec<Arc<Plugin>>,
    ) -> Result<Provider, TransformError> {
        let keys = |prefix, given: &Keys, make: fn(&[u8]) -> Result<Cipher, TransformError>| {
            let keys = given.keys.iter().map(|key| {
                let secret = STANDARD.decode(&key.secret);
                let secret = secret.map_err(|_| TransformError::new("secrets must be base64 encoded"))?;
                Ok((format!("{}:", key.name), make(&secret)?))
            });
            let keys = keys.collect::<Result<Vec<_>, TransformError>>()?;
            Ok(Provider::Keys { prefix, keys })
        };
        match given {
            ProviderConfiguration {
                aesgcm: Some(given), ..
            } => keys(GCM, given, Cipher::gcm),
            ProviderConfiguration {
                aescbc: Some(given), ..
            } => keys(CBC, given, Cipher::cbc),
            ProviderConfiguration {
                secretbox: Some(given), ..
            } => keys(SECRETBOX, given, Cipher::secretbox),
            ProviderConfiguration { kms: Some(given), .. } => {
                let plugin = connect(given)?;
                plugins.push(Arc::clone(&plugin));
                let prefix = format!("{KMS}{}:", given.name);
                Ok(Provider::Kms { prefix, plugin })
            }
            _ => Ok(Provider::Identity),
        }
    }

    /// What stored bytes begin with; how it is counted.
    fn prefix(&self) -> &str {
        match self {
            Provider::Identity => "identity",
            Provider::Keys { prefix, .. } => prefix,
            Provider::Kms { prefix, .. } => prefix,
        }
    }

    async fn seal(&self, key: &str, value: &[u8]) -> Result<Bytes, TransformError> {
        let (name, sealed) = match self {
            Provider::Identity => ("", value.to_vec()),
            Provider::Keys { keys, .. } => match keys.first() {
                Some((name, cipher)) => (name.as_str(), cipher.seal(value, key.as_bytes())?),
                None => return Err(TransformError::new("provider has no valid keys")),
            },
            Provider::Kms { plugin, .. } => ("", plugin.seal(key, value)?),
        };
        Ok([self.prefix().as_bytes(), name.as_bytes(), &sealed].concat().into())
    }

    /// The value, and whether this provider would write it otherwise now.
    async fn open(&self, key: &str, data: &[u8]) -> Result<(Bytes, bool), TransformError> {
        let keys = match self {
            Provider::Identity => return Ok((Bytes::copy_from_slice(data), false)),
            Provider::Kms { plugin, .. } => return plugin.open(key, data).await,
            Provider::Keys { keys, .. } => keys,
        };
        let mut errors = Vec::new();
        for (index, (name, cipher)) in keys.iter().enumerate() {
            let Some(data) = data.strip_prefix(name.as_bytes()) else {
                continue;
            };
            match cipher.open(data, key.as_bytes()) {
                Ok(value) => return Ok((value.into(), index > 0)),
                Err(error) => errors.push(error),
            }
        }
        let what = if self.prefix() == SECRETBOX { "Secretbox" } else { "AES" };
        let none = format!("no matching key was found for the provided {what} transformer");
        Err(TransformError::of_all(errors).unwrap_or_else(|| TransformError::new(none)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const TWO: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
    const KEY: &str = "/registry/core/secrets/default/x";

    fn transformers(resources: &str) -> Transformers {
        let text = format!(
            "{{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: {resources}}}"
        );
        let text = text.replace("ONE", ONE).replace("TWO", TWO);
        let configuration = EncryptionConfiguration::parse(&text, false).unwrap();
        Transformers::new(&configuration, &mut |_| Err(TransformError::new("no plug-in here"))).unwrap()
    }

    fn secrets(providers: &str) -> Transformers {
        transformers(&format!("[{{resources: [secrets], providers: {providers}}}]"))
    }

    async fn seal(by: &Transformers, key: &str) -> Bytes {
        let count = Transformations::default();
        by.of(key).seal(key, Bytes::from_static(b"{}"), &count).await.unwrap()
    }

    async fn open(by: &Transformers, key: &str, stored: &Bytes) -> Result<bool, String> {
        let count = Transformations::default();
        let opened = by.of(key).open(key, stored.clone(), &count).await;
        let opened = opened.map_err(|error| error.to_string())?;
        assert_eq!(opened.value, "{}");
        Ok(opened.is_stale)
    }

    #[tokio::test]
    async fn the_stored_form_is_frozen() {
        for (provider, prefix) in [
            ("aesgcm", "k8s:enc:aesgcm:v1:one:"),
            ("aescbc", "k8s:enc:aescbc:v1:one:"),
            ("secretbox", "k8s:enc:secretbox:v1:one:"),
        ] {
            let by = secrets(&format!("[{{{provider}: {{keys: [{{name: one, secret: ONE}}]}}}}]"));
            let stored = seal(&by, KEY).await;
            assert!(stored.starts_with(prefix.as_bytes()), "{stored:?}");
            assert_eq!(open(&by, KEY, &stored).await, Ok(false));
        }
        let by = secrets("[{identity: {}}]");
        assert_eq!(seal(&by, KEY).await, "{}");
    }

    #[tokio::test]
    async fn what_another_key_has_written_is_stale() {
        let old = secrets("[{aesgcm: {keys: [{name: one, secret: ONE}]}}, {identity: {}}]");
        let new = secrets("[{aesgcm: {keys: [{name: two, secret: TWO}, {name: one, secret: ONE}]}}, {identity: {}}]");
        let other =
            secrets("[{secretbox: {keys: [{name: one, secret: ONE}]}}, {aesgcm: {keys: [{name: one, secret: ONE}]}}]");
        let plain = secrets("[{identity: {}}, {aesgcm: {keys: [{name: one, secret: ONE}]}}]");
        let (by_old, as_it_is) = (seal(&old, KEY).await, Bytes::from_static(b"{}"));
        assert_eq!(open(&old, KEY, &as_it_is).await, Ok(true));
        for newer in [&new, &other, &plain] {
            assert_eq!(open(newer, KEY, &by_old).await, Ok(true));
            assert_eq!(open(newer, KEY, &seal(newer, KEY).await).await, Ok(false));
        }
        assert_eq!(open(&plain, KEY, &as_it_is).await, Ok(false));
    }

    #[tokio::test]
    async fn the_reason_is_kubernetes() {
        let by = secrets("[{aesgcm: {keys: [{name: one, secret: ONE}]}}]");
        let stored = seal(&by, KEY).await;
        let told = async |by: &Transformers, key: &str| open(by, key, &stored).await.unwrap_err();
        let moved = "/registry/core/secrets/default/y";
        assert_eq!(told(&by, moved).await, "cipher: message authentication failed");
        let renamed = secrets("[{aesgcm: {keys: [{name: two, secret: ONE}]}}]");
        let none = "no matching key was found for the provided AES transformer";
        assert_eq!(told(&renamed, KEY).await, none);
        let twice =
            secrets("[{aesgcm: {keys: [{name: two, secret: ONE}]}}, {aesgcm: {keys: [{name: one, secret: TWO}]}}]");
        let both = format!("[{none}, cipher: message authentication failed]");
        assert_eq!(told(&twice, KEY).await, both);
        let other = secrets("[{secretbox: {keys: [{name: one, secret: ONE}]}}]");
        assert_eq!(told(&other, KEY).await, "no matching prefix found");
        let nothing = Transformers::none();
        let identity = "identity transformer tried to read encrypted data";
        assert_eq!(told(&nothing, KEY).await, identity);
    }

    #[tokio::test]
    async fn the_narrowest_rule_counts() {
        let gcm = |name: &str| format!("providers: [{{aesgcm: {{keys: [{{name: {name}, secret: ONE}}]}}}}]");
        let by = transformers(&format!(
            "[{{resources: [events, deployments.apps], providers: [{{identity: {{}}}}]}}, {{resources: ['*.apps'], {}}}, \
             {{resources: ['*.'], {}}}, {{resources: ['*.*'], {}}}]",
            gcm("apps"),
            gcm("core"),
            gcm("rest")
        ));
        for (key, begins) in [
            ("/registry/core/events/a/b", "{}"),
            ("/registry/apps/deployments/a/b", "{}"),
            ("/registry/apps/daemonsets/a/b", "k8s:enc:aesgcm:v1:apps:"),
            ("/registry/core/pods/a/b", "k8s:enc:aesgcm:v1:core:"),
            ("/registry/example.com/things/a", "k8s:enc:aesgcm:v1:rest:"),
            ("/gantry/node-ports/80-TCP", "{}"),
        ] {
            let stored = seal(&by, key).await;
            assert!(stored.starts_with(begins.as_bytes()), "{key}: {stored:?}");
        }
    }
}
