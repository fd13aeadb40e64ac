//! PodTemplates and ControllerRevisions: what controllers keep of templates.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::Value;

use super::check::Errors;
use super::column::{self, text};
use super::pod::{self, PodForm};
use super::view::{Edit as _, View as _, same};
use super::{Column, Rules, age, metadata, strategy};

/// The rules of `podtemplates`.
pub(crate) struct PodTemplate;
/// The rules of `apps` `controllerrevisions`.
pub(crate) struct ControllerRevision;

impl Rules for PodTemplate {
    fn default(&self, object: &mut Value) {
        pod::default_template(object.object("template"));
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::set_generation(object, 1);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        let before = old.at("metadata").int("generation").unwrap_or(0);
        let changed = !same(object.at("template"), old.at("template"));
        strategy::set_generation(object, before + i64::from(changed));
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        pod::template(
            object.at("template"),
            &Path::new("template"),
            PodForm::Template,
            &mut errors,
        );
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        pod::template(
            object.at("template"),
            &Path::new("template"),
            PodForm::Template,
            &mut errors,
        );
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Containers", "The names of the containers in the template."),
            text("Images", "The images of the containers in the template."),
            text("Pod Labels", "The labels that pods get."),
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let template = object.at("template");
        let [names, images] = column::containers(template.at("spec"));
        vec![
            column::name(object),
            names,
            images,
            column::labels(template.at("metadata").at("labels")).into(),
        ]
    }
}

impl Rules for ControllerRevision {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        revision(object, &mut errors);
        match object.at("data") {
            Value::Null => errors.required(&Path::new("data"), "data is mandatory"),
            Value::Object(_) => {}
            _ => errors.required(&Path::new("data"), "data must be a valid JSON object"),
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        revision(object, &mut errors);
        errors.immutable(&Path::new("data"), object.at("data"), old.at("data"));
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Controller", "The controller that the revision belongs to."),
            text("Revision", "The number of the revision."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let owners = object.at("metadata").list("ownerReferences");
        let controller = owners.iter().find(|owner| owner.is("controller"));
        let shown = controller.map_or_else(
            || "<none>".to_owned(),
            |owner| {
                let kind = owner.text("kind").to_ascii_lowercase();
                match owner.text("apiVersion").split_once('/') {
                    Some((group, _)) => format!("{kind}.{group}/{}", owner.text("name")),
                    None => format!("{kind}/{}", owner.text("name")),
                }
            },
        );
        let number = object.int("revision").unwrap_or(0);
        vec![
            column::name(object),
            shown.into(),
            number.into(),
            age::cell(object, now),
        ]
    }
}

fn revision(object: &Value, errors: &mut Errors) {
    metadata::create(object, true, metadata::subdomain, errors);
    errors.not_negative(&Path::new("revision"), object.int("revision"));
}
