//! The demo: a web application of two pods behind a Service, from an image that the binary itself carries.

use std::net::{IpAddr, SocketAddr};
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

use crate::image;
use crate::instance::{Instance, Settings};
use crate::progress::Progress;

/// The name of the image that the binary carries.
pub const IMAGE: &str = "gantry.local/hello:latest";
const NAME: &str = "hello";

/// Deploys it, waits until it answers, and shows what it says.
pub async fn run(
    instance: &Instance,
    settings: &Settings,
    client: Client,
    limit: Duration,
    progress: &Progress,
) -> anyhow::Result<()> {
    let step = progress.step(format!("image {IMAGE}"));
    let owned = instance.clone();
    tokio::task::spawn_blocking(move || image::add_demo(&owned, IMAGE)).await??;
    step.done();
    let step = progress.step("deployment and service applied");
    let port = apply(&client).await?;
    step.done();
    let step = progress.step("two pods ready");
    let api: Api<Deployment> = Api::namespaced(client, "default");
    let available = |deployment: Option<&Deployment>| {
        deployment
            .and_then(|deployment| deployment.status.as_ref())
            .is_some_and(|status| status.available_replicas == Some(2))
    };
    match tokio::time::timeout(limit, await_condition(api, NAME, available)).await {
        Ok(done) => done.map(drop).context("waiting for the demo's pods")?,
        Err(_) => bail!(
            "the demo's pods are not ready after {} s; `kubectl describe pods -l app={NAME}` says why",
            limit.as_secs()
        ),
    }
    step.done();
    let step = progress.step("first answer");
    let host = if settings.listen.ip().is_loopback() {
        settings.listen.ip()
    } else {
        settings.advertise_address
    };
    let answer = first_answer(host, port, limit).await?;
    step.done();
    println!("http://{}", SocketAddr::new(host, port));
    println!("  {}", answer.trim_end().replace('\n', "\n  "));
    Ok(())
}

/// Applies Deployment and Service; answers the Service's port on each node.
async fn apply(client: &Client) -> anyhow::Result<u16> {
    let params = PatchParams::apply("gantry-demo").force();
    let labels = json!({"app": NAME});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": NAME, "labels": labels},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{
                "name": NAME, "image": IMAGE, "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 8080}],
                "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}},
            }]},
        }},
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": NAME, "labels": labels},
        "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    deployments
        .patch(NAME, &params, &Patch::Apply(deployment))
        .await
        .context("applying the demo's Deployment")?;
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    let made = services
        .patch(NAME, &params, &Patch::Apply(service))
        .await
        .context("applying the demo's Service")?;
    let port = made.spec.and_then(|spec| spec.ports?.first()?.node_port);
    port.and_then(|port| u16::try_from(port).ok())
        .context("the demo's Service got no port")
}

/// Asks until there is an answer: rules follow readiness by a moment.
async fn first_answer(host: IpAddr, port: u16, limit: Duration) -> anyhow::Result<String> {
    let deadline = Instant::now() + limit;
    loop {
        match ask(host, port).await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("no answer at {host}:{port}")));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

async fn ask(host: IpAddr, port: u16) -> anyhow::Result<String> {
    let mut stream = tokio::time::timeout(Duration::from_secs(2), TcpStream::connect((host, port))).await??;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("{}", head.lines().next().unwrap_or_default());
    }
    Ok(body.to_string())
}
