//! A node changes its own objects only: its Node, its lease, the pods that are bound to it.

use async_trait::async_trait;
use meta::{ObjectKey, Status};
use serde_json::Value;

use super::{Operation, Plugin, Review};
use crate::object;

const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASES: &str = "kube-node-lease";

pub(crate) struct NodeRestriction;

#[async_trait]
impl Plugin for NodeRestriction {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.user.is_in("system:nodes")
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(node) = review.user.node() else {
            return Err(review.forbidden(format!("could not determine node from user {:?}", review.user.name)));
        };
        match (
            review.kind.resource.group.as_str(),
            review.kind.resource.resource.as_str(),
            review.subresource,
        ) {
            ("", "pods", "") => pod(review, node, object),
            ("", "pods", "status") => own_pod(review, node, review.old),
            ("", "pods", "eviction") => {
                let key = ObjectKey::namespaced(review.namespace, review.name);
                own_pod(review, node, review.core.cached_tree("", "pods", &key).as_ref())
            }
            ("", "nodes", _) => own_node(review, node, object),
            ("", "serviceaccounts", "token") => token(review, node, object),
            ("certificates.k8s.io", "podcertificaterequests", "") => certificate(review, node, object),
            ("coordination.k8s.io", "leases", _) => lease(review, node),
            ("storage.k8s.io", "csinodes", _) if review.name != node => {
                Err(review.forbidden("can only access CSINode with the same name as the requesting node"))
            }
            _ => Ok(()),
        }
    }
}

fn pod(review: &Review<'_>, node: &str, object: Option<&Value>) -> Result<(), Status> {
    match (review.operation, object) {
        (Operation::Create, Some(pod)) => {
            if pod["metadata"]["annotations"].get(MIRROR).is_none() {
                return Err(review.forbidden(format!(
                    "pod does not have \"{MIRROR}\" annotation, node {node:?} can only create mirror pods"
                )));
            }
            if object::text(pod, &["spec", "nodeName"]) != node {
                return Err(review.forbidden(format!(
                    "node {node:?} can only create pods with spec.nodeName set to itself"
                )));
            }
            Ok(())
        }
        (Operation::Delete, _) => own_pod(review, node, review.old),
        _ => Err(review.forbidden(format!(
            "unexpected operation, node {node:?} can only create and delete mirror pods"
        ))),
    }
}

fn own_pod(review: &Review<'_>, node: &str, old: Option<&Value>) -> Result<(), Status> {
    let bound = old
        .map(|pod| object::text(pod, &["spec", "nodeName"]))
        .unwrap_or_default();
    if bound == node {
        return Ok(());
    }
    let what = match review.operation {
        Operation::Delete => "can only delete pods",
        Operation::Create => "can only evict pods",
        _ => "can only update pod status for pods",
    };
    Err(review.forbidden(format!("node {node:?} {what} with spec.nodeName set to itself")))
}

