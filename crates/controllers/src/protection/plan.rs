//! Who uses what is protected. Pure: objects come in as trees.

use serde_json::Value;

/// Whether a pod keeps a claim from being deleted: one that has a node, and names the claim, or had it made for itself
/// and isn't done.
pub(super) fn pod_uses(pod: &Value, claim: &Value) -> bool {
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return false;
    }
    let name = &claim["metadata"]["name"];
    let done = pod["metadata"]["deletionGracePeriodSeconds"] == 0 && pod["metadata"]["deletionTimestamp"].is_string();
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.into_iter().any(|volume| {
        let by_name = volume["persistentVolumeClaim"]["claimName"].is_string()
            && volume["persistentVolumeClaim"]["claimName"] == *name;
        by_name || !done && volume["ephemeral"].is_object() && is_made_for(claim, pod, volume)
    })
}

/// Whether a claim is the one that was made for a volume of a pod.
fn is_made_for(claim: &Value, pod: &Value, volume: &Value) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = format!("{}-{}", text(&pod["metadata"]["name"]), text(&volume["name"]));
    let owners = claim["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    text(&claim["metadata"]["name"]) == name
        && owners
            .into_iter()
            .any(|owner| owner["controller"] == true && owner["uid"] == pod["metadata"]["uid"])
}

/// Whether a claim has, had or is getting the attributes of a class.
pub(super) fn claim_uses(claim: &Value, class: &str) -> bool {
    let status = &claim["status"];
    [
        &claim["spec"]["volumeAttributesClassName"],
        &status["currentVolumeAttributesClassName"],
        &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
    ]
    .into_iter()
    .any(|name| name == class)
}

/// Whether a volume has the attributes of a class.
pub(super) fn volume_uses(volume: &Value, class: &str) -> bool {
    volume["spec"]["volumeAttributesClassName"] == class
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_with_a_node_holds_its_claims() {
        let claim = json!({"metadata": {"name": "data"}});
        let mut pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": "n", "volumes": [
            {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}});
        assert!(pod_uses(&pod, &claim));
        pod["status"]["phase"] = json!("Succeeded");
        assert!(pod_uses(&pod, &claim), "its volumes may still be mounted");
        pod["spec"]["nodeName"] = json!("");
        assert!(!pod_uses(&pod, &claim), "no node will start it");
    }

    #[test]
    fn a_claim_made_for_a_pod_is_held_until_that_is_done() {
        let owner = json!({"controller": true, "uid": "u"});
        let claim = json!({"metadata": {"name": "p-v", "ownerReferences": [owner]}});
        let mut pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": "n", "volumes": [
            {"name": "v", "ephemeral": {}}]}});
        assert!(pod_uses(&pod, &claim));
        let other = json!({"metadata": {"name": "p-v"}});
        assert!(!pod_uses(&pod, &other), "of that name only");
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        assert!(!pod_uses(&pod, &claim));
    }

    #[test]
    fn classes_are_used_by_claims_and_volumes() {
        assert!(claim_uses(
            &json!({"status": {"currentVolumeAttributesClassName": "gold"}}),
            "gold"
        ));
        assert!(!claim_uses(&json!({"spec": {}}), "gold"));
        assert!(volume_uses(
            &json!({"spec": {"volumeAttributesClassName": "gold"}}),
            "gold"
        ));
    }
}
