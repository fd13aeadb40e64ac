//! System call filters: compiled from OCI's form once per distinct profile, then only loaded.

mod compile;
mod profile;

use std::collections::HashMap;
use std::sync::Arc;

use oci_spec::runtime::Spec;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

pub use profile::default_profile;

use crate::{Error, Result};

/// A compiled filter: flags for seccomp(2), and instructions.
pub(crate) type Filter = (u64, Arc<[u64]>);

/// The filters that were compiled so far, by what they were compiled from.
#[derive(Default)]
pub(crate) struct Filters {
    known: Mutex<HashMap<[u8; 32], Filter>>,
}

impl Filters {
    /// The filter of a bundle, if it has one.
    pub(crate) fn of(&self, spec: &Spec) -> Result<Option<Filter>> {
        let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else {
            return Ok(None);
        };
        let text = serde_json::to_vec(profile).map_err(|error| Error::Invalid(error.to_string()))?;
        let key: [u8; 32] = Sha256::digest(&text).into();
        if let Some(filter) = self.known.lock().get(&key) {
            return Ok(Some(filter.clone()));
        }
        let filter = compile::compile(profile)?;
        self.known.lock().insert(key, filter.clone());
        Ok(Some(filter))
    }
}
