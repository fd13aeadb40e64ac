//! What a definition's schema must be: structural, with consistent list types and keys, sound defaults, and nothing that
//! a structural schema can't say. The texts are Kubernetes'.

use std::collections::BTreeSet;

use meta::Path;
use serde_json::Value;

use super::structural::{Node, compile, texts};
use super::{prune, validate};
use crate::rules::check::Errors;
use crate::rules::view::View as _;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Where in an object a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Checks a whole schema.
pub(crate) fn schema(schema: &Value, has_status: bool, at: &Path<'_>, errors: &mut Errors) {
    let root = at.child("openAPIV3Schema");
    if has_status && schema.text("type") != "object" {
        let why =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.invalid(&at.child("openAPIV3Schema.type"), schema.text("type"), why);
    }
    if schema.is("nullable") {
        errors.forbidden(
            &at.child("openAPIV3Schema.nullable"),
            "nullable cannot be true at the root",
        );
    }
    let mut structural = Errors::default();
    invariants(schema, Level::Root, &root, &mut structural);
    complete(schema, schema, &root, &root, &mut structural);
    structural.0.sort_by_key(ToString::to_string);
    if structural.0.is_empty() {
        defaults(schema, &root, &mut structural);
    }
    errors.0.extend(structural.0);
    open_api(schema, &root, errors);
    if errors.0.is_empty() && Node::read(schema).has_rules() {
        super::expressions::check_rules(schema, &root, errors);
    }
}

/// What must hold for a schema to be structural.
fn invariants(schema: &Value, level: Level, at: &Path<'_>, errors: &mut Errors) {
    let ty = schema.text("type");
    let items = schema.at("items");
    if ty == "array" && !items.is_object() {
        errors.required(&at.child("items"), "must be specified");
    }
    if items.is_object() {
        invariants(items, Level::Item, &at.child("items"), errors);
    }
    let properties = at.child("properties");
    for (name, property) in schema.map("properties").into_iter().flatten() {
        invariants(property, Level::Field, &properties.key(name), errors);
    }
    let additional = schema.at("additionalProperties");
    let embedded = schema.is("x-kubernetes-embedded-resource");
    let preserves = schema.is("x-kubernetes-preserve-unknown-fields");
    let int_or_string = schema.is("x-kubernetes-int-or-string");
    if !additional.is_null() && level == Level::Root {
        errors.forbidden(&at.child("additionalProperties"), "must not be used at the root");
    }
    if additional.is_object() {
        invariants(additional, Level::Field, &at.child("additionalProperties"), errors);
    }
    if int_or_string && preserves {
        let at = at.child("x-kubernetes-preserve-unknown-fields");
        errors.invalid(&at, true, "must be false if x-kubernetes-int-or-string is true");
    }
    if int_or_string && embedded {
        let at = at.child("x-kubernetes-embedded-resource");
        errors.invalid(&at, true, "must be false if x-kubernetes-int-or-string is true");
    }
    value_validation(schema, int_or_string, at, errors);
    let type_at = at.child("type");
    if embedded && ty != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        if ty.is_empty() {
            errors.required(&type_at, why);
        } else {
            errors.invalid(&type_at, ty, why);
        }
    } else if ty.is_empty() && !int_or_string && !preserves {
        errors.required(
            &type_at,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        );
    }
    if embedded && !additional.is_null() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.forbidden(&at.child("additionalProperties"), why);
    }
    if level == Level::Root && !ty.is_empty() && ty != "object" {
        errors.invalid(&type_at, ty, "must be object at the root");
    }
    metadata_invariants(schema, level, embedded, &properties, errors);
    if embedded && !preserves && schema.map("properties").is_none_or(serde_json::Map::is_empty) {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                   x-kubernetes-preserve-unknown-fields";
        errors.required(&properties, why);
    }
}

