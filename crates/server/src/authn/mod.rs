//! Who makes a request: a client certificate, a service account's token, or nobody.
//!
//! Credentials that are there but wrong are refused (401); a request without any goes on as anonymous, and
//! authorization lets it see health and version only.

pub(crate) mod impersonation;
pub(crate) mod token;
pub(crate) mod x509;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use meta::Status;

use crate::core::Core;
use crate::http::listen::PeerCertificate;
use crate::user::User;

/// The user of a request that came over the network.
pub(crate) async fn authenticate(
    core: &Core,
    headers: &HeaderMap,
    peer: Option<&PeerCertificate>,
) -> Result<User, Status> {
    if let Some(bearer) = bearer(headers) {
        return token::authenticate(core, bearer, &[])
            .await
            .map(|found| found.user)
            .map_err(|why| {
                tracing::debug!(%why, "a bearer token was refused");
                Status::unauthorized()
            });
    }
    match peer.map(PeerCertificate::user) {
        Some(Some(user)) => Ok(user),
        Some(None) => Err(Status::unauthorized()),
        None => Ok(User::anonymous()),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}
