//! Groups that don't stand in the token itself, because they are too many: the token says where they are to be fetched
//! (OpenID Connect Core 1.0, section 5.6.2).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::issuer::Remote;
use super::signature::Algorithm;
use super::{Claims, untrusted_issuer};
use crate::callout::Fetcher;

/// So many issuers of claims are remembered.
const MOST: usize = 64;

/// The places that claims were fetched from.
pub(super) struct Distributed {
    fetcher: Fetcher,
    authority: Vec<u8>,
    algorithms: Vec<Algorithm>,
    remotes: Mutex<HashMap<String, Arc<Remote>>>,
}

/// A token with the claim, not checked yet.
pub(super) struct Found {
    pub(super) endpoint: String,
    pub(super) document: String,
    pub(super) issuer: String,
    pub(super) remote: Arc<Remote>,
}

impl Distributed {
    pub(super) fn new(authority: &[u8], algorithms: &[Algorithm]) -> Result<Distributed, String> {
        Ok(Distributed {
            fetcher: Fetcher::new(authority)?,
            authority: authority.to_vec(),
            algorithms: algorithms.to_vec(),
            remotes: Mutex::default(),
        })
    }

    /// Fetches the token with a claim, when the claims say that it is elsewhere.
    pub(super) async fn find(&self, claims: &Claims, claim: &str) -> Result<Option<Found>, String> {
        let names = claims.get("_claim_names").filter(|_| !claims.contains_key(claim));
        let Some(source) = names.and_then(|names| names.get(claim)).and_then(Value::as_str) else {
            return Ok(None);
        };
        let sources = claims.get("_claim_sources").ok_or("oidc: no claim sources")?;
        let source = sources
            .get(source)
            .ok_or_else(|| format!("id token _claim_names contained a source {source} missing in _claims_sources"))?;
        let Some(endpoint) = source["endpoint"].as_str().filter(|endpoint| !endpoint.is_empty()) else {
            // Its token stands in this one: kube-apiserver doesn't look at those.
            return Ok(None);
        };
        let token = source["access_token"].as_str().filter(|token| !token.is_empty());
        let failed = |why: String| format!("while getting distributed claim {claim:?}: {why}");
        let (code, body) = self.fetcher.get(endpoint, token).await.map_err(failed)?;
        if !code.is_success() {
            return Err(failed(format!("error while getting distributed claim JWT: {code}")));
        }
        // Some send the token as a JSON text.
        let document = String::from_utf8_lossy(&body).trim().trim_matches('"').to_owned();
        let issuer = untrusted_issuer(&document).ok_or_else(|| failed("malformed token".to_owned()))?;
        Ok(Some(Found {
            endpoint: endpoint.to_owned(),
            remote: self.remote(&issuer)?,
            document,
            issuer,
        }))
    }

    fn remote(&self, issuer: &str) -> Result<Arc<Remote>, String> {
        let mut remotes = self.remotes.lock();
        if let Some(remote) = remotes.get(issuer) {
            return Ok(Arc::clone(remote));
        }
        if remotes.len() >= MOST {
            remotes.clear();
        }
        let remote = Arc::new(Remote::new(issuer, "", &self.authority, &self.algorithms)?);
        remotes.insert(issuer.to_owned(), Arc::clone(&remote));
        Ok(remote)
    }
}
