//! The options of writes and deletions, from a query or a body.

use api::codec::FieldValidation;
use meta::{FieldError, GroupKind, Status};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Call;
use crate::admission::Operation;
use crate::http::query::Query;

/// The version that options are of.
const META: &str = "meta.k8s.io/v1";

const IGNORE_READ_ERROR: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";

/// The options of create, update and patch.
#[derive(Clone, Debug)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) manager: String,
    pub(crate) validation: FieldValidation,
    pub(crate) force: bool,
}

impl WriteOptions {
    /// Reads them; `kind` is their name in errors, such as `CreateOptions`.
    pub(crate) fn parse(call: &Call, kind: &str) -> Result<WriteOptions, Status> {
        let mut errors = Vec::new();
        let dry_run = dry_run(&call.query, &mut errors);
        let given = call.query.get("fieldValidation").unwrap_or_default();
        let validation = FieldValidation::parse(given).unwrap_or_else(|| {
            errors.push(FieldError::not_supported(
                "fieldValidation",
                given,
                &["", "Ignore", "Strict", "Warn"],
            ));
            FieldValidation::Warn
        });
        let given = call.query.get("fieldManager").unwrap_or_default();
        if given.chars().count() > 128 {
            errors.push(FieldError::too_long("fieldManager", 128));
        }
        if given.chars().any(|letter| !(' '..='~').contains(&letter)) {
            errors.push(FieldError::invalid(
                "fieldManager",
                given,
                "should only contain printable characters",
            ));
        }
        if !errors.is_empty() {
            return Err(Status::invalid(&GroupKind::new("meta.k8s.io", kind), "", &errors));
        }
        Ok(WriteOptions {
            dry_run,
            manager: manager(call, given),
            validation,
            force: call.query.flag("force"),
        })
    }

    /// The options of a write that the server does as a part of something else.
    pub(crate) fn internal(call: &Call, dry_run: bool) -> WriteOptions {
        WriteOptions {
            dry_run,
            manager: manager(call, ""),
            validation: FieldValidation::Ignore,
            force: false,
        }
    }
}

/// The options of a request as an object, as those who judge the request see them.
pub(crate) fn told(call: &Call, operation: Operation) -> Value {
    let kind = match operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => return told_deletion(call),
        Operation::Connect => return Value::Null,
    };
    let mut options = json!({"kind": kind, "apiVersion": META});
    for key in ["fieldManager", "fieldValidation"] {
        if let Some(value) = call.query.get(key) {
            options[key] = value.into();
        }
    }
    add_dry_run(call, &mut options);
    options
}

fn told_deletion(call: &Call) -> Value {
    let body = super::decode::tree(call).ok().flatten();
    let mut options = body.unwrap_or_else(|| {
        let mut options = json!({});
        if let Ok(Some(seconds)) = call.query.integer("gracePeriodSeconds") {
            options["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(policy) = call.query.get("propagationPolicy") {
            options["propagationPolicy"] = policy.into();
        }
        options
    });
    options["kind"] = "DeleteOptions".into();
    options["apiVersion"] = META.into();
    add_dry_run(call, &mut options);
    options
}

fn add_dry_run(call: &Call, options: &mut Value) {
    let values: Vec<&str> = call.query.all("dryRun").collect();
    if !values.is_empty() {
        options["dryRun"] = json!(values);
    }
}

/// The manager that the client names, or its program's name.
fn manager(call: &Call, given: &str) -> String {
    let agent = call
        .headers
        .get(http::header::USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    api::merge::apply::manager_name(given, agent)
}

fn dry_run(query: &Query, errors: &mut Vec<FieldError>) -> bool {
    let values: Vec<&str> = query.all("dryRun").collect();
    check_dry_run(&values, errors)
}

fn check_dry_run(values: &[&str], errors: &mut Vec<FieldError>) -> bool {
    for value in values {
        if *value != "All" {
            errors.push(FieldError::not_supported("dryRun", *value, &["All"]));
        }
    }
    !values.is_empty()
}

/// What becomes of an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// The options of a deletion.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) dry_run: bool,
    pub(crate) grace: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) propagation: Option<Propagation>,
    /// Also, and only, an object that can't be read.
    pub(crate) ignore_read_error: bool,
    /// Admission has looked at it already, in another form.
    pub(crate) is_reviewed: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeleteBody {
    pub(crate) kind: String,
    grace_period_seconds: Option<i64>,
    preconditions: Option<Preconditions>,
    orphan_dependents: Option<bool>,
    propagation_policy: Option<String>,
    dry_run: Vec<String>,
    ignore_store_read_error_with_cluster_breaking_potential: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl DeleteOptions {
    /// From the body when there is one, else from the query.
    pub(crate) fn parse(call: &Call) -> Result<DeleteOptions, Status> {
        let body = match super::decode::tree(call)? {
            Some(tree) => serde_json::from_value(tree).map_err(|error| Status::bad_request(error.to_string()))?,
            None => DeleteBody {
                grace_period_seconds: call.query.integer("gracePeriodSeconds")?,
                orphan_dependents: call.query.optional_flag("orphanDependents"),
                propagation_policy: call.query.get("propagationPolicy").map(str::to_owned),
                ignore_store_read_error_with_cluster_breaking_potential: call.query.optional_flag(IGNORE_READ_ERROR),
                ..DeleteBody::default()
            },
        };
        let mut options = DeleteOptions::of(body)?;
        // kubectl's dry run comes in either place.
        let mut errors = Vec::new();
        options.dry_run |= dry_run(&call.query, &mut errors);
        refuse(&errors)?;
        Ok(options)
    }

    /// From a body that was read already.
    pub(crate) fn of(body: DeleteBody) -> Result<DeleteOptions, Status> {
        let mut errors = Vec::new();
        let values: Vec<&str> = body.dry_run.iter().map(String::as_str).collect();
        let dry_run = check_dry_run(&values, &mut errors);
        if body.propagation_policy.is_some() && body.orphan_dependents.is_some() {
            let policy = body.propagation_policy.as_deref().unwrap_or_default();
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid("propagationPolicy", policy, why));
        }
        let propagation = match (body.propagation_policy.as_deref(), body.orphan_dependents) {
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some(other), _) => {
                let allowed = ["Background", "Foreground", "Orphan"];
                errors.push(FieldError::not_supported("propagationPolicy", other, &allowed));
                None
            }
            (None, None) => None,
        };
        let ignore_read_error = body.ignore_store_read_error_with_cluster_breaking_potential == Some(true);
        if ignore_read_error {
            let beside = [
                ("propagationPolicy", body.propagation_policy.is_some()),
                ("orphanDependents", body.orphan_dependents.is_some()),
                ("gracePeriodSeconds", body.grace_period_seconds.is_some()),
                ("preconditions", body.preconditions.is_some()),
            ];
            for (field, _) in beside.into_iter().filter(|(_, given)| *given) {
                let why = format!("cannot be set together with .{field}");
                errors.push(FieldError::invalid(IGNORE_READ_ERROR, true, why));
            }
        }
        refuse(&errors)?;
        let preconditions = body.preconditions.unwrap_or_default();
        let (uid, revision) = (preconditions.uid, preconditions.resource_version);
        Ok(DeleteOptions {
            dry_run,
            grace: body.grace_period_seconds,
            uid,
            revision,
            propagation,
            ignore_read_error,
            is_reviewed: false,
        })
    }
}

fn refuse(errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(
        &GroupKind::new("meta.k8s.io", "DeleteOptions"),
        "",
        errors,
    ))
}
