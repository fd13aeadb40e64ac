//! Connections to hosts, through a proxy where one leads there: plain HTTP is handed to the proxy, all else goes through
//! a tunnel (`CONNECT`) that it opens.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;

use super::proxy::{Proxies, Proxy};

/// More than a proxy's answer to `CONNECT` has.
const MAX_HEAD: usize = 16 << 10;

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) http: HttpConnector,
    pub(crate) proxies: Proxies,
}

/// A connection to a host, or to the proxy that speaks for it.
pub(crate) struct Line {
    stream: TcpStream,
    /// Whether the other end is a proxy that wants whole addresses.
    proxy: bool,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Line>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.http.poll_ready(cx).map_err(io::Error::other)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let proxy = self.proxies.to(&to).cloned();
        let first = proxy.as_ref().map_or_else(|| to.clone(), |proxy| proxy.address.clone());
        let connecting = self.http.call(first);
        Box::pin(async move {
            let connected = connecting.await;
            let Some(proxy) = proxy else {
                let stream = connected.map_err(io::Error::other)?.into_inner();
                return Ok(TokioIo::new(Line { stream, proxy: false }));
            };
            let named =
                |error: &dyn std::fmt::Display| io::Error::other(format!("the proxy {}: {error}", proxy.address));
            let mut stream = connected.map_err(|error| named(&error))?.into_inner();
            let plain = to.scheme_str() != Some("https");
            if !plain {
                tunnel(&mut stream, &to, &proxy).await.map_err(|error| named(&error))?;
            }
            Ok(TokioIo::new(Line { stream, proxy: plain }))
        })
    }
}

/// Asks a proxy for a tunnel; afterwards the other end is the host.
async fn tunnel(stream: &mut TcpStream, to: &Uri, proxy: &Proxy) -> io::Result<()> {
    let host = to.host().unwrap_or_default();
    let place = format!("{host}:{}", to.port_u16().unwrap_or(443));
    let mut ask = format!(
        "CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: {}\r\n",
        super::session::AGENT
    );
    if let Some(value) = proxy.authorization.as_ref().and_then(|value| value.to_str().ok()) {
        ask.push_str(&format!("Proxy-Authorization: {value}\r\n"));
    }
    ask.push_str("\r\n");
    stream.write_all(ask.as_bytes()).await?;
    // The host says nothing before it is asked, so what follows the head can't be its.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return Err(io::Error::other("its answer has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head);
    let status = text.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(io::Error::other(format!("it leads to {place} nobody: {status}"))),
    }
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.proxy)
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
