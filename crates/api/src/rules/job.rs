//! Jobs.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, CONTAINERS, IMAGES, SELECTOR, text};
use super::pod::{self, PodForm};
use super::view::{Edit as _, View as _, same};
use super::{Column, Rules, age, metadata, strategy, workload};

/// The rules of `batch` `jobs`.
pub(crate) struct Job;

const COLUMNS: &[Column] = &[
    age::NAME,
    text("Status", "How the job stands."),
    text("Completions", "How many pods ended well, of how many wanted."),
    text("Duration", "How long the job has run, or ran."),
    age::AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

impl Rules for Job {
    fn orphans_by_default(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        default_spec(spec);
        if !spec.has("completions") && !spec.has("parallelism") {
            spec.set("completions", 1);
        }
        spec.or("parallelism", 1);
        let endless = if spec.has("backoffLimitPerIndex") {
            i64::from(i32::MAX)
        } else {
            6
        };
        spec.or("backoffLimit", endless);
        spec.or("completionMode", "NonIndexed");
        spec.or("suspend", false);
        let replace = if spec.has("podFailurePolicy") {
            "Failed"
        } else {
            "TerminatingOrFailed"
        };
        spec.or("podReplacementPolicy", replace);
        spec.or("manualSelector", false);
        label_as_template(object);
        object.object("status");
    }

    fn prepare_create(&self, object: &mut Value) {
        if !object.at("spec").is("manualSelector") {
            select_by_uid(object);
            label_as_template(object);
        }
        strategy::start(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::advance(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        generated_selector(object, &mut errors);
        spec(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        spec(object.at("spec"), &mut errors);
        changes(object, old, &mut errors);
        errors.0
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        workload::status(
            object,
            old,
            &["active", "succeeded", "failed", "ready", "terminating"],
            &[],
        )
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["metadata.name", "metadata.namespace", "status.successful"]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let metadata = object.at("metadata");
        vec![
            ("metadata.name", metadata.text("name").to_owned()),
            ("metadata.namespace", metadata.text("namespace").to_owned()),
            (
                "status.successful",
                object.at("status").int("succeeded").unwrap_or(0).to_string(),
            ),
        ]
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let [names, images] = column::containers(spec.at("template").at("spec"));
        vec![
            column::name(object),
            word(object).into(),
            completions(spec, status).into(),
            duration(status, now).into(),
            age::cell(object, now),
            names,
            images,
            column::selector(spec.at("selector")).into(),
        ]
    }
}

/// A job without labels gets its template's.
fn label_as_template(object: &mut Value) {
    if object
        .at("metadata")
        .map("labels")
        .is_none_or(serde_json::Map::is_empty)
        && object.at("spec").at("template").at("metadata").has("labels")
    {
        let labels = object.at("spec").at("template").at("metadata").at("labels").clone();
        object.object("metadata").set("labels", labels);
    }
}

/// What the spec of a job and of a job template share.
pub(crate) fn default_spec(spec: &mut Value) {
    pod::default_template(spec.object("template"));
    if let Some(policy) = spec.there("podFailurePolicy") {
        for rule in policy.each("rules") {
            for pattern in rule.each("onPodConditions") {
                pattern.or_text("status", "True");
            }
        }
    }
}

/// Labels the pods with the job's name and uid and selects by the uid: nothing else can match.
fn select_by_uid(object: &mut Value) {
    let (name, uid) = (
        object.at("metadata").at("name").clone(),
        object.at("metadata").at("uid").clone(),
    );
    let spec = object.object("spec");
    let labels = spec.object("template").object("metadata").object("labels");
    for (keys, value) in [(NAME_LABELS, &name), (UID_LABELS, &uid)] {
        for key in keys {
            labels.or(key, value.clone());
        }
    }
    spec.object("selector").object("matchLabels").or(UID_LABELS[1], uid);
}

fn generated_selector(object: &Value, errors: &mut Errors) {
    let spec = object.at("spec");
    if spec.is("manualSelector") {
        return;
    }
    if !spec.has("selector") {
        // It was generated; only an object made past preparing lacks it, and that is told below.
        return;
    }
    let labels = spec.at("template").at("metadata").at("labels");
    let at = Path::new("spec.template.metadata.labels");
    let wanted = [
        (UID_LABELS, object.at("metadata").text("uid")),
        (NAME_LABELS, object.at("metadata").text("name")),
    ];
    for (keys, value) in wanted {
        for key in keys {
            match labels.at(key).as_str() {
                None => errors.required(&at.key(key), &format!("must be '{value}'")),
                Some(found) if found != value => {
                    errors.invalid(&at.key(key), labels.clone(), &format!("must be '{value}'"));
                }
                Some(_) => {}
            }
        }
    }
    let uid = object.at("metadata").text("uid");
    let selected = json!({"matchLabels": {UID_LABELS[1]: uid}});
    let old_selected = json!({"matchLabels": {UID_LABELS[0]: uid}});
    let selector = spec.at("selector");
    if !same(selector, &selected) && !same(selector, &old_selected) {
        errors.invalid(
            &Path::new("spec.selector"),
            selector.clone(),
            "`selector` not auto-generated",
        );
    }
}

fn spec(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    template_spec(spec, &at, errors);
    let selector = spec.at("selector");
    if selector.is_null() {
        errors.required(&at.child("selector"), "");
    } else {
        errors.selector(&at.child("selector"), selector);
    }
    workload::matching_labels(selector, spec.at("template"), &at.child("template"), errors);
}

/// Checks what a job and a job template have in common.
pub(crate) fn template_spec(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let counts = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    workload::not_negative(spec, at, &counts, errors);
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        errors.required(&at.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if spec.has("completionMode") {
        let mode = spec.text("completionMode");
        errors.one_of(&at.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
    }
    if spec.text("completionMode") == "Indexed" {
        indexed(spec, at, errors);
    } else {
        for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(value) = spec.int(name) {
                errors.invalid(&at.child(name), value, "requires indexed completion mode");
            }
        }
        if spec.has("successPolicy") {
            let shown = spec.at("successPolicy").clone();
            errors.invalid(&at.child("successPolicy"), shown, "requires indexed completion mode");
        }
    }
    if spec.has("podReplacementPolicy") {
        replacement(spec, &at.child("podReplacementPolicy"), errors);
    }
    let at_template = at.child("template");
    pod::template(spec.at("template"), &at_template, PodForm::Template, errors);
    let policy = spec.at("template").at("spec").text("restartPolicy");
    let at_policy = at_template.child("spec");
    let at_policy = at_policy.child("restartPolicy");
    match policy {
        "" | "Always" => errors.required(&at_policy, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" | "Never" => {
            if spec.has("podFailurePolicy") && policy != "Never" {
                let detail = "only \"Never\" is supported when podFailurePolicy is specified";
                errors.invalid(&at_policy, policy, detail);
            }
        }
        other => errors.not_supported(&at_policy, other, &["OnFailure", "Never"]),
    }
}

fn indexed(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let completions = spec.int("completions");
    if completions.is_none() {
        errors.required(&at.child("completions"), "when completion mode is Indexed");
    }
    if let Some(parallelism) = spec.int("parallelism")
        && parallelism > 100_000
    {
        let detail = "must be less than or equal to 100000 when completion mode is Indexed";
        errors.invalid(&at.child("parallelism"), parallelism, detail);
    }
    if let (Some(completions), Some(failed)) = (completions, spec.int("maxFailedIndexes"))
        && failed > completions
    {
        errors.invalid(
            &at.child("maxFailedIndexes"),
            failed,
            "must be less than or equal to completions",
        );
    }
}

fn replacement(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let policy = spec.text("podReplacementPolicy");
    if spec.has("podFailurePolicy") {
        errors.one_of(at, policy, &["Failed"]);
    } else {
        errors.one_of(at, policy, &["Failed", "TerminatingOrFailed"]);
    }
}

fn changes(object: &Value, old: &Value, errors: &mut Errors) {
    let (spec, before) = (object.at("spec"), old.at("spec"));
    let at = Path::new("spec");
    let elastic = spec.text("completionMode") == "Indexed"
        && !same(spec.at("completions"), before.at("completions"))
        && spec.int("completions") == spec.int("parallelism");
    if !elastic {
        errors.immutable(
            &at.child("completions"),
            spec.at("completions"),
            before.at("completions"),
        );
    }
    errors.immutable(&at.child("selector"), spec.at("selector"), before.at("selector"));
    template_changes(object, old, &at.child("template"), errors);
    for name in [
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        errors.immutable(&at.child(name), spec.at(name), before.at(name));
    }
}

/// A job that is suspended and has nothing running may change where its pods go and what they request.
fn template_changes(object: &Value, old: &Value, at: &Path<'_>, errors: &mut Errors) {
    let (new, before) = (object.at("spec").at("template"), old.at("spec").at("template"));
    let status = old.at("status");
    let paused = status
        .list("conditions")
        .iter()
        .any(|c| c.text("type") == "Suspended" && c.text("status") == "True");
    let idle =
        old.at("spec").is("suspend") && (!status.has("startTime") || paused) && status.int("active").unwrap_or(0) == 0;
    if !idle {
        errors.immutable(at, new, before);
        return;
    }
    let mut allowed = new.clone();
    let spec = allowed.object("spec");
    for name in ["nodeSelector", "tolerations", "schedulingGates", "affinity"] {
        spec.take_from(name, before.at("spec"));
    }
    for name in ["containers", "initContainers"] {
        for (container, was) in spec.each(name).zip(before.at("spec").list(name)) {
            container.take_from("resources", was);
        }
    }
    errors.immutable(&at.child("spec"), allowed.at("spec"), before.at("spec"));
}

fn word(job: &Value) -> &'static str {
    let conditions = job.at("status").list("conditions");
    let is = |kind: &str| {
        conditions
            .iter()
            .any(|c| c.text("type") == kind && c.text("status") == "True")
    };
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if job.at("metadata").has("deletionTimestamp") {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(spec: &Value, status: &Value) -> String {
    let done = status.int("succeeded").unwrap_or(0);
    match (spec.int("completions"), spec.int("parallelism").unwrap_or(0)) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{done}/1 of {parallel}"),
        (None, _) => format!("{done}/1"),
    }
}

fn duration(status: &Value, now: Timestamp) -> String {
    let Ok(start) = status.text("startTime").parse::<Timestamp>() else {
        return String::new();
    };
    let end = status.text("completionTime").parse::<Timestamp>().unwrap_or(now);
    age::human_duration(end.as_second() - start.as_second())
}
