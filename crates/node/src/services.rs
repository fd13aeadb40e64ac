//! Services on this node: from Services and EndpointSlices to kernel rules and DNS records.
//!
//! Also the order that lets pods go without a failed request: an endpoint leaves the rules, and only when the kernel
//! has that is its pod told to stop.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use client::{Informer, ObjectKey};
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use network::{LocalService, Network, ServiceTable};
use tokio::sync::{mpsc, oneshot};

use crate::bundle::env::service_variables;

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
const NONE: &str = "None";

/// What is kept of a Service.
#[derive(Debug, PartialEq)]
struct Front {
    kind: String,
    cluster_ips: Vec<IpAddr>,
    headless: bool,
    external_name: Option<String>,
    external_ips: Vec<IpAddr>,
    affinity: Option<Duration>,
    internal_local: bool,
    external_local: bool,
    publish_not_ready: bool,
    ports: Vec<ServicePort>,
}

/// What is kept of an EndpointSlice.
#[derive(Debug, PartialEq)]
struct Back {
    service: ObjectKey,
    ports: Vec<(Option<String>, network::Protocol, u16)>,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, PartialEq)]
struct Endpoint {
    addresses: Vec<IpAddr>,
    hostname: Option<String>,
    node: Option<String>,
    ready: bool,
    serving: bool,
    terminating: bool,
}

enum Command {
    /// Take an address out of all services; answers whether it was in any.
    Drain(IpAddr, oneshot::Sender<bool>),
    /// The address's pod is gone.
    Drained(IpAddr),
}

/// Handle to the services of this node.
pub(crate) struct Services {
    fronts: Informer<Front>,
    commands: mpsc::UnboundedSender<Command>,
}

struct Task {
    node: String,
    network: Arc<Network>,
    dns: Arc<dns::Dns>,
    fronts: Informer<Front>,
    backs: Informer<Back>,
    table: ServiceTable,
    draining: HashSet<IpAddr>,
}

impl Services {
    /// Starts following services; returns when the kernel and DNS have all that there are.
    pub(crate) async fn start(
        client: &Client,
        node: &str,
        network: Arc<Network>,
        dns: Arc<dns::Dns>,
        local: Vec<LocalService>,
    ) -> Self {
        let fronts = Informer::of::<Service>(Api::all(client.clone())).start_some(front);
        let backs = Informer::of::<EndpointSlice>(Api::all(client.clone()))
            .index(|back: &Back, values| values.push(back.service.to_string().into()))
            .start_some(back);
        let (mut front_changes, mut back_changes) = (fronts.changes(), backs.changes());
        fronts.synced().await;
        backs.synced().await;
        let (commands, mut receiver) = mpsc::unbounded_channel();
        let mut task = Task {
            node: node.to_string(),
            network,
            dns,
            fronts: fronts.clone(),
            backs,
            table: ServiceTable {
                local,
                ..ServiceTable::default()
            },
            draining: HashSet::new(),
        };
        let all = fronts.keys().into_iter().collect();
        task.update(all).await;
        tokio::spawn(async move {
            loop {
                let mut keys = BTreeSet::new();
                let mut answers = Vec::new();
                tokio::select! {
                    Some(change) = front_changes.next() => { keys.insert(change.key); }
                    Some(change) = back_changes.next() => keys.extend(services_of(&change)),
                    command = receiver.recv() => match command {
                        Some(command) => task.take(command, &mut keys, &mut answers),
                        None => return,
                    },
                }
                // All that came together goes into the kernel together.
                tokio::task::yield_now().await;
                while let Ok(command) = receiver.try_recv() {
                    task.take(command, &mut keys, &mut answers);
                }
                task.update(keys).await;
                for (answer, was_in) in answers {
                    let _: Result<(), bool> = oneshot::Sender::send(answer, was_in);
                }
            }
        });
        Self { fronts, commands }
    }

    /// Takes a pod's address out of every service that has other endpoints to offer. When this returns, no new
    /// connection goes there; true if any could have.
    pub(crate) async fn drain(&self, address: IpAddr) -> bool {
        let (sender, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Drain(address, sender));
        answer.await.unwrap_or(false)
    }

    /// Forgets an address whose pod is gone.
    pub(crate) fn drained(&self, address: IpAddr) {
        let _ = self.commands.send(Command::Drained(address));
    }

    /// The variables that a pod's containers have of services (`enableServiceLinks`), the API's own always.
    pub(crate) fn variables(&self, pod: &Pod) -> BTreeMap<String, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let links = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.enable_service_links)
            .unwrap_or(true);
        let mut vars = BTreeMap::new();
        for key in self.fronts.keys() {
            let own = links && key.namespace.as_deref() == Some(namespace);
            let api = key.namespace.as_deref() == Some("default") && key.name == "kubernetes";
            if !own && !api {
                continue;
            }
            let Some(front) = self.fronts.get(&key) else { continue };
            let Some(ip) = front.cluster_ips.first() else { continue };
            let ports: Vec<_> = front
                .ports
                .iter()
                .map(|port| {
                    (
                        port.name.clone(),
                        port.port,
                        port.protocol.clone().unwrap_or_else(|| "TCP".to_string()),
                    )
                })
                .collect();
            service_variables(&mut vars, &key.name, &ip.to_string(), &ports);
        }
        vars
    }
}

