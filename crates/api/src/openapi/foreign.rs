//! OpenAPI documents of version 2 that other servers have: the part of one that is about the versions which they serve
//! here, merged into this server's document, or as a document of version 3. Names that mean different things are told
//! apart by a suffix, as Kubernetes' aggregator does it (`_v2`, `_v3`, ...).

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value, json};

const DEFINITIONS: &str = "#/definitions/";
const PARAMETERS: &str = "#/parameters/";
const SCHEMAS: &str = "#/components/schemas/";
/// What two definitions may differ in and be the same.
const KINDS: &str = "x-kubernetes-group-version-kind";

/// A part of another server's document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foreign {
    info: Value,
    security_definitions: Value,
    paths: Map<String, Value>,
    definitions: Map<String, Value>,
}

impl Foreign {
    /// The paths of a document that begin with `prefix`, and the definitions that they need. Those that no path needed
    /// stay.
    #[must_use]
    pub fn of(spec: &Value, prefix: &str) -> Foreign {
        let map = |field: &str| spec[field].as_object().cloned().unwrap_or_default();
        let (mut paths, parameters) = (map("paths"), map("parameters"));
        for item in paths.values_mut() {
            inline(item, &parameters);
        }
        let whole = Foreign {
            info: spec["info"].clone(),
            security_definitions: spec["securityDefinitions"].clone(),
            paths,
            definitions: map("definitions"),
        };
        whole.only(|path| path.starts_with(prefix))
    }

    /// The same with some of the paths only.
    fn only(&self, keeps: impl Fn(&str) -> bool) -> Foreign {
        let before = reached(&self.paths, &self.definitions);
        let mut paths = self.paths.clone();
        paths.retain(|path, _| keeps(path));
        let after = reached(&paths, &self.definitions);
        let mut definitions = self.definitions.clone();
        definitions.retain(|name, _| after.contains(name) || !before.contains(name));
        Foreign {
            info: self.info.clone(),
            security_definitions: self.security_definitions.clone(),
            paths,
            definitions,
        }
    }

    /// As a document of version 3. What version 2 can't say isn't in it.
    #[must_use]
    pub fn three(&self) -> Value {
        let convert = |(name, schema): (&String, &Value)| (name.clone(), schema_three(schema));
        let schemas: Map<String, Value> = self.definitions.iter().map(convert).collect();
        let path = |(path, item): (&String, &Value)| (path.clone(), item_three(item));
        let paths: Map<String, Value> = self.paths.iter().map(path).collect();
        let mut components = json!({"schemas": schemas});
        if self.security_definitions.is_object() {
            components["securitySchemes"] = self.security_definitions.clone();
        }
        json!({"openapi": "3.0.0", "info": self.info, "paths": paths, "components": components})
    }
}

/// Puts shared parameters where they are used.
fn inline(item: &mut Value, parameters: &Map<String, Value>) {
    match item {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str);
            let name = name.and_then(|name| name.strip_prefix(PARAMETERS));
            if let Some(parameter) = name.and_then(|name| parameters.get(name)) {
                *item = parameter.clone();
                return;
            }
            map.values_mut().for_each(|value| inline(value, parameters));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| inline(value, parameters)),
        _ => {}
    }
}

/// The definitions that paths need, directly or not.
fn reached(paths: &Map<String, Value>, definitions: &Map<String, Value>) -> BTreeSet<String> {
    let (mut seen, mut open) = (BTreeSet::new(), Vec::new());
    let mut look = |value: &Value, open: &mut Vec<String>| {
        references(value, &mut |name| {
            if seen.insert(name.to_owned()) {
                open.push(name.to_owned());
            }
        });
    };
    paths.values().for_each(|item| look(item, &mut open));
    while let Some(name) = open.pop() {
        if let Some(schema) = definitions.get(&name) {
            look(schema, &mut open);
        }
    }
    seen
}

