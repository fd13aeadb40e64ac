//! Reads certificate requests, and signs granted ones. Knows keys and certificates, not the API.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, ParsedExtension, X509CertificationRequest};

use super::plan::{Asked, CLIENT};
use crate::SigningKey;

/// Clocks differ: a certificate is valid from a little before it is made.
const BEFORE: Duration = Duration::from_secs(300);

/// Why a request cannot be read or signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// It is no certificate request.
    #[error("the certificate request cannot be read: {0}")]
    Unreadable(String),
    /// The key or the request is refused.
    #[error("the certificate cannot be signed")]
    Sign(#[source] rcgen::Error),
}

/// What the request asks for.
pub(crate) fn read(pem: &[u8]) -> Result<Asked, SignError> {
    let unreadable = |error: &dyn std::fmt::Display| SignError::Unreadable(error.to_string());
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).map_err(|error| unreadable(&error))?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|error| unreadable(&error))?;
    let subject = &request.certification_request_info.subject;
    let common_name = subject.iter_common_name().filter_map(|name| name.as_str().ok());
    let organizations = subject.iter_organization().filter_map(|name| name.as_str().ok());
    let mut asked = Asked {
        common_name: common_name.collect(),
        organizations: organizations.map(str::to_owned).collect(),
        ..Asked::default()
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else {
            continue;
        };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(name) => asked.names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => match address(bytes) {
                    Some(address) => asked.addresses.push(address),
                    None => asked.others = true,
                },
                _ => asked.others = true,
            }
        }
    }
    Ok(asked)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// The certificate, as PEM, for the wanted time but not longer than the authority grants.
pub(crate) fn sign(pem: &[u8], signer: &str, seconds: Option<i32>, key: &SigningKey) -> Result<String, SignError> {
    let text = std::str::from_utf8(pem).map_err(|error| SignError::Unreadable(error.to_string()))?;
    let mut request = CertificateSigningRequestParams::from_pem(text).map_err(SignError::Sign)?;
    let wanted = seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(key.lifetime, Duration::from_secs);
    let now = std::time::SystemTime::now();
    let wanted = wanted.min(key.lifetime);
    // Never much of the time that it has, or a short-lived one would be due for renewal from its beginning.
    request.params.not_before = (now - BEFORE.min(wanted / 10)).into();
    request.params.not_after = (now + wanted).into();
    request.params.is_ca = IsCa::ExplicitNoCa;
    request.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    request.params.extended_key_usages = vec![if signer == CLIENT {
        ExtendedKeyUsagePurpose::ClientAuth
    } else {
        ExtendedKeyUsagePurpose::ServerAuth
    }];
    request.params.serial_number = Some(SerialNumber::from(rand::random::<[u8; 16]>().to_vec()));
    let pair = KeyPair::from_pem(&key.key).map_err(SignError::Sign)?;
    let issuer = Issuer::from_ca_cert_pem(&key.certificate, pair).map_err(SignError::Sign)?;
    request
        .signed_by(&issuer)
        .map(|certificate| certificate.pem())
        .map_err(SignError::Sign)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType};

    use super::*;

    fn key() -> SigningKey {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        SigningKey {
            certificate: params.self_signed(&pair).unwrap().pem(),
            key: pair.serialize_pem(),
            lifetime: std::time::Duration::from_secs(3600),
        }
    }

    #[test]
    fn a_nodes_request_is_read_and_signed() {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["n1".to_owned(), "10.0.0.5".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "system:node:n1");
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        let request = params.serialize_request(&pair).unwrap().pem().unwrap();
        let asked = read(request.as_bytes()).unwrap();
        assert_eq!(
            (asked.common_name.as_str(), asked.organizations.as_slice()),
            ("system:node:n1", &["system:nodes".to_owned()][..])
        );
        assert_eq!(
            (asked.names, asked.addresses),
            (vec!["n1".to_owned()], vec!["10.0.0.5".parse().unwrap()])
        );
        let signed = sign(request.as_bytes(), super::super::plan::SERVING, Some(600), &key()).unwrap();
        let (_, block) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).unwrap();
        let certificate = block.parse_x509().unwrap();
        let validity = certificate.validity();
        assert_eq!(validity.not_after.timestamp() - validity.not_before.timestamp(), 660);
        assert!(!certificate.is_ca());
        assert!(read(b"nonsense").is_err());
    }
}
