//! Checks that an applied configuration fits its schema, with the texts that Kubernetes has for it. Only shapes are
//! checked here, and that no keyed list has an item twice: whether the values make sense is asked later, of the whole object.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::shape::item_element;
use crate::merge::fields::Element;
use crate::merge::go_text;
use crate::schema::{List, ListType, Schema, Type, TypeId};

/// Checks a configuration. The error holds every finding: one as `path: text`, several in a list.
pub(crate) fn validate(schema: &Schema, ty: TypeId, value: &Value) -> Result<(), String> {
    let mut walk = Walk {
        schema,
        path: Vec::new(),
        findings: Vec::new(),
    };
    walk.node(ty, value);
    match walk.findings.as_slice() {
        [] => Ok(()),
        [finding] => Err(finding.clone()),
        findings => {
            let mut text = String::from("errors:");
            for finding in findings {
                _ = write!(text, "\n  {finding}");
            }
            Err(text)
        }
    }
}

struct Walk<'a> {
    schema: &'a Schema,
    path: Vec<Element>,
    findings: Vec<String>,
}

impl Walk<'_> {
    fn node(&mut self, ty: TypeId, value: &Value) {
        let schema = self.schema;
        match schema.get(ty) {
            _ if value.is_null() => {}
            Type::Any | Type::Deduced => {}
            Type::String | Type::Bytes if !value.is_string() => {
                self.report(format!(
                    "expected string, got &value.valueUnstructured{{Value:{}}}",
                    literal(value)
                ));
            }
            Type::Bool if !value.is_boolean() => {
                self.report(format!("expected boolean, got &{{{}}}", go_text::plain(value)));
            }
            Type::Int32 | Type::Int64 | Type::Double if !value.is_number() => {
                self.report(format!(
                    "expected numeric (int or float), got {}",
                    go_text::go_type(value)
                ));
            }
            Type::Quantity | Type::IntOrString | Type::Time | Type::MicroTime | Type::Duration
                if value.is_object() || value.is_array() =>
            {
                self.report(format!("expected any scalar, got &{{{}}}", go_text::plain(value)));
            }
            Type::List(list) => self.list(list, value),
            Type::Struct(_) | Type::Map(_) => self.map(ty, value),
            _ => {}
        }
    }

    fn list(&mut self, list: &List, value: &Value) {
        let Value::Array(items) = value else {
            return self.report(format!("expected list, got &{{{}}}", go_text::plain(value)));
        };
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let element = if list.list_type == ListType::Atomic {
                Element::Index(index as i64)
            } else {
                match item_element(self.schema, list, item) {
                    Ok(element) => element,
                    Err(reason) => return self.report(format!("element {index}: {reason}")),
                }
            };
            if list.list_type != ListType::Atomic && !seen.insert(element.clone()) {
                self.report(format!("duplicate entries for key {element}"));
            }
            self.path.push(element);
            self.node(list.element, item);
            self.path.pop();
        }
    }

    fn map(&mut self, ty: TypeId, value: &Value) {
        let Value::Object(map) = value else {
            return self.report(format!("expected map, got &{{{}}}", go_text::plain(value)));
        };
        let schema = self.schema;
        for (name, value) in map {
            let child = match schema.get(ty) {
                Type::Struct(body) => match body.field(name) {
                    Some(field) => Some(field.ty),
                    None => body.preserve_unknown.then_some(TypeId::ANY),
                },
                Type::Map(map) => Some(map.value),
                _ => None,
            };
            self.path.push(Element::field(name));
            match child {
                Some(child) => self.node(child, value),
                None => self.report("field not declared in schema".into()),
            }
            self.path.pop();
        }
    }

    fn report(&mut self, text: String) {
        let mut finding = String::new();
        for element in &self.path {
            _ = write!(finding, "{element}");
        }
        if !finding.is_empty() {
            finding.push_str(": ");
        }
        self.findings.push(finding + &text);
    }
}

/// A value as Go's `%#v` prints it, for the kinds that can stand where a string belongs.
fn literal(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(name, value)| format!("{}:{}", meta::quote(name), literal(value)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(literal).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::String(text) => meta::quote(text),
        Value::Null => "interface {}(nil)".into(),
        scalar => go_text::plain(scalar),
    }
}
