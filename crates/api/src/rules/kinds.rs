//! Which rules go with which resource. No rule is here.

use meta::FieldError;
use serde_json::Value;

use super::check::Errors;
use super::{Rules, metadata, strategy};
use super::{
    address, admission, api_service, autoscaler, class, component_status, config_map, cron_job, daemon_set, definition,
    deployment, device, disruption_budget, endpoints, event, flow_control, ingress, job, lease, migration, namespace,
    network_policy, node, persistent_volume, persistent_volume_claim, pod, pod_certificate, pod_template, quota, rbac,
    replica_set, service, service_account, signing_request, stateful_set, storage, trust,
};

/// The rules of a built-in resource, `None` when it has none of its own. The group of the old core is empty.
#[must_use]
pub fn of(group: &str, plural: &str) -> Option<&'static dyn Rules> {
    if group.is_empty() {
        return of_core(plural);
    }
    Some(match (group, plural) {
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies") => &admission::Mutating,
        ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings") => &admission::Binding { mutating: true },
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations") => {
            &admission::Configuration { mutating: true }
        }
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => &admission::Validating,
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings") => {
            &admission::Binding { mutating: false }
        }
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations") => {
            &admission::Configuration { mutating: false }
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => &definition::CustomResourceDefinition,
        ("apiregistration.k8s.io", "apiservices") => &api_service::ApiService,
        ("apps", "controllerrevisions") => &pod_template::ControllerRevision,
        ("apps", "daemonsets") => &daemon_set::DaemonSet,
        ("apps", "deployments") => &deployment::Deployment,
        ("apps", "replicasets") => &replica_set::ReplicaSet,
        ("apps", "statefulsets") => &stateful_set::StatefulSet,
        ("autoscaling", "horizontalpodautoscalers") => &autoscaler::HorizontalPodAutoscaler,
        ("batch", "cronjobs") => &cron_job::CronJob,
        ("batch", "jobs") => &job::Job,
        ("certificates.k8s.io", "certificatesigningrequests") => &signing_request::CertificateSigningRequest,
        ("certificates.k8s.io", "clustertrustbundles") => &trust::ClusterTrustBundle,
        ("certificates.k8s.io", "podcertificaterequests") => &pod_certificate::PodCertificateRequest,
        ("coordination.k8s.io", "leases") => &lease::Lease,
        ("discovery.k8s.io", "endpointslices") => &endpoints::EndpointSlice,
        ("events.k8s.io", "events") => &event::Event,
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => &flow_control::FlowSchema,
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => &flow_control::PriorityLevelConfiguration,
        ("networking.k8s.io", "ingressclasses") => &ingress::IngressClass,
        ("networking.k8s.io", "ingresses") => &ingress::Ingress,
        ("networking.k8s.io", "ipaddresses") => &address::IpAddress,
        ("networking.k8s.io", "networkpolicies") => &network_policy::NetworkPolicy,
        ("networking.k8s.io", "servicecidrs") => &address::ServiceCidr,
        ("node.k8s.io", "runtimeclasses") => &class::RuntimeClass,
        ("policy", "poddisruptionbudgets") => &disruption_budget::PodDisruptionBudget,
        ("rbac.authorization.k8s.io", "clusterrolebindings") => &rbac::Binding { namespaced: false },
        ("rbac.authorization.k8s.io", "clusterroles") => &rbac::Role { namespaced: false },
        ("rbac.authorization.k8s.io", "rolebindings") => &rbac::Binding { namespaced: true },
        ("rbac.authorization.k8s.io", "roles") => &rbac::Role { namespaced: true },
        ("resource.k8s.io", "deviceclasses") => &device::DeviceClass,
        ("resource.k8s.io", "devicetaintrules") => &device::DeviceTaintRule,
        ("resource.k8s.io", "resourceclaims") => &device::ResourceClaim,
        ("resource.k8s.io", "resourceclaimtemplates") => &device::ResourceClaimTemplate,
        ("resource.k8s.io", "resourceslices") => &device::ResourceSlice,
        ("scheduling.k8s.io", "priorityclasses") => &class::PriorityClass,
        ("storage.k8s.io", "csidrivers") => &storage::CsiDriver,
        ("storage.k8s.io", "csinodes") => &storage::CsiNode,
        ("storage.k8s.io", "csistoragecapacities") => &storage::CsiStorageCapacity,
        ("storage.k8s.io", "storageclasses") => &storage::StorageClass,
        ("storage.k8s.io", "volumeattachments") => &storage::VolumeAttachment,
        ("storage.k8s.io", "volumeattributesclasses") => &storage::VolumeAttributesClass,
        ("storagemigration.k8s.io", "storageversionmigrations") => &migration::StorageVersionMigration,
        _ => return None,
    })
}

fn of_core(plural: &str) -> Option<&'static dyn Rules> {
    Some(match plural {
        "componentstatuses" => &component_status::ComponentStatus,
        "configmaps" => &config_map::ConfigMap,
        "endpoints" => &endpoints::Endpoints,
        "events" => &event::Event,
        "limitranges" => &quota::LimitRange,
        "namespaces" => &namespace::Namespace,
        "nodes" => &node::Node,
        "persistentvolumeclaims" => &persistent_volume_claim::PersistentVolumeClaim,
        "persistentvolumes" => &persistent_volume::PersistentVolume,
        "pods" => &pod::Pod,
        "podtemplates" => &pod_template::PodTemplate,
        "replicationcontrollers" => &replica_set::ReplicationController,
        "resourcequotas" => &quota::ResourceQuota,
        "secrets" => &config_map::Secret,
        "serviceaccounts" => &service_account::ServiceAccount,
        "services" => &service::Service,
        _ => return None,
    })
}

/// The rules of a built-in resource in one version: few have more than one form.
#[must_use]
pub fn of_version(group: &str, version: &str, plural: &str) -> Option<&'static dyn Rules> {
    match (group, version, plural) {
        ("autoscaling", "v1", "horizontalpodautoscalers") => Some(&autoscaler::OldHorizontalPodAutoscaler),
        _ => of(group, plural),
    }
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
