//! What Kubernetes writes by hand for each kind: defaults, validation, update strategy, columns. One small file per kind.
//!
//! All rules work on JSON trees of built-in kinds that the codec has already checked against the schema table, so types
//! are right and unknown fields are gone. A rule never does I/O, never allocates names, addresses or ports, and never
//! knows who asks: admission and allocation are the server's. `null`, and a field that is absent, are the same here.

mod address;
mod admission;
mod age;
mod api_service;
mod autoscaler;
mod base64;
pub(crate) mod check;
mod class;
mod column;
mod component_status;
mod conditions;
mod config_map;
mod cron_job;
mod daemon_set;
mod definition;
mod deployment;
mod device;
mod disruption_budget;
mod endpoints;
mod event;
mod flow_control;
pub(crate) mod form;
mod ingress;
mod job;
mod kinds;
mod lease;
pub(crate) mod metadata;
mod migration;
mod namespace;
mod network_policy;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
pub(crate) mod pod;
mod pod_certificate;
mod pod_template;
mod quota;
mod rbac;
mod replica_set;
pub(crate) mod resources;
mod selector;
mod service;
mod service_account;
mod signing_request;
mod stateful_set;
mod storage;
pub(crate) mod strategy;
#[cfg(test)]
mod tests;
mod trust;
pub(crate) mod view;
mod workload;

use std::borrow::Cow;

use jiff::Timestamp;
use meta::FieldError;
use serde_json::{Value, json};

pub use age::{human_duration, since};
pub use kinds::{of, of_version, other};

/// One column of the table that `kubectl get` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: &'static str,
    /// `name` for the column that identifies the object, else empty.
    pub format: &'static str,
    /// What the column says, for people.
    pub description: &'static str,
    /// 0 is always shown, higher ones only with `-o wide`.
    pub priority: i32,
}

/// Who asks, for the few kinds that record it in their spec.
#[derive(Clone, Copy, Debug)]
pub struct Requester<'a> {
    /// The user name.
    pub name: &'a str,
    /// The user's uid, empty when there is none.
    pub uid: &'a str,
    /// The groups.
    pub groups: &'a [String],
    /// Further attributes, as in `authentication.k8s.io` `UserInfo.extra`; `Null` when there are none.
    pub extra: &'a Value,
}

/// The hand-written rules of one kind.
///
/// The server calls, on create: [`default`](Rules::default) (also after admission changed the object),
/// [`prepare_create`](Rules::prepare_create), [`validate_create`](Rules::validate_create),
/// [`canonicalize`](Rules::canonicalize). On update the same with the stored object beside it.
///
/// Before that the server has filled in what no kind decides: on create the name, `uid` and `creationTimestamp` (a
/// job's selector and a gated pod's condition are made of them), on update the old `generation`, `uid`,
/// `creationTimestamp` and deletion marks.
pub trait Rules: Send + Sync {
    /// Whether objects of this kind live in a namespace.
    fn namespaced(&self) -> bool {
        true
    }

    /// Fills in what the client left out.
    fn default(&self, object: &mut Value) {
        let _ = object;
    }

    /// Resets what a client may not set on create, and computes what the server sets.
    fn prepare_create(&self, object: &mut Value) {
        let _ = object;
    }

    /// Resets what an update through the main resource may not change, and counts `metadata.generation`.
    fn prepare_update(&self, object: &mut Value, old: &Value) {
        let _ = (object, old);
    }

    /// Resets what an update through `/status` may not change: all but the status, unless the kind says otherwise.
    fn prepare_status(&self, object: &mut Value, old: &Value) {
        strategy::keep_all_but_status(object, old);
    }

    /// Resets what an update through another subresource that writes the object may not change (`approval` of a
    /// CertificateSigningRequest, `finalize` of a Namespace, `ephemeralcontainers` and `resize` of a Pod).
    fn prepare_subresource(&self, subresource: &str, object: &mut Value, old: &Value) {
        let _ = subresource;
        self.prepare_status(object, old);
    }

    /// Records who creates the object, where the kind has a place for it.
    fn record_requester(&self, object: &mut Value, requester: &Requester<'_>) {
        let _ = (object, requester);
    }

    /// Everything that is wrong with a new object; empty when it may be stored.
    fn validate_create(&self, object: &Value) -> Vec<FieldError>;

    /// Everything that is wrong with replacing `old` by `object` through the main resource.
    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError>;

    /// Everything that is wrong with replacing `old` by `object` through `/status`.
    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        metadata::check_update(object, old)
    }

    /// Everything that is wrong with replacing `old` by `object` through another subresource.
    fn validate_subresource(&self, subresource: &str, object: &Value, old: &Value) -> Vec<FieldError> {
        let _ = subresource;
        self.validate_status(object, old)
    }

    /// Brings a valid object into the form that is stored.
    fn canonicalize(&self, object: &mut Value) {
        let _ = object;
    }

    /// The names that a field selector may use with this kind.
    fn selectable(&self) -> &'static [&'static str] {
        if self.namespaced() {
            &["metadata.name", "metadata.namespace"]
        } else {
            &["metadata.name"]
        }
    }

    /// The values of [`selectable`](Rules::selectable) in this object, in the same order.
    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        self.selectable()
            .iter()
            .map(|name| (*name, view::text_at(object, name).to_owned()))
            .collect()
    }

    /// Whether a field selector may use this name.
    fn is_selectable(&self, field: &str) -> bool {
        self.selectable().contains(&field)
    }

    /// Everything in this object that a field selector may ask for.
    fn projected(&self, object: &Value) -> Vec<(Cow<'static, str>, String)> {
        let fields = self.selectable_fields(object).into_iter();
        fields.map(|(name, value)| (Cow::Borrowed(name), value)).collect()
    }

    /// How many seconds a deletion waits for the object to end by itself; `None` when the kind goes at once.
    fn grace_period(&self, object: &Value, requested: Option<i64>) -> Option<i64> {
        let _ = (object, requested);
        None
    }

    /// Whether dependents stay when a deletion doesn't say what becomes of them.
    fn orphans_by_default(&self) -> bool {
        false
    }

    /// What every answer about the kind warns of.
    fn deprecation(&self) -> Option<&'static str> {
        None
    }

    /// What the first deletion leaves in an object that it marks: a finalizer, a condition.
    fn prepare_delete(&self, object: &mut Value) {
        let _ = object;
    }

    /// Whether a PUT to a name that doesn't exist creates it.
    fn create_on_update(&self) -> bool {
        false
    }

    /// Whether an update without `metadata.resourceVersion` overwrites what is there.
    fn unconditional_update(&self) -> bool {
        true
    }

    /// The columns of the table, those of `-o wide` included.
    fn columns(&self) -> &'static [Column] {
        age::NAME_AND_CREATED
    }

    /// The columns as the table has them.
    fn column_heads(&self) -> Vec<Value> {
        let columns = self.columns().iter();
        columns
            .map(|column| {
                json!({
                    "name": column.name, "type": column.kind, "format": column.format,
                    "description": column.description, "priority": column.priority,
                })
            })
            .collect()
    }

    /// One object's row; one cell for each of [`columns`](Rules::columns).
    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let _ = now;
        age::name_and_created(object)
    }
}
