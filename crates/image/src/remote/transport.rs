//! Connections to one host: TLS with its CAs and identities, plain HTTP where that is allowed, through a proxy where the
//! environment names one; one pool for all.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::PROXY_AUTHORIZATION;
use http::uri::Scheme;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::connect::Connector;
use super::hosts::Tls;
use super::proxy::Proxies;
use crate::error::{Result, configuration, network};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(15);
/// How long a registry may think before it answers.
const ANSWER: Duration = Duration::from_secs(60);

/// A request's body.
pub(crate) type Outgoing = UnsyncBoxBody<Bytes, std::io::Error>;

/// A pool of connections with one way of doing TLS.
#[derive(Clone)]
pub(crate) struct Transport {
    client: Client<HttpsConnector<Connector>, Outgoing>,
    proxies: Proxies,
}

impl Transport {
    pub(crate) fn new(tls: &Tls) -> Result<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        let config = match &tls.given {
            Some(given) => (**given).clone(),
            None => config(tls)?,
        };
        // The cluster's own registry is reached as its server is: directly.
        let proxies = match &tls.given {
            Some(_) => Proxies::default(),
            None => Proxies::of_environment()?,
        };
        let connector = Connector {
            http,
            proxies: proxies.clone(),
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Ok(Self { client, proxies })
    }

    /// Sends a request and waits for the head of its answer; redirects are the caller's to judge.
    pub(crate) async fn send(&self, mut request: Request<Outgoing>) -> Result<Response<Incoming>> {
        // A tunnel has asked for itself; a proxy that is handed plain HTTP wants to know with each request.
        let plain = request.uri().scheme() == Some(&Scheme::HTTP);
        let proxy = self.proxies.to(request.uri()).filter(|_| plain);
        if let Some(value) = proxy.and_then(|proxy| proxy.authorization.clone()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, value);
        }
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let sending = request.body().is_end_stream_hint();
        let answer = self.client.request(request);
        // An upload takes as long as it takes.
        let answer = if sending {
            match tokio::time::timeout(ANSWER, answer).await {
                Ok(answer) => answer,
                Err(_) => {
                    return Err(crate::error::Error::Network {
                        host,
                        reason: format!("no answer within {} s", ANSWER.as_secs()),
                    });
                }
            }
        } else {
            answer.await
        };
        answer.map_err(|error| network(&host, &error))
    }
}

/// Whether a body is short, so that the answer is due at once.
trait Short {
    fn is_end_stream_hint(&self) -> bool;
}

impl Short for Outgoing {
    fn is_end_stream_hint(&self) -> bool {
        http_body::Body::size_hint(self)
            .upper()
            .is_some_and(|upper| upper < 1 << 20)
    }
}

/// A body of bytes that are there already.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Outgoing {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn config(tls: &Tls) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| configuration("TLS", error))?;
    let builder = if tls.skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
    } else {
        builder.with_root_certificates(roots(tls)?)
    };
    match tls.identities.first() {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let bad = |error: &dyn std::fmt::Display| configuration(key.display().to_string(), error);
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(&error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| bad(&error))
        }
    }
}

/// This machine's CAs and those that are named for the host.
fn roots(tls: &Tls) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // A machine without any is no error: own ones may do, or plain HTTP.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for path in &tls.authorities {
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|error| configuration(path.display().to_string(), error))?;
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bad = |error: &dyn std::fmt::Display| configuration(path.display().to_string(), error);
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|error| bad(&error))?
        .collect::<Result<_, _>>()
        .map_err(|error| bad(&error))?;
    if found.is_empty() {
        return Err(bad(&"it has no certificate in PEM"));
    }
    Ok(found)
}

/// For hosts that their owner calls insecure: the signature counts, the name and the issuer don't.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
