//! Checks of volumes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pod, found, plural, quoted};
use crate::pod_security::Finding;
use crate::rules::view::View as _;

const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

const RESTRICTED: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

pub(super) fn host_paths(pod: &Pod<'_>, _: u32) -> Option<Finding> {
    let volumes = pod.spec.list("volumes").iter();
    let bad: Vec<&str> = volumes
        .filter(|volume| volume.has("hostPath"))
        .map(|volume| volume.text("name"))
        .collect();
    if bad.is_empty() {
        return None;
    }
    found(
        "hostPath volumes",
        format!("{} {}", plural(bad.len(), "volume", "volumes"), quoted(&bad)),
    )
}

pub(super) fn restricted(pod: &Pod<'_>, _: u32) -> Option<Finding> {
    let (mut bad, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in pod.spec.list("volumes") {
        if ALLOWED.iter().any(|kind| volume.has(kind)) {
            continue;
        }
        bad.push(volume.text("name"));
        kinds.insert(kind(volume));
    }
    if bad.is_empty() {
        return None;
    }
    let kinds: Vec<&str> = kinds.into_iter().collect();
    let (volumes, uses) = (plural(bad.len(), "volume", "volumes"), plural(bad.len(), "uses", "use"));
    let types = plural(kinds.len(), "restricted volume type", "restricted volume types");
    found(
        "restricted volume types",
        format!("{volumes} {} {uses} {types} {}", quoted(&bad), quoted(&kinds)),
    )
}

fn kind(volume: &Value) -> &'static str {
    let known = RESTRICTED.iter().find(|kind| volume.has(kind));
    known.copied().unwrap_or("unknown")
}
