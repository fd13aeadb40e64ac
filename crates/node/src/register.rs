//! The node's own objects: its Node with what it has and how it is, and the lease that says it is alive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::Backoff;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::address::HostIp;
use crate::pods::handler::HANDLERS;
use crate::{Config, Error, machine};

/// As kubelets do it: a lease of 40 s that is renewed every 10 s, the whole status every 5 min.
const LEASE_SECONDS: i32 = 40;
const KUBELET_PORT: u16 = 10250;
const RENEW: Duration = Duration::from_secs(10);
const REPORT: Duration = Duration::from_secs(300);
pub(crate) const MAX_PODS: u32 = 250;
const LEASES: &str = "kube-node-lease";

/// Makes the Node if it isn't there and brings its labels up to date.
pub(crate) async fn register(client: &Client, config: &Config) -> Result<Node, Error> {
    let api: Api<Node> = Api::all(client.clone());
    let failed = |source| Error::Api {
        doing: "registering the node",
        source,
    };
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": config.name, "labels": labels(config)},
        "spec": {},
    });
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
    loop {
        let object: Node = serde_json::from_value(node.clone()).map_err(|error| Error::Server(error.to_string()))?;
        let made = match api.create(&PostParams::default(), &object).await {
            Err(error) if client::is_exists(&error) => {
                let labels = json!({"metadata": {"labels": labels(config)}});
                api.patch(&config.name, &PatchParams::default(), &Patch::Merge(labels))
                    .await
            }
            other => other,
        };
        match made {
            Ok(node) => {
                meta::failpoint::hit("node.registered");
                return Ok(node);
            }
            Err(error) if client::is_transient(&error) => {
                tracing::warn!(%error, "registering the node; it is tried again");
                tokio::time::sleep(backoff.next_delay()).await;
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Waits until the cluster has given the node its range of pod addresses.
pub(crate) async fn pod_cidr(client: &Client, name: &str) -> Result<ipnet::Ipv4Net, Error> {
    let api: Api<Node> = Api::all(client.clone());
    let has = |node: Option<&Node>| node.and_then(|node| node.spec.as_ref()?.pod_cidr.as_ref()).is_some();
    let node = await_condition(api, name, has)
        .await
        .map_err(|error| Error::Server(error.to_string()))?;
    let cidr = node.and_then(|node| node.spec?.pod_cidr).unwrap_or_default();
    cidr.parse()
        .map_err(|error| Error::Server(format!("the node's pod range {cidr:?}: {error}")))
}

fn labels(config: &Config) -> BTreeMap<String, String> {
    let arch = image::host_platform().architecture;
    let mut labels: BTreeMap<String, String> = [
        ("kubernetes.io/hostname", config.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", &arch),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", &arch),
    ]
    .map(|(key, value)| (key.to_string(), value.to_string()))
    .into();
    labels.extend(config.labels.clone());
    labels
}

/// The node's status as it is now.
pub(crate) struct Reporter {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) host_ip: HostIp,
    pub(crate) data_dir: std::path::PathBuf,
    pub(crate) images: image::Store,
    /// What the API says of this node, for the rest of it.
    pub(crate) own: tokio::sync::watch::Sender<Arc<Node>>,
}

impl Reporter {
    /// Writes the whole status once: `ready` or why not.
    pub(crate) async fn report(&self, ready: Result<(), &str>) -> Result<(), kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let old = api.get(&self.name).await?;
        let status = self.status(&old, ready);
        let patch = Patch::Strategic(json!({"status": status}));
        let new = api.patch_status(&self.name, &PatchParams::default(), &patch).await?;
        self.own.send_replace(Arc::new(new));
        Ok(())
    }

    /// Reports again and again, and renews the lease, until cancelled. When the cluster took the node for lost
    /// meanwhile, it is told at once that it isn't.
    pub(crate) async fn keep_alive(&self, uid: String) {
        let api: Api<Node> = Api::all(self.client.clone());
        let seen = kube::runtime::watcher::watch_object(api, &self.name).default_backoff();
        let mut seen = std::pin::pin!(seen);
        let mut report = tokio::time::interval_at(tokio::time::Instant::now() + REPORT, REPORT);
        let mut renew = tokio::time::interval(RENEW);
        renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut host_ip = self.host_ip.clone();
        loop {
            let done = tokio::select! {
                _ = report.tick() => within(self.report(Ok(()))).await,
                _ = renew.tick() => within(self.renew(&uid)).await,
                node = seen.next() => {
                    if let Some(Ok(Some(node))) = node {
                        if !crate::is_ready(&node) {
                            report.reset_immediately();
                        }
                        self.own.send_replace(Arc::new(node));
                    }
                    continue;
                }
                () = host_ip.changed() => {
                    report.reset_immediately();
                    continue;
                }
            };
            if let Err(error) = done {
                // A server that is away is asked again soon, for whatever was to be told.
                report.reset_after(RENEW);
                tracing::debug!(%error, "telling the server that this node is alive");
            }
        }
    }

    async fn renew(&self, uid: &str) -> Result<(), kube::Error> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), LEASES);
        let now = MicroTime(Timestamp::now());
        let body =
            json!({"spec": {"holderIdentity": self.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}});
        match api
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(body))
            .await
        {
            Err(error) if client::is_not_found(&error) => {
                let owner = OwnerReference {
                    api_version: "v1".to_string(),
                    kind: "Node".to_string(),
                    name: self.name.clone(),
                    uid: uid.to_string(),
                    ..OwnerReference::default()
                };
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(self.name.clone()),
                        namespace: Some(LEASES.to_string()),
                        owner_references: Some(vec![owner]),
                        ..ObjectMeta::default()
                    },
                    spec: Some(LeaseSpec {
                        holder_identity: Some(self.name.clone()),
                        lease_duration_seconds: Some(LEASE_SECONDS),
                        renew_time: Some(now),
                        ..LeaseSpec::default()
                    }),
                };
                api.create(&PostParams::default(), &lease).await.map(drop)
            }
            other => other.map(drop),
        }
    }

    fn status(&self, old: &Node, ready: Result<(), &str>) -> Value {
        let size = json!({
            "cpu": machine::cpus().to_string(),
            "memory": format!("{}Ki", machine::memory() / 1024),
            "ephemeral-storage": format!("{}Ki", machine::disk(&self.data_dir) / 1024),
            "pods": MAX_PODS.to_string(),
        });
        json!({
            "capacity": size,
            "allocatable": size,
            "addresses": [
                {"type": "InternalIP", "address": self.host_ip.get().to_string()},
                {"type": "Hostname", "address": self.name},
            ],
            "conditions": conditions(old, ready),
            // Where a kubelet would be asked: the server leads it through the connection that the node opened.
            "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
            "nodeInfo": node_info(),
            "images": self.image_list(),
            // `supplementalGroupsPolicy: Strict` of pods is kept.
            "features": {"supplementalGroupsPolicy": true},
            "runtimeHandlers": HANDLERS.map(|name| json!({"name": name})),
        })
    }

    fn image_list(&self) -> Vec<Value> {
        let listed = self.images.list().unwrap_or_default();
        let mut by_digest: BTreeMap<String, (Vec<String>, u64)> = BTreeMap::new();
        for image in listed {
            let entry = by_digest
                .entry(image.digest.clone())
                .or_insert_with(|| (Vec::new(), image.size));
            entry.0.push(image.name);
        }
        // As many as kubelets report.
        by_digest
            .into_values()
            .take(50)
            .map(|(names, size)| json!({"names": names, "sizeBytes": size}))
            .collect()
    }
}

