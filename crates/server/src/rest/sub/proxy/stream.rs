//! A connection to a proxied server as a stream of bytes: through a node's tunnel or directly, with or without TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::Method;
use http_body_util::{BodyDataStream, BodyExt as _, StreamBody};
use meta::Status;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tokio_util::sync::PollSender;

use super::place::{Place, Way};
use super::unreachable;
use crate::core::Core;
use crate::rest::sub::{node_call, pieces};

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many pieces may wait for a slow node.
const WAITING: usize = 16;

/// A connection of any kind.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Connection for T {}

/// Connects to a place.
pub(crate) async fn connect(core: &Core, place: &Place) -> Result<Pin<Box<dyn Connection>>, Status> {
    let connecting = async {
        let plain: Pin<Box<dyn Connection>> = match &place.way {
            Way::Node(node) => Box::pin(through(core, node, &place.host, place.port).await?),
            Way::Direct => {
                let address = (place.host.as_str(), place.port);
                Box::pin(TcpStream::connect(address).await.map_err(unreachable)?)
            }
            Way::Kubelet(_) => return Err(Status::internal("a kubelet is asked, not connected to")),
        };
        if !place.https {
            return Ok(plain);
        }
        let name = ServerName::try_from(place.host.clone()).map_err(Status::internal)?;
        let tls = tokio_rustls::TlsConnector::from(tls()?).connect(name, plain);
        let tls: Pin<Box<dyn Connection>> = Box::pin(tls.await.map_err(unreachable)?);
        Ok(tls)
    };
    let connected = tokio::time::timeout(PATIENCE, connecting).await;
    connected.unwrap_or_else(|_| Err(unreachable("the connection took too long")))
}

async fn through(core: &Core, node: &str, host: &str, port: u16) -> Result<impl Connection + use<>, Status> {
    let (to_node, from_here) = mpsc::channel::<Bytes>(WAITING);
    let body = StreamBody::new(pieces(from_here)).boxed_unsync();
    let path = format!("/dial/{host}/{port}");
    let answer = node_call::send_to(core, node, Method::POST, &path, body).await;
    let answer = answer.map_err(|status| unreachable(status.message))?;
    let incoming = BodyDataStream::new(answer.into_body()).map(|piece| piece.map_err(io::Error::other));
    let outgoing = PollSender::new(to_node).sink_map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe));
    Ok(tokio::io::join(
        StreamReader::new(incoming),
        SinkWriter::new(CopyToBytes::new(outgoing)),
    ))
}

/// The proxied server's certificate is not looked at: a proxy gives no assurance of who answers, only a way there.
fn tls() -> Result<Arc<rustls::ClientConfig>, Status> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Status::internal)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Trusts whoever answers.
#[derive(Debug)]
pub(crate) struct Anyone(pub(crate) Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anyone {
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
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
