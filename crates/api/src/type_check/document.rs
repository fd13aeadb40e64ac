//! The types of kinds that an OpenAPI document has: those of definitions and of other servers.

use cel::Declaration;
use meta::GroupVersionKind;
use serde_json::{Value, json};

use crate::custom::declare_published;
use crate::rules::view::View as _;

/// References begin with this.
const SCHEMAS: &str = "#/components/schemas/";

/// The declaration of a kind's objects, whose types' names begin with `name`.
pub(super) fn shape(document: &Value, kind: &GroupVersionKind, name: &str) -> Option<Option<Declaration>> {
    let all = document.at("components").at("schemas");
    let is_it = |one: &Value| {
        one.text("group") == kind.group && one.text("version") == kind.version && one.text("kind") == kind.kind
    };
    let (root, _) = all.as_object()?.iter().find(|(_, schema)| {
        let kinds = schema.list("x-kubernetes-group-version-kind");
        kinds.iter().any(is_it)
    })?;
    let whole = Resolve {
        all,
        within: Vec::new(),
    }
    .named(root);
    Some(declare_published(&whole, name))
}

/// Puts what references refer to in their places.
struct Resolve<'a> {
    all: &'a Value,
    /// What is being put in its place: within itself it is an object without fields.
    within: Vec<&'a str>,
}

impl<'a> Resolve<'a> {
    fn named(&mut self, name: &'a str) -> Value {
        if self.within.contains(&name) {
            return json!({"type": "object"});
        }
        self.within.push(name);
        let resolved = self.schema(self.all.at(name));
        self.within.pop();
        resolved
    }

    fn schema(&mut self, schema: &'a Value) -> Value {
        if let Some(name) = reference(schema) {
            return self.named(name);
        }
        let Value::Object(parts) = schema else {
            return schema.clone();
        };
        let mut whole = serde_json::Map::new();
        // Schemas of built-in types have a format instead of the mark.
        if schema.text("format") == "int-or-string" {
            whole.insert("x-kubernetes-int-or-string".to_owned(), true.into());
        }
        for (key, part) in parts {
            let part = match (key.as_str(), part) {
                ("properties", Value::Object(fields)) => {
                    let fields = fields.iter().map(|(name, field)| (name.clone(), self.schema(field)));
                    Value::Object(fields.collect())
                }
                ("items" | "additionalProperties", part) => self.schema(part),
                // Words for people.
                ("description", _) => continue,
                (_, part) => part.clone(),
            };
            whole.insert(key.clone(), part);
        }
        Value::Object(whole)
    }
}

/// The name that a schema refers to, by itself or within `allOf`.
fn reference(schema: &Value) -> Option<&str> {
    if let Some(name) = schema.text("$ref").strip_prefix(SCHEMAS) {
        return Some(name);
    }
    schema.list("allOf").iter().find_map(reference)
}
