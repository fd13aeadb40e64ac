//! The application that is deployed: one replica behind a NodePort Service, as a newcomer would write it, and the first
//! HTTP 200 from it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const NAME: &str = "hello";
/// Between two tries: nothing tells when a port begins to be served.
const TRY: Duration = Duration::from_millis(5);
/// A first packet that gets lost is sent again only after a second: better to try anew.
const CONNECT: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(2);

/// What to deploy, and where it will answer.
pub(super) struct Application<'a> {
    pub(super) image: &'a str,
    pub(super) port: u16,
    pub(super) address: &'a str,
}

/// How long after the first request was sent.
pub(super) struct Times {
    /// Deployment and Service were accepted.
    pub(super) applied: Duration,
    /// The Deployment has an available replica.
    pub(super) available: Duration,
    /// The first HTTP 200.
    pub(super) answered: Duration,
}

impl Application<'_> {
    /// Applies it and waits for the answer.
    pub(super) async fn deploy(&self, client: Client, namespace: &str, limit: Duration) -> anyhow::Result<Times> {
        let began = Instant::now();
        let port = self.apply(&client, namespace).await?;
        let applied = began.elapsed();
        let deployments: Api<Deployment> = Api::namespaced(client, namespace);
        let available = async {
            await_condition(deployments, NAME, is_available)
                .await
                .context("watching the Deployment")?;
            anyhow::Ok(began.elapsed())
        };
        let answered = async {
            while ask(self.address, port).await.is_err() {
                tokio::time::sleep(TRY).await;
            }
            anyhow::Ok(began.elapsed())
        };
        let both = tokio::time::timeout(limit, futures::future::try_join(available, answered)).await;
        let Ok(both) = both else {
            let last = ask(self.address, port)
                .await
                .err()
                .map(|error| format!("{error:#}"))
                .unwrap_or_default();
            bail!(
                "no answer from {}:{port} or no available replica after {} s: {last}",
                self.address,
                limit.as_secs()
            );
        };
        let (available, answered) = both?;
        Ok(Times {
            applied,
            available,
            answered,
        })
    }

    /// Applies Deployment and Service; answers the Service's port on each node.
    async fn apply(&self, client: &Client, namespace: &str) -> anyhow::Result<u16> {
        let params = PatchParams::apply("gantry-bench").force();
        let labels = json!({"app": NAME});
        let container = json!({"name": NAME, "image": self.image, "imagePullPolicy": "IfNotPresent",
            "ports": [{"containerPort": self.port}]});
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": NAME, "labels": labels},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [container]},
            }},
        });
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": NAME, "labels": labels},
            "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 80, "targetPort": self.port}]},
        });
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        deployments
            .patch(NAME, &params, &Patch::Apply(deployment))
            .await
            .context("applying the Deployment")?;
        let services: Api<Service> = Api::namespaced(client.clone(), namespace);
        let made = services
            .patch(NAME, &params, &Patch::Apply(service))
            .await
            .context("applying the Service")?;
        let port = made.spec.and_then(|spec| spec.ports?.first()?.node_port);
        port.and_then(|port| u16::try_from(port).ok())
            .context("the Service got no node port")
    }
}

fn is_available(deployment: Option<&Deployment>) -> bool {
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    status
        .and_then(|status| status.available_replicas)
        .is_some_and(|replicas| replicas >= 1)
}

async fn ask(host: &str, port: u16) -> anyhow::Result<()> {
    let mut stream = tokio::time::timeout(CONNECT, TcpStream::connect((host, port))).await??;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    let asking = async {
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(ANSWER, asking).await??;
    if !is_success(&answer) {
        let head = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        bail!("{}", String::from_utf8_lossy(head));
    }
    Ok(())
}

fn is_success(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 200 ") || answer.starts_with(b"HTTP/1.0 200 ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_200_is_an_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = tokio::spawn(async move {
            for status in ["503 Service Unavailable", "200 OK"] {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await.expect("a request");
                stream
                    .write_all(format!("HTTP/1.1 {status}\r\n\r\nhello").as_bytes())
                    .await
                    .expect("sent");
            }
        });
        let refused = ask("127.0.0.1", port).await.expect_err("not ready");
        assert_eq!(refused.to_string(), "HTTP/1.1 503 Service Unavailable");
        ask("127.0.0.1", port).await.expect("ready");
        server.await.expect("ended");
        assert!(ask("127.0.0.1", port).await.is_err());
    }
}
