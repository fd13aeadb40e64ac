//! Other nodes, so that their pods are reached: from Node objects, and again whenever this host's own routes change.
//!
//! Never in here: how a node is reached; that is the network's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use client::Informer;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use network::{HostChanges, Network, Peer};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::Error;

/// A link that comes or goes is told in many words; they are heard out before anything is done.
const SETTLE: Duration = Duration::from_millis(100);
/// How soon the kernel is asked again after it refused.
const RETRY: Duration = Duration::from_secs(5);

struct Task {
    node: String,
    own: tokio::sync::watch::Receiver<IpAddr>,
    network: Arc<Network>,
    nodes: Informer<Peer>,
    /// What was logged last about each node, so that it is logged once.
    told: BTreeMap<String, String>,
}

/// Starts following the other nodes; returns when the pods of those that there are can be reached. `own` is the address
/// by which others know this node.
pub(crate) async fn start(
    client: &Client,
    node: &str,
    own: tokio::sync::watch::Receiver<IpAddr>,
    network: Arc<Network>,
) -> Result<(), Error> {
    let nodes = Informer::of::<Node>(Api::all(client.clone())).start_some(peer);
    let mut changes = nodes.changes();
    let mut host = listen(&network)
        .map_err(|error| Error::Server(format!("listening for changes of the host's network: {error}")))?;
    nodes.synced().await;
    let mut task = Task {
        node: node.to_string(),
        own,
        network,
        nodes,
        told: BTreeMap::new(),
    };
    let mut again = !task.update().await;
    tokio::spawn(async move {
        loop {
            let retry = async {
                if again {
                    tokio::time::sleep(RETRY).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            let changed = tokio::select! {
                change = changes.next() => match change {
                    Some(change) => change.before != change.after,
                    None => return,
                },
                Ok(()) = task.own.changed() => true,
                changed = said(&mut host) => changed,
                () = retry => true,
            };
            if changed {
                again = !task.update().await;
            }
        }
    });
    Ok(())
}

fn listen(network: &Network) -> std::io::Result<AsyncFd<HostChanges>> {
    let changes = HostChanges::open(&network.config().instance)?;
    // SAFETY: the descriptor belongs to `changes`, which lives as long as the registration and never closes or replaces
    // it before.
    Ok(unsafe { AsyncFd::register_with_interest(changes, Interest::READABLE) }?)
}

/// Waits until the kernel says something about the host's network; whether it matters.
async fn said(host: &mut AsyncFd<HostChanges>) -> bool {
    let Ok(mut guard) = host.readable_mut().await else {
        return std::future::pending().await;
    };
    let taken = guard.get_inner_mut().take();
    guard.clear_ready();
    let mut changed = taken.unwrap_or(true);
    if changed {
        tokio::time::sleep(SETTLE).await;
        changed |= host.get_mut().take().unwrap_or(true);
    }
    changed
}

impl Task {
    /// Tells the network who is there; false when it must be told again.
    async fn update(&mut self) -> bool {
        let own_name = self.node.clone();
        let peers: Vec<Peer> = self
            .nodes
            .list()
            .into_iter()
            .filter(|peer| peer.name != own_name)
            .map(|peer| peer.as_ref().clone())
            .collect();
        let (network, own) = (self.network.clone(), *self.own.borrow_and_update());
        let done = tokio::task::spawn_blocking(move || network.set_peers(own, &peers)).await;
        let error = match done {
            Ok(Ok(reached)) => {
                self.tell(&reached);
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(error, "making other nodes' pods reachable");
        false
    }

    fn tell(&mut self, reached: &network::Reached) {
        let troubles: BTreeMap<String, String> = reached
            .unreached
            .iter()
            .map(|node| (node.name.clone(), node.why.to_string()))
            .collect();
        for (node, why) in troubles.iter().filter(|(node, why)| self.told.get(*node) != Some(why)) {
            tracing::warn!(node, why, "the pods of a node are not reached");
        }
        self.told = troubles;
        if reached.changes > 0 {
            let (direct, tunnelled, mtu) = (reached.direct, reached.tunnelled, reached.mtu);
            tracing::info!(direct, tunnelled, mtu, "other nodes' pods are reached");
        }
    }
}

/// What the network needs of a Node; `None` until it has an address and a range of pods.
fn peer(node: &Node) -> Option<Peer> {
    let addresses = node.status.as_ref()?.addresses.iter().flatten();
    let internal = addresses.filter(|address| address.type_ == "InternalIP");
    let address = internal
        .filter_map(|address| address.address.parse::<IpAddr>().ok())
        .find(IpAddr::is_ipv4)?;
    let spec = node.spec.as_ref()?;
    let ranges = spec.pod_cidrs.clone().or_else(|| Some(vec![spec.pod_cidr.clone()?]))?;
    let pods: Vec<_> = ranges.iter().filter_map(|range| range.parse().ok()).collect();
    (!pods.is_empty()).then(|| Peer {
        name: node.metadata.name.clone().unwrap_or_default(),
        address,
        pods,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(value: serde_json::Value) -> Option<Peer> {
        peer(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn a_node_is_a_peer_when_it_has_an_address_and_a_range() {
        let status = json!({"addresses": [
            {"type": "Hostname", "address": "two"},
            {"type": "InternalIP", "address": "fd00::2"},
            {"type": "InternalIP", "address": "192.0.2.2"},
        ]});
        let meta = json!({"name": "two"});
        let whole = of(json!({"metadata": meta, "status": status,
            "spec": {"podCIDR": "10.42.1.0/24", "podCIDRs": ["10.42.1.0/24", "fd00:1::/64"]}}))
        .unwrap();
        assert_eq!(whole.address.to_string(), "192.0.2.2");
        assert_eq!(whole.pods, ["10.42.1.0/24".parse().unwrap()]);
        assert_eq!(of(json!({"metadata": meta, "status": status, "spec": {}})), None);
        assert_eq!(of(json!({"metadata": meta, "spec": {"podCIDR": "10.42.1.0/24"}})), None);
    }
}