fn references(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = value.as_str().and_then(|text| text.strip_prefix(DEFINITIONS));
                match name.filter(|_| key == "$ref") {
                    Some(name) => found(name),
                    None => references(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// Merges other servers' documents behind one that is written piece by piece.
pub(super) struct Merge<'a> {
    foreign: &'a [&'a Foreign],
    paths: HashSet<String>,
    names: HashSet<String>,
    /// What the names mean that could mean something else in what comes.
    known: HashMap<String, Value>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(foreign: &'a [&'a Foreign]) -> Merge<'a> {
        Merge {
            foreign,
            paths: HashSet::new(),
            names: HashSet::new(),
            known: HashMap::new(),
        }
    }

    /// Notes a piece that has been written.
    pub(super) fn note(&mut self, paths: &Map<String, Value>, definitions: &Map<String, Value>) {
        if self.foreign.is_empty() {
            return;
        }
        self.paths.extend(paths.keys().cloned());
        for (name, schema) in definitions {
            self.names.insert(name.clone());
            if self.foreign.iter().any(|one| one.definitions.contains_key(name)) {
                self.known.insert(name.clone(), without_kinds(schema));
            }
        }
    }

    /// Paths and definitions that are to be written after it. A path that is there already stays as it is.
    pub(super) fn rest(mut self) -> Vec<(Map<String, Value>, Map<String, Value>)> {
        let mut rest = Vec::new();
        for foreign in self.foreign {
            let is_new = |path: &str| !self.paths.contains(path);
            let all_new = foreign.paths.keys().all(|path| is_new(path));
            let mut kept = match all_new {
                true => (*foreign).clone(),
                false => foreign.only(is_new),
            };
            if kept.paths.is_empty() {
                continue;
            }
            let renames = self.renames(&kept);
            kept.paths.values_mut().for_each(|item| rename(item, &renames));
            let mut definitions = Map::new();
            for (name, mut schema) in kept.definitions {
                let name = renames.get(&name).cloned().unwrap_or(name);
                if self.names.insert(name.clone()) {
                    rename(&mut schema, &renames);
                    self.known.insert(name.clone(), without_kinds(&schema));
                    definitions.insert(name, schema);
                }
            }
            self.paths.extend(kept.paths.keys().cloned());
            rest.push((kept.paths, definitions));
        }
        rest
    }

    /// Other names for what would be taken for something else.
    fn renames(&self, foreign: &Foreign) -> HashMap<String, String> {
        let (mut renames, mut given) = (HashMap::new(), HashSet::new());
        for (name, schema) in &foreign.definitions {
            let schema = without_kinds(schema);
            let means = |name: &str| self.known.get(name) == Some(&schema);
            if !self.names.contains(name) || means(name) {
                continue;
            }
            let mut candidates = (2..).map(|number| format!("{name}_v{number}"));
            let fits = |other: &String| {
                let taken = self.names.contains(other) || foreign.definitions.contains_key(other);
                means(other) || (!taken && !given.contains(other))
            };
            if let Some(other) = candidates.find(fits) {
                given.insert(other.clone());
                renames.insert(name.clone(), other);
            }
        }
        renames
    }
}

fn without_kinds(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(schema) = schema.as_object_mut() {
        schema.remove(KINDS);
    }
    schema
}

fn rename(value: &mut Value, renames: &HashMap<String, String>) {
    if renames.is_empty() {
        return;
    }
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref") {
                let name = reference.strip_prefix(DEFINITIONS);
                if let Some(other) = name.and_then(|name| renames.get(name)) {
                    *reference = format!("{DEFINITIONS}{other}");
                }
            }
            map.values_mut().for_each(|value| rename(value, renames));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rename(value, renames)),
        _ => {}
    }
}