fn metadata_invariants(schema: &Value, level: Level, embedded: bool, properties: &Path<'_>, errors: &mut Errors) {
    let is_whole = level == Level::Root || embedded;
    for name in ["kind", "apiVersion"] {
        let property = schema.at("properties").at(name);
        if is_whole && !property.is_null() && property.text("type") != "string" {
            let at = properties.key(name);
            errors.invalid(&at.child("type"), property.text("type"), "must be string");
        }
    }
    let metadata = schema.at("properties").at("metadata");
    if metadata.is_null() {
        return;
    }
    let at = properties.key("metadata");
    if is_whole && metadata.text("type") != "object" {
        errors.invalid(&at.child("type"), metadata.text("type"), "must be object");
    }
    let named = metadata.map("properties").into_iter().flatten();
    let only_names = named
        .clone()
        .all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
    let mut keys = metadata.as_object().into_iter().flat_map(serde_json::Map::keys);
    let only_type = keys.all(|key| matches!(key.as_str(), "type" | "properties" | "default"));
    if level == Level::Root && !(only_names && only_type) {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.forbidden(&at, why);
    }
}

/// The alternatives of a schema may check values and say nothing about structure.
fn value_validation(schema: &Value, int_or_string: bool, at: &Path<'_>, errors: &mut Errors) {
    let pattern = schema.text("pattern");
    if let Err(error) = compile(pattern) {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        errors.invalid(&at.child("pattern"), pattern, &why);
    }
    for key in ["anyOf", "allOf", "oneOf"] {
        if key == "anyOf" && int_or_string && is_int_or_string(schema) {
            continue;
        }
        let list = at.child(key);
        for (index, nested) in schema.list(key).iter().enumerate() {
            let excused = key == "allOf" && index == 0 && int_or_string && is_int_or_string(nested);
            nested_validation(nested, excused, &list.index(index), errors);
        }
    }
    let not = schema.at("not");
    if not.is_object() {
        nested_validation(not, false, &at.child("not"), errors);
    }
}

/// The one form in which alternatives may name types.
fn is_int_or_string(schema: &Value) -> bool {
    let one =
        |schema: &Value, ty: &str| schema.as_object().is_some_and(|map| map.len() == 1) && schema.text("type") == ty;
    match schema.list("anyOf") {
        [first, second] => one(first, "integer") && one(second, "string"),
        _ => false,
    }
}

fn nested_validation(schema: &Value, excused: bool, at: &Path<'_>, errors: &mut Errors) {
    value_validation(schema, excused, at, errors);
    if schema.at("items").is_object() {
        nested_validation(schema.at("items"), false, &at.child("items"), errors);
    }
    let properties = at.child("properties");
    for (name, property) in schema.map("properties").into_iter().flatten() {
        nested_validation(property, false, &properties.key(name), errors);
    }
    for (key, why) in [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ] {
        if schema.has(key) {
            errors.forbidden(&at.child(key), why);
        }
    }
    if schema.at("properties").has("metadata") {
        errors.forbidden(&properties.key("metadata"), "must not be specified in a nested context");
    }
}

/// What alternatives check must be described outside of them.
fn complete(nested: &Value, schema: &Value, place: &Path<'_>, at: &Path<'_>, errors: &mut Errors) {
    let not = nested.at("not");
    if not.is_object() {
        complete_nested(not, schema, place, &at.child("not"), errors);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        let list = at.child(key);
        for (index, one) in nested.list(key).iter().enumerate() {
            complete_nested(one, schema, place, &list.index(index), errors);
        }
    }
}

fn complete_nested(nested: &Value, schema: &Value, place: &Path<'_>, at: &Path<'_>, errors: &mut Errors) {
    if !schema.is_object() {
        errors.required(place, &format!("because it is defined in {at}"));
        return;
    }
    complete(nested, schema, place, at, errors);
    if nested.at("items").is_object() {
        let (place, at) = (place.child("items"), at.child("items"));
        complete_nested(nested.at("items"), schema.at("items"), &place, &at, errors);
    }
    let (place, at) = (place.child("properties"), at.child("properties"));
    for (name, property) in nested.map("properties").into_iter().flatten() {
        let known = schema.at("properties").at(name);
        complete_nested(property, known, &place.key(name), &at.key(name), errors);
    }
}

