//! Who makes a request: a client certificate, a token of a service account or for bootstrapping, or nobody.
//!
//! Credentials that are there but wrong are refused (401); a request without any goes on as anonymous, and
//! authorization lets it see health and version only.

mod bootstrap_token;
pub(crate) mod impersonation;
mod request_header;
pub(crate) mod token;
pub(crate) mod x509;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use meta::Status;

use crate::core::Core;
use crate::http::listen::PeerCertificate;
use crate::user::User;

pub(crate) use request_header::Proxies;
pub use request_header::RequestHeaderSettings;

/// The user of a request that came over the network.
pub(crate) async fn authenticate(
    core: &Core,
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
        None => Ok(User::anonymous()),
    }
}

/// The user of a token of any sort, for some audiences (none: the API's own).
pub(crate) async fn by_token(core: &Core, token: &str, audiences: &[String]) -> Result<token::Found, String> {
    let Some((id, secret)) = bootstrap_token::parts(token) else {
        return token::authenticate(core, token, audiences).await;
    };
    // Such a token says nothing of audiences, so it is for the API alone.
    let own = core.issuer();
    if !audiences.is_empty() && !audiences.contains(&own) {
        return Err(format!("a bootstrap token is for {own:?} only"));
    }
    let user = bootstrap_token::authenticate(core, id, secret).await?;
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
