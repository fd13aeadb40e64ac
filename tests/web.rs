//! The application that tests deploy: web servers that answer with their pod's name, and a Service before them.

use std::net::SocketAddr;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use crate::stage::{HELLO, within};

/// A Deployment and a Service, both `web`.
pub(crate) async fn deploy(client: &Client, replicas: i32) {
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{
                    "name": "web", "image": HELLO,
                    "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                }]},
            },
        },
    });
    let deployment = serde_json::from_value(deployment).unwrap();
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    expose(client, "NodePort").await;
    available(client, replicas).await;
}

/// A Service before all pods with the label `app: web`; answers its address.
pub(crate) async fn expose(client: &Client, kind: &str) -> SocketAddr {
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let service: Value = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"type": kind, "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    let service: Service = serde_json::from_value(service).unwrap();
    let made = services.create(&PostParams::default(), &service).await.unwrap();
    format!("{}:80", made.spec.unwrap().cluster_ip.unwrap())
        .parse()
        .unwrap()
}

/// The Service's own address, and the node's port for it.
pub(crate) async fn addresses(client: &Client) -> (SocketAddr, SocketAddr) {
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let spec = services.get("web").await.unwrap().spec.unwrap();
    let port = u16::try_from(spec.ports.unwrap()[0].node_port.unwrap()).unwrap();
    let cluster_ip = format!("{}:80", spec.cluster_ip.unwrap()).parse().unwrap();
    (cluster_ip, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Waits until the Deployment has so many pods, all of its newest version and available.
pub(crate) async fn available(client: &Client, replicas: i32) {
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let available = await_condition(deployments, "web", move |deployment: Option<&Deployment>| {
        deployment.is_some_and(|deployment| {
            let status = deployment.status.clone().unwrap_or_default();
            let observed = status.observed_generation == deployment.metadata.generation;
            let counts = [
                status.replicas,
                status.updated_replicas,
                status.ready_replicas,
                status.available_replicas,
            ];
            observed && counts.iter().all(|count| count.unwrap_or(0) == replicas)
        })
    });
    within("the deployment is available", available).await.unwrap();
}
