//! A new private key, and the request that proves that whoever asks has it.

use rcgen::{CertificateParams, DistinguishedName, KeyPair, RsaKeySize};

use crate::bundle::ConfigError;

/// A private key that was made for one request.
pub(super) struct Key {
    /// PKCS #8, in PEM.
    pub(super) private: Vec<u8>,
    /// A PKCS #10 request in DER that names nothing: the signer knows the pod from elsewhere.
    pub(super) request: Vec<u8>,
}

/// Makes a key of a type that the API names.
pub(super) fn generate(key_type: &str) -> Result<Key, ConfigError> {
    let pair = match key_type {
        "RSA3072" => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072),
        "RSA4096" => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096),
        "ECDSAP256" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        "ECDSAP384" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        "ECDSAP521" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
        "ED25519" => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        other => return Err(ConfigError(format!("unknown key type {other:?}"))),
    };
    let failed = |error: rcgen::Error| ConfigError(format!("making a key of type {key_type:?}: {error}"));
    let pair = pair.map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&pair).map_err(failed)?;
    Ok(Key {
        private: pair.serialize_pem().into_bytes(),
        request: request.der().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::prelude::FromDer as _;

    use super::*;

    #[test]
    fn each_type_proves_its_key_and_names_nothing() {
        for key_type in ["RSA3072", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"] {
            let key = generate(key_type).unwrap();
            assert!(key.private.starts_with(b"-----BEGIN PRIVATE KEY-----\n"), "{key_type}");
            let (rest, request) = X509CertificationRequest::from_der(&key.request).unwrap();
            assert!(rest.is_empty());
            let info = &request.certification_request_info;
            assert_eq!(info.subject.iter().count(), 0, "{key_type}");
            assert!(request.requested_extensions().is_none(), "{key_type}");
        }
        assert!(generate("DSA").is_err());
    }
}
