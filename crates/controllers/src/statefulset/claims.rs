//! The volume claims of a stateful set's pods: made with the pods, kept when those go, unless the set says otherwise.

use client::ObjectKey;
use serde_json::{Value, json};

use crate::owner;
use crate::world::{Pod, StatefulSet};
use crate::write::{Kind, Patch, Writer};

fn kind() -> Kind {
    Kind::new("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
}

/// A claim's name.
fn name(set: &StatefulSet, claim: &str, ordinal: i32) -> String {
    format!("{claim}-{}-{ordinal}", set.key.name)
}

/// Puts the claims of a pod among its volumes, in the place of those that have their names.
pub(super) fn mount(set: &StatefulSet, spec: &mut Value, ordinal: i32) {
    let is_claim = |volume: &Value| set.claims.iter().any(|(claim, _)| volume["name"] == claim.as_str());
    let given = spec["volumes"].as_array().cloned().unwrap_or_default();
    let claims = set.claims.iter().map(
        |(claim, _)| json!({ "name": claim, "persistentVolumeClaim": { "claimName": name(set, claim, ordinal) } }),
    );
    let volumes: Vec<Value> = claims
        .chain(given.into_iter().filter(|volume| !is_claim(volume)))
        .collect();
    if !volumes.is_empty() {
        spec["volumes"] = volumes.into();
    }
}

/// Makes the claims of a pod that are missing.
pub(super) async fn make(writer: &Writer, set: &StatefulSet, ordinal: i32, owner: &Kind) -> Result<(), kube::Error> {
    for (claim, template) in &set.claims {
        let mut body: Value = serde_json::from_str(template).map_err(kube::Error::SerdeError)?;
        body["apiVersion"] = "v1".into();
        body["kind"] = "PersistentVolumeClaim".into();
        let metadata = &mut body["metadata"];
        metadata["name"] = name(set, claim, ordinal).into();
        metadata["namespace"] = set.key.namespace.clone().into();
        for (key, value) in &set.match_labels {
            metadata["labels"][key] = value.as_str().into();
        }
        if set.claims_go_with_set {
            metadata["ownerReferences"] = json!([owner::reference(owner, &set.key.name, &set.uid)]);
        }
        match writer.create(&kind(), set.key.namespace.as_deref(), &body).await {
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
            other => drop(other?),
        }
    }
    Ok(())
}

/// Makes the claims of a pod that is scaled away go with it.
pub(super) async fn give_to(writer: &Writer, set: &StatefulSet, ordinal: i32, pod: &Pod) -> Result<(), kube::Error> {
    for (claim, _) in &set.claims {
        let key = ObjectKey {
            namespace: set.key.namespace.clone(),
            name: name(set, claim, ordinal),
        };
        let owner = owner::reference(&Kind::new("v1", "Pod", "pods"), &pod.key.name, &pod.uid);
        let body = json!({ "metadata": { "ownerReferences": [
            { "$patch": "delete", "uid": set.uid },
            owner,
        ] } });
        match writer.patch(&kind(), &key, Patch::Strategic, &body).await {
            Err(error) if !client::is_not_found(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
