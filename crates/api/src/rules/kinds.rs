//! Which rules go with which resource. No rule is here.

use meta::FieldError;
use serde_json::Value;

use super::check::Errors;
use super::{Rules, metadata, strategy};
use super::{
    config_map, daemon_set, deployment, endpoints, namespace, node, persistent_volume_claim, pod, replica_set, service,
    stateful_set,
};

/// The rules of a built-in resource, `None` when it has none of its own. The group of the old core is empty.
#[must_use]
pub fn of(group: &str, plural: &str) -> Option<&'static dyn Rules> {
    Some(match (group, plural) {
        ("", "configmaps") => &config_map::ConfigMap,
        ("", "endpoints") => &endpoints::Endpoints,
        ("", "namespaces") => &namespace::Namespace,
        ("", "nodes") => &node::Node,
        ("", "persistentvolumeclaims") => &persistent_volume_claim::PersistentVolumeClaim,
        ("", "pods") => &pod::Pod,
        ("", "replicationcontrollers") => &replica_set::ReplicationController,
        ("", "secrets") => &config_map::Secret,
        ("", "services") => &service::Service,
        ("apps", "daemonsets") => &daemon_set::DaemonSet,
        ("apps", "deployments") => &deployment::Deployment,
        ("apps", "replicasets") => &replica_set::ReplicaSet,
        ("apps", "statefulsets") => &stateful_set::StatefulSet,
        ("discovery.k8s.io", "endpointslices") => &endpoints::EndpointSlice,
        _ => return None,
    })
}

/// The rules of a resource that has none of its own: its metadata is checked, its status kept apart.
#[must_use]
pub fn other(namespaced: bool) -> &'static dyn Rules {
    if namespaced {
        &Other { namespaced: true }
    } else {
        &Other { namespaced: false }
    }
}

struct Other {
    namespaced: bool,
}

impl Rules for Other {
    fn namespaced(&self) -> bool {
        self.namespaced
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::set_generation(object, 1);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::count_generation(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, self.namespaced, metadata::subdomain, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        metadata::check_update(object, old)
    }
}