/// Gives up where the way to the server is cut; the next try takes another connection.
async fn within(
    telling: impl Future<Output = Result<(), kube::Error>>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Ok(tokio::time::timeout(RENEW, telling).await??)
}

fn conditions(old: &Node, ready: Result<(), &str>) -> Vec<Value> {
    let now = meta::time::now();
    let pressure = [
        (
            "MemoryPressure",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        (
            "DiskPressure",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        (
            "PIDPressure",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
    ];
    let mut list: Vec<(&str, &str, &str, &str)> = pressure
        .into_iter()
        .map(|(kind, reason, message)| (kind, "False", reason, message))
        .collect();
    list.push(match ready {
        Ok(()) => ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        Err(why) => ("Ready", "False", "KubeletNotReady", why),
    });
    let before = old.status.iter().flat_map(|status| status.conditions.iter().flatten());
    list.into_iter()
        .map(|(kind, status, reason, message)| {
            let same = before.clone().find(|c| c.type_ == kind && c.status == status);
            let since = same
                .and_then(|c| c.last_transition_time.as_ref())
                .map(|t| meta::time::format_seconds(t.0));
            json!({"type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": now, "lastTransitionTime": since.unwrap_or_else(|| now.clone())})
        })
        .collect()
}

fn node_info() -> Value {
    let version = concat!("v1.37.2+gantry.", env!("CARGO_PKG_VERSION"));
    json!({
        "machineID": machine::line_of("/etc/machine-id"),
        "systemUUID": machine::line_of("/sys/class/dmi/id/product_uuid"),
        "bootID": machine::line_of("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": machine::line_of("/proc/sys/kernel/osrelease"),
        "osImage": machine::os_image(),
        "containerRuntimeVersion": concat!("gantry://", env!("CARGO_PKG_VERSION")),
        "kubeletVersion": version,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": image::host_platform().architecture,
    })
}
