//! Which proxy leads to a host, by the environment's variables as Docker and containerd read them: `HTTP_PROXY`,
//! `HTTPS_PROXY` and `NO_PROXY`, or the same in lower case. This machine itself is never asked for through a proxy.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use ipnet::IpNet;

use crate::error::{Result, configuration};

/// The proxies for each scheme, and who needs none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    direct: Vec<Direct>,
}

/// A proxy: `http://[USER:PASSWORD@]HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// `http://HOST:PORT`.
    pub(crate) address: Uri,
    /// `Proxy-Authorization`.
    pub(crate) authorization: Option<HeaderValue>,
}

/// An entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direct {
    All,
    Network(IpNet),
    Address(IpAddr, Option<u16>),
    /// A name, and those below it; whether the name itself is meant too.
    Name {
        name: String,
        port: Option<u16>,
        itself: bool,
    },
}

impl Proxies {
    /// Those of this process.
    pub(crate) fn of_environment() -> Result<Self> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let either = |name: &str| {
            let small = name.to_ascii_lowercase();
            let mut found = [name, &small]
                .into_iter()
                .map(|name| (name.to_string(), variable(name)));
            found.find_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)))
        };
        let proxy = |name: &str| {
            either(name)
                .map(|(name, value)| Proxy::parse(&name, &value))
                .transpose()
        };
        let direct = either("NO_PROXY").map(|(_, value)| value).unwrap_or_default();
        Ok(Self {
            http: proxy("HTTP_PROXY")?,
            https: proxy("HTTPS_PROXY")?,
            direct: direct.split(',').filter_map(Direct::parse).collect(),
        })
    }

    /// The proxy that leads to an address; `None` when it is reached directly.
    pub(crate) fn to(&self, uri: &Uri) -> Option<&Proxy> {
        let (proxy, usual) = match uri.scheme_str() {
            Some("https") => (self.https.as_ref()?, 443),
            _ => (self.http.as_ref()?, 80),
        };
        let host = uri.host()?.trim_matches(['[', ']']).trim_end_matches('.');
        let host = host.to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return None;
        }
        let port = uri.port_u16().unwrap_or(usual);
        let direct = self.direct.iter().any(|entry| entry.covers(&host, address, port));
        (!direct).then_some(proxy)
    }
}

impl Proxy {
    fn parse(name: &str, value: &str) -> Result<Self> {
        let bad = |reason: &str| configuration(name, format!("{reason}; it wants http://[USER:PASSWORD@]HOST:PORT"));
        let text = match value.split_once("://") {
            None => value,
            Some(("http", rest)) => rest,
            Some((scheme, _)) => return Err(bad(&format!("a proxy by {scheme}:// isn't supported"))),
        };
        let authority = text.split('/').next().unwrap_or_default();
        let (who, place) = match authority.rsplit_once('@') {
            Some((who, place)) => (Some(who), place),
            None => (None, authority),
        };
        let address: Uri = format!("http://{place}/")
            .parse()
            .map_err(|_| bad("it is no address"))?;
        let authorization = who.map(|who| {
            let (user, password) = who.split_once(':').unwrap_or((who, ""));
            let mut plain = decode(user);
            plain.push(b':');
            plain.extend(decode(password));
            HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(plain)))
        });
        let mut authorization = authorization.transpose().map_err(|_| bad("it is no address"))?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Self { address, authorization })
    }
}

impl Direct {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            return Some(Self::All);
        }
        if let Ok(network) = text.parse() {
            return Some(Self::Network(network));
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return Some(Self::Address(address, None));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text.as_str(), None),
        };
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return Some(Self::Address(address, port));
        }
        let host = host.strip_prefix('*').unwrap_or(host);
        let name = host.strip_prefix('.').unwrap_or(host);
        Some(Self::Name {
            name: name.to_string(),
            port,
            itself: name.len() == host.len(),
        })
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, asked: u16) -> bool {
        match self {
            Self::All => true,
            Self::Network(network) => address.is_some_and(|address| network.contains(&address)),
            Self::Address(own, port) => address == Some(*own) && port.is_none_or(|port| port == asked),
            Self::Name { name, port, itself } => {
                let below = host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
                (below || *itself && host == name) && port.is_none_or(|port| port == asked)
            }
        }
    }
}

/// Percent-encoded text's bytes; what is no encoding stays as it is.
fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let coded = rest.get(..2).filter(|_| *first == b'%');
        let coded = coded.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match coded {
            Some(byte) => {
                out.push(byte);
                bytes = &rest[2..];
            }
            None => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Proxies> {
        Proxies::read(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_string())
        })
    }

    fn way(proxies: &Proxies, uri: &str) -> Option<String> {
        proxies.to(&uri.parse().unwrap()).map(|proxy| proxy.address.to_string())
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let proxies = of(&[
            ("http_proxy", "plain.example:3128"),
            ("HTTPS_PROXY", "http://safe.example:8080"),
        ])
        .unwrap();
        assert_eq!(
            way(&proxies, "http://a.example/x").unwrap(),
            "http://plain.example:3128/"
        );
        assert_eq!(
            way(&proxies, "https://a.example/x").unwrap(),
            "http://safe.example:8080/"
        );
        for own in ["http://localhost:5000/", "http://127.0.0.1/", "https://[::1]:5000/"] {
            assert_eq!(way(&proxies, own), None, "{own}");
        }
        assert_eq!(way(&of(&[("HTTP_PROXY", "")]).unwrap(), "http://a.example/"), None);
    }

    #[test]
    fn some_hosts_need_none() {
        let no = "one.example, .two.example,*.three.example,10.0.0.0/8,192.0.2.1:5000,four.example:444,2001:db8::1";
        let proxies = of(&[("http_proxy", "p:1"), ("https_proxy", "p:1"), ("NO_PROXY", no)]).unwrap();
        for (uri, direct) in [
            ("https://one.example/", true),
            ("https://a.ONE.example./", true),
            ("https://none.example/", false),
            ("https://two.example/", false),
            ("https://a.two.example/", true),
            ("https://three.example/", false),
            ("https://a.three.example/", true),
            ("http://10.1.2.3/", true),
            ("http://11.1.2.3/", false),
            ("http://192.0.2.1:5000/", true),
            ("http://192.0.2.1/", false),
            ("https://four.example:444/", true),
            ("https://four.example/", false),
            ("http://[2001:db8::1]/", true),
        ] {
            assert_eq!(way(&proxies, uri).is_none(), direct, "{uri}");
        }
        let all = of(&[("http_proxy", "p:1"), ("no_proxy", "*")]).unwrap();
        assert_eq!(way(&all, "http://one.example/"), None);
    }

    #[test]
    fn a_proxy_may_want_a_password() {
        let proxies = of(&[("HTTP_PROXY", "http://me:p%40ss%@p.example:1/")]).unwrap();
        let proxy = proxies.to(&"http://a.example/".parse().unwrap()).unwrap();
        assert_eq!(proxy.address, "http://p.example:1/");
        let wanted = format!("Basic {}", STANDARD.encode("me:p@ss%"));
        assert_eq!(proxy.authorization.as_ref().unwrap(), wanted.as_str());
        for bad in ["socks5://p.example:1", "https://p.example:1", "http://", "a b"] {
            let error = of(&[("HTTP_PROXY", bad)]).unwrap_err().to_string();
            assert!(error.contains("HTTP_PROXY") && error.contains("http://["), "{error}");
        }
    }
}
