//! Meets a server of which nothing is known but the hash of its authority. Nothing is sent to it before that is proven.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;

use super::Endpoint;
use crate::token::{Pin, pin_of};

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The authority's certificate (DER), once the server has proven to be its.
pub(super) async fn authority(server: &Endpoint, pin: Pin) -> anyhow::Result<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pinned = Arc::new(Pinned {
        pin,
        provider: provider.clone(),
        found: Mutex::default(),
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(pinned.clone())
        .with_no_client_auth();
    let name = ServerName::try_from(server.host.clone()).map_err(|_| anyhow!("{:?} is no host", server.host))?;
    let meeting = async {
        let tcp = TcpStream::connect((server.host.as_str(), server.port)).await?;
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    };
    match tokio::time::timeout(PATIENCE, meeting).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(explain(server, error)),
        Err(_) => bail!(
            "{server} doesn't answer; is that its address, and does a firewall between let port {} through?",
            server.port
        ),
    }
    let found = pinned.found.lock().unwrap_or_else(PoisonError::into_inner).take();
    found.context("the server has shown no authority")
}

/// One line with the remedy.
fn explain(server: &Endpoint, error: io::Error) -> anyhow::Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            CertificateError::UnknownIssuer => anyhow!(
                "the server at {server} is not the one that the token is from: its authority has another hash; run \
                 `gantry token create` there and paste the new line"
            ),
            CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
            | CertificateError::Expired
            | CertificateError::ExpiredContext { .. } => anyhow!(
                "by this machine's clock, {}, the server's certificate is not valid; set the clock and join again",
                meta::time::now()
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => anyhow!(
                "the server's certificate doesn't cover {}; use the address that `gantry token create` prints, or \
                 start it with `--advertise-address {}`",
                server.host,
                server.host
            ),
            other => anyhow!("the certificate of {server} can't be used: {other}"),
        },
        Some(other) => anyhow!("{server} speaks no TLS that is understood here ({other}); is it a Gantry server?"),
        None if error.kind() == io::ErrorKind::ConnectionRefused => {
            anyhow!("nothing listens at {server}; `gantry status` on the server says where it does")
        }
        None => anyhow!("{server} can't be reached: {error}; `gantry status` on the server says where it listens"),
    }
}

/// Takes a certificate if its chain leads to the pinned authority, which the server shows with it.
#[derive(Debug)]
struct Pinned {
    pin: Pin,
    provider: Arc<CryptoProvider>,
    found: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let authority = intermediates
            .iter()
            .find(|certificate| pin_of(certificate) == Some(self.pin))
            .ok_or_else(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone());
        let verifier = verifier.build().map_err(|_| unknown())?;
        let verified = verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)?;
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(authority.to_vec());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