fn schema_three(two: &Value) -> Value {
    let Some(two) = two.as_object() else {
        return two.clone();
    };
    let mut three = Map::new();
    for (key, value) in two {
        let value = match (key.as_str(), value) {
            ("$ref", Value::String(reference)) => reference.replacen(DEFINITIONS, SCHEMAS, 1).into(),
            ("properties", Value::Object(all)) => {
                let all = all.iter().map(|(name, schema)| (name.clone(), schema_three(schema)));
                Value::Object(all.collect())
            }
            ("items" | "additionalProperties" | "additionalItems" | "not", value) => schema_three(value),
            ("allOf" | "anyOf" | "oneOf", Value::Array(all)) => all.iter().map(schema_three).collect(),
            _ => value.clone(),
        };
        three.insert(key.clone(), value);
    }
    // Nothing may stand beside a reference in version 3.
    if three.len() > 1
        && three.get("$ref").is_some_and(Value::is_string)
        && let Some(reference) = three.remove("$ref")
    {
        three.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
    three.into()
}

fn item_three(two: &Value) -> Value {
    let mut three = Map::new();
    for (key, value) in two.as_object().into_iter().flatten() {
        let value = match key.as_str() {
            "parameters" => value.as_array().into_iter().flatten().map(parameter_three).collect(),
            key if key.starts_with("x-") => value.clone(),
            _ => operation_three(value),
        };
        three.insert(key.clone(), value);
    }
    three.into()
}

fn operation_three(two: &Value) -> Value {
    let mut three = Map::new();
    for (key, value) in two.as_object().into_iter().flatten() {
        if !matches!(
            key.as_str(),
            "parameters" | "responses" | "consumes" | "produces" | "schemes"
        ) {
            three.insert(key.clone(), value.clone());
        }
    }
    let content = |media_types: &Value, schema: &Value| -> Value {
        let media_types = media_types.as_array().into_iter().flatten().filter_map(Value::as_str);
        let schema = schema_three(schema);
        let each = media_types.map(|media_type| (media_type.to_owned(), json!({"schema": schema})));
        Value::Object(each.collect())
    };
    let mut parameters = Vec::new();
    for parameter in two["parameters"].as_array().into_iter().flatten() {
        if parameter["name"] == "body" && parameter["schema"].is_object() {
            let body = json!({"content": content(&two["consumes"], &parameter["schema"])});
            three.insert("requestBody".to_owned(), body);
        } else {
            parameters.push(parameter_three(parameter));
        }
    }
    if !parameters.is_empty() {
        three.insert("parameters".to_owned(), parameters.into());
    }
    let mut responses = Map::new();
    for (code, response) in two["responses"].as_object().into_iter().flatten() {
        let mut told = json!({"description": response["description"]});
        if response["schema"].is_object() {
            told["content"] = content(&two["produces"], &response["schema"]);
        }
        responses.insert(code.clone(), told);
    }
    three.insert("responses".to_owned(), responses.into());
    three.into()
}

fn parameter_three(two: &Value) -> Value {
    let (mut three, mut schema) = (Map::new(), Map::new());
    for (key, value) in two.as_object().into_iter().flatten() {
        match key.as_str() {
            "type" | "format" | "uniqueItems" => drop(schema.insert(key.clone(), value.clone())),
            "schema" => {}
            _ => drop(three.insert(key.clone(), value.clone())),
        }
    }
    let schema = match two.get("schema") {
        Some(schema) => schema_three(schema),
        None => schema.into(),
    };
    three.insert("schema".to_owned(), schema);
    three.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(name: &str) -> Value {
        json!({"$ref": format!("{DEFINITIONS}{name}")})
    }

    fn spec() -> Value {
        json!({
            "swagger": "2.0", "info": {"title": "other", "version": "1"},
            "parameters": {"pretty-1": {"name": "pretty", "in": "query", "type": "string", "uniqueItems": true}},
            "paths": {
                "/apis/g/v1/things": {"post": {
                    "consumes": ["*/*"], "produces": ["application/json"], "x-kubernetes-action": "post",
                    "parameters": [{"name": "body", "in": "body", "schema": reference("Thing")},
                        {"$ref": "#/parameters/pretty-1"}],
                    "responses": {"200": {"description": "OK", "schema": reference("Thing")}}}},
                "/apis/g/v2/things": {"get": {"responses": {"200": {"schema": reference("Other")}}}},
                "/version/": {"get": {"responses": {"200": {"schema": reference("Info")}}}},
            },
            "definitions": {
                "Thing": {"type": "object", "properties": {
                    "metadata": {"description": "m", "$ref": "#/definitions/Meta"}}, (KINDS): [{"kind": "Thing"}]},
                "Meta": {"type": "object", "properties": {"name": {"type": "string"}}},
                "Other": {"type": "object"}, "Info": {"type": "object"}, "Lonely": {"type": "string"},
            },
        })
    }

    #[test]
    fn only_what_a_version_needs_is_taken() {
        let foreign = Foreign::of(&spec(), "/apis/g/v1/");
        assert_eq!(foreign.paths.keys().collect::<Vec<_>>(), ["/apis/g/v1/things"]);
        let mut names: Vec<&String> = foreign.definitions.keys().collect();
        names.sort_unstable();
        assert_eq!(names, ["Lonely", "Meta", "Thing"]);
        let post = &foreign.paths["/apis/g/v1/things"]["post"];
        assert_eq!(post["parameters"][1]["name"], "pretty");
    }

    #[test]
    fn names_that_mean_something_else_are_changed() {
        let foreign = Foreign::of(&spec(), "/apis/g/v1/");
        let list = [&foreign, &foreign];
        let mut merge = Merge::new(&list);
        let own = json!({"Meta": {"type": "object"}, "Meta_v2": {"type": "integer"}, "Lonely": {"type": "string"}});
        merge.note(&Map::new(), own.as_object().unwrap());
        let rest = merge.rest();
        // The second has no path that the first hasn't.
        assert_eq!(rest.len(), 1);
        let (paths, definitions) = &rest[0];
        let mut names: Vec<&String> = definitions.keys().collect();
        names.sort_unstable();
        assert_eq!(names, ["Meta_v3", "Thing"]);
        let metadata = &definitions["Thing"]["properties"]["metadata"];
        assert_eq!(metadata["$ref"], "#/definitions/Meta_v3");
        assert_eq!(
            paths["/apis/g/v1/things"]["post"]["parameters"][0]["schema"],
            reference("Thing")
        );
    }

    #[test]
    fn what_was_renamed_once_is_used_again() {
        let one = Foreign::of(&spec(), "/apis/g/v1/");
        let mut moved = spec();
        moved["paths"]["/apis/h/v1/things"] = moved["paths"]["/apis/g/v1/things"].clone();
        let two = Foreign::of(&moved, "/apis/h/v1/");
        let list = [&one, &two];
        let mut merge = Merge::new(&list);
        merge.note(&Map::new(), json!({"Meta": {"type": "object"}}).as_object().unwrap());
        let rest = merge.rest();
        assert!(rest[0].1.contains_key("Meta_v2") && !rest[1].1.contains_key("Meta_v2"));
        let text = Value::Object(rest[1].1.clone()).to_string() + &Value::Object(rest[1].0.clone()).to_string();
        assert!(!text.contains("definitions/Meta\""), "{text}");
    }

    #[test]
    fn version_3_has_references_of_its_own() {
        let three = Foreign::of(&spec(), "/apis/g/v1/").three();
        let schemas = &three["components"]["schemas"];
        assert_eq!(
            schemas["Thing"]["properties"]["metadata"],
            json!({"description": "m", "allOf": [{"$ref": "#/components/schemas/Meta"}]})
        );
        let thing = json!({"schema": {"$ref": "#/components/schemas/Thing"}});
        assert_eq!(
            three["paths"]["/apis/g/v1/things"]["post"],
            json!({
                "x-kubernetes-action": "post",
                "requestBody": {"content": {"*/*": thing}},
                "parameters": [{"name": "pretty", "in": "query", "schema": {"type": "string", "uniqueItems": true}}],
                "responses": {"200": {"description": "OK", "content": {"application/json": thing}}},
            })
        );
        assert!(!three.to_string().contains(DEFINITIONS));
    }
}
