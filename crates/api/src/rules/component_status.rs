//! ComponentStatuses: how a cluster's parts are. Nobody writes them; they are made when they are asked for.

use jiff::Timestamp;
use meta::FieldError;
use serde_json::Value;

use super::column::{self, text};
use super::view::View as _;
use super::{Column, Rules, age};

/// The rules of `componentstatuses`.
pub(crate) struct ComponentStatus;

impl Rules for ComponentStatus {
    fn namespaced(&self) -> bool {
        false
    }

    fn validate_create(&self, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_update(&self, _object: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Status", "Whether the part is healthy."),
            text("Message", "What it says."),
            text("Error", "What is wrong with it."),
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let conditions = object.list("conditions").iter();
        let healthy = conditions.clone().find(|condition| condition.text("type") == "Healthy");
        let status = match healthy.map(|healthy| healthy.text("status")) {
            None => "Unknown",
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
        };
        let told = healthy.unwrap_or(&Value::Null);
        vec![
            column::name(object),
            status.into(),
            told.text("message").into(),
            told.text("error").into(),
        ]
    }
}
