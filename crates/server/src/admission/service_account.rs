//! Every pod has a service account, and gets its token, the cluster's CA and its namespace as a projected volume.

use std::time::Duration;

use async_trait::async_trait;
use meta::{ObjectKey, Status};
use serde_json::{Value, json};
use watch::{Scope, Selection};

use super::{Operation, Plugin, Review};
use crate::object;
use crate::rest::create::generate;
use crate::status::of_watch;

const DEFAULT: &str = "default";
const VOLUME: &str = "kube-api-access-";
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// How long a pod in a new namespace waits for the namespace's default account.
const PATIENCE: Duration = Duration::from_millis(1500);

pub(crate) struct ServiceAccount;

#[async_trait]
impl Plugin for ServiceAccount {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.operation == Operation::Create && review.is("", "pods", "")
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        if is_mirror(pod) {
            return Ok(());
        }
        if object::text(pod, &["spec", "serviceAccountName"]).is_empty() {
            let old_name = object::text(pod, &["spec", "serviceAccount"]).to_owned();
            let name = if old_name.is_empty() {
                DEFAULT.to_owned()
            } else {
                old_name
            };
            pod["spec"]["serviceAccountName"] = name.into();
        }
        let name = object::text(pod, &["spec", "serviceAccountName"]).to_owned();
        pod["spec"]["serviceAccount"] = name.clone().into();
        let account = find(review, &name).await?;
        let mounts = |object: &Value| object.get("automountServiceAccountToken").and_then(Value::as_bool);
        if mounts(&pod["spec"]).or_else(|| mounts(&account)).unwrap_or(true) {
            mount_token(&mut pod["spec"]);
        }
        let has_secrets = pod["spec"]["imagePullSecrets"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        if let Some(secrets) = account.get("imagePullSecrets").filter(|_| !has_secrets) {
            pod["spec"]["imagePullSecrets"] = secrets.clone();
        }
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>, pod: Option<&Value>) -> Result<(), Status> {
        let Some(pod) = pod.filter(|pod| is_mirror(pod)) else {
            return Ok(());
        };
        if !object::text(pod, &["spec", "serviceAccountName"]).is_empty() {
            return Err(review.forbidden("a mirror pod may not reference service accounts"));
        }
        Ok(())
    }
}

fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(MIRROR).is_some()
}

/// The account; the default one of a new namespace is worth waiting for.
async fn find(review: &Review<'_>, name: &str) -> Result<Value, Status> {
    let key = ObjectKey::namespaced(review.namespace, name);
    if let Some(account) = review.core.cached_tree("", "serviceaccounts", &key) {
        return Ok(account);
    }
    if let Some(account) = review.core.fresh_tree("", "serviceaccounts", &key).await? {
        return Ok(account);
    }
    if name == DEFAULT
        && let Some(kind) = review.core.kinds.any("", "serviceaccounts")
    {
        let selection = Selection::new(Scope::object(Some(review.namespace), name));
        let (_, mut watcher) = kind.cache()?.list_and_watch(selection).map_err(of_watch)?;
        let _ = tokio::time::timeout(PATIENCE, watcher.next()).await;
    }
    review.core.cached_tree("", "serviceaccounts", &key).ok_or_else(|| {
        let namespace = review.namespace;
        review.forbidden(format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        ))
    })
}

/// Adds the volume, and its mount to each container that has nothing there yet.
fn mount_token(spec: &mut Value) {
    let known = spec["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|volume| volume["name"].as_str());
    let known = known
        .into_iter()
        .find(|name| name.starts_with(VOLUME))
        .map(str::to_owned);
    let volume = known.clone().unwrap_or_else(|| generate(VOLUME));
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let mounts = container["volumeMounts"].as_array();
            if mounts.into_iter().flatten().any(|mount| mount["mountPath"] == MOUNT) {
                continue;
            }
            let mount = json!({"name": volume, "readOnly": true, "mountPath": MOUNT});
            push(&mut container["volumeMounts"], mount);
            mounted = true;
        }
    }
    if mounted && known.is_none() {
        push(&mut spec["volumes"], token_volume(&volume));
    }
}

fn push(list: &mut Value, item: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(item),
        None => *list = json!([item]),
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_container_gets_the_token_once() {
        let mut spec = json!({"containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"mountPath": MOUNT}]}]});
        mount_token(&mut spec);
        mount_token(&mut spec);
        assert_eq!(spec["volumes"].as_array().unwrap().len(), 1);
        assert_eq!(spec["containers"][0]["volumeMounts"].as_array().unwrap().len(), 1);
        assert_eq!(
            spec["containers"][0]["volumeMounts"][0]["name"],
            spec["volumes"][0]["name"]
        );
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
    }
}
