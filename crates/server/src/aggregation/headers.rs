//! How an extension server is told in whose name a request is passed on: the headers that the config map
//! `extension-apiserver-authentication` names. Whatever a client has put there goes away.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy>

use http::header::{HeaderMap, HeaderName, HeaderValue};
use meta::Status;

use crate::user::User;

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA: &str = "x-remote-extra-";

/// Says who the user is, and nothing else.
pub(super) fn identify(headers: &mut HeaderMap, user: &User) -> Result<(), Status> {
    let claimed: Vec<HeaderName> = headers.keys().filter(|name| claims(name)).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    headers.insert(USER, value(&user.name)?);
    if !user.uid.is_empty() {
        headers.insert(UID, value(&user.uid)?);
    }
    for group in &user.groups {
        headers.append(GROUP, value(group)?);
    }
    for (key, values) in &user.extra {
        let name = HeaderName::from_bytes(format!("{EXTRA}{}", escaped(key)).as_bytes()).map_err(Status::internal)?;
        for one in values {
            headers.append(name.clone(), value(one)?);
        }
    }
    Ok(())
}

fn claims(name: &HeaderName) -> bool {
    [USER, UID, GROUP].contains(name) || name.as_str().starts_with(EXTRA)
}

fn value(text: &str) -> Result<HeaderValue, Status> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(Status::internal)
}

/// A key as a part of a header's name: what can't stand there (RFC 9110, 5.6.2) is percent-encoded.
fn escaped(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'!' | b'#' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_found_out_here_is_told() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "root"),
            ("x-remote-uid", "0"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-scopes", "all"),
            ("accept", "application/json"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let mut jane = User::new("jane", &["devs"]);
        let key = "authentication.kubernetes.io/pod-name";
        jane.extra.insert(key.to_owned(), vec!["a".to_owned(), "b".to_owned()]);
        identify(&mut headers, &jane).unwrap();
        let mut told: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        told.sort_unstable();
        let extra = "x-remote-extra-authentication.kubernetes.io%2fpod-name";
        assert_eq!(
            told,
            [
                ("accept", "application/json"),
                (extra, "a"),
                (extra, "b"),
                ("x-remote-group", "devs"),
                ("x-remote-group", "system:authenticated"),
                ("x-remote-user", "jane"),
            ]
        );
    }

    #[test]
    fn names_that_are_no_header_are_refused() {
        let user = User::new("a\nb", &[]);
        assert_eq!(identify(&mut HeaderMap::new(), &user).unwrap_err().code, 500);
        let other = User::new("Jürgen", &[]);
        let mut headers = HeaderMap::new();
        identify(&mut headers, &other).unwrap();
        assert_eq!(headers[USER].as_bytes(), "Jürgen".as_bytes());
    }
}
