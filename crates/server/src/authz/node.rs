//! The node authorizer: a node may read what the pods that are bound to it need, and nothing of anybody else's.

use std::sync::Arc;

use serde_json::Value;
use watch::{Cache, Scope, Version};

use super::{Attributes, Decision, Policy};

/// The pods, by which it is known what a node needs.
pub(crate) type Pods = Arc<Cache>;

const LEASES: &str = "kube-node-lease";

/// Decides for the kubelet of `node`.
pub(crate) fn decide(pods: &Pods, policy: &Policy, node: &str, asked: &Attributes<'_>) -> Decision {
    let read = matches!(asked.verb, "get" | "list" | "watch");
    let no = |why: String| Decision::NoOpinion(why);
    match (asked.group, asked.resource) {
        ("", "secrets" | "configmaps") => {
            if !read || !asked.subresource.is_empty() {
                return no("can only read resources of this type".to_owned());
            }
            related(pods, node, asked)
        }
        ("", "persistentvolumeclaims") if asked.verb == "get" && asked.subresource.is_empty() => {
            related(pods, node, asked)
        }
        ("", "serviceaccounts") => match (asked.verb, asked.subresource) {
            ("create", "token") | ("get", "") => related(pods, node, asked),
            _ => no("can only create tokens for individual service accounts".to_owned()),
        },
        ("certificates.k8s.io", "podcertificaterequests") => match (asked.verb, asked.subresource) {
            // The admission plug-in NodeRestriction sees for whom.
            ("create", "") => by_role(policy, asked),
            ("list" | "watch", "") if asked.selected("spec.nodeName") == Some(node) => by_role(policy, asked),
            ("list" | "watch", "") => {
                no("can only list/watch podcertificaterequests with nodeName field selector".to_owned())
            }
            (verb, _) => no(format!("nodes may not {verb} podcertificaterequests")),
        },
        ("coordination.k8s.io", "leases") => {
            let own = asked.name == node || (asked.verb == "create" && asked.name.is_empty());
            if asked.namespace != LEASES {
                return no(format!("can only access leases in the {LEASES:?} system namespace"));
            }
            if !own || matches!(asked.verb, "list" | "watch" | "deletecollection") {
                return no("can only access node lease with the same name as the requesting node".to_owned());
            }
            by_role(policy, asked)
        }
        ("", "nodes") if read => {
            if asked.name != node {
                return no(format!(
                    "node '{node}' cannot read '{}', only its own Node object",
                    asked.name
                ));
            }
            by_role(policy, asked)
        }
        ("", "pods") if read => {
            if asked.verb == "get" {
                return bound(pods, node, asked);
            }
            if asked.selected("spec.nodeName") != Some(node) && !own_pod(pods, node, asked) {
                return no("can only list/watch pods with spec.nodeName field selector".to_owned());
            }
            by_role(policy, asked)
        }
        _ => by_role(policy, asked),
    }
}

/// What every node may do: the rules of `system:node`.
fn by_role(policy: &Policy, asked: &Attributes<'_>) -> Decision {
    let rules = policy.role("", "system:node").unwrap_or_default();
    if rules.iter().any(|rule| rule.allows(asked)) {
        return Decision::Allow(String::new());
    }
    Decision::NoOpinion(String::new())
}

fn bound(pods: &Pods, node: &str, asked: &Attributes<'_>) -> Decision {
    if own_pod(pods, node, asked) {
        return Decision::Allow(String::new());
    }
    unrelated(node, asked)
}

fn own_pod(pods: &Pods, node: &str, asked: &Attributes<'_>) -> bool {
    let key = format!("{}{}/{}", pods.prefix(), asked.namespace, asked.name);
    pods.get(&key).is_some_and(|pod| is_on(&pod, node))
}

fn related(pods: &Pods, node: &str, asked: &Attributes<'_>) -> Decision {
    if asked.name.is_empty() || asked.namespace.is_empty() {
        return Decision::NoOpinion("No Object name found".to_owned());
    }
    let snapshot = pods.list(&Scope::namespace(asked.namespace));
    let needed = snapshot.iter().filter(|pod| is_on(pod, node)).any(|pod| {
        // A pod that does not even contain the name needs no parsing.
        memchr_find(pod.bytes(), asked.name.as_bytes())
            && serde_json::from_slice::<Value>(pod.bytes()).is_ok_and(|pod| needs(&pod, asked.resource, asked.name))
    });
    if needed {
        Decision::Allow(String::new())
    } else {
        unrelated(node, asked)
    }
}

fn unrelated(node: &str, asked: &Attributes<'_>) -> Decision {
    let singular = asked.resource.strip_suffix('s').unwrap_or(asked.resource);
    Decision::NoOpinion(format!(
        "no relationship found between node '{node}' and this object ({singular})"
    ))
}

fn is_on(pod: &Version, node: &str) -> bool {
    pod.projection().field("spec.nodeName") == Some(node)
}

fn memchr_find(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Whether a pod's spec refers to an object of its namespace.
pub(crate) fn needs(pod: &Value, resource: &str, name: &str) -> bool {
    let Some(spec) = pod.get("spec") else { return false };
    match resource {
        "serviceaccounts" => {
            spec.get("serviceAccountName")
                .and_then(Value::as_str)
                .unwrap_or("default")
                == name
        }
        "secrets" => {
            let pull = list(spec, "imagePullSecrets").any(|secret| is_name(secret, "name", name));
            pull || volumes(spec).any(|volume| {
                volume.as_object().is_some_and(|sources| {
                    sources.values().any(|source| {
                        is_name(source, "secretName", name)
                            || source
                                .get("secretRef")
                                .is_some_and(|secret| is_name(secret, "name", name))
                            || source
                                .get("nodePublishSecretRef")
                                .is_some_and(|secret| is_name(secret, "name", name))
                    })
                }) || projected(volume, "secret", name)
            }) || environment(spec, "secretRef", "secretKeyRef", name)
        }
        "configmaps" => {
            volumes(spec).any(|volume| {
                volume.get("configMap").is_some_and(|map| is_name(map, "name", name))
                    || projected(volume, "configMap", name)
            }) || environment(spec, "configMapRef", "configMapKeyRef", name)
        }
        "persistentvolumeclaims" => volumes(spec).any(|volume| {
            volume
                .get("persistentVolumeClaim")
                .is_some_and(|claim| is_name(claim, "claimName", name))
        }),
        _ => false,
    }
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn volumes(spec: &Value) -> impl Iterator<Item = &Value> {
    list(spec, "volumes")
}

fn is_name(value: &Value, field: &str, name: &str) -> bool {
    value.get(field).and_then(Value::as_str) == Some(name)
}

fn projected(volume: &Value, kind: &str, name: &str) -> bool {
    let Some(projected) = volume.get("projected") else {
        return false;
    };
    list(projected, "sources").any(|source| {
        source
            .get(kind)
            .is_some_and(|reference| is_name(reference, "name", name))
    })
}

fn environment(spec: &Value, from: &str, key: &str, name: &str) -> bool {
    let containers = ["containers", "initContainers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|field| list(spec, field));
    containers.into_iter().any(|container| {
        list(container, "envFrom").any(|source| {
            source
                .get(from)
                .is_some_and(|reference| is_name(reference, "name", name))
        }) || list(container, "env")
            .filter_map(|variable| variable.get("valueFrom")?.get(key))
            .any(|reference| is_name(reference, "name", name))
    })
}
