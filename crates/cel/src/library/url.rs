//! URLs, absolute or a path.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Table, opaque, text};
use crate::error::Error;
use crate::types::Type;
use crate::value::{Key, Map, Opaque, Value};

const NAME: &str = "kubernetes.URL";
const URL: Type = Type::Opaque(NAME);

#[derive(Debug, PartialEq)]
struct Url {
    text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Opaque for Url {
    fn type_name(&self) -> &'static str {
        NAME
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other.downcast::<Url>().is_some_and(|other| other.text == self.text)
    }
}

impl Url {
    fn parse(text: &str) -> Result<Url, Error> {
        let failed = |why: &str| {
            Error::other(format!(
                "URL parse error during conversion from string: parse {text:?}: {why}"
            ))
        };
        if text.is_empty() {
            return Err(failed("empty url"));
        }
        if text.chars().any(|letter| letter.is_ascii_control()) {
            return Err(failed("net/url: invalid control character in URL"));
        }
        let (before, query) = text.split_once('?').unwrap_or((text, ""));
        let (scheme, rest) = if before.starts_with('/') {
            ("", before)
        } else {
            let (scheme, rest) = before
                .split_once(':')
                .ok_or_else(|| failed("invalid URI for request"))?;
            let mut letters = scheme.chars();
            let fits = letters.next().is_some_and(|letter| letter.is_ascii_alphabetic())
                && letters.all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
            if !fits {
                return Err(failed("first path segment in URL cannot contain colon"));
            }
            (scheme, rest)
        };
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) if !scheme.is_empty() => {
                let end = rest.find('/').unwrap_or(rest.len());
                let (authority, path) = rest.split_at(end);
                (authority.rsplit_once('@').map_or(authority, |(_, host)| host), path)
            }
            _ if rest.starts_with('/') => ("", rest),
            _ => return Err(failed("invalid URI for request")),
        };
        if let Some((_, port)) = port_of(host)
            && !port.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(failed(&format!("invalid port \":{port}\" after host")));
        }
        if host.contains([' ', '<', '>', '"']) {
            return Err(failed("invalid character in host name"));
        }
        for (at, _) in before.match_indices('%') {
            let digits = before.get(at + 1..at + 3);
            if !digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
                let shown: String = before[at..].chars().take(3).collect();
                return Err(failed(&format!("invalid URL escape {shown:?}")));
            }
        }
        Ok(Url {
            text: text.to_owned(),
            scheme: scheme.to_ascii_lowercase(),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
        })
    }
}

/// Host and port, when there is a port.
fn port_of(host: &str) -> Option<(&str, &str)> {
    let (name, port) = host.rsplit_once(':')?;
    // The colons of an IPv6 address are within brackets.
    (!port.contains(']')).then_some((name, port))
}

pub(super) fn add(table: &mut Table) {
    table.global("url", [Type::String], URL, |a| {
        Url::parse(text(&a[0])?).map(Value::opaque)
    });
    table.global("isURL", [Type::String], Type::Bool, |a| {
        Ok(Value::Bool(Url::parse(text(&a[0])?).is_ok()))
    });
    table.method("getScheme", [URL], Type::String, |a| part(a, |url| &url.scheme));
    table.method("getHost", [URL], Type::String, |a| part(a, |url| &url.host));
    table.method("getHostname", [URL], Type::String, |a| {
        part(a, |url| {
            let name = port_of(&url.host).map_or(url.host.as_str(), |(name, _)| name);
            name.trim_start_matches('[').trim_end_matches(']')
        })
    });
    table.method("getPort", [URL], Type::String, |a| {
        part(a, |url| port_of(&url.host).map_or("", |(_, port)| port))
    });
    table.method("getEscapedPath", [URL], Type::String, |a| part(a, |url| &url.path));
    let query = Type::map(Type::String, Type::list(Type::String));
    table.method("getQuery", [URL], query, |a| {
        let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let url = opaque::<Url>(&a[0])?;
        for pair in url.query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            all.entry(unescaped(key))
                .or_default()
                .push(Value::text(unescaped(value)));
        }
        let entries = all
            .into_iter()
            .map(|(key, values)| (Key::String(Arc::from(key)), Value::list(values)));
        Ok(Value::Map(Arc::new(Map {
            name: None,
            entries: entries.collect(),
        })))
    });
}

fn part(a: &[Value], of: for<'u> fn(&'u Url) -> &'u str) -> Result<Value, Error> {
    Ok(Value::text(of(opaque(&a[0])?)))
}

fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = text
            .get(at + 1..at + 3)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], escaped) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
