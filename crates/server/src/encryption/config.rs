//! The file that says what is encrypted at rest and by which keys: an `EncryptionConfiguration` of
//! apiserver.config.k8s.io/v1. Here it is only read; `validation` says what it may be.
//!
//! <https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/#apiserver-config-k8s-io-v1-EncryptionConfiguration>

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::validation;

/// Where the configuration of encryption at rest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptionSettings {
    /// The file with the `EncryptionConfiguration`.
    pub file: PathBuf,
    /// Whether the file is read again when it changes.
    pub reload: bool,
}

/// What is encrypted, and by which keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct EncryptionConfiguration {
    api_version: String,
    kind: String,
    #[serde(default)]
    pub(super) resources: Vec<ResourceConfiguration>,
}

/// Some resources, and the providers for them: the first one encrypts, each of them is tried to decrypt.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceConfiguration {
    #[serde(default)]
    pub(super) resources: Vec<String>,
    #[serde(default)]
    pub(super) providers: Vec<ProviderConfiguration>,
}

/// One provider: exactly one of the fields is there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProviderConfiguration {
    pub(super) aesgcm: Option<Keys>,
    pub(super) aescbc: Option<Keys>,
    pub(super) secretbox: Option<Keys>,
    pub(super) identity: Option<Identity>,
    pub(super) kms: Option<Kms>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Keys {
    pub(super) keys: Vec<Key>,
}

/// A key with its name. It is never printed.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Key {
    pub(super) name: String,
    /// In base64.
    pub(super) secret: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A key management service that is reached through a plug-in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Kms {
    api_version: String,
    pub(super) name: String,
    pub(super) cachesize: Option<i64>,
    pub(super) endpoint: String,
    timeout: Option<String>,
}

impl Kms {
    /// Kubernetes' default is the version that it no longer serves.
    pub(super) fn api_version(&self) -> &str {
        match self.api_version.as_str() {
            "" => "v1",
            given => given,
        }
    }

    /// How long a call may take; none when the field can't be read or isn't positive.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let Some(text) = &self.timeout else {
            return Some(Duration::from_secs(3));
        };
        meta::duration::parse(text).filter(|timeout| !timeout.is_zero())
    }

    pub(super) fn given_timeout(&self) -> &str {
        self.timeout.as_deref().unwrap_or_default()
    }
}

impl EncryptionConfiguration {
    /// Reads a configuration from YAML or JSON.
    ///
    /// # Errors
    /// When it is none, with the fields that are wrong.
    pub(crate) fn parse(text: &str, reload: bool) -> Result<EncryptionConfiguration, String> {
        let configuration: EncryptionConfiguration = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if configuration.kind != "EncryptionConfiguration" {
            return Err(format!(
                "kind: must be EncryptionConfiguration, and not {:?}",
                configuration.kind
            ));
        }
        if configuration.api_version != "apiserver.config.k8s.io/v1" {
            return Err(format!(
                "apiVersion: must be apiserver.config.k8s.io/v1, and not {:?}",
                configuration.api_version
            ));
        }
        let errors = validation::validate(&configuration, reload);
        match &errors[..] {
            [] => Ok(configuration),
            [only] => Err(only.to_string()),
            several => {
                let all: Vec<String> = several.iter().map(ToString::to_string).collect();
                Err(format!("[{}]", all.join(", ")))
            }
        }
    }
}
