//! What probes and hooks do: run a program in the container, ask a web server, open a connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::{ContainerId, Engine, ExecSpec};
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::stream::pipe;

/// How much of an answer or of output is looked at.
const MOST_OUTPUT: usize = 10 << 10;

/// Runs a program in a container; its output when it succeeds, and what went wrong otherwise.
pub(crate) async fn exec(
    engine: &Engine,
    id: &ContainerId,
    command: &[String],
    limit: Duration,
) -> Result<String, String> {
    let spec = ExecSpec {
        args: command.to_vec(),
        ..ExecSpec::default()
    };
    let run = async {
        let mut exec = engine.exec(id, spec).await.map_err(|error| error.to_string())?;
        let output = pipe::collect(exec.stdout.take(), exec.stderr.take(), MOST_OUTPUT);
        let (exit, output) = tokio::join!(exec.wait(), output);
        let output = String::from_utf8_lossy(&output).into_owned();
        match exit {
            Ok(exit) if exit.code == 0 => Ok(output),
            Ok(exit) if output.is_empty() => Err(format!("command exited with {}", exit.code)),
            Ok(_) => Err(output),
            Err(error) => Err(error.to_string()),
        }
    };
    match timeout(limit, run).await {
        Ok(result) => result,
        Err(_) => Err(format!("command {command:?} timed out after {}s", limit.as_secs())),
    }
}

/// Opens a connection.
pub(crate) async fn tcp_connect(
    socket: &TCPSocketAction,
    container: &Container,
    address: &str,
    limit: Duration,
) -> Result<(), String> {
    let port = port(&socket.port, container)?;
    let host = socket
        .host
        .as_deref()
        .filter(|host| !host.is_empty())
        .unwrap_or(address);
    connect(host, port, limit).await.map(drop)
}

/// Asks a web server; 200 to 399 is good.
pub(crate) async fn http_get(
    get: &HTTPGetAction,
    container: &Container,
    address: &str,
    limit: Duration,
) -> Result<(), String> {
    let port = port(&get.port, container)?;
    let host = get.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(address);
    let path = get.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') {
        path.to_string()
    } else {
        format!("/{path}")
    };
    let tls = get.scheme.as_deref() == Some("HTTPS");
    let scheme = if tls { "https" } else { "http" };
    let url = format!("{scheme}://{host}:{port}{path}");
    let uri: Uri = path.parse().map_err(|error| format!("{url}: {error}"))?;
    let mut request = Request::get(uri);
    let mut has_host = false;
    for header in get.http_headers.iter().flatten() {
        has_host |= header.name.eq_ignore_ascii_case("host");
        request = request.header(&header.name, &header.value);
    }
    if !has_host {
        request = request.header(header::HOST, format!("{host}:{port}"));
    }
    let request = request
        .header(header::USER_AGENT, "kube-probe/1.37")
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("{url}: {error}"))?;
    let ask = async {
        let stream = connect(host, port, limit).await?;
        if tls {
            let name = rustls::pki_types::ServerName::try_from(host.to_string()).map_err(|error| error.to_string())?;
            let connector = tokio_rustls::TlsConnector::from(unverified());
            let stream = connector
                .connect(name, stream)
                .await
                .map_err(|error| format!("Get {url:?}: {error}"))?;
            send(stream, request, &url).await
        } else {
            send(stream, request, &url).await
        }
    };
    match timeout(limit, ask).await {
        Ok(result) => result,
        Err(_) => Err(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn send<S>(stream: S, request: Request<Empty<Bytes>>, url: &str) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let fail = |error: hyper::Error| format!("Get {url:?}: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(fail)?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(fail)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MOST_OUTPUT).collect().await;
    driver.abort();
    drop(body);
    if (200..400).contains(&status.as_u16()) {
        return Ok(());
    }
    Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
}

pub(super) async fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, String> {
    let shown = format!("dial tcp {host}:{port}");
    match timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(format!("{shown}: connect: connection refused"))
        }
        Ok(Err(error)) => Err(format!("{shown}: {error}")),
        Err(_) => Err(format!("{shown}: i/o timeout")),
    }
}

/// A number, or the name of one of the container's ports.
fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = |p: &&k8s_openapi::api::core::v1::ContainerPort| p.name.as_deref() == Some(name);
            let by_name = container
                .ports
                .iter()
                .flatten()
                .find(named)
                .map(|port| port.container_port);
            by_name.or_else(|| name.parse().ok())
        }
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("no port {port:?}"))
}

/// Probes do not check certificates, as the API reference says.
fn unverified() -> Arc<rustls::ClientConfig> {
    static CONFIG: std::sync::OnceLock<Arc<rustls::ClientConfig>> = std::sync::OnceLock::new();
    let make = || {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider's own versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(schemes)))
            .with_no_client_auth();
        Arc::new(config)
    };
    CONFIG.get_or_init(make).clone()
}

#[derive(Debug)]
struct Anyone(Vec<rustls::SignatureScheme>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.clone()
    }
}