fn services_of(change: &client::Change<Back>) -> Vec<ObjectKey> {
    [&change.before, &change.after]
        .into_iter()
        .flatten()
        .map(|back| back.service.clone())
        .collect()
}

impl Task {
    fn take(
        &mut self,
        command: Command,
        keys: &mut BTreeSet<ObjectKey>,
        answers: &mut Vec<(oneshot::Sender<bool>, bool)>,
    ) {
        match command {
            Command::Drain(address, answer) => {
                self.draining.insert(address);
                let of = self.services_with(address);
                answers.push((answer, !of.is_empty()));
                keys.extend(of);
            }
            Command::Drained(address) => {
                self.draining.remove(&address);
                keys.extend(self.services_with(address));
            }
        }
    }

    fn services_with(&self, address: IpAddr) -> Vec<ObjectKey> {
        let has = |back: &Arc<Back>| {
            back.endpoints
                .iter()
                .any(|endpoint| endpoint.addresses.contains(&address))
        };
        self.backs
            .list()
            .into_iter()
            .filter(has)
            .map(|back| back.service.clone())
            .collect()
    }

    /// Computes some services anew and applies what changed.
    async fn update(&mut self, keys: BTreeSet<ObjectKey>) {
        let mut records = Vec::new();
        let mut changed = false;
        for key in keys {
            let name = key.to_string();
            let front = self.fronts.get(&key);
            let backs = self.backs.by(0, &name);
            let rules = front.as_ref().and_then(|front| self.rules(front, &backs));
            changed |= match rules {
                Some(rules) if self.table.services.get(&name).is_some_and(|old| **old == rules) => false,
                Some(rules) => {
                    self.table.services.insert(name, Arc::new(rules));
                    true
                }
                None => self.table.services.remove(&name).is_some(),
            };
            records.push((key, front.map(|front| record(&front, &backs))));
        }
        self.dns.update(|zone| {
            for (key, record) in records {
                let namespace = key.namespace.as_deref().unwrap_or_default();
                match record {
                    Some(record) => zone.put(namespace, &key.name, record),
                    None => zone.remove(namespace, &key.name),
                }
            }
        });
        if !changed && !self.table.local.is_empty() && !self.table.services.is_empty() {
            return;
        }
        let (network, table) = (self.network.clone(), self.table.clone());
        match tokio::task::spawn_blocking(move || network.apply(&table)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%error, "applying service rules"),
            Err(error) => tracing::error!(%error, "applying service rules"),
        }
    }

    /// The kernel's view of a service; `None` when it needs no rules.
    fn rules(&self, front: &Front, backs: &[Arc<Back>]) -> Option<network::Service> {
        if front.headless || front.kind == "ExternalName" || front.cluster_ips.is_empty() {
            return None;
        }
        let node_ports = front.kind != "ClusterIP";
        let ports = front.ports.iter().filter_map(|port| {
            let protocol = protocol(port.protocol.as_deref())?;
            Some(network::ServicePort {
                protocol,
                port: u16::try_from(port.port).ok()?,
                node_port: port
                    .node_port
                    .filter(|_| node_ports)
                    .and_then(|port| u16::try_from(port).ok())
                    .filter(|p| *p > 0),
                endpoints: self.endpoints(front, port.name.as_deref(), protocol, backs),
            })
        });
        Some(network::Service {
            cluster_ips: front.cluster_ips.clone(),
            external_ips: front.external_ips.clone(),
            affinity: front.affinity,
            internal_local: front.internal_local,
            external_local: front.external_local,
            ports: ports.collect(),
        })
    }

    /// The endpoints of one port: the ready ones, or where there is none those that still serve while they end.
    fn endpoints(
        &self,
        front: &Front,
        port_name: Option<&str>,
        protocol: network::Protocol,
        backs: &[Arc<Back>],
    ) -> Vec<network::Endpoint> {
        let mut good = BTreeSet::new();
        let mut fallback = BTreeSet::new();
        for back in backs {
            let fits = |(name, p, _): &&(Option<String>, network::Protocol, u16)| {
                name.as_deref().unwrap_or_default() == port_name.unwrap_or_default() && *p == protocol
            };
            let Some((_, _, port)) = back.ports.iter().find(fits) else {
                continue;
            };
            for endpoint in &back.endpoints {
                let Some(&address) = endpoint.addresses.first() else {
                    continue;
                };
                let local = endpoint.node.as_deref() == Some(&self.node);
                let entry = network::Endpoint {
                    address,
                    port: *port,
                    local,
                };
                let draining = self.draining.contains(&address);
                if (endpoint.ready || front.publish_not_ready) && !draining {
                    good.insert(entry);
                } else if (endpoint.serving && endpoint.terminating) || (draining && endpoint.ready) {
                    fallback.insert(entry);
                }
            }
        }
        if good.is_empty() { fallback } else { good }.into_iter().collect()
    }
}

