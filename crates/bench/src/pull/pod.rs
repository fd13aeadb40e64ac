//! A pod of the image, from its creation until its container runs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::json;

/// Creates the pod, waits until it runs, and deletes it.
pub(super) async fn start(client: &Client, namespace: &str, image: &str, limit: Duration) -> anyhow::Result<Duration> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"generateName": "pull-"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "containers": [{"name": "wait", "image": image, "imagePullPolicy": "Always"}],
        },
    }))?;
    let began = Instant::now();
    let made = api
        .create(&PostParams::default(), &pod)
        .await
        .context("creating a pod")?;
    let name = made.metadata.name.unwrap_or_default();
    let runs = |pod: Option<&Pod>| started(pod) || failed(pod).is_some();
    let pod = tokio::time::timeout(limit, await_condition(api.clone(), &name, runs))
        .await
        .with_context(|| format!("pod {name} doesn't run in time"))??;
    let taken = began.elapsed();
    let trouble = failed(pod.as_ref());
    api.delete(&name, &DeleteParams::default().grace_period(0)).await?;
    match trouble {
        Some(why) => bail!("pod {name}: {why}"),
        None => Ok(taken),
    }
}

fn states(pod: Option<&Pod>) -> impl Iterator<Item = &k8s_openapi::api::core::v1::ContainerState> {
    let statuses = pod
        .and_then(|pod| pod.status.as_ref())
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .filter_map(|status| status.state.as_ref())
}

fn started(pod: Option<&Pod>) -> bool {
    states(pod).any(|state| state.running.is_some())
}

fn failed(pod: Option<&Pod>) -> Option<String> {
    let waiting = states(pod).filter_map(|state| state.waiting.as_ref());
    waiting
        .filter(|waiting| waiting.reason.as_deref() != Some("ContainerCreating"))
        .find_map(|waiting| waiting.message.clone().or(waiting.reason.clone()))
}
