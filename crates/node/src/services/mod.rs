//! Services on this node: from Services, EndpointSlices and host ports to kernel rules and DNS records.
//!
//! Also the order that lets pods go without a failed request: an endpoint leaves the rules, and only when the kernel
//! has that is its pod told to stop.

mod health;
mod host_ports;
mod project;
mod records;
mod rules;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use client::{Informer, ObjectKey};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use network::{LocalService, Network, ServiceTable};
use tokio::sync::{mpsc, oneshot};

use crate::bundle::env::service_variables;
use health::HealthChecks;
use host_ports::HostPorts;
use project::{Back, Front};
use rules::Place;

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
    place: Place,
    network: Arc<Network>,
    dns: Arc<dns::Dns>,
    fronts: Informer<Front>,
    backs: Informer<Back>,
    pods: Informer<HostPorts>,
    table: ServiceTable,
    /// The kernel has had the table once.
    loaded: bool,
    health: HealthChecks,
    draining: HashSet<IpAddr>,
    /// Services that lack an address or port because another has it; told once.
    contested: Vec<String>,
}

/// What is to be looked at anew.
#[derive(Default)]
struct Due {
    services: BTreeSet<ObjectKey>,
    pods: BTreeSet<ObjectKey>,
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
        let fronts = Informer::of::<Service>(Api::all(client.clone())).start(project::front);
        let backs = Informer::of::<EndpointSlice>(Api::all(client.clone()))
            .index(|back: &Back, values| values.push(back.service.to_string().into()))
            .start_some(project::back);
        let own_pods = Informer::of::<Pod>(Api::all(client.clone())).fields(&format!("spec.nodeName={node}"));
        let pods = own_pods.start_some(host_ports::of_pod);
        let own_node = Informer::of::<Node>(Api::all(client.clone())).fields(&format!("metadata.name={node}"));
        let nodes = own_node.start(rules::zone);
        let (mut front_changes, mut back_changes) = (fronts.changes(), backs.changes());
        let (mut pod_changes, mut node_changes) = (pods.changes(), nodes.changes());
        tokio::join!(fronts.synced(), backs.synced(), pods.synced(), nodes.synced());
        let (commands, mut receiver) = mpsc::unbounded_channel();
        let mut task = Task {
            place: Place {
                node: node.to_string(),
                zone: nodes
                    .get(&ObjectKey::cluster(node))
                    .and_then(|zone| zone.as_ref().clone()),
            },
            network,
            dns,
            fronts: fronts.clone(),
            backs,
            pods,
            table: ServiceTable {
                local,
                ..ServiceTable::default()
            },
            loaded: false,
            health: HealthChecks::default(),
            draining: HashSet::new(),
            contested: Vec::new(),
        };
        let all = Due {
            services: fronts.keys().into_iter().collect(),
            pods: task.pods.keys().into_iter().collect(),
        };
        task.update(all).await;
        tokio::spawn(async move {
            // The watch of the node ends with it.
            let _nodes = nodes;
            loop {
                let mut due = Due::default();
                let mut answers = Vec::new();
                tokio::select! {
                    Some(change) = front_changes.next() => { due.services.insert(change.key); }
                    Some(change) = back_changes.next() => due.services.extend(services_of(&change)),
                    Some(change) = pod_changes.next() => { due.pods.insert(change.key); }
                    Some(change) = node_changes.next() => task.moved(change.after.and_then(|zone| zone.as_ref().clone()), &mut due),
                    command = receiver.recv() => match command {
                        Some(command) => task.take(command, &mut due.services, &mut answers),
                        None => return,
                    },
                }
                // All that came together goes into the kernel together.
                tokio::task::yield_now().await;
                while let Ok(command) = receiver.try_recv() {
                    task.take(command, &mut due.services, &mut answers);
                }
                task.update(due).await;
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

    /// The node has another zone: every service may prefer other endpoints now.
    fn moved(&mut self, zone: Option<String>, due: &mut Due) {
        if self.place.zone != zone {
            self.place.zone = zone;
            due.services.extend(self.fronts.keys());
        }
    }

    /// Computes some services and pods anew and applies what changed.
    async fn update(&mut self, due: Due) {
        let mut records = Vec::new();
        let mut changed = false;
        for key in due.services {
            let front = self.fronts.get(&key);
            let backs = self.backs.by(0, &key.to_string());
            let rules = front
                .as_ref()
                .and_then(|front| rules::service(front, &backs, &self.place, &self.draining));
            changed |= self.put(key.to_string(), rules);
            let check = front.as_ref().and_then(|front| front.health_check_port);
            self.health
                .set(&key, check, rules::local_ready(&backs, &self.place, &self.draining));
            records.push((key, front.map(|front| records::record(&front, &backs))));
        }
        for key in due.pods {
            changed |= self.put_host_ports(&key);
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
        if changed || !self.loaded {
            self.apply().await;
        }
    }

    /// Puts rules into the table, or takes them out; whether it is another table then.
    fn put(&mut self, name: String, rules: Option<network::Service>) -> bool {
        match rules {
            Some(rules) if self.table.services.get(&name).is_some_and(|old| **old == rules) => false,
            Some(rules) => {
                self.table.services.insert(name, Arc::new(rules));
                true
            }
            None => self.table.services.remove(&name).is_some(),
        }
    }

    fn put_host_ports(&mut self, pod: &ObjectKey) -> bool {
        let wanted = self.pods.get(pod).map(|ports| ports.services(pod)).unwrap_or_default();
        let prefix = host_ports::prefix(pod);
        let known = self.table.services.range(prefix.clone()..).map(|(name, _)| name);
        let gone: Vec<String> = known
            .take_while(|name| name.starts_with(&prefix))
            .filter(|name| !wanted.contains_key(*name))
            .cloned()
            .collect();
        let mut changed = false;
        for name in gone {
            changed |= self.put(name, None);
        }
        for (name, rules) in wanted {
            changed |= self.put(name, Some(rules));
        }
        changed
    }

    async fn apply(&mut self) {
        let (network, table) = (self.network.clone(), self.table.clone());
        match tokio::task::spawn_blocking(move || network.apply(&table)).await {
            Ok(Ok(applied)) => {
                self.loaded = true;
                for name in applied.contested.iter().filter(|name| !self.contested.contains(name)) {
                    tracing::warn!(
                        name,
                        "an address and port of it belongs to another service or host port"
                    );
                }
                self.contested = applied.contested;
            }
            Ok(Err(error)) => tracing::error!(%error, "applying service rules"),
            Err(error) => tracing::error!(%error, "applying service rules"),
        }
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
