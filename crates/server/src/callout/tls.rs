//! TLS to services: who is trusted, and why a certificate isn't.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Credentials;
use crate::rest::sub::proxy::stream::Anyone;

/// The way to secure a connection to one name.
pub(super) struct Secure {
    connector: TlsConnector,
    name: String,
}

impl Secure {
    pub(super) fn new(config: Arc<ClientConfig>, name: &str) -> Secure {
        Secure {
            connector: TlsConnector::from(config),
            name: name.to_owned(),
        }
    }

    pub(super) async fn over<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<TlsStream<S>, String> {
        let name = ServerName::try_from(self.name.clone()).map_err(|error| error.to_string())?;
        self.connector.connect(name, stream).await.map_err(|error| told(&error))
    }
}

/// Who is trusted to answer.
pub(super) enum Trust<'a> {
    /// Who has a certificate from this bundle (PEM); when it is empty, from those that the machine trusts.
    Bundle(&'a [u8]),
    /// Anyone.
    Anyone,
}

/// The configuration of connections.
pub(super) fn config(trust: &Trust<'_>, credentials: &Credentials) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Bundle(bundle) => Arc::new(Verifier::of(bundle, &provider)?),
        Trust::Anyone => Arc::new(Anyone(Arc::clone(&provider))),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &credentials.identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
            let chain = chain.map_err(|error| format!("client-certificate: {error}"))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("client-key: {error}"))?;
            let config = config.with_client_auth_cert(chain, key);
            config.map_err(|error| format!("client-certificate: {error}"))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Go's rules beside webpki's: a certificate that stands itself in the bundle is trusted, authority or not.
#[derive(Debug)]
struct Verifier {
    webpki: Option<Arc<WebPkiServerVerifier>>,
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl Verifier {
    fn of(bundle: &[u8], provider: &Arc<rustls::crypto::CryptoProvider>) -> Result<Verifier, String> {
        let mut roots = RootCertStore::empty();
        let mut pinned = Vec::new();
        if bundle.trim_ascii().is_empty() {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        } else {
            for certificate in CertificateDer::pem_slice_iter(bundle) {
                let certificate =
                    certificate.map_err(|_| "unable to load root certificates: unable to parse bytes as PEM block")?;
                pinned.push(certificate.clone().into_owned());
                roots.add_parsable_certificates([certificate]);
            }
            if pinned.is_empty() {
                return Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
            }
        }
        let webpki = match roots.is_empty() {
            true => None,
            false => {
                let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
                Some(webpki.map_err(|error| error.to_string())?)
            }
        };
        Ok(Verifier {
            webpki,
            pinned,
            provider: Arc::clone(provider),
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = match &self.webpki {
            Some(webpki) => webpki.verify_server_cert(end, between, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        let Err(error) = chain else { return chain };
        if !self.pinned.iter().any(|pinned| pinned == end) {
            return Err(error);
        }
        let (_, parsed) = x509_parser::parse_x509_certificate(end).map_err(|_| CertificateError::BadEncoding)?;
        let (begins, ends) = (
            parsed.validity().not_before.timestamp(),
            parsed.validity().not_after.timestamp(),
        );
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if !(begins..=ends).contains(&now) {
            return Err(CertificateError::Expired.into());
        }
        verify_server_name(&ParsedCertificate::try_from(end)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a connection isn't secure, in Go's words where they are known.
fn told(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let why = match inner {
        Some(rustls::Error::InvalidCertificate(why)) => why,
        Some(other) => return format!("remote error: tls: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => return "EOF".to_owned(),
        None => return error.to_string(),
    };
    let why = match why {
        // The second: of an authority that has the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => "certificate has expired or is not yet valid".to_owned(),
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}
