//! Front proxies: whoever shows a certificate of the authority that was named for them says in a request's headers who
//! asks. Kubernetes' request header authentication.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy>

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::x509;
use crate::http::listen::PeerCertificate;
use crate::http::query::decode;
use crate::pki::{self, Ca};
use crate::user::{AUTHENTICATED, UNAUTHENTICATED, User};

/// Which proxies are believed, and in which headers they say what.
#[derive(Clone, Debug)]
pub struct RequestHeaderSettings {
    /// The authority of the proxies' certificates, PEM.
    pub ca_pem: String,
    /// The names that a proxy's certificate may have; any when there is none.
    pub allowed_names: Vec<String>,
    /// Where the name of the user is; the first header that is there counts.
    pub username_headers: Vec<String>,
    /// Where the user's unique id is; the first header that is there counts.
    pub uid_headers: Vec<String>,
    /// Where the groups are.
    pub group_headers: Vec<String>,
    /// With what headers begin that have something else to say of the user.
    pub extra_prefixes: Vec<String>,
}

impl RequestHeaderSettings {
    /// Any proxy of an authority, with the headers that are customary.
    pub fn new(ca_pem: impl Into<String>) -> RequestHeaderSettings {
        let one = |name: &str| vec![name.to_owned()];
        RequestHeaderSettings {
            ca_pem: ca_pem.into(),
            allowed_names: Vec::new(),
            username_headers: one("X-Remote-User"),
            uid_headers: one("X-Remote-Uid"),
            group_headers: one("X-Remote-Group"),
            extra_prefixes: one("X-Remote-Extra-"),
        }
    }

    /// The authority's certificates.
    pub(crate) fn roots(&self) -> Result<Vec<CertificateDer<'static>>, pki::Error> {
        let wrong = |why: String| pki::Error::Malformed {
            path: "the authority of front proxies".to_owned(),
            why,
        };
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.ca_pem.as_bytes()).collect();
        match read {
            Ok(certificates) if certificates.is_empty() => Err(wrong("there is no certificate".to_owned())),
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(wrong(error.to_string())),
        }
    }
}

/// The proxies that are believed.
pub(crate) struct Proxies {
    settings: RequestHeaderSettings,
    proxies: Arc<dyn ClientCertVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Proxies {
    pub(crate) fn open(settings: &RequestHeaderSettings, own: &Ca) -> Result<Proxies, pki::Error> {
        let clients = RequestHeaderSettings::new(own.pem()).roots()?;
        Ok(Proxies {
            settings: settings.clone(),
            proxies: verifier(settings.roots()?)?,
            clients: verifier(clients)?,
        })
    }

    /// The user that a proxy names.
    pub(crate) fn user(&self, peer: &PeerCertificate, headers: &HeaderMap) -> Option<User> {
        let name = first(headers, &self.settings.username_headers)?;
        if !shows(&*self.proxies, peer) {
            return None;
        }
        let allowed = &self.settings.allowed_names;
        let proxy = x509::user(peer.chain().first()?)?.name;
        if !allowed.is_empty() && !allowed.contains(&proxy) {
            tracing::debug!(%proxy, "a front proxy has a name that isn't allowed");
            return None;
        }
        let mut user = User {
            name,
            uid: first(headers, &self.settings.uid_headers).unwrap_or_default(),
            groups: all(headers, &self.settings.group_headers),
            extra: extra(headers, &self.settings.extra_prefixes),
        };
        let is_anonymous = user.name == User::anonymous().name;
        if !is_anonymous && !user.is_in(AUTHENTICATED) && !user.is_in(UNAUTHENTICATED) {
            user.groups.push(AUTHENTICATED.to_owned());
        }
        Some(user)
    }

    /// Takes away what only a proxy may say, before a request goes on to somebody else.
    pub(crate) fn clear(&self, headers: &mut HeaderMap) {
        let settings = &self.settings;
        let names = [
            &settings.username_headers,
            &settings.uid_headers,
            &settings.group_headers,
        ];
        for name in names.into_iter().flatten() {
            headers.remove(name.to_lowercase());
        }
        let claims = |name: &HeaderName| {
            let mut prefixes = settings.extra_prefixes.iter();
            prefixes.any(|prefix| name.as_str().starts_with(&prefix.to_lowercase()))
        };
        let claimed: Vec<HeaderName> = headers.keys().filter(|name| claims(name)).cloned().collect();
        for name in claimed {
            headers.remove(name);
        }
    }

    /// Whether a certificate is a client's of this server, and not only one of a proxy.
    pub(crate) fn is_client(&self, peer: &PeerCertificate) -> bool {
        shows(&*self.clients, peer)
    }
}

fn verifier(roots: Vec<CertificateDer<'static>>) -> Result<Arc<dyn ClientCertVerifier>, pki::Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build();
    built.map_err(|error| pki::Error::Malformed {
        path: "the authority of front proxies".to_owned(),
        why: error.to_string(),
    })
}

fn shows(verifier: &dyn ClientCertVerifier, peer: &PeerCertificate) -> bool {
    let Some((end, between)) = peer.chain().split_first() else {
        return false;
    };
    verifier.verify_client_cert(end, between, UnixTime::now()).is_ok()
}

fn first(headers: &HeaderMap, names: &[String]) -> Option<String> {
    all(headers, names).into_iter().next()
}

fn all(headers: &HeaderMap, names: &[String]) -> Vec<String> {
    let values = names.iter().flat_map(|name| headers.get_all(name.to_lowercase()));
    let texts = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    texts.filter(|text| !text.is_empty()).collect()
}

fn extra(headers: &HeaderMap, prefixes: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for prefix in prefixes {
        let prefix = prefix.to_lowercase();
        for (name, value) in headers {
            if let Some(key) = name.as_str().strip_prefix(&prefix) {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                extra.entry(decode(key, false)).or_default().push(value);
            }
        }
    }
    extra
}
