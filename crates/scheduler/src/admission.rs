//! What a node checks once more before it takes a pod that is bound to it: someone may have bound it past the scheduler
//! (`spec.nodeName`), and a decision may be outdated when it arrives. Pure, and by the same plug-ins that decided.

use hashbrown::HashMap;
use k8s_openapi::api::core::v1 as core;

use crate::model::{Effect, Node, NodeSpec, Pod};
use crate::plugins::{Affinity, Fit, Name, Plugin, Ports, Taints, Verdict};
use crate::project;

/// Why a node turns a pod away: what becomes the pod's `status.reason`, and the sentence for people.
///
/// Reasons and texts are the kubelet's: `OutOfcpu`, `NodePorts`, `NodeAffinity` and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One word, in Kubernetes' spelling.
    pub reason: String,
    /// What didn't fit.
    pub message: String,
}

/// The pods that a node has taken, and what they take of it.
pub struct Room {
    node: Node,
    pods: HashMap<String, Pod>,
}

// === impl Room ===

impl Default for Room {
    fn default() -> Self {
        Self {
            node: Node::new(NodeSpec::default()),
            pods: HashMap::new(),
        }
    }
}

impl Room {
    /// Counts a pod that the node has, as it is now; one that has ended takes nothing any more.
    pub fn put(&mut self, pod: &core::Pod) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.remove(uid);
        if let Some(pod) = project::pod(pod) {
            self.node.take(&pod);
            self.pods.insert(uid.to_owned(), pod);
        }
    }

    /// The pod with this uid is gone.
    pub fn remove(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            self.node.give_back(&pod);
        }
    }

    /// Whether the node, as it is now, has room for one more pod. It isn't counted yet.
    ///
    /// # Errors
    /// The first thing that is in the way: resources, then node affinity, the node's name, host ports, and taints that
    /// would end the pod at once. Extended resources that the node doesn't know are not asked of it.
    pub fn admit(&mut self, pod: &core::Pod, node: &core::Node) -> Result<(), Refusal> {
        self.node.set(project::node(node));
        // One that has ended wants nothing of the node.
        let Some(mut pod) = project::pod(pod) else {
            return Ok(());
        };
        let known = &self.node.spec.allocatable.extended;
        pod.requests
            .extended
            .retain(|(name, _)| known.iter().any(|(known, _)| known == name));
        check(&pod, &self.node)
    }
}

fn check(pod: &Pod, state: &Node) -> Result<(), Refusal> {
    if let Some(lack) = Fit::lacks(pod, state).next() {
        return Err(Refusal {
            reason: format!("OutOf{}", lack.resource),
            message: format!(
                "Node didn't have enough resource: {}, requested: {}, used: {}, capacity: {}",
                lack.resource, lack.requested, lack.used, lack.capacity
            ),
        });
    }
    let plugins: [(&str, &dyn Plugin); 3] = [("NodeAffinity", &Affinity), ("NodeName", &Name), ("NodePorts", &Ports)];
    for (name, plugin) in plugins {
        if let Verdict::Not { reasons, .. } = plugin.filter(pod, state) {
            return Err(Refusal::of(name, &reasons.join(", ")));
        }
    }
    if Taints::untolerated(pod, state, |effect| effect == Effect::NoExecute) {
        return Err(Refusal::of("TaintToleration", Taints::REASON));
    }
    Ok(())
}

// === impl Refusal ===

impl Refusal {
    fn of(predicate: &str, text: &str) -> Self {
        Self {
            reason: predicate.to_owned(),
            message: format!("Predicate {predicate} failed: {text}"),
        }
    }

    /// Whether newer labels of the node may change the answer.
    pub fn is_of_labels(&self) -> bool {
        self.reason == "NodeAffinity"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, spec: Value) -> core::Pod {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "d", "uid": name}, "spec": spec}))
            .unwrap()
    }

    fn with(container: Value) -> Value {
        json!({"nodeName": "n", "containers": [container]})
    }

    fn node(spec: Value) -> core::Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"kubernetes.io/os": "linux"}},
            "spec": spec,
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "2", "ephemeral-storage": "1Gi"}},
        }))
        .unwrap()
    }

    fn check(spec: Value, node: &core::Node, others: &[core::Pod], expected: &str) {
        let mut room = Room::default();
        others.iter().for_each(|other| room.put(other));
        let said = match room.admit(&pod("new", spec), node) {
            Ok(()) => "admitted".to_owned(),
            Err(refusal) => format!("{}: {}", refusal.reason, refusal.message),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn host_ports() {
        let port = |ip: &str, protocol: &str| {
            with(json!({"name": "c", "ports": [
                {"containerPort": 80, "hostPort": 8080, "hostIP": ip, "protocol": protocol}]}))
        };
        let refused =
            "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        let (node, other) = (node(json!({})), [pod("old", port("127.0.0.1", "TCP"))]);
        check(port("127.0.0.1", "TCP"), &node, &other, refused);
        check(port("0.0.0.0", "TCP"), &node, &other, refused);
        check(port("10.0.0.1", "TCP"), &node, &other, "admitted");
        check(port("127.0.0.1", "UDP"), &node, &other, "admitted");
    }

    #[test]
    fn what_ends_or_goes_gives_back() {
        let port = || with(json!({"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080}]}));
        let (node, mut room) = (node(json!({})), Room::default());
        let mut old = pod("old", port());
        room.put(&old);
        room.put(&old);
        assert!(room.admit(&pod("new", port()), &node).is_err());
        old.status = Some(core::PodStatus {
            phase: Some("Failed".to_owned()),
            ..core::PodStatus::default()
        });
        room.put(&old);
        assert_eq!(room.admit(&pod("new", port()), &node), Ok(()));
        room.put(&pod("new", port()));
        assert!(room.admit(&pod("third", port()), &node).is_err());
        room.remove("new");
        assert_eq!(room.admit(&pod("third", port()), &node), Ok(()));
    }

    #[test]
    fn resources_come_first_and_are_told_in_numbers() {
        let cpu = |amount: &str| with(json!({"name": "c", "resources": {"requests": {"cpu": amount}}}));
        let node = node(json!({}));
        let other = [pod("old", cpu("500m"))];
        check(cpu("1500m"), &node, &other, "admitted");
        check(
            cpu("1501m"),
            &node,
            &other,
            "OutOfcpu: Node didn't have enough resource: cpu, requested: 1501, used: 500, capacity: 2000",
        );
        check(
            cpu("1m"),
            &node,
            &[pod("a", cpu("1m")), pod("b", cpu("1m"))],
            "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2",
        );
        let unknown = with(json!({"name": "c", "resources": {"requests": {"example.com/gpu": "1"}}}));
        check(unknown, &node, &[], "admitted");
    }

    #[test]
    fn labels_and_taints() {
        let tainted = node(json!({"taints": [{"key": "k", "effect": "NoExecute"}]}));
        let bare = json!({"nodeName": "n", "containers": [{"name": "c"}]});
        check(
            bare.clone(),
            &tainted,
            &[],
            "TaintToleration: Predicate TaintToleration failed: node(s) had untolerated taint(s)",
        );
        let cordoned = node(json!({"unschedulable": true, "taints": [{"key": "k", "effect": "NoSchedule"}]}));
        check(bare, &cordoned, &[], "admitted");
        let selector = json!({"nodeName": "n", "nodeSelector": {"disk": "ssd"}, "containers": [{"name": "c"}]});
        check(
            selector,
            &cordoned,
            &[],
            "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        );
    }
}