fn own_node(review: &Review<'_>, node: &str, object: Option<&Value>) -> Result<(), Status> {
    let name = object.map_or(review.name, object::name);
    if name != node {
        return Err(review.forbidden(format!("node {node:?} is not allowed to modify node {name:?}")));
    }
    let Some(object) = object else { return Ok(()) };
    let empty = Value::Null;
    let labels = |node: &Value| node["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let old = review.old.unwrap_or(&empty);
    let (before, after) = (labels(old), labels(object));
    let keys = before.keys().chain(after.keys());
    let mut refused: Vec<&str> = keys
        .filter(|key| before.get(*key) != after.get(*key) && !may_set(key))
        .map(String::as_str)
        .collect();
    refused.sort_unstable();
    refused.dedup();
    if !refused.is_empty() {
        let what = if review.operation == Operation::Create {
            "set"
        } else {
            "modify"
        };
        let list = refused.join(", ");
        return Err(review.forbidden(format!("is not allowed to {what} the following labels: {list}")));
    }
    if review.operation == Operation::Update && old["spec"]["taints"] != object["spec"]["taints"] {
        return Err(review.forbidden(format!("node {node:?} is not allowed to modify taints")));
    }
    Ok(())
}

/// A node asks for certificates of its own pods alone, and only for those that mount one of the signer's.
fn certificate(review: &Review<'_>, node: &str, request: Option<&Value>) -> Result<(), Status> {
    let (Operation::Create, Some(request)) = (review.operation, request) else {
        return Err(review.forbidden("unexpected operation: nodes only create PodCertificateRequests"));
    };
    let spec = |name: &str| object::text(request, &["spec", name]);
    let named = spec("nodeName");
    if named != node {
        return Err(review.forbidden(format!(
            "PodCertificateRequest.Spec.NodeName={named:?}, which is not the requesting node {node:?}"
        )));
    }
    let (space, name) = (review.namespace, spec("podName"));
    let full = format!("{space}/{name}");
    let find = |plural: &str, key: ObjectKey| review.core.cached_tree("", plural, &key);
    let pod = find("pods", ObjectKey::namespaced(space, name));
    let account = find(
        "serviceaccounts",
        ObjectKey::namespaced(space, spec("serviceAccountName")),
    );
    let found = find("nodes", ObjectKey::cluster(node));
    let (Some(pod), Some(account), Some(found)) = (pod, account, found) else {
        return Err(review.forbidden(format!("pod {full:?}, its service account or its node isn't there")));
    };
    for (field, object) in [("nodeUID", &found), ("podUID", &pod), ("serviceAccountUID", &account)] {
        if spec(field) != object::uid(object) {
            return Err(review.forbidden(format!(
                "PodCertificateRequest for pod {full:?} has a {field} that is not that of what it names"
            )));
        }
    }
    if object::text(&pod, &["spec", "nodeName"]) != node {
        return Err(review.forbidden(format!(
            "pod {full:?} is not running on node {node:?} named in the PodCertificateRequest"
        )));
    }
    if pod["metadata"]["annotations"].get(MIRROR).is_some() {
        return Err(review.forbidden(format!("pod {full:?} is a mirror pod")));
    }
    if object::text(&pod, &["spec", "serviceAccountName"]) != spec("serviceAccountName") {
        return Err(review.forbidden(format!(
            "PodCertificateRequest for pod {full:?} contains a serviceAccountName that differs from the running pod's"
        )));
    }
    let signer = spec("signerName");
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let sources = volumes
        .filter_map(|volume| volume["projected"]["sources"].as_array())
        .flatten();
    if !sources
        .into_iter()
        .any(|source| source["podCertificate"]["signerName"] == signer)
    {
        return Err(review.forbidden(format!(
            "pod {full:?} does not mount a podCertificate projected volume for signer {signer:?}"
        )));
    }
    Ok(())
}

/// Labels that a kubelet may give to itself: all outside of Kubernetes' own domains, and of those the known ones.
fn may_set(key: &str) -> bool {
    const KNOWN: [&str; 14] = [
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.kubernetes.io/region",
        "failure-domain.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "node.kubernetes.io/windows-build",
    ];
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let within = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    KNOWN.contains(&key)
        || within("kubelet.kubernetes.io")
        || within("node.kubernetes.io")
        || !(within("kubernetes.io") || within("k8s.io"))
}

fn lease(review: &Review<'_>, node: &str) -> Result<(), Status> {
    if review.namespace != LEASES {
        return Err(review.forbidden(format!("can only access leases in the {LEASES:?} system namespace")));
    }
    if review.name != node {
        return Err(review.forbidden("can only access node lease with the same name as the requesting node"));
    }
    Ok(())
}

/// A node asks for tokens of its pods only, bound to the very pod.
fn token(review: &Review<'_>, node: &str, object: Option<&Value>) -> Result<(), Status> {
    let Some(request) = object else { return Ok(()) };
    let bound = &request["spec"]["boundObjectRef"];
    let (kind, name, uid) = (
        object::text(bound, &["kind"]),
        object::text(bound, &["name"]),
        object::text(bound, &["uid"]),
    );
    if kind != "Pod" || name.is_empty() {
        return Err(review.forbidden("node requested token not bound to a pod"));
    }
    if uid.is_empty() {
        return Err(review.forbidden("node requested token with a pod binding without a uid"));
    }
    let Some(pod) = review
        .core
        .cached_tree("", "pods", &ObjectKey::namespaced(review.namespace, name))
    else {
        return Err(review.forbidden(format!("pod {name:?} not found")));
    };
    if object::uid(&pod) != uid {
        return Err(review.forbidden("node requested token bound to a pod with a different uid"));
    }
    if object::text(&pod, &["spec", "nodeName"]) != node {
        return Err(review.forbidden("node requested token bound to a pod scheduled on a different node"));
    }
    Ok(())
}
