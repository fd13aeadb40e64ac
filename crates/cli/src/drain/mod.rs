//! `gantry drain`: a node takes no more pods, and those that it has are moved away with the consent of their disruption
//! budgets.

mod plan;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams};
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use kube::{Api, Client};
use serde_json::json;

use crate::args::{DrainArgs, DrainOptions};
use crate::instance::Instance;
use crate::up::connect;

/// How soon a pod that a budget still holds is asked for again.
const AGAIN: Duration = Duration::from_secs(5);
/// How many pods are asked to go at the same time.
const AT_ONCE: usize = 16;

/// Runs the command.
pub async fn run(instance: Instance, args: DrainArgs) -> anyhow::Result<()> {
    let settings = instance.stored_settings()?;
    if let Some(server) = settings.and_then(|settings| settings.server) {
        bail!("this machine is a node of {server}; drain it there, or by `gantry leave` here");
    }
    drain(&connect(&instance).await?, &args.node, &args.how).await
}

/// Moves all pods of a node away.
pub(crate) async fn drain(client: &Client, node: &str, how: &DrainOptions) -> anyhow::Result<()> {
    cordon(client, node).await?;
    let all = move_pods(client, node, how);
    if how.timeout.is_zero() {
        all.await?;
    } else {
        let done = tokio::time::timeout(how.timeout, all).await;
        done.with_context(|| {
            format!(
                "node {node} is not empty after {} s; it stays cordoned: `kubectl uncordon {node}` takes that back",
                how.timeout.as_secs()
            )
        })??;
    }
    println!("node/{node} drained");
    Ok(())
}

async fn cordon(client: &Client, name: &str) -> anyhow::Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let node = api.get_opt(name).await.context("asking for the node")?;
    let Some(node) = node else {
        bail!("there is no node {name}; `gantry status` lists them")
    };
    if node.spec.is_some_and(|spec| spec.unschedulable == Some(true)) {
        println!("node/{name} already cordoned");
        return Ok(());
    }
    let patch = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    api.patch(name, &PatchParams::default(), &patch)
        .await
        .context("cordoning the node")?;
    println!("node/{name} cordoned");
    Ok(())
}

async fn move_pods(client: &Client, node: &str, how: &DrainOptions) -> anyhow::Result<()> {
    let on_node = format!("spec.nodeName={node}");
    let mut params = ListParams::default().fields(&on_node);
    if let Some(selector) = &how.pod_selector {
        params = params.labels(selector);
    }
    let api: Api<Pod> = Api::all(client.clone());
    let pods = api.list(&params).await.context("listing the node's pods")?;
    let plan = match plan::plan(&pods.items, how) {
        Ok(plan) => plan,
        Err(refusal) => bail!("unable to drain node {node}: {refusal}; it stays cordoned"),
    };
    for warning in &plan.warnings {
        println!("Warning: {warning}");
    }
    let left: BTreeSet<(String, String)> = plan.go.iter().cloned().collect();
    futures::stream::iter(plan.go)
        .map(|(namespace, name)| ask_to_go(client, namespace, name, how))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    wait_until_gone(api, &on_node, left).await
}

/// Asks until the pod's budget lets it go.
async fn ask_to_go(client: &Client, namespace: String, name: String, how: &DrainOptions) -> anyhow::Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let delete = DeleteParams {
        grace_period_seconds: u32::try_from(how.grace_period).ok(),
        ..DeleteParams::default()
    };
    let verb = if how.disable_eviction { "deleting" } else { "evicting" };
    println!("{verb} pod {namespace}/{name}");
    loop {
        let asked = if how.disable_eviction {
            api.delete(&name, &delete).await.map(drop)
        } else {
            let params = EvictParams {
                delete_options: Some(delete.clone()),
                ..EvictParams::default()
            };
            api.evict(&name, &params).await.map(drop)
        };
        match asked {
            Ok(()) => return Ok(()),
            Err(error) if client::is_not_found(&error) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 429 => {
                println!(
                    "pod {namespace}/{name} stays for now (asked again in {} s): {}",
                    AGAIN.as_secs(),
                    status.message
                );
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error).with_context(|| format!("{verb} pod {namespace}/{name}")),
        }
    }
}

/// Waits for the pods' ends, which the node tells.
async fn wait_until_gone(api: Api<Pod>, on_node: &str, mut left: BTreeSet<(String, String)>) -> anyhow::Result<()> {
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default().fields(on_node)));
    let key = |pod: &Pod| {
        let (namespace, name) = (pod.metadata.namespace.clone(), pod.metadata.name.clone());
        (namespace.unwrap_or_default(), name.unwrap_or_default())
    };
    let gone = |pod: &(String, String)| println!("pod/{} evicted", pod.1);
    let mut listed = BTreeSet::new();
    while !left.is_empty() {
        let Some(event) = events.next().await else { break };
        match event.context("waiting for pods to end")? {
            Event::Init => listed.clear(),
            Event::InitApply(pod) => {
                listed.insert(key(&pod));
            }
            Event::InitDone => {
                left.difference(&listed).for_each(gone);
                left.retain(|pod| listed.contains(pod));
            }
            Event::Delete(pod) => {
                if left.remove(&key(&pod)) {
                    gone(&key(&pod));
                }
            }
            Event::Apply(_) => {}
        }
    }
    Ok(())
}
