//! What a registry wants to see before it answers: its challenge, and the token that its token service gives for a
//! credential.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use serde::Deserialize;

use super::credentials::Credential;
use super::transport::{Outgoing, Transport, full};
use super::url;
use crate::error::{Error, Result, network};

/// How long a token holds when its service doesn't say.
const DEFAULT_LIFE: u64 = 60;
/// A token's end is not waited for.
const MARGIN: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 1 << 20;

/// How the registry wants to be convinced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// Tokens that are still good, by scope.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<String, (HeaderValue, Instant)>>);

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Tokens {
    pub(crate) fn get(&self, scope: &str) -> Option<HeaderValue> {
        let tokens = self.0.lock();
        let (value, until) = tokens.get(scope)?;
        (*until > Instant::now()).then(|| value.clone())
    }

    pub(crate) fn put(&self, scope: &str, value: HeaderValue, life: Duration) {
        self.0.lock().insert(scope.to_string(), (value, Instant::now() + life));
    }

    pub(crate) fn forget(&self, scope: &str) {
        self.0.lock().remove(scope);
    }
}

/// The challenges of an answer, those that we can meet; the stronger one first.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut found: Vec<Challenge> = values.flat_map(parse).collect();
    found.sort_by_key(|challenge| matches!(challenge, Challenge::Basic));
    found
}

/// `Bearer realm="...",service="..."` (RFC 9110).
fn parse(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut parameters: HashMap<String, String> = parameters(rest).collect();
    Some(Challenge::Bearer {
        realm: parameters.remove("realm")?,
        service: parameters.remove("service"),
        scope: parameters.remove("scope"),
    })
}

fn parameters(text: &str) -> impl Iterator<Item = (String, String)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim_matches([' ', ',']).to_ascii_lowercase();
        let value;
        match after.strip_prefix('"') {
            Some(quoted) => {
                let mut plain = String::new();
                let mut end = quoted.len();
                let mut escaped = false;
                for (at, c) in quoted.char_indices() {
                    match c {
                        _ if escaped => {
                            plain.push(c);
                            escaped = false;
                        }
                        '\\' => escaped = true,
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        _ => plain.push(c),
                    }
                }
                value = plain;
                rest = quoted.get(end..).unwrap_or_default();
            }
            None => {
                let (word, after) = after.split_once(',').unwrap_or((after, ""));
                value = word.trim().to_string();
                rest = after;
            }
        }
        Some((key, value))
    })
}

/// `Basic ...` of a credential; `None` when it has no password.
pub(crate) fn basic(credential: &Credential) -> Option<HeaderValue> {
    let Credential::Basic { username, password } = credential else {
        return None;
    };
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    secret(&format!("Basic {text}"))
}

pub(crate) fn bearer(token: &str) -> Option<HeaderValue> {
    secret(&format!("Bearer {token}"))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Gets a token for `scope` from the service that the challenge names. `plain` says whether the registry itself is
/// spoken to without TLS; else its token service must have it, or a password could go out unprotected.
pub(crate) async fn token(
    transport: &Transport,
    challenge: &Challenge,
    scope: &str,
    credential: Option<&Credential>,
    plain: bool,
) -> Result<Option<(HeaderValue, Duration)>> {
    let Challenge::Bearer { realm, service, .. } = challenge else {
        return Ok(None);
    };
    let uri = url::parse(realm, realm)?;
    if !plain && uri.scheme_str() != Some("https") {
        return Err(Error::Network {
            host: realm.clone(),
            reason: "the registry names a token service without TLS".to_string(),
        });
    }
    let service = service.as_deref();
    let request = match credential {
        Some(Credential::Bearer(token)) => return Ok(bearer(token).map(|value| (value, Duration::from_secs(3600)))),
        Some(Credential::Identity(refresh)) => exchange(uri, service, scope, refresh),
        other => question(&uri, service, scope, other.and_then(basic))?,
    };
    let request = request.map_err(|error| network(realm, &error))?;
    let answer = transport.send(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| network(realm, &*error))?.to_bytes();
    if !status.is_success() {
        return Err(Error::Registry {
            host: realm.clone(),
            status: status.as_u16(),
            reason: format!("its token service answers {status}"),
        });
    }
    let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|error| network(realm, &error))?;
    Ok(answer.value())
}

/// A refresh token against a token, as OAuth 2 has it.
fn exchange(uri: Uri, service: Option<&str>, scope: &str, refresh: &str) -> http::Result<Request<Outgoing>> {
    let form = [
        ("grant_type", "refresh_token"),
        ("service", service.unwrap_or_default()),
        ("client_id", "gantry"),
        ("scope", scope),
        ("refresh_token", refresh),
    ];
    let text: Vec<String> = form
        .iter()
        .map(|(key, value)| format!("{key}={}", form_encode(value)))
        .collect();
    Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(USER_AGENT, super::session::AGENT)
        .body(full(text.join("&")))
}

/// A name and a password, or nothing, against a token.
fn question(
    uri: &Uri,
    service: Option<&str>,
    scope: &str,
    password: Option<HeaderValue>,
) -> Result<http::Result<Request<Outgoing>>> {
    let scopes = scope.split(' ').filter(|scope| !scope.is_empty());
    let query: Vec<(&str, &str)> = service
        .map(|service| ("service", service))
        .into_iter()
        .chain(scopes.map(|scope| ("scope", scope)))
        .collect();
    let mut builder = Request::builder()
        .uri(url::with_query(uri, &query)?)
        .header(USER_AGENT, super::session::AGENT);
    if let Some(value) = password {
        builder = builder.header(AUTHORIZATION, value);
    }
    Ok(builder.body(full(Bytes::new())))
}

impl TokenAnswer {
    /// What goes into `Authorization`, and for how long.
    fn value(self) -> Option<(HeaderValue, Duration)> {
        let life = Duration::from_secs(self.expires_in.unwrap_or(DEFAULT_LIFE));
        let token = self.token.or(self.access_token).filter(|token| !token.is_empty());
        let value = bearer(&token?)?;
        Some((value, life.saturating_sub(MARGIN).max(Duration::from_secs(5))))
    }
}

fn form_encode(text: &str) -> String {
    url::encode(text).replace('/', "%2F").replace(':', "%3A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"x\""));
        let bearer =
            "Bearer realm=\"https://auth.example/token\",service=\"a, \\\"b\\\"\",scope=\"repository:x:pull,push\"";
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(bearer));
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Negotiate"));
        assert_eq!(
            challenges(&headers),
            [
                Challenge::Bearer {
                    realm: "https://auth.example/token".to_string(),
                    service: Some("a, \"b\"".to_string()),
                    scope: Some("repository:x:pull,push".to_string()),
                },
                Challenge::Basic
            ]
        );
    }

    #[test]
    fn a_challenge_may_be_nonsense() {
        for text in ["Bearer", "Bearer realm", "", "=,=,\"", "Bearer realm=\"\\"] {
            let _ = parse(text);
        }
    }
}
