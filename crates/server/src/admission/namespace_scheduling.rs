//! PodNodeSelector and PodTolerationRestriction: where the pods of a namespace may go, by its annotations and by the
//! plug-ins' configurations.

use std::collections::BTreeMap;

use async_trait::async_trait;
use meta::{ObjectKey, Status};
use serde_json::{Value, json};

use super::{Operation, Plugin, Review, toleration};
use crate::object::text;

const SELECTOR: &str = "scheduler.alpha.kubernetes.io/node-selector";
const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

/// Node selectors by namespace.
pub(crate) struct PodNodeSelector {
    /// By namespaces' names, and `clusterDefaultNodeSelector`.
    pub(crate) configured: BTreeMap<String, String>,
}

/// Tolerations by namespace.
#[derive(Default)]
pub(crate) struct PodTolerationRestriction {
    /// For namespaces that say nothing.
    pub(crate) defaults: Vec<Value>,
    /// What namespaces that say nothing allow; nothing allows everything.
    pub(crate) allowed: Vec<Value>,
}

#[async_trait]
impl Plugin for PodNodeSelector {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.operation == Operation::Create && review.is("", "pods", "")
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        let wanted = self.of_namespace(review)?;
        check(review, &wanted, pod)?;
        for (key, value) in wanted {
            pod["spec"]["nodeSelector"][key] = value.into();
        }
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>, pod: Option<&Value>) -> Result<(), Status> {
        let Some(pod) = pod else { return Ok(()) };
        check(review, &self.of_namespace(review)?, pod)?;
        let allowed = self.configured.get(review.namespace).map(String::as_str);
        let allowed = labels(allowed.unwrap_or_default())?;
        let own = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
        let fits = |key: &str, value: &Value| allowed.get(key).map(String::as_str) == value.as_str();
        if allowed.is_empty() || own.into_iter().all(|(key, value)| fits(key, value)) {
            return Ok(());
        }
        Err(review.forbidden("pod node label selector labels conflict with its namespace whitelist"))
    }
}

impl PodNodeSelector {
    fn of_namespace(&self, review: &Review<'_>) -> Result<BTreeMap<String, String>, Status> {
        let namespace = namespace(review)?;
        match namespace["metadata"]["annotations"]
            .get(SELECTOR)
            .and_then(Value::as_str)
        {
            Some(selector) => labels(selector),
            None => {
                let default = self.configured.get("clusterDefaultNodeSelector");
                labels(default.map(String::as_str).unwrap_or_default())
            }
        }
    }
}

fn check(review: &Review<'_>, wanted: &BTreeMap<String, String>, pod: &Value) -> Result<(), Status> {
    let conflicts = |(key, value): (&String, &String)| {
        let own = pod["spec"]["nodeSelector"].get(key).and_then(Value::as_str);
        own.is_some_and(|own| own != value)
    };
    if wanted.iter().any(conflicts) {
        return Err(review.forbidden("pod node label selector conflicts with its namespace node label selector"));
    }
    Ok(())
}

/// `a=b,c=d`.
fn labels(text: &str) -> Result<BTreeMap<String, String>, Status> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Status::internal(format!("invalid selector: {text}")))?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    };
    pairs.map(pair).collect()
}

fn namespace(review: &Review<'_>) -> Result<Value, Status> {
    let key = ObjectKey::cluster(review.namespace);
    let found = review.core.cached_tree("", "namespaces", &key);
    found.ok_or_else(|| Status::internal(format!("namespace {} does not exist", review.namespace)))
}

#[async_trait]
impl Plugin for PodTolerationRestriction {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.operation != Operation::Delete && review.is("", "pods", "")
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        let mut extra = Vec::new();
        if review.operation == Operation::Create {
            extra = annotated(review, DEFAULTS)?.unwrap_or_else(|| self.defaults.clone());
        }
        if text(pod, &["status", "qosClass"]) != "BestEffort" && asks_for_anything(pod) {
            extra.push(json!({
                "key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule",
            }));
        }
        if !extra.is_empty() {
            let own = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
            pod["spec"]["tolerations"] = json!(toleration::merge(&own, &extra));
        }
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>, pod: Option<&Value>) -> Result<(), Status> {
        let Some(own) = pod.and_then(|pod| pod["spec"]["tolerations"].as_array()) else {
            return Ok(());
        };
        let (allowed, scope) = match annotated(review, ALLOWED)? {
            Some(allowed) => (allowed, "namespace"),
            None => (self.allowed.clone(), "cluster"),
        };
        if toleration::are_allowed(own, &allowed) {
            return Ok(());
        }
        let why = format!(
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its {scope} whitelist"
        );
        // No refusal of a kind that clients know, in Kubernetes neither.
        Err(Status::failure(500, "", why))
    }
}

/// Whether a container requests or limits cpu or memory: then the pod isn't the first to go.
fn asks_for_anything(pod: &Value) -> bool {
    let lists = ["containers", "initContainers"].iter();
    let containers = lists.filter_map(|list| pod["spec"][list].as_array()).flatten();
    let owners = containers.chain([&pod["spec"]]);
    owners.into_iter().any(|owner| {
        ["requests", "limits"].iter().any(|list| {
            let amounts = api::quota::Amounts::read(&owner["resources"][list]);
            ["cpu", "memory"]
                .iter()
                .any(|name| amounts.get(name).is_some_and(|amount| !amount.is_zero()))
        })
    })
}

/// A list of tolerations in an annotation of the namespace.
fn annotated(review: &Review<'_>, annotation: &str) -> Result<Option<Vec<Value>>, Status> {
    let namespace = namespace(review)?;
    let Some(text) = namespace["metadata"]["annotations"]
        .get(annotation)
        .and_then(Value::as_str)
    else {
        return Ok(None);
    };
    if text.is_empty() {
        return Ok(Some(Vec::new()));
    }
    serde_json::from_str(text).map(Some).map_err(Status::internal)
}
