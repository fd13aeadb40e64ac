//! Addresses of requests: origins, and where a `Location` leads.

use http::Uri;

use crate::error::{Error, Result, network};

/// Scheme and authority: what credentials are bound to.
pub(crate) fn origin(uri: &Uri) -> (String, String, u16) {
    let scheme = uri.scheme_str().unwrap_or("https").to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
    (scheme, uri.host().unwrap_or_default().to_ascii_lowercase(), port)
}

/// Where `location` leads from `base` (RFC 3986, as far as registries use it).
pub(crate) fn resolve(base: &Uri, location: &str) -> Result<Uri> {
    let scheme = base.scheme_str().unwrap_or("https");
    let authority = base.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let text = if location.contains("://") {
        location.to_string()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if let Some(query) = location.strip_prefix('?') {
        format!("{scheme}://{authority}{}?{query}", base.path())
    } else {
        let dir = base.path().rsplit_once('/').map_or("", |(dir, _)| dir);
        format!("{scheme}://{authority}{dir}/{location}")
    };
    parse(&text, authority)
}

/// Reads an address; `host` is for the error.
pub(crate) fn parse(text: &str, host: &str) -> Result<Uri> {
    let uri: Uri = text
        .parse()
        .map_err(|error: http::uri::InvalidUri| network(host, &error))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(Error::Network {
            host: host.to_string(),
            reason: format!("{text:?} is no address of HTTP"),
        }),
    }
}

/// `&` or `?` and the parameters behind an address that may have some.
pub(crate) fn with_query(uri: &Uri, pairs: &[(&str, &str)]) -> Result<Uri> {
    let mut text = uri.to_string();
    for (key, value) in pairs {
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str(&format!("{key}={}", encode(value)));
    }
    parse(&text, uri.host().unwrap_or_default())
}

/// Percent-encoding of a query's value.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b':') {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved() {
        let base: Uri = "https://r.example:5000/v2/a/blobs/uploads/".parse().unwrap();
        for (location, wanted) in [
            ("/v2/x?y=1", "https://r.example:5000/v2/x?y=1"),
            ("https://other.example/z", "https://other.example/z"),
            ("//other.example/z", "https://other.example/z"),
            ("id-1", "https://r.example:5000/v2/a/blobs/uploads/id-1"),
            ("?s=2", "https://r.example:5000/v2/a/blobs/uploads/?s=2"),
        ] {
            assert_eq!(resolve(&base, location).unwrap().to_string(), wanted);
        }
        assert!(resolve(&base, "file:///etc/passwd").is_err());
    }

    #[test]
    fn origins_know_default_ports() {
        let of = |text: &str| origin(&text.parse::<Uri>().unwrap());
        assert_eq!(of("https://a.example/x"), of("https://A.example:443/y"));
        assert_ne!(of("https://a.example/x"), of("http://a.example/x"));
    }
}
