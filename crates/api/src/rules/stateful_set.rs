//! StatefulSets.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, CONTAINERS, IMAGES, text};
use super::view::{Edit as _, View as _};
use super::workload::{self, amount, amount_or_percent, at_most_all};
use super::{Column, Rules, age, form, metadata, persistent_volume_claim, pod, selector, strategy};

/// The rules of `apps` `statefulsets`.
pub(crate) struct StatefulSet;

const COLUMNS: &[Column] = &[
    age::NAME,
    text("Ready", "How many pods are ready, of how many wanted."),
    age::AGE,
    CONTAINERS,
    IMAGES,
];

impl Rules for StatefulSet {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        spec.or_text("podManagementPolicy", "OrderedReady");
        let strategy = spec.object("updateStrategy");
        if strategy.lacks("type") {
            strategy.set("type", "RollingUpdate");
            strategy.object("rollingUpdate");
        }
        if strategy.text("type") == "RollingUpdate"
            && let Some(rolling) = strategy.there("rollingUpdate")
        {
            rolling.or("partition", 0);
            rolling.or("maxUnavailable", 1);
        }
        let retention = spec.object("persistentVolumeClaimRetentionPolicy");
        retention.or_text("whenDeleted", "Retain");
        retention.or_text("whenScaled", "Retain");
        spec.or("replicas", 1);
        spec.or("revisionHistoryLimit", 10);
        for claim in spec.each("volumeClaimTemplates") {
            claim.or_text("kind", "PersistentVolumeClaim");
            claim.or_text("apiVersion", "v1");
            persistent_volume_claim::fill(claim);
        }
        pod::default_template(spec.object("template"));
        let status = object.object("status");
        status.or("replicas", 0);
        status.or("availableReplicas", 0);
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::start(object);
        object.set("status", json!({"replicas": 0, "availableReplicas": 0}));
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::advance(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::label, &mut errors);
        spec(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        spec(object.at("spec"), &mut errors);
        let at = Path::new("spec");
        for name in ["selector", "volumeClaimTemplates", "serviceName", "podManagementPolicy"] {
            errors.immutable(&at.child(name), object.at("spec").at(name), old.at("spec").at(name));
        }
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let replicas = "cannot be greater than status.replicas";
        workload::status(
            object,
            old,
            &[
                "replicas",
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
                "observedGeneration",
                "collisionCount",
            ],
            &[
                ("readyReplicas", "replicas", replicas),
                ("currentReplicas", "replicas", replicas),
                ("updatedReplicas", "replicas", replicas),
                ("availableReplicas", "replicas", replicas),
                (
                    "availableReplicas",
                    "readyReplicas",
                    "cannot be greater than status.readyReplicas",
                ),
            ],
        )
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let [names, images] = column::containers(spec.at("template").at("spec"));
        let (ready, wanted) = (
            status.int("readyReplicas").unwrap_or(0),
            spec.int("replicas").unwrap_or(0),
        );
        vec![
            column::name(object),
            format!("{ready}/{wanted}").into(),
            age::cell(object, now),
            names,
            images,
        ]
    }
}

fn spec(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    match spec.text("podManagementPolicy") {
        "" => errors.required(&at.child("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        other => errors.invalid(
            &at.child("podManagementPolicy"),
            other,
            "must be 'OrderedReady' or 'Parallel'",
        ),
    }
    rollout(spec.at("updateStrategy"), &at.child("updateStrategy"), errors);
    let retention = spec.at("persistentVolumeClaimRetentionPolicy");
    let at_retention = at.child("persistentVolumeClaimRetentionPolicy");
    if !retention.is_null() {
        for name in ["whenDeleted", "whenScaled"] {
            errors.one_of(&at_retention.child(name), retention.text(name), &["Retain", "Delete"]);
        }
    }
    let claims = at.child("volumeClaimTemplates");
    for (index, claim) in spec.list("volumeClaimTemplates").iter().enumerate() {
        persistent_volume_claim::check_spec(claim.at("spec"), &claims.index(index).child("spec"), errors);
    }
    workload::not_negative(spec, &at, &["replicas", "minReadySeconds"], errors);
    errors.not_negative(&at.child("ordinals.start"), spec.at("ordinals").int("start"));
    if !spec.lacks("serviceName") {
        errors.form(&at.child("serviceName"), spec.text("serviceName"), form::dns_label);
    }
    workload::selector(spec, &at, "statefulset", errors);
    let at_template = at.child("template");
    if selector::is_valid(spec.at("selector")) {
        workload::matching_labels(spec.at("selector"), spec.at("template"), &at_template, errors);
        let completed = with_claims(spec);
        let template = completed.as_ref().unwrap_or(spec.at("template"));
        pod::template(template, &at_template, pod::PodForm::Template, errors);
    } else {
        errors.invalid(&at.child("selector"), spec.at("selector").clone(), "");
    }
    workload::runs_for_ever(
        spec.at("template").at("spec"),
        &at_template.child("spec"),
        "StatefulSet",
        errors,
    );
}

/// The template as its pods will have it: with a volume for each claim, which the containers may mount.
fn with_claims(spec: &Value) -> Option<Value> {
    let claims = spec.list("volumeClaimTemplates");
    if claims.is_empty() {
        return None;
    }
    let mut template = spec.at("template").clone();
    let pod_spec = template.object("spec");
    let names: Vec<&str> = claims.iter().map(|claim| claim.at("metadata").text("name")).collect();
    let volumes = names
        .iter()
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
    let others = pod_spec
        .list("volumes")
        .iter()
        .filter(|volume| !names.contains(&volume.text("name")))
        .cloned();
    let all: Vec<Value> = volumes.chain(others).collect();
    pod_spec.set("volumes", all);
    Some(template)
}

fn rollout(strategy: &Value, at: &Path<'_>, errors: &mut Errors) {
    let rolling = strategy.at("rollingUpdate");
    let below = at.child("rollingUpdate");
    match strategy.text("type") {
        "" => errors.required(at, ""),
        "OnDelete" if !rolling.is_null() => {
            errors.invalid(
                &below,
                rolling.clone(),
                "only allowed for updateStrategy 'RollingUpdate'",
            );
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            errors.not_negative(&below.child("partition"), rolling.int("partition"));
            let unavailable = rolling.at("maxUnavailable");
            if !unavailable.is_null() {
                let at = below.child("maxUnavailable");
                amount_or_percent(&at, unavailable, errors);
                if amount(unavailable) == 0 {
                    errors.invalid(&at, unavailable.clone(), "cannot be 0");
                }
                at_most_all(&at, unavailable, errors);
            }
        }
        _ => errors.invalid(at, strategy.clone(), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}