fn record(front: &Front, backs: &[Arc<Back>]) -> dns::Service {
    let port = |port: &ServicePort| {
        let protocol = dns_protocol(protocol(port.protocol.as_deref())?);
        Some(dns::Port {
            name: port.name.clone(),
            protocol,
            port: u16::try_from(port.port).ok()?,
        })
    };
    let kind = if let Some(name) = &front.external_name {
        dns::Kind::External(name.clone())
    } else if front.headless {
        let usable = |endpoint: &&Endpoint| endpoint.ready || front.publish_not_ready;
        let of = |back: &Arc<Back>| -> Vec<dns::Endpoint> {
            let ports: Vec<dns::Port> = back
                .ports
                .iter()
                .map(|(name, protocol, port)| dns::Port {
                    name: name.clone(),
                    protocol: dns_protocol(*protocol),
                    port: *port,
                })
                .collect();
            back.endpoints
                .iter()
                .filter(usable)
                .map(|endpoint| dns::Endpoint {
                    addresses: endpoint.addresses.clone(),
                    hostname: endpoint.hostname.clone(),
                    ports: ports.clone(),
                })
                .collect()
        };
        dns::Kind::Headless(backs.iter().flat_map(of).collect())
    } else {
        dns::Kind::Cluster(front.cluster_ips.clone())
    };
    dns::Service {
        kind,
        ports: front.ports.iter().filter_map(port).collect(),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of a projection")]
fn front(service: &Service) -> Option<Front> {
    let spec = service.spec.clone().unwrap_or_default();
    let ips = spec
        .cluster_ips
        .clone()
        .unwrap_or_else(|| spec.cluster_ip.clone().into_iter().collect());
    let balancers = service
        .status
        .iter()
        .filter_map(|s| s.load_balancer.as_ref()?.ingress.as_ref())
        .flatten();
    let kind = spec.type_.clone().unwrap_or_else(|| "ClusterIP".to_string());
    let local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let seconds = spec
        .session_affinity_config
        .as_ref()
        .and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    Some(Front {
        headless: ips.iter().any(|ip| ip == NONE),
        cluster_ips: ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
        external_name: spec.external_name.clone().filter(|_| kind == "ExternalName"),
        external_ips: spec
            .external_ips
            .iter()
            .flatten()
            .chain(balancers.filter_map(|ingress| ingress.ip.as_ref()))
            .filter_map(|ip| ip.parse().ok())
            .collect(),
        affinity: (spec.session_affinity.as_deref() == Some("ClientIP"))
            .then(|| Duration::from_secs(seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(10_800))),
        internal_local: local(&spec.internal_traffic_policy),
        external_local: local(&spec.external_traffic_policy),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        ports: spec.ports.unwrap_or_default(),
        kind,
    })
}

fn back(slice: &EndpointSlice) -> Option<Back> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    let ports = slice.ports.iter().flatten().filter_map(|port| {
        let number = u16::try_from(port.port?).ok()?;
        Some((
            port.name.clone().filter(|name| !name.is_empty()),
            protocol(port.protocol.as_deref())?,
            number,
        ))
    });
    let endpoints = slice.endpoints.iter().flatten().map(|endpoint| {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true);
        Endpoint {
            addresses: endpoint
                .addresses
                .iter()
                .filter_map(|address| address.parse().ok())
                .collect(),
            hostname: endpoint.hostname.clone(),
            node: endpoint.node_name.clone(),
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or(false),
        }
    });
    Some(Back {
        service: ObjectKey::namespaced(slice.metadata.namespace.clone().unwrap_or_default(), service.clone()),
        ports: ports.collect(),
        endpoints: endpoints.collect(),
    })
}

fn protocol(name: Option<&str>) -> Option<network::Protocol> {
    match name.unwrap_or("TCP") {
        "TCP" => Some(network::Protocol::Tcp),
        "UDP" => Some(network::Protocol::Udp),
        "SCTP" => Some(network::Protocol::Sctp),
        _ => None,
    }
}

fn dns_protocol(protocol: network::Protocol) -> dns::Protocol {
    match protocol {
        network::Protocol::Tcp => dns::Protocol::Tcp,
        network::Protocol::Udp => dns::Protocol::Udp,
        network::Protocol::Sctp => dns::Protocol::Sctp,
    }
}

/// What this host itself answers under service addresses: DNS, and the API where the server is on loopback only.
pub(crate) fn local_services(
    dns_vip: Option<IpAddr>,
    dns_target: SocketAddr,
    api: Option<(SocketAddr, SocketAddr)>,
) -> Vec<LocalService> {
    let mut local = Vec::new();
    if let Some(vip) = dns_vip {
        for protocol in [network::Protocol::Udp, network::Protocol::Tcp] {
            local.push(LocalService {
                service: SocketAddr::new(vip, 53),
                protocol,
                target: dns_target,
            });
        }
    }
    if let Some((service, target)) = api {
        local.push(LocalService {
            service,
            protocol: network::Protocol::Tcp,
            target,
        });
    }
    local
}
