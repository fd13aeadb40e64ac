//! Checks a custom object's values against its schema, in the order and words of Kubernetes' validator. On an update,
//! what hasn't changed is let pass, so that a definition may become stricter.

use meta::FieldError;
use serde_json::Value;

use super::format;
use super::number;
use super::structural::{Checks, Kind, Node};
use crate::schema::ListType;

/// Everything that is wrong; `at` is the path of the value, empty for a whole object.
pub(crate) fn validate(node: &Node, value: &Value, old: Option<&Value>, at: &str) -> Vec<FieldError> {
    let walk = Walk { at };
    walk.value(node, value, old, "").errors
}

/// What a check found: the errors, and how many checks there were, by which the nearest alternative is told.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) errors: Vec<FieldError>,
    checks: usize,
}

impl Outcome {
    fn merge(&mut self, other: Outcome) {
        self.errors.extend(other.errors);
        self.checks += other.checks;
    }
}

pub(super) struct Walk<'a> {
    /// Where the whole value stands; its own paths are relative.
    at: &'a str,
}

impl Walk<'_> {
    /// The path of a place in errors.
    pub(super) fn path(&self, place: &str) -> String {
        let place = place.trim_start_matches('.');
        match (self.at, place) {
            ("", "") => "<nil>".to_owned(),
            ("", place) => place.to_owned(),
            (at, "") => at.to_owned(),
            (at, place) => format!("{at}.{place}"),
        }
    }

    fn value(&self, node: &Node, value: &Value, old: Option<&Value>, place: &str) -> Outcome {
        let mut outcome = Outcome::default();
        if old == Some(value) {
            return outcome;
        }
        let checks = node.checks.as_deref();
        if let Some(error) = self.type_error(node, value, place) {
            outcome.errors.push(error);
        }
        outcome.checks += 1;
        if value.is_null() {
            outcome
                .errors
                .extend(checks.and_then(|checks| self.enumeration(checks, value, place)));
            return outcome;
        }
        if let Some(checks) = checks {
            outcome.merge(self.alternatives(checks, value, old, place));
            match value {
                Value::String(text) => outcome.errors.extend(self.string(checks, text, place)),
                Value::Number(number) => outcome.errors.extend(number::check(self, node, checks, number, place)),
                _ => {}
            }
        }
        match value {
            Value::Array(items) => self.array(node, items, old, place, &mut outcome),
            Value::Object(_) => self.object(node, value, old, place, &mut outcome),
            _ => {}
        }
        outcome
            .errors
            .extend(checks.and_then(|checks| self.enumeration(checks, value, place)));
        outcome.checks += 2;
        outcome
    }

    fn type_error(&self, node: &Node, value: &Value, place: &str) -> Option<FieldError> {
        let wanted: &[Kind] = match node.kind {
            _ if node.int_or_string => &[Kind::Integer, Kind::String],
            Some(ref kind) => std::slice::from_ref(kind),
            None => return None,
        };
        let found = match value {
            Value::Null if node.nullable => return None,
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
        };
        let is_whole = value.as_f64().is_some_and(|number| number.fract() == 0.0);
        let fits = wanted.iter().any(|kind| {
            name(*kind) == found
                || (found == "integer" && *kind == Kind::Number)
                || (found == "number" && *kind == Kind::Integer && is_whole)
        });
        if fits {
            return None;
        }
        let wanted: Vec<&str> = wanted.iter().map(|kind| name(*kind)).collect();
        let text = format!("{place} in body must be of type {}: {found:?}", wanted.join(","));
        Some(FieldError::type_invalid(self.path(place), found, text))
    }

    fn string(&self, checks: &Checks, text: &str, place: &str) -> Option<FieldError> {
        let length = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        let invalid = |why: String| Some(FieldError::invalid(self.path(place), text, why));
        if let Some(most) = checks.max_length
            && length() > most
        {
            let most = usize::try_from(most).unwrap_or(0);
            return Some(FieldError::too_long(self.path(place), most));
        }
        if let Some(least) = checks.min_length
            && length() < least
        {
            return invalid(format!("{place} in body should be at least {least} chars long"));
        }
        if let Some(pattern) = &checks.pattern
            && !pattern.matches(text)
        {
            return invalid(format!("{place} in body should match '{}'", pattern.text));
        }
        if !format::fits(&checks.format, text) {
            let why = format!(
                "{place} in body must be of type {}: {}",
                checks.format,
                meta::quote(text)
            );
            return Some(FieldError::type_invalid(self.path(place), text, why));
        }
        None
    }

    fn enumeration(&self, checks: &Checks, value: &Value, place: &str) -> Option<FieldError> {
        if checks.enumeration.is_empty() || checks.enumeration.iter().any(|allowed| same(allowed, value)) {
            return None;
        }
        let allowed: Vec<String> = checks
            .enumeration
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        Some(FieldError::not_supported(self.path(place), value.clone(), &allowed))
    }

    fn array(&self, node: &Node, items: &[Value], old: Option<&Value>, place: &str, outcome: &mut Outcome) {
        if let Some(element) = &node.items {
            for (index, item) in items.iter().enumerate() {
                let old = old.and_then(|old| correlated(node, item, old));
                outcome.merge(self.value(element, item, old, &format!("{place}[{index}]")));
            }
        }
        let Some(checks) = node.checks.as_deref() else { return };
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if let Some(least) = checks.min_items
            && count < least
        {
            let why = format!("{place} in body should have at least {least} items");
            outcome.errors.push(FieldError::invalid(self.path(place), count, why));
        }
        if let Some(most) = checks.max_items
            && count > most
        {
            let most = usize::try_from(most).unwrap_or(0);
            outcome
                .errors
                .push(FieldError::too_many(self.path(place), items.len(), most));
        }
    }

    fn object(&self, node: &Node, value: &Value, old: Option<&Value>, place: &str, outcome: &mut Outcome) {
        let Some(map) = value.as_object() else { return };
        let checks = node.checks.as_deref();
        let count = i64::try_from(map.len()).unwrap_or(i64::MAX);
        if let Some(least) = checks.and_then(|checks| checks.min_properties)
            && count < least
        {
            let why = format!("{place} in body should have at least {least} properties");
            outcome.errors.push(FieldError::invalid(self.path(place), count, why));
        }
        if let Some(most) = checks.and_then(|checks| checks.max_properties)
            && count > most
        {
            let most = usize::try_from(most).unwrap_or(0);
            outcome
                .errors
                .push(FieldError::too_many(self.path(place), map.len(), most));
        }
        let below = |name: &str| match place {
            "" => name.to_owned(),
            place => format!("{place}.{name}"),
        };
        for (name, value) in map {
            let old = old.and_then(|old| old.get(name));
            if let Some(child) = node.field(name) {
                outcome.merge(self.value(child, value, old, &below(name)));
            } else if node.additional.as_ref().is_some_and(|additional| !additional.allowed) {
                let why = format!("{place}.{name} in body is a forbidden property");
                outcome
                    .errors
                    .push(FieldError::invalid(self.path(place), name.as_str(), why));
            }
        }
        let required = checks.into_iter().flat_map(|checks| &checks.required);
        for name in required.filter(|name| !map.contains_key(*name)) {
            outcome.errors.push(FieldError::required(self.path(&below(name)), ""));
        }
    }

    /// `anyOf`, `oneOf`, `allOf` and `not`.
    fn alternatives(&self, checks: &Checks, value: &Value, old: Option<&Value>, place: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let shown = meta::quote(place);
        let fail = |why: String| FieldError::invalid(self.whole(), "", why);
        let each =
            |nodes: &[Node]| -> Vec<Outcome> { nodes.iter().map(|node| self.value(node, value, old, place)).collect() };
        if !checks.any_of.is_empty() {
            let all = each(&checks.any_of);
            match all.iter().position(|one| one.errors.is_empty()) {
                Some(good) => outcome.checks += all[good].checks,
                None => {
                    let why = format!("{shown} must validate at least one schema (anyOf)");
                    outcome.errors.push(fail(why));
                    outcome.merge(nearest(all));
                }
            }
        }
        if !checks.one_of.is_empty() {
            let all = each(&checks.one_of);
            let good: Vec<usize> = (0..all.len()).filter(|at| all[*at].errors.is_empty()).collect();
            match good.as_slice() {
                [one] => outcome.checks += all[*one].checks,
                [] => {
                    let why = format!("{shown} must validate one and only one schema (oneOf). Found none valid");
                    outcome.errors.push(fail(why));
                    outcome.merge(nearest(all));
                }
                more => outcome.errors.push(fail(format!(
                    "{shown} must validate one and only one schema (oneOf). Found {} valid alternatives",
                    more.len()
                ))),
            }
        }
        if !checks.all_of.is_empty() {
            let all = each(&checks.all_of);
            let (count, good) = (all.len(), all.iter().filter(|one| one.errors.is_empty()).count());
            all.into_iter().for_each(|one| outcome.merge(one));
            if good < count {
                let more = if good == 0 { ". None validated" } else { "" };
                outcome
                    .errors
                    .push(fail(format!("{shown} must validate all the schemas (allOf){more}")));
            }
        }
        if let Some(not) = &checks.not
            && self.value(not, value, old, place).errors.is_empty()
        {
            outcome
                .errors
                .push(fail(format!("{shown} must not validate the schema (not)")));
        }
        outcome.checks += 1;
        outcome
    }

    /// The path of errors that the validator has no place for.
    pub(super) fn whole(&self) -> String {
        self.path("")
    }
}

