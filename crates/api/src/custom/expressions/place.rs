//! One place in a schema with the rules that stand there, and those below it.

use cel::Budget;
use meta::FieldError;
use serde_json::Value;

use super::declare::declare;
use super::rule::Rule;
use super::values::Form;
use crate::rules::view::{View as _, same};

/// A place at which, or below which, there are rules.
#[derive(Debug)]
pub(super) struct Place {
    rules: Vec<Rule>,
    /// How `self` is made of the object here; none where no rule stands.
    form: Option<Form>,
    /// What errors show as the value when a rule can't be evaluated.
    ty: String,
    properties: Vec<(String, Place)>,
    values: Option<Box<Place>>,
    items: Option<Box<Place>>,
    /// The fields by which the elements of a list are told apart.
    keys: Option<Vec<String>>,
}

/// One object on its way through the rules.
pub(super) struct Visit {
    pub(super) budget: Budget,
    /// No further rules are evaluated.
    pub(super) over: bool,
    pub(super) errors: Vec<FieldError>,
}

impl Place {
    /// Compiles the rules of a schema; none when there are none.
    pub(super) fn compile(schema: &Value, whole: bool) -> Option<Place> {
        if !schema.is_object() {
            return None;
        }
        let child = |schema: &Value| Place::compile(schema, schema.is("x-kubernetes-embedded-resource"));
        let rules = schema.list("x-kubernetes-validations");
        let declared = (!rules.is_empty()).then(|| declare(schema, whole, "selfType"));
        let rules = match declared.flatten() {
            Some(declared) => rules
                .iter()
                .map(|rule| Rule::compile(rule, schema, &declared))
                .collect(),
            None => Vec::new(),
        };
        let properties = schema.map("properties").into_iter().flatten();
        let properties = properties.filter_map(|(name, of)| Some((name.clone(), child(of)?)));
        let place = Place {
            form: (!rules.is_empty()).then(|| Form::of(schema, whole)),
            rules,
            ty: schema.text("type").to_owned(),
            properties: properties.collect(),
            values: child(schema.at("additionalProperties")).map(Box::new),
            items: child(schema.at("items")).map(Box::new),
            keys: (schema.text("x-kubernetes-list-type") == "map").then(|| {
                let keys = schema.list("x-kubernetes-list-map-keys").iter();
                keys.filter_map(Value::as_str).map(str::to_owned).collect()
            }),
        };
        let is_empty =
            place.rules.is_empty() && place.properties.is_empty() && place.values.is_none() && place.items.is_none();
        (!is_empty).then_some(place)
    }

    /// Checks what is at this place and below. `unchanged`: what this is a part of is as it was.
    pub(super) fn check(&self, visit: &mut Visit, object: &Value, old: Option<&Value>, unchanged: bool, path: &str) {
        let old = old.filter(|old| !old.is_null());
        if object.is_null() || visit.over {
            return;
        }
        let unchanged = unchanged || old.is_some_and(|old| same(old, object));
        if let Some(form) = &self.form {
            let value = form.value(object);
            let before = old.map(|old| form.value(old));
            for rule in &self.rules {
                rule.check(visit, &value, before.as_ref(), (object, &self.ty), unchanged, path);
                if visit.over {
                    return;
                }
            }
        }
        for (name, place) in &self.properties {
            if let Some(value) = object.get(name) {
                let before = old.and_then(|old| old.get(name));
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                place.check(visit, value, before, unchanged, &path);
            }
        }
        if let (Some(place), Value::Object(entries)) = (&self.values, object) {
            for (key, value) in entries {
                let before = old.and_then(|old| old.get(key));
                place.check(visit, value, before, unchanged, &format!("{path}[{key}]"));
            }
        }
        if let (Some(place), Value::Array(items)) = (&self.items, object) {
            for (index, item) in items.iter().enumerate() {
                let before = old.and_then(|old| self.counterpart(item, old));
                place.check(visit, item, before, unchanged, &format!("{path}[{index}]"));
            }
        }
    }

    /// The element of an older list that has the same keys; elements without keys have no counterpart.
    fn counterpart<'a>(&self, item: &Value, old: &'a Value) -> Option<&'a Value> {
        let keys = self.keys.as_ref()?;
        let fits = |other: &&Value| keys.iter().all(|key| same(other.at(key), item.at(key)));
        old.as_array()?.iter().find(fits)
    }
}
