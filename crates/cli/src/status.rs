//! `gantry status`: what runs, where, how healthy.

use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::args::Output;
use crate::instance::Instance;
use crate::leave::as_node;
use crate::process::Role;
use crate::up::connect;

/// How long the server may take to answer before it counts as not answering.
const PATIENCE: Duration = Duration::from_secs(3);

/// Prints it.
pub async fn run(instance: Instance, output: Output) -> anyhow::Result<()> {
    let status = collect(&instance).await?;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
        Output::Text => print!("{}", text(&status)),
    }
    Ok(())
}

async fn collect(instance: &Instance) -> anyhow::Result<Value> {
    let settings = instance.stored_settings()?;
    let pid = |role| instance.running(role).map(|running| running.pid);
    let mut status = json!({
        "dataDir": instance.dir(),
        "instance": instance.id(),
        "server": {
            "pid": pid(Role::Server),
            "endpoint": settings.as_ref().map(|settings| settings.server.clone().unwrap_or_else(|| settings.local_endpoint())),
            "version": null,
            "healthy": false,
        },
        "node": {"pid": pid(Role::Node), "name": settings.as_ref().map(|settings| settings.node_name.clone())},
        "joined": settings.as_ref().is_some_and(|settings| settings.server.is_some()),
        "supervisor": {"pid": pid(Role::Supervisor)},
        "nodes": [],
        "pods": [],
    });
    let joined = settings.as_ref().filter(|settings| settings.server.is_some());
    let known = match joined {
        Some(_) => instance.node_kubeconfig().exists(),
        None => instance.admin_kubeconfig().exists() && pid(Role::Server).is_some(),
    };
    if !known {
        return Ok(status);
    }
    let asked = async {
        let (client, own) = match joined {
            // A node sees its own pods only.
            Some(settings) => (as_node(instance).await?, Some(settings.node_name.as_str())),
            None => (connect(instance).await?, None),
        };
        let version = client.apiserver_version().await?;
        anyhow::Ok((version.git_version, nodes(&client).await?, pods(&client, own).await?))
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok((version, nodes, pods))) => {
            status["server"]["version"] = json!(version);
            status["server"]["healthy"] = json!(true);
            status["nodes"] = json!(nodes);
            status["pods"] = json!(pods);
        }
        Ok(Err(error)) => status["server"]["error"] = json!(format!("{error:#}")),
        Err(_) => status["server"]["error"] = json!(format!("no answer within {} s", PATIENCE.as_secs())),
    }
    Ok(status)
}

async fn nodes(client: &Client) -> Result<Vec<Value>, kube::Error> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    let of = |node: &Node| {
        let status = node.status.clone().unwrap_or_default();
        let address = status
            .addresses
            .iter()
            .flatten()
            .find(|address| address.type_ == "InternalIP");
        let capacity = status.capacity.unwrap_or_default();
        json!({
            "name": node.metadata.name,
            "ready": node::is_ready(node),
            "address": address.map(|address| &address.address),
            "cpu": capacity.get("cpu"),
            "memory": capacity.get("memory"),
        })
    };
    Ok(nodes.items.iter().map(of).collect())
}

async fn pods(client: &Client, node: Option<&str>) -> Result<Vec<Value>, kube::Error> {
    let mut params = ListParams::default();
    if let Some(node) = node {
        params = params.fields(&format!("spec.nodeName={node}"));
    }
    let pods = Api::<Pod>::all(client.clone()).list(&params).await?;
    let of = |pod: &Pod| {
        let status = pod.status.clone().unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        let ready = status
            .conditions
            .iter()
            .flatten()
            .any(|c| c.type_ == "Ready" && c.status == "True");
        json!({
            "namespace": pod.metadata.namespace,
            "name": pod.metadata.name,
            "node": pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            "phase": status.phase,
            "ready": ready,
            "restarts": containers.iter().map(|container| container.restart_count).sum::<i32>(),
            "address": status.pod_ip,
        })
    };
    Ok(pods.items.iter().map(of).collect())
}

fn text(status: &Value) -> String {
    let mut out = String::new();
    let show = |value: &Value| match value {
        Value::Null => "-".to_string(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let process = |value: &Value| {
        if value.is_null() {
            "not running".to_string()
        } else {
            format!("process {value}")
        }
    };
    let _ = writeln!(out, "data     {}", show(&status["dataDir"]));
    let server = &status["server"];
    let joined = status["joined"] == json!(true);
    let _ = writeln!(
        out,
        "server   {}  {}  {}",
        if joined {
            "elsewhere".to_string()
        } else {
            process(&server["pid"])
        },
        show(&server["endpoint"]),
        show(&server["version"])
    );
    if let Some(error) = server.get("error") {
        let _ = writeln!(out, "         {}", show(error));
    }
    let _ = writeln!(
        out,
        "node     {}  {}",
        process(&status["node"]["pid"]),
        show(&status["node"]["name"])
    );
    let runs = !server["pid"].is_null() || !status["node"]["pid"].is_null();
    if status["supervisor"]["pid"].is_null() && runs {
        let _ = writeln!(
            out,
            "         nothing restarts them when they die; `gantry up` sees to that"
        );
    }
    for node in status["nodes"].as_array().into_iter().flatten() {
        let ready = if node["ready"] == json!(true) {
            "Ready"
        } else {
            "NotReady"
        };
        let _ = writeln!(
            out,
            "\n{}  {ready}  {}  {} processors, {} memory",
            show(&node["name"]),
            show(&node["address"]),
            show(&node["cpu"]),
            show(&node["memory"])
        );
        let on_node = |pod: &&Value| pod["node"] == node["name"];
        pods_text(
            &mut out,
            status["pods"].as_array().into_iter().flatten().filter(on_node),
        );
    }
    let waiting: Vec<&Value> = status["pods"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| pod["node"].is_null())
        .collect();
    if !waiting.is_empty() {
        let _ = writeln!(out, "\nwithout a node");
        pods_text(&mut out, waiting.into_iter());
    }
    out
}

fn pods_text<'a>(out: &mut String, pods: impl Iterator<Item = &'a Value>) {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_string();
    for pod in pods {
        let name = format!("{}/{}", text(&pod["namespace"]), text(&pod["name"]));
        let ready = if pod["ready"] == json!(true) { "ready" } else { "" };
        let _ = writeln!(
            out,
            "  {name:<50} {:<10} {ready:<6} {:<16} {} restarts",
            text(&pod["phase"]),
            text(&pod["address"]),
            pod["restarts"]
        );
    }
}