/// The alternative that failed after most checks.
fn nearest(all: Vec<Outcome>) -> Outcome {
    let mut best: Option<Outcome> = None;
    for one in all {
        if best.as_ref().is_none_or(|best| one.checks > best.checks) {
            best = Some(one);
        }
    }
    best.unwrap_or_default()
}

/// The element of the old list that is the same one as an element of the new one, where lists have keys.
fn correlated<'a>(node: &Node, item: &Value, old: &'a Value) -> Option<&'a Value> {
    if node.list_type != ListType::Map {
        return None;
    }
    let same_keys = |other: &&Value| node.list_keys.iter().all(|key| item.get(key) == other.get(key));
    old.as_array()?.iter().find(same_keys)
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Object => "object",
        Kind::Array => "array",
        Kind::String => "string",
        Kind::Integer => "integer",
        Kind::Number => "number",
        Kind::Boolean => "boolean",
    }
}

/// Whether two values are the same, numbers by what they are worth.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: &Value, object: &Value, old: Option<&Value>) -> Vec<String> {
        let errors = validate(&Node::read(schema), object, old, "");
        errors.iter().map(ToString::to_string).collect()
    }

    fn schema() -> Value {
        json!({"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object",
        "required": ["cron"],
        "properties": {
            "cron": {"type": "string", "pattern": "^(\\d+|\\*)$"},
            "replicas": {"type": "integer", "minimum": 1, "maximum": 10},
            "port": {"x-kubernetes-int-or-string": true},
            "color": {"type": "string", "enum": ["red", "blue"]},
            "list": {"type": "array", "maxItems": 1, "items": {"type": "string", "minLength": 2}},
            "at": {"type": "string", "format": "date-time"},
            "one": {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
                "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
        }}}})
    }

    #[test]
    fn words_are_those_of_kubernetes() {
        let object = json!({"spec": {"cron": "x", "replicas": 11, "port": true, "color": "green", "list": ["a", "bc"],
            "at": "today", "one": {"a": "1", "b": "2"}}});
        assert_eq!(
            told(&schema(), &object, None),
            [
                "spec.at: Invalid value: \"today\": spec.at in body must be of type date-time: \"today\"",
                "spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\"",
                "spec.cron: Invalid value: \"x\": spec.cron in body should match '^(\\d+|\\*)$'",
                "spec.list[0]: Invalid value: \"a\": spec.list[0] in body should be at least 2 chars long",
                "spec.list: Too many: 2: must have at most 1 item",
                "<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found 2 valid \
                 alternatives",
                "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
                "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
            ]
        );
        assert_eq!(
            told(&schema(), &json!({"spec": {}}), None),
            ["spec.cron: Required value"]
        );
        assert_eq!(told(&schema(), &json!({}), None), ["spec: Required value"]);
    }

    #[test]
    fn what_has_not_changed_may_stay_wrong() {
        let old = json!({"spec": {"cron": "x", "replicas": 1}});
        let new = json!({"spec": {"cron": "x", "replicas": 2}});
        assert_eq!(told(&schema(), &new, Some(&old)), Vec::<String>::new());
        assert_eq!(told(&schema(), &new, None).len(), 1);
    }
}
