//! What Kubernetes says about each type and field, for `kubectl explain`: taken from the client library's schemas while
//! a document is made, and dropped with it. Nothing is kept here, and no text is of this repository.

use k8s_openapi::api::admissionregistration::v1 as admissionregistration_v1;
use k8s_openapi::api::admissionregistration::v1alpha1 as admissionregistration_v1alpha1;
use k8s_openapi::api::admissionregistration::v1beta1 as admissionregistration_v1beta1;
use k8s_openapi::api::apiserverinternal::v1alpha1 as apiserverinternal_v1alpha1;
use k8s_openapi::api::apps::v1 as apps_v1;
use k8s_openapi::api::authentication::v1 as authentication_v1;
use k8s_openapi::api::authorization::v1 as authorization_v1;
use k8s_openapi::api::autoscaling::v1 as autoscaling_v1;
use k8s_openapi::api::autoscaling::v2 as autoscaling_v2;
use k8s_openapi::api::batch::v1 as batch_v1;
use k8s_openapi::api::certificates::v1 as certificates_v1;
use k8s_openapi::api::certificates::v1beta1 as certificates_v1beta1;
use k8s_openapi::api::coordination::v1 as coordination_v1;
use k8s_openapi::api::coordination::v1alpha2 as coordination_v1alpha2;
use k8s_openapi::api::coordination::v1beta1 as coordination_v1beta1;
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::api::discovery::v1 as discovery_v1;
use k8s_openapi::api::events::v1 as events_v1;
use k8s_openapi::api::flowcontrol::v1 as flowcontrol_v1;
use k8s_openapi::api::lifecycle::v1alpha1 as lifecycle_v1alpha1;
use k8s_openapi::api::networking::v1 as networking_v1;
use k8s_openapi::api::node::v1 as node_v1;
use k8s_openapi::api::policy::v1 as policy_v1;
use k8s_openapi::api::rbac::v1 as rbac_v1;
use k8s_openapi::api::resource::v1 as resource_v1;
use k8s_openapi::api::resource::v1alpha3 as resource_v1alpha3;
use k8s_openapi::api::resource::v1beta1 as resource_v1beta1;
use k8s_openapi::api::resource::v1beta2 as resource_v1beta2;
use k8s_openapi::api::scheduling::v1 as scheduling_v1;
use k8s_openapi::api::scheduling::v1alpha3 as scheduling_v1alpha3;
use k8s_openapi::api::scheduling::v1beta1 as scheduling_v1beta1;
use k8s_openapi::api::storage::v1 as storage_v1;
use k8s_openapi::api::storagemigration::v1 as storagemigration_v1;
use k8s_openapi::api::storagemigration::v1beta1 as storagemigration_v1beta1;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions_v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta_v1;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration_v1;
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

/// Writes descriptions into the schemas of an OpenAPI document (`components.schemas`, or `definitions` of version 2).
pub(super) fn describe(schemas: &mut Map<String, Value>) {
    let mut generator = SchemaGenerator::default();
    for (name, collect) in KINDS {
        if schemas.contains_key(&*name()) {
            collect(&mut generator);
        }
    }
    let known = generator.take_definitions(false);
    for (name, schema) in schemas {
        let Some(Value::Object(known)) = known.get(name) else {
            continue;
        };
        copy(known, schema);
        let fields = known.get("properties").and_then(Value::as_object);
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (field, property) in properties.into_iter().flatten() {
            if let Some(Value::Object(known)) = fields.and_then(|fields| fields.get(field)) {
                copy(known, property);
            }
        }
    }
}

fn copy(known: &Map<String, Value>, into: &mut Value) {
    if let (Some(text), Some(into)) = (known.get("description"), into.as_object_mut()) {
        into.insert("description".to_owned(), text.clone());
    }
}

fn collect<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

