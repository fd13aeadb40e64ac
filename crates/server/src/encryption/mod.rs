//! Encryption at rest: what a configuration names is encrypted on its way into the store, and decrypted on its way out.
//!
//! What holds: everything goes through [`EncryptedStore`], which lies between the store and all who use it, so that no
//! request, cache or controller knows of it. A value is bound to its key, and can't be put in another one's place. What
//! can't be decrypted stays as it is stored: whoever wants to show it finds that it begins with [`ENCRYPTED`] and asks
//! [`EncryptedStore::read`] for the value or the reason.

mod cipher;
mod config;
mod kms;
mod metrics;
mod reload;
mod store;
mod transformer;
mod validation;

use std::fmt;

pub use config::EncryptionSettings;
pub(crate) use reload::follow;
pub(crate) use store::EncryptedStore;

/// What everything encrypted begins with. No object does: they are JSON.
pub(crate) const ENCRYPTED: &[u8] = b"k8s:enc:";

/// Whether bytes that should be an object are one that could not be decrypted.
pub(crate) fn is_encrypted(stored: &[u8]) -> bool {
    stored.starts_with(ENCRYPTED)
}

/// Why a value can't be encrypted or decrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct TransformError {
    why: String,
    /// What a plug-in's call ended with, as it is counted.
    code: &'static str,
}

impl fmt::Display for TransformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl TransformError {
    fn new(why: impl Into<String>) -> TransformError {
        TransformError::of_call(why, "unknown-non-grpc")
    }

    fn of_call(why: impl Into<String>, code: &'static str) -> TransformError {
        TransformError { why: why.into(), code }
    }

    fn within(self, what: &str) -> TransformError {
        TransformError {
            why: format!("{what}: {}", self.why),
            code: self.code,
        }
    }

    /// Several in one; none of none.
    fn of_all(errors: Vec<TransformError>) -> Option<TransformError> {
        if errors.len() < 2 {
            return errors.into_iter().next();
        }
        let code = errors.first().map_or("", |first| first.code);
        let mut all: Vec<String> = Vec::new();
        for error in errors {
            if !all.contains(&error.why) {
                all.push(error.why);
            }
        }
        Some(match &all[..] {
            [only] => TransformError::of_call(only, code),
            _ => TransformError::of_call(format!("[{}]", all.join(", ")), code),
        })
    }

    fn code(&self) -> &'static str {
        self.code
    }
}
