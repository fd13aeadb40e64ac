//! What an issuer publishes: its discovery document, and the keys that the document leads to. Both are fetched when the
//! first token comes, and the keys again when a token names one that isn't known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;

use super::Claims;
use super::signature::{Algorithm, Key, Token};
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
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys_url: Option<String>,
    keys: Arc<Vec<Key>>,
    fetched: Option<Instant>,
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
            known: Mutex::default(),
        })
    }

    /// The claims of a token that one of the issuer's keys has signed.
    pub(super) async fn verified(&self, token: &str) -> Result<Claims, String> {
        let parsed = Token::parse(token, &self.algorithms)?;
        let signer = |keys: &[Key]| {
            let named = |key: &&Key| parsed.kid.is_empty() || key.kid == parsed.kid;
            keys.iter().filter(named).any(|key| parsed.is_signed_by(key))
        };
        let (mut keys, seen) = self.keys(None).await?;
        let is_known = |keys: &[Key]| !parsed.kid.is_empty() && keys.iter().any(|key| key.kid == parsed.kid);
        if !signer(&keys) {
            if !is_known(&keys) {
                (keys, _) = self.keys(Some(seen)).await?;
            }
            if !signer(&keys) {
                return Err("failed to verify signature: failed to verify id token signature".to_owned());
            }
        }
        parsed.claims()
    }

    /// The keys, and when they were fetched; `older`: those of that time lack one.
    async fn keys(&self, older: Option<Instant>) -> Result<(Arc<Vec<Key>>, Instant), String> {
        // Who comes while they are fetched waits, and has the same.
        let mut known = self.known.lock().await;
        if let Some(fetched) = known.fetched
            && (older != Some(fetched) || fetched.elapsed() < AT_MOST)
        {
            return Ok((Arc::clone(&known.keys), fetched));
        }
        if let Some((at, why)) = &known.failed
            && at.elapsed() < RETRY
            && known.fetched.is_none()
        {
            return Err(why.clone());
        }
        match self.fetch(known.keys_url.clone()).await {
            Ok((url, keys)) => {
                let now = Instant::now();
                known.keys_url = Some(url);
                known.keys = Arc::new(keys);
                known.fetched = Some(now);
                known.failed = None;
                Ok((Arc::clone(&known.keys), now))
            }
            Err(why) => {
                tracing::warn!(issuer = self.url, error = why, "an issuer's keys can't be fetched");
                known.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    async fn fetch(&self, keys_url: Option<String>) -> Result<(String, Vec<Key>), String> {
        let url = match keys_url {
            Some(url) => url,
            None => self.discover().await?,
        };
        let fetched = self.fetcher.get(&url, None).await;
        let (code, body) = fetched.map_err(|why| format!("failed to verify signature: fetching keys {why}"))?;
        if code != http::StatusCode::OK {
            return Err(format!(
                "failed to verify signature: fetching keys oidc: get keys failed: {code}"
            ));
        }
        let set: KeySet =
            serde_json::from_slice(&body).map_err(|error| format!("oidc: failed to decode keys: {error}"))?;
        // A key of a sort that nobody knows yet must not hide the others.
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        Ok((url, keys.collect()))
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