/// Defaults must fit their own schemas.
fn defaults(schema: &Value, at: &Path<'_>, errors: &mut Errors) {
    if schema.has("default") {
        let node = Node::read(schema);
        let default = schema.at("default");
        let at = at.child("default");
        let mut pruned = serde_json::json!({"default": default});
        let holder = Node {
            properties: [("default".to_owned(), node.clone())].into(),
            ..Node::default()
        };
        if !prune::prune(&mut pruned, &holder).is_empty() {
            errors.invalid(&at, default.clone(), "must not have unknown fields");
        }
        errors
            .0
            .extend(validate::validate(&node, default, None, &at.to_string()));
    }
    let properties = at.child("properties");
    for (name, property) in schema.map("properties").into_iter().flatten() {
        defaults(property, &properties.key(name), errors);
    }
    for key in ["items", "additionalProperties"] {
        if schema.at(key).is_object() {
            defaults(schema.at(key), &at.child(key), errors);
        }
    }
}

/// What no schema of a definition may say, wherever it stands.
fn open_api(schema: &Value, at: &Path<'_>, errors: &mut Errors) {
    let ty = schema.text("type");
    if ty == "null" {
        let why = "type cannot be set to null, use nullable as an alternative";
        errors.forbidden(&at.child("type"), why);
    } else if !ty.is_empty() && !TYPES.contains(&ty) {
        errors.not_supported(
            &at.child("type"),
            ty,
            &["array", "boolean", "integer", "number", "object", "string"],
        );
    }
    for key in [
        "id",
        "additionalItems",
        "patternProperties",
        "definitions",
        "dependencies",
        "$ref",
    ] {
        if schema.has(key) {
            errors.forbidden(&at.child(key), &format!("{key} is not supported"));
        }
    }
    if schema.at("items").is_array() {
        errors.forbidden(&at.child("items"), "items must be a schema object and not an array");
    }
    if schema.is("uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&at.child("uniqueItems"), why);
    }
    let has_properties = schema.map("properties").is_some_and(|map| !map.is_empty());
    let additional = schema.at("additionalProperties");
    if has_properties && (additional.is_object() || additional == &Value::Bool(false)) {
        let why = "additionalProperties and properties are mutual exclusive";
        errors.forbidden(&at.child("additionalProperties"), why);
    }
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let at = at.child("x-kubernetes-preserve-unknown-fields");
        errors.invalid(&at, false, "must be true or undefined");
    }
    list_and_map_types(schema, at, errors);
    rules(schema, at, errors);
    let properties = at.child("properties");
    for (name, property) in schema.map("properties").into_iter().flatten() {
        open_api(property, &properties.key(name), errors);
    }
    for key in ["items", "additionalProperties", "not"] {
        if schema.at(key).is_object() {
            open_api(schema.at(key), &at.child(key), errors);
        }
    }
    for key in ["allOf", "oneOf", "anyOf"] {
        let list = at.child(key);
        for (index, one) in schema.list(key).iter().enumerate() {
            open_api(one, &list.index(index), errors);
        }
    }
}

fn list_and_map_types(schema: &Value, at: &Path<'_>, errors: &mut Errors) {
    let ty = schema.text("type");
    let must_be = |what: &str, wanted: &str, errors: &mut Errors| {
        let why = format!("must be {wanted} if {what} is specified");
        if ty.is_empty() {
            errors.required(&at.child("type"), &why);
        } else if ty != wanted {
            errors.invalid(&at.child("type"), ty, &why);
        }
    };
    let map_type = schema.text("x-kubernetes-map-type");
    if !map_type.is_empty() {
        must_be("x-kubernetes-map-type", "object", errors);
        errors.one_of(&at.child("x-kubernetes-map-type"), map_type, &["atomic", "granular"]);
    }
    let list_type = schema.text("x-kubernetes-list-type");
    let items = schema.at("items");
    if !list_type.is_empty() {
        must_be("x-kubernetes-list-type", "array", errors);
        errors.one_of(
            &at.child("x-kubernetes-list-type"),
            list_type,
            &["atomic", "set", "map"],
        );
    }
    if list_type == "set" && ty == "array" {
        let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let at = at.child("items");
        let inner = items.text("x-kubernetes-list-type");
        if items.text("type") == "array" && !matches!(inner, "" | "atomic") {
            errors.invalid(&at.child("x-kubernetes-list-type"), inner, why);
        }
        if items.text("type") == "object" && items.text("x-kubernetes-map-type") != "atomic" {
            errors.invalid(&at.child("x-kubernetes-map-type"), Value::Null, why);
        }
    }
    let keys = texts(schema, "x-kubernetes-list-map-keys");
    if !keys.is_empty() && list_type != "map" {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        let at = at.child("x-kubernetes-list-type");
        if list_type.is_empty() {
            errors.required(&at, why);
        } else {
            errors.invalid(&at, list_type, why);
        }
    }
    if list_type == "map" {
        map_keys(schema, &keys, at, errors);
    }
    if matches!(list_type, "set" | "map") && items.is("nullable") {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.forbidden(&at.child("items").child("nullable"), &why);
    }
}

