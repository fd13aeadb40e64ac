//! When a cluster is up: its API answers, and a node says that it is ready.

use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use http::Request;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use tokio::net::TcpStream;

use crate::args::ClusterArgs;
use crate::connect;

/// Between two tries: a kubeconfig that is not written and a port that is not open tell nobody when they change.
const TRY: Duration = Duration::from_millis(5);
/// How long one try may take.
const ANSWER: Duration = Duration::from_secs(2);

/// Waits until `/readyz` says yes.
pub(super) async fn api(cluster: &ClusterArgs) {
    while !matches!(tokio::time::timeout(ANSWER, asked(cluster)).await, Ok(Ok(()))) {
        tokio::time::sleep(TRY).await;
    }
}

async fn asked(cluster: &ClusterArgs) -> anyhow::Result<()> {
    let config = connect::config(cluster).await?;
    let url = &config.cluster_url;
    // The cheap question first: as long as nobody listens, the cores are the cluster's.
    drop(TcpStream::connect((connect::host(url)?, url.port_u16().unwrap_or(443))).await?);
    let client = connect::client(&config)?;
    client
        .request_text(Request::get("/readyz").body(Vec::new())?)
        .await
        .context("/readyz")?;
    Ok(())
}

/// Waits until a node is ready, by a watch.
pub(super) async fn node(cluster: &ClusterArgs) {
    loop {
        if let Ok(true) = watched(cluster).await {
            return;
        }
        tokio::time::sleep(TRY).await;
    }
}

async fn watched(cluster: &ClusterArgs) -> anyhow::Result<bool> {
    let client = connect::client(&connect::config(cluster).await?)?;
    let mut stream = pin!(watcher::watcher(Api::<Node>::all(client), watcher::Config::default()));
    while let Some(event) = stream.next().await {
        // A server that only just started may refuse a first list: then from the beginning.
        if let Event::Apply(node) | Event::InitApply(node) = event?
            && is_ready(&node)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .filter_map(|status| status.conditions.as_ref())
        .flatten();
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    ready.any(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_true_condition_is_ready() {
        let with = |status: &str| {
            let conditions = json!([{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": status}]);
            let node: Node =
                serde_json::from_value(json!({"metadata": {}, "status": {"conditions": conditions}})).expect("a node");
            is_ready(&node)
        };
        assert!(with("True"));
        assert!(!with("False"));
        assert!(!with("Unknown"));
        assert!(!is_ready(&Node::default()));
    }
}