type Row = (fn() -> std::borrow::Cow<'static, str>, fn(&mut SchemaGenerator));

const fn row<T: JsonSchema>() -> Row {
    (T::schema_name, collect::<T>)
}

/// The types from which all others are reached, by module.
macro_rules! kinds {
    ($($module:ident: $($kind:ident),*;)*) => {
        static KINDS: &[Row] = &[$($(row::<$module::$kind>(),)*)*];
    };
}

kinds! {
    admissionregistration_v1: MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding,
        MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
        ValidatingWebhookConfiguration;
    admissionregistration_v1alpha1: MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding;
    admissionregistration_v1beta1: MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding;
    apiserverinternal_v1alpha1: StorageVersion;
    apps_v1: ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet;
    authentication_v1: SelfSubjectReview, TokenRequest, TokenReview;
    authorization_v1: LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview,
        SubjectAccessReview;
    autoscaling_v1: HorizontalPodAutoscaler, Scale;
    autoscaling_v2: HorizontalPodAutoscaler;
    batch_v1: CronJob, Job;
    certificates_v1: CertificateSigningRequest, ClusterTrustBundle, PodCertificateRequest;
    certificates_v1beta1: ClusterTrustBundle, PodCertificateRequest;
    coordination_v1: Lease;
    coordination_v1alpha2: LeaseCandidate;
    coordination_v1beta1: LeaseCandidate;
    core_v1: ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume,
        PersistentVolumeClaim, Pod, PodTemplate, ReplicationController, ResourceQuota, Secret, Service,
        ServiceAccount, Binding;
    discovery_v1: EndpointSlice;
    events_v1: Event;
    flowcontrol_v1: FlowSchema, PriorityLevelConfiguration;
    lifecycle_v1alpha1: Eviction, EvictionRequest;
    networking_v1: IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR;
    node_v1: RuntimeClass;
    policy_v1: PodDisruptionBudget, Eviction;
    rbac_v1: ClusterRole, ClusterRoleBinding, Role, RoleBinding;
    resource_v1: DeviceClass, DeviceTaintRule, ResourceClaim, ResourceClaimTemplate, ResourceSlice;
    resource_v1alpha3: DeviceTaintRule, ResourcePoolStatusRequest;
    resource_v1beta1: DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice;
    resource_v1beta2: DeviceClass, DeviceTaintRule, ResourceClaim, ResourceClaimTemplate, ResourceSlice;
    scheduling_v1: PriorityClass;
    scheduling_v1alpha3: CompositePodGroup, PodGroup, Workload;
    scheduling_v1beta1: PodGroup, Workload;
    storage_v1: CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass;
    storagemigration_v1: StorageVersionMigration;
    storagemigration_v1beta1: StorageVersionMigration;
    apiextensions_v1: CustomResourceDefinition;
    meta_v1: ListMeta, ObjectMeta, APIGroup, APIGroupList, APIResourceList, APIVersions, DeleteOptions, Patch, Status;
    apiregistration_v1: APIService;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_and_fields_are_described() {
        let catalog = api::resource::Catalog::builtin();
        let (mut fields, mut bare) = (0, Vec::new());
        for (group, versions) in catalog.groups() {
            for version in versions {
                let mut document = api::openapi::document(catalog, group, version, "v1.37.2").unwrap();
                let schemas = document["components"]["schemas"].as_object_mut().unwrap();
                describe(schemas);
                for (name, schema) in schemas {
                    // Options of streams and proxies, and metrics, are no types of the client library.
                    let other = name.ends_with("Options") || name.starts_with("io.k8s.metrics.");
                    let unknown = name.contains("List") || other;
                    if unknown || name.starts_with("io.k8s.apimachinery") {
                        continue;
                    }
                    assert!(schema["description"].is_string(), "{name} isn't described");
                    for (field, property) in schema["properties"].as_object().into_iter().flatten() {
                        fields += 1;
                        if !property["description"].is_string() {
                            bare.push(format!("{name}.{field}"));
                        }
                    }
                }
            }
        }
        // Kubernetes itself says nothing of a few.
        assert!(
            fields > 1000 && bare.len() * 50 < fields,
            "{fields} fields, of which not described: {bare:?}"
        );
    }

    #[test]
    fn a_schema_that_nobody_describes_stays_as_it_is() {
        let mut schemas = Map::from_iter([("com.example.Thing".to_owned(), json!({"type": "object"}))]);
        describe(&mut schemas);
        assert_eq!(schemas["com.example.Thing"], json!({"type": "object"}));
    }
}