fn map_keys(schema: &Value, keys: &[String], at: &Path<'_>, errors: &mut Errors) {
    let items = schema.at("items");
    let keys_at = at.child("x-kubernetes-list-map-keys");
    if keys.is_empty() {
        errors.required(&keys_at, "must not be empty if x-kubernetes-list-type is map");
    }
    let items_at = at.child("items");
    if items.is_null() {
        errors.required(&items_at, "must have a schema if x-kubernetes-list-type is map");
        return;
    }
    if items.text("type") != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.invalid(&items_at.child("type"), items.text("type"), why);
        return;
    }
    let shown = Value::from(keys.to_vec());
    let properties = items_at.child("properties");
    let required = texts(items, "required");
    let mut seen = BTreeSet::new();
    for key in keys {
        let property = items.at("properties").at(key);
        let at = properties.key(key);
        if property.is_null() {
            errors.invalid(&keys_at, shown.clone(), "entries must all be names of item properties");
        } else if matches!(property.text("type"), "array" | "object") {
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.invalid(&at.child("type"), items.text("type"), why);
        }
        if !seen.insert(key) {
            errors.invalid(&keys_at, shown.clone(), "must not contain duplicate entries");
        }
        if property.is_null() {
            continue;
        }
        if !required.contains(key) && !property.has("default") {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required \
                       property";
            errors.required(&at.child("default"), why);
        }
        if property.is("nullable") {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.forbidden(&at.child("nullable"), why);
        }
    }
}

fn rules(schema: &Value, at: &Path<'_>, errors: &mut Errors) {
    let list = at.child("x-kubernetes-validations");
    for (index, rule) in schema.list("x-kubernetes-validations").iter().enumerate() {
        let at = list.index(index);
        let (text, message) = (rule.text("rule").trim(), rule.text("message"));
        let message_at = at.child("message");
        if text.is_empty() {
            errors.required(&at.child("rule"), "rule is not specified");
        } else if !message.is_empty() && message.trim().is_empty() {
            errors.invalid(&message_at, message, "must be non-empty if specified");
        } else if message.trim().contains('\n') {
            errors.invalid(&message_at, message, "must not contain line breaks");
        } else if text.contains('\n') && message.trim().is_empty() {
            errors.required(&message_at, "message must be specified if rule contains line breaks");
        }
        let expression = rule.text("messageExpression");
        if !expression.is_empty() && expression.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            errors.required(&at.child("messageExpression"), why);
        }
        let reason = rule.text("reason");
        const REASONS: [&str; 4] = [
            "FieldValueDuplicate",
            "FieldValueForbidden",
            "FieldValueInvalid",
            "FieldValueRequired",
        ];
        if !reason.is_empty() {
            errors.one_of(&at.child("reason"), reason, &REASONS);
        }
        let path = rule.text("fieldPath");
        if path.contains('\n') {
            errors.invalid(&at.child("fieldPath"), path, "must not contain line breaks");
        } else if !path.is_empty() && !leads_somewhere(schema, path) {
            errors.invalid(&at.child("fieldPath"), path, "must be a valid path");
        }
    }
}

/// Whether a path such as `.spec.size` or `['a.b'].c` names something in a schema.
pub(crate) fn leads_somewhere(schema: &Value, path: &str) -> bool {
    let names = super::JsonPath::parse(path).ok();
    let Some(names) = names.as_ref().and_then(super::JsonPath::names) else {
        return false;
    };
    let mut at = schema;
    for name in names {
        let property = at.at("properties").at(name);
        let additional = at.at("additionalProperties");
        at = if property.is_object() { property } else { additional };
        if !at.is_object() {
            return false;
        }
    }
    true
}
