//! Health check node ports: what a balancer outside asks a node before it sends traffic of a service with policy Local
//! there. One small HTTP server a service.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use client::ObjectKey;
use http::{Response, StatusCode, header};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// Balancers ask from few places; who opens more connections than this waits.
const CONNECTIONS: usize = 64;

/// The servers that run.
#[derive(Default)]
pub(super) struct HealthChecks {
    running: HashMap<ObjectKey, Check>,
}

struct Check {
    port: u16,
    ready: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for Check {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HealthChecks {
    /// Has a service's check answer on a port, or not at all, with the number of its ready pods on this node.
    pub(super) fn set(&mut self, service: &ObjectKey, port: Option<u16>, ready: usize) {
        let Some(port) = port else {
            self.running.remove(service);
            return;
        };
        if let Some(check) = self.running.get(service).filter(|check| check.port == port) {
            check.ready.store(ready, Ordering::Relaxed);
            return;
        }
        self.running.remove(service);
        let ready = Arc::new(AtomicUsize::new(ready));
        let task = tokio::spawn(serve(service.clone(), port, ready.clone())).abort_handle();
        self.running.insert(service.clone(), Check { port, ready, task });
    }
}

async fn serve(service: ObjectKey, port: u16, ready: Arc<AtomicUsize>) {
    let mut backoff = client::Backoff::new(
        std::time::Duration::from_millis(100),
        std::time::Duration::from_secs(30),
    );
    let listener = loop {
        match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await {
            Ok(listener) => break listener,
            Err(error) => {
                // An older server of this port may just be ending, or another program has it.
                tracing::warn!(%service, port, %error, "serving the health check");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    };
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    while let Ok(permit) = permits.clone().acquire_owned().await {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(backoff.next_delay()).await;
            continue;
        };
        let (service, ready) = (service.clone(), ready.clone());
        connections.spawn(async move {
            let _permit = permit;
            converse(stream, &service, &ready).await;
        });
    }
}

async fn converse(stream: TcpStream, service: &ObjectKey, ready: &AtomicUsize) {
    let answer = service_fn(|_| async { Ok::<_, Infallible>(answer(service, ready.load(Ordering::Relaxed))) });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(hyper_util::rt::TokioTimer::new())
        .header_read_timeout(std::time::Duration::from_secs(10))
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        tracing::debug!(%service, %error, "a health check's connection");
    }
}

fn answer(service: &ObjectKey, ready: usize) -> Response<Full<Bytes>> {
    let body = serde_json::json!({
        "service": {"namespace": service.namespace.as_deref().unwrap_or_default(), "name": service.name},
        "localEndpoints": ready,
        "serviceProxyHealthy": true,
    });
    let mut answer = Response::new(Full::from(body.to_string()));
    if ready == 0 {
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        http::HeaderValue::from_static("nosniff"),
    );
    headers.insert("X-Load-Balancing-Endpoint-Weight", http::HeaderValue::from(ready));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn ask(port: u16) -> Option<String> {
        for _ in 0..100 {
            if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                stream
                    .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    .await
                    .ok()?;
                let mut text = String::new();
                stream.read_to_string(&mut text).await.ok()?;
                return Some(text);
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        None
    }

    #[tokio::test]
    async fn it_says_how_many_are_ready_and_ends() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let (mut checks, key) = (HealthChecks::default(), ObjectKey::namespaced("d", "web"));
        checks.set(&key, Some(port), 2);
        let text = ask(port).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(text.contains("x-load-balancing-endpoint-weight: 2"), "{text}");
        assert!(
            text.contains(r#""localEndpoints":2"#) && text.contains(r#""name":"web""#),
            "{text}"
        );
        checks.set(&key, Some(port), 0);
        assert!(ask(port).await.unwrap().starts_with("HTTP/1.1 503"));
        checks.set(&key, None, 0);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err(),
            "it is closed"
        );
    }
}
