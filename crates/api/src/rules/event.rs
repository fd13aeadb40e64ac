//! Events, in the shape of the core group and in that of `events.k8s.io`.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::Value;

use super::check::Errors;
use super::column::{self, text, wide};
use super::view::{Edit as _, View as _, text_at};
use super::{Column, Rules, age, form, metadata};

/// The rules of `events`, of both groups.
pub(crate) struct Event;

const COLUMNS: &[Column] = &[
    text("Last Seen", "When it happened last."),
    text("Type", "Whether it is normal."),
    text("Reason", "Why, in one word."),
    text("Object", "The object that it is about."),
    wide("Subobject", "The part of the object that it is about."),
    wide("Source", "Who tells it."),
    text("Message", "What happened."),
    wide("First Seen", "When it happened first."),
    wide("Count", "How often it happened."),
    Column {
        priority: 1,
        ..age::NAME
    },
];

const SELECTABLE: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

impl Rules for Event {
    fn default(&self, object: &mut Value) {
        if is_old(object) {
            object.object("source");
            object.or("reportingComponent", "");
            object.or("reportingInstance", "");
        } else {
            object.object("deprecatedSource");
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::segment, &mut errors);
        about(object, &mut errors);
        if !is_old(object) || has_time(object) {
            new_style(object, &mut errors);
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        about(object, &mut errors);
        errors.0
    }

    fn selectable(&self) -> &'static [&'static str] {
        SELECTABLE
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let about = regarding(object);
        let component = reporter(object);
        let source = match source(object).text("component") {
            "" => component,
            component => component,
        };
        let value = |name: &str| match name {
            "reportingComponent" => component,
            "source" => source,
            _ => match name.strip_prefix("involvedObject.") {
                Some(field) => about.text(field),
                None => text_at(object, name),
            },
        };
        SELECTABLE.iter().map(|name| (*name, value(name).to_owned())).collect()
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let time = |new: &str, old: &str| match object.text(new) {
            "" => object.text(old).to_owned(),
            time => time.to_owned(),
        };
        let first = match time("firstTimestamp", "deprecatedFirstTimestamp").as_str() {
            "" => age::since(object.text("eventTime"), now),
            time => age::since(time, now),
        };
        let mut last = match time("lastTimestamp", "deprecatedLastTimestamp").as_str() {
            "" => first.clone(),
            time => age::since(time, now),
        };
        let mut count = object
            .int("count")
            .or(object.int("deprecatedCount"))
            .unwrap_or(0)
            .max(1);
        let series = object.at("series");
        if !series.is_null() {
            last = age::since(series.text("lastObservedTime"), now);
            count = series.int("count").unwrap_or(0);
        }
        let about = regarding(object);
        let kind = about.text("kind").to_lowercase();
        let target = if about.lacks("name") {
            kind
        } else {
            format!("{kind}/{}", about.text("name"))
        };
        let message = if object.has("message") {
            object.text("message")
        } else {
            object.text("note")
        };
        vec![
            last.into(),
            object.text("type").into(),
            object.text("reason").into(),
            target.into(),
            about.text("fieldPath").into(),
            teller(object).into(),
            message.trim().into(),
            first.into(),
            count.into(),
            column::name(object),
        ]
    }
}

/// Whether the event has the core group's shape.
fn is_old(object: &Value) -> bool {
    object.has("involvedObject") || object.text("apiVersion") == "v1"
}

fn has_time(object: &Value) -> bool {
    !object.lacks("eventTime")
}

fn regarding(object: &Value) -> &Value {
    if object.has("involvedObject") {
        object.at("involvedObject")
    } else {
        object.at("regarding")
    }
}

fn reporter(object: &Value) -> &str {
    if object.has("reportingComponent") {
        object.text("reportingComponent")
    } else {
        object.text("reportingController")
    }
}

fn source(object: &Value) -> &Value {
    if object.has("source") {
        object.at("source")
    } else {
        object.at("deprecatedSource")
    }
}

fn teller(object: &Value) -> String {
    let source = source(object);
    let component = column::or(source.text("component"), reporter(object));
    let host = column::or(source.text("host"), object.text("reportingInstance"));
    if host.is_empty() {
        component.to_owned()
    } else {
        format!("{component}, {host}")
    }
}

fn about(object: &Value, errors: &mut Errors) {
    let about = regarding(object);
    let (namespace, own) = (about.text("namespace"), object.at("metadata").text("namespace"));
    let fits = if namespace.is_empty() {
        matches!(own, "default" | "kube-system")
    } else {
        namespace == own
    };
    if !fits {
        let at = Path::new("involvedObject.namespace");
        errors.invalid(&at, namespace, "does not match event.namespace");
    }
}

/// What events must have that carry `eventTime`.
fn new_style(object: &Value, errors: &mut Errors) {
    if !has_time(object) {
        errors.required(&Path::new("eventTime"), "");
    }
    let at = Path::new("reportingController");
    let reporter = reporter(object);
    if reporter.is_empty() {
        errors.required(&at, "");
    }
    errors.form(&at, reporter, form::qualified_name);
    for name in ["reportingInstance", "action", "reason"] {
        if object.lacks(name) {
            errors.required(&Path::new(name), "");
        }
    }
    for (name, most) in [("reportingInstance", 128), ("action", 128), ("reason", 128)] {
        if object.text(name).len() > most {
            errors.invalid(&Path::new(name), "", &format!("can have at most {most} characters"));
        }
    }
    let message = if object.has("message") {
        object.text("message")
    } else {
        object.text("note")
    };
    if message.len() > 1024 {
        errors.invalid(&Path::new("message"), "", "can have at most 1024 characters");
    }
    if !matches!(object.text("type"), "Normal" | "Warning") {
        errors.invalid(&Path::new("type"), "", "has invalid value: ");
    }
}
