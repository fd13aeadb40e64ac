//! Tokens of OpenID Connect issuers: whose they are, by rules that the administrator gives.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#openid-connect-tokens>

mod claims;
mod distributed;
mod issuer;
mod mapping;
mod signature;

use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

pub(super) use mapping::{Rule, Rules, Source};
pub(super) use signature::Algorithm;

use self::distributed::Distributed;
use self::issuer::Remote;
use super::configuration::Issuer;
use super::metrics::Counters;
use crate::user::User;

/// What a token says: its claims.
type Claims = Map<String, Value>;

/// One issuer, and what its tokens mean.
pub(super) struct Authenticator {
    url: String,
    audiences: Vec<String>,
    remote: Remote,
    rules: Rules,
    distributed: Distributed,
    count: Option<Arc<Counters>>,
}

impl Authenticator {
    pub(super) fn new(
        issuer: &Issuer,
        authority: &[u8],
        rules: Rules,
        algorithms: &[Algorithm],
    ) -> Result<Authenticator, String> {
        Ok(Authenticator {
            url: issuer.url.clone(),
            audiences: issuer.audiences.clone(),
            remote: Remote::new(&issuer.url, &issuer.discovery_url, authority, algorithms)?,
            distributed: Distributed::new(authority, algorithms)?,
            rules,
            count: None,
        })
    }

    /// The same, with what becomes of its tokens and keys counted.
    pub(super) fn counted(mut self, count: &Arc<Counters>) -> Authenticator {
        self.count = Some(Arc::clone(count));
        self.remote.count(count);
        self
    }

    /// The issuer.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Whether the token says that it is this issuer's.
    pub(super) fn is_for(&self, issuer: &str) -> bool {
        self.url == issuer
    }

    /// Whose token it is.
    pub(super) async fn authenticate(&self, token: &str) -> Result<User, String> {
        let began = Instant::now();
        let found = self.user(token).await;
        if let Some(count) = &self.count {
            count.authenticated(&self.url, found.is_ok(), began.elapsed());
        }
        found
    }

    async fn user(&self, token: &str) -> Result<User, String> {
        let mut claims = self.verified(&self.remote, &self.url, token).await?;
        if let Some(claim) = self.rules.groups.claim_name() {
            let found = self.distributed.find(&claims, claim).await;
            let found = found.map_err(|why| format!("oidc: could not expand distributed claims: {why}"))?;
            if let Some(found) = found {
                let (remote, document) = (&found.remote, &found.document);
                let told = |why: String| format!("oidc: could not expand distributed claims: {why}");
                let theirs = self.verified(remote, &found.issuer, document).await.map_err(told)?;
                let value = theirs.get(claim).cloned().ok_or_else(|| {
                    told(format!(
                        "jwt returned by distributed claim endpoint {:?} did not contain claim: {claim}",
                        found.endpoint
                    ))
                })?;
                claims.insert(claim.to_owned(), value);
            }
        }
        self.rules.user(claims)
    }

    async fn verified(&self, remote: &Remote, issuer: &str, token: &str) -> Result<Claims, String> {
        let told = |why: String| format!("oidc: verify token: {why}");
        let claims = remote.verified(token).await.map_err(told)?;
        claims::check(&claims, issuer, &self.audiences, jiff::Timestamp::now()).map_err(told)?;
        Ok(claims)
    }
}

/// The issuer that a token names. It is not to be believed before the signature is checked.
pub(super) fn untrusted_issuer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let claims = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    match claims["iss"].as_str()? {
        // The older one of Google's two names.
        "accounts.google.com" => Some("https://accounts.google.com".to_owned()),
        issuer => Some(issuer.to_owned()),
    }
}
