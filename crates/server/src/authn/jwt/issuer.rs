//! What an issuer publishes: its discovery document, and the keys that the document leads to. Both are fetched when the
//! first token comes, and the keys again when a token names one that isn't known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::Claims;
use super::signature::{Algorithm, Key, Token};
use crate::authn::metrics::Counters;
use crate::callout::Fetcher;

/// An issuer that can't be asked is asked again after this.
const RETRY: Duration = Duration::from_secs(10);
/// Keys are fetched at most this often, whatever tokens say.
const AT_MOST: Duration = Duration::from_secs(1);

/// An issuer as it is reached over the network.
pub(super) struct Remote {
    url: String,
    discovery: String,
    fetcher: Fetcher,
    algorithms: Vec<Algorithm>,
    known: ArcSwapOption<Known>,
    /// None for those that are asked for single claims only.
    count: Option<Arc<Counters>>,
    /// Held while something is fetched. Tokens whose key is known don't wait for that.
    fetching: Mutex<Fetching>,
}

/// The keys, and when they were fetched.
struct Known {
    keys: Vec<Key>,
    at: Instant,
}

#[derive(Default)]
struct Fetching {
    keys_url: Option<String>,
    failed: Option<(Instant, String)>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    #[serde(default)]
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

impl Remote {
    /// The issuer at a URL. Its document is elsewhere than usual when `discovery` isn't empty.
    pub(super) fn new(
        url: &str,
        discovery: &str,
        authority: &[u8],
        algorithms: &[Algorithm],
    ) -> Result<Remote, String> {
        let usual = || format!("{}/.well-known/openid-configuration", url.trim_end_matches('/'));
        Ok(Remote {
            url: url.to_owned(),
            discovery: if discovery.is_empty() {
                usual()
            } else {
                discovery.to_owned()
            },
            fetcher: Fetcher::new(authority)?,
            algorithms: algorithms.to_vec(),
            known: ArcSwapOption::empty(),
            count: None,
            fetching: Mutex::default(),
        })
    }

    /// Counts how fetching its keys ends.
    pub(super) fn count(&mut self, count: &Arc<Counters>) {
        self.count = Some(Arc::clone(count));
    }

    /// The claims of a token that one of the issuer's keys has signed.
    pub(super) async fn verified(&self, token: &str) -> Result<Claims, String> {
        let parsed = Token::parse(token, &self.algorithms)?;
        let signer = |keys: &[Key]| {
            let named = |key: &&Key| parsed.kid.is_empty() || key.kid == parsed.kid;
            keys.iter().filter(named).any(|key| parsed.is_signed_by(key))
        };
        let mut known = match self.known.load_full() {
            Some(known) => known,
            None => self.newer(None).await?,
        };
        let has_named = |keys: &[Key]| !parsed.kid.is_empty() && keys.iter().any(|key| key.kid == parsed.kid);
        if !signer(&known.keys) && !has_named(&known.keys) {
            known = self.newer(Some(known.at)).await?;
        }
        if !signer(&known.keys) {
            return Err("failed to verify signature: failed to verify id token signature".to_owned());
        }
        parsed.claims()
    }

    /// Keys that were fetched after those of a time.
    async fn newer(&self, than: Option<Instant>) -> Result<Arc<Known>, String> {
        // Who comes while they are fetched waits, and has the same.
        let mut fetching = self.fetching.lock().await;
        if let Some(known) = self.known.load_full()
            && (than != Some(known.at) || known.at.elapsed() < AT_MOST)
        {
            return Ok(known);
        }
        if let Some((at, why)) = &fetching.failed
            && at.elapsed() < RETRY
        {
            return Err(why.clone());
        }
        match self.fetch(fetching.keys_url.clone()).await {
            Ok((url, keys)) => {
                let at = Instant::now();
                let known = Arc::new(Known { keys, at });
                self.known.store(Some(Arc::clone(&known)));
                *fetching = Fetching {
                    keys_url: Some(url),
                    failed: None,
                };
                Ok(known)
            }
            Err(why) => {
                tracing::warn!(issuer = self.url, error = why, "an issuer's keys can't be fetched");
                fetching.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    async fn fetch(&self, keys_url: Option<String>) -> Result<(String, Vec<Key>), String> {
        let url = match keys_url {
            Some(url) => url,
            None => self.discover().await?,
        };
        let fetched = self.key_set(&url).await;
        if let Some(count) = &self.count {
            count.fetched(&self.url, fetched.as_ref().ok().map(|(body, _)| &body[..]));
        }
        let (_, set) = fetched?;
        // A key of a sort that nobody knows yet must not hide the others.
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        Ok((url, keys.collect()))
    }

    /// The keys as they came, and read.
    async fn key_set(&self, url: &str) -> Result<(Bytes, KeySet), String> {
        let fetched = self.fetcher.get(url, None).await;
        let (code, body) = fetched.map_err(|why| format!("failed to verify signature: fetching keys {why}"))?;
        if code != http::StatusCode::OK {
            return Err(format!(
                "failed to verify signature: fetching keys oidc: get keys failed: {code}"
            ));
        }
        let set = serde_json::from_slice(&body).map_err(|error| format!("oidc: failed to decode keys: {error}"))?;
        Ok((body, set))
    }

    async fn discover(&self) -> Result<String, String> {
        let (code, body) = self.fetcher.get(&self.discovery, None).await?;
        if code != http::StatusCode::OK {
            return Err(format!("{code}: {}", String::from_utf8_lossy(&body)));
        }
        let document: Discovery = serde_json::from_slice(&body)
            .map_err(|error| format!("oidc: failed to decode provider discovery object: {error}"))?;
        if document.issuer != self.url {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {:?}",
                self.url, document.issuer
            ));
        }
        if document.jwks_uri.is_empty() {
            return Err("provider did not return JWKS URL".to_owned());
        }
        Ok(document.jwks_uri)
    }
}
