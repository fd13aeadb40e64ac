//! The certificate that the server shows, and the TLS settings made from it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;

use super::ca::set_validity;
use super::{Ca, Error, files, malformed};
use crate::Config;

const DAYS: i64 = 365;
/// Renewed on a start within this many days of its end.
const RENEW_DAYS: i64 = 60;

/// The serving certificate, loaded.
pub(crate) struct Serving {
    pub(crate) tls: Arc<ServerConfig>,
}

impl Serving {
    pub(super) fn open(dir: &Path, ca: &Ca, config: &Config) -> Result<Serving, Error> {
        let (cert_path, key_path) = (dir.join("serving.crt"), dir.join("serving.key"));
        let wanted = names(config);
        let stored = match (files::read(&cert_path)?, files::read(&key_path)?) {
            (Some(cert), Some(key)) if still_good(&cert, &wanted) => Some((cert, key)),
            _ => None,
        };
        let (cert, key) = match stored {
            Some(pair) => pair,
            None => {
                let pair = issue(ca, &wanted)?;
                files::write(&key_path, &pair.1, 0o600)?;
                files::write(&cert_path, &pair.0, 0o644)?;
                pair
            }
        };
        Ok(Serving {
            tls: Arc::new(tls(ca, config, (&cert, &key), &cert_path)?),
        })
    }
}

/// Every address and name by which the server is reached.
fn names(config: &Config) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = config.names.iter().cloned().collect();
    let domain = &config.cluster_domain;
    names.extend(
        [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ]
        .map(str::to_owned),
    );
    names.insert(format!("kubernetes.default.svc.{domain}"));
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    addresses.push(config.advertise_address);
    addresses.extend(config.kubernetes_service_ip());
    if !config.listen.ip().is_unspecified() {
        addresses.push(config.listen.ip());
    }
    names.extend(addresses.iter().map(ToString::to_string));
    names
}

fn issue(ca: &Ca, names: &BTreeSet<String>) -> Result<(String, String), Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "gantry-server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    set_validity(&mut params, DAYS);
    Ok((params.signed_by(&key, ca.issuer())?.pem(), key.serialize_pem()))
}

/// Whether a stored certificate covers all names and lasts long enough. Names that it has beyond them do no harm.
fn still_good(pem: &str, wanted: &BTreeSet<String>) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else {
        return false;
    };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&der) else {
        return false;
    };
    let renew_at = certificate.validity().not_after.timestamp() - RENEW_DAYS * 86_400;
    if jiff::Timestamp::now().as_second() > renew_at {
        return false;
    }
    let Ok(Some(sans)) = certificate.subject_alternative_name() else {
        return false;
    };
    let covered: BTreeSet<String> = sans.value.general_names.iter().filter_map(name_text).collect();
    wanted.is_subset(&covered)
}

fn name_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|octets| Ipv4Addr::from(octets).to_string()),
            16 => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|octets| Ipv6Addr::from(octets).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// Clients may show a certificate of our CA, or of that of front proxies; which one is looked at later. Whoever shows none is told apart later, by token or as anonymous.
fn tls(ca: &Ca, config: &Config, (cert, key): (&str, &str), path: &Path) -> Result<ServerConfig, Error> {
    let mut roots = RootCertStore::empty();
    if let Some(settings) = &config.request_header {
        for certificate in settings.roots()? {
            roots.add(certificate)?;
        }
    }
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).map_err(|error| malformed(path, error))?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| malformed(path, error))?;
    // The authority goes with it: a machine that joins knows its hash, and takes it from here.
    let chain = [cert, ca.pem()].map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()));
    let chain = chain
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| malformed(path, error))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| malformed(path, error))?;
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}
