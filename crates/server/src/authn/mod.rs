//! Who makes a request: a client certificate, a token of a service account, for bootstrapping or of an issuer that the
//! administrator believes, or nobody.
//!
//! Credentials that are there but wrong are refused (401); a request without any goes on as anonymous, and
//! authorization lets it see health and version only.

mod bootstrap_token;
mod configuration;
pub(crate) mod impersonation;
mod jwt;
mod metrics;
mod others;
mod request_header;
pub(crate) mod token;
mod validation;
pub(crate) mod x509;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use meta::Status;

use crate::core::Core;
use crate::http::listen::PeerCertificate;
use crate::user::User;

pub use configuration::{AuthenticationSettings, OidcSettings};
pub(crate) use others::{Others, follow};
pub(crate) use request_header::Proxies;
pub use request_header::RequestHeaderSettings;

/// The user of a request for a path that came over the network.
pub(crate) async fn authenticate(
    core: &Core,
    path: &str,
    headers: &HeaderMap,
    peer: Option<&PeerCertificate>,
) -> Result<User, Status> {
    if let (Some(proxies), Some(peer)) = (&core.proxies, peer)
        && let Some(user) = proxies.user(peer, headers)
    {
        return Ok(user);
    }
    if let Some(bearer) = bearer(headers) {
        return by_token(core, bearer, &[])
            .await
            .map(|found| found.user)
            .map_err(|why| {
                tracing::debug!(%why, "a bearer token was refused");
                Status::unauthorized()
            });
    }
    let is_client = |peer: &PeerCertificate| core.proxies.as_ref().is_none_or(|proxies| proxies.is_client(peer));
    match peer.map(|peer| peer.user().filter(|_| is_client(peer))) {
        Some(Some(user)) => Ok(user),
        Some(None) => Err(Status::unauthorized()),
        None if core.others.lets_anonymous(path) => Ok(User::anonymous()),
        None => Err(Status::unauthorized()),
    }
}

/// The user of a token of any sort, for some audiences (none: the API's own).
pub(crate) async fn by_token(core: &Core, token: &str, audiences: &[String]) -> Result<token::Found, String> {
    let parts = bootstrap_token::parts(token);
    let others = core.others.for_token(token);
    if parts.is_none() && others.is_none() {
        return token::authenticate(core, token, audiences).await;
    }
    // What such a token says of audiences isn't of this server's, so it is for the API alone.
    let own = core.issuer();
    if !audiences.is_empty() && !audiences.contains(&own) {
        return Err(format!("such a token is for {own:?} only"));
    }
    let user = match (parts, others) {
        (Some((id, secret)), _) => bootstrap_token::authenticate(core, id, secret).await?,
        (None, Some(issuer)) => issuer.authenticate(token).await?,
        (None, None) => return Err("invalid bearer token".to_owned()),
    };
    let audiences = if audiences.is_empty() { Vec::new() } else { vec![own] };
    Ok(token::Found { user, audiences })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}
