//! Every rule against Kubernetes' own answers: `testdata/questions.jsonl` was put to its code by `cargo xtask
//! oracle-rules`, which wrote `testdata/answers.jsonl`. Here the same questions are put to ours.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::Errors;
use super::view::{Edit as _, View as _};
use super::{FieldError, Requester, Rules, metadata, of, of_version, other};

const QUESTIONS: &str = include_str!("testdata/questions.jsonl");
const ANSWERS: &str = include_str!("testdata/answers.jsonl");

/// Answers a question; the same shape as the oracle's answers.
fn answer(question: &Value, now: &str) -> Value {
    let (group, plural) = question.text("resource").split_once('/').expect("GROUP/PLURAL");
    let api_version = question.at("object").text("apiVersion");
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let group = if group == "core" { "" } else { group };
    let rules = of_version(group, version, plural).unwrap_or_else(|| other(true));
    let mut object = question.at("object").clone();
    rules.default(&mut object);
    match question.text("op") {
        "default" => json!({ "object": object }),
        "table" => {
            let columns: Vec<Value> = rules
                .columns()
                .iter()
                .map(|c| json!({"name": c.name, "type": c.kind, "format": c.format, "priority": c.priority}))
                .collect();
            let now: Timestamp = now.parse().expect("a time");
            json!({"columns": columns, "cells": [rules.cells(&object, now)]})
        }
        "create" => {
            rules.prepare_create(&mut object);
            let alice = Requester {
                name: "alice",
                uid: "",
                groups: &["people".to_owned()],
                extra: &Value::Null,
            };
            rules.record_requester(&mut object, &alice);
            let errors = with_metadata(rules, &object, rules.validate_create(&object));
            finish(rules, object, errors)
        }
        op => {
            let mut old = question.at("old").clone();
            rules.default(&mut old);
            let errors = if !matches!(op, "update" | "status") {
                rules.prepare_subresource(op, &mut object, &old);
                rules.validate_subresource(op, &object, &old)
            } else if op == "update" {
                rules.prepare_update(&mut object, &old);
                rules.validate_update(&object, &old)
            } else {
                rules.prepare_status(&mut object, &old);
                rules.validate_status(&object, &old)
            };
            finish(rules, object, errors)
        }
    }
}

/// Kinds that leave the metadata to the server's common check.
fn with_metadata(rules: &dyn Rules, object: &Value, errors: Vec<FieldError>) -> Vec<FieldError> {
    if !errors.is_empty() {
        return errors;
    }
    let mut errors = Errors::default();
    metadata::create(object, rules.namespaced(), metadata::segment, &mut errors);
    errors.0
}

fn finish(rules: &dyn Rules, mut object: Value, errors: Vec<FieldError>) -> Value {
    if errors.is_empty() {
        rules.canonicalize(&mut object);
        let fields: BTreeMap<_, _> = rules.selectable_fields(&object).into_iter().collect();
        return json!({"object": object, "fields": fields});
    }
    let causes: Vec<Value> = errors
        .iter()
        .map(|e| json!({"type": e.error.reason(), "field": e.path, "message": e.body()}))
        .collect();
    json!({ "causes": causes })
}

/// Removes what says nothing, so that only meaning is compared.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(tidy);
            map.retain(|key, value| *value != json!([]) && !key.ends_with("TransitionTime"));
        }
        Value::Array(list) => list.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// The oracle's answer in the form to compare.
fn expected(mut answer: Value) -> Value {
    answer.drop("now");
    if answer.has("causes") {
        answer.drop("object");
        answer.drop("fields");
        for cause in answer.each("causes") {
            plain(cause);
        }
    }
    answer
}

/// Leaves out what is printed differently on purpose: the difference after the first line, and structs, which Go prints
/// by its internal field names and order.
fn plain(cause: &mut Value) {
    let mut first = cause.text("message").split('\n').next().unwrap_or_default().to_owned();
    if let Some((kind, rest)) = first.split_once(": ")
        && rest.starts_with(['{', '['])
    {
        let detail = rest.rfind("}: ").or(rest.rfind("]: ")).map_or("", |at| &rest[at + 1..]);
        first = format!("{kind}: ...{detail}");
    }
    cause.set("message", first);
}

fn compare(question: &Value, answer_text: &str) -> Option<String> {
    let oracle: Value = serde_json::from_str(answer_text).expect("an answer");
    let mut ours = answer(question, oracle.text("now"));
    let mut theirs = expected(oracle);
    for cause in ours.each("causes") {
        plain(cause);
    }
    if !theirs.has("fields") {
        ours.drop("fields");
    }
    for side in [&mut ours, &mut theirs] {
        tidy(side);
        if let Some(Value::Array(causes)) = side.there("causes") {
            causes.sort_by_key(ToString::to_string);
            causes.dedup();
        }
        if let Some(object) = side.there("object") {
            object.drop("kind");
            object.drop("apiVersion");
        }
    }
    let mut text = String::new();
    difference("", &ours, &theirs, &mut text);
    (!text.is_empty()).then_some(text)
}

fn difference(at: &str, ours: &Value, theirs: &Value, text: &mut String) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                difference(&format!("{at}/{key}"), value, b.get(key).unwrap_or(&Value::Null), text);
            }
            for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                difference(&format!("{at}/{key}"), &Value::Null, value, text);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                difference(&format!("{at}/{index}"), a, b, text);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for extra in a.iter().filter(|item| !b.contains(item)) {
                let _ = writeln!(text, "  {at}: only ours   {extra}");
            }
            for missing in b.iter().filter(|item| !a.contains(item)) {
                let _ = writeln!(text, "  {at}: only theirs {missing}");
            }
        }
        _ if ours == theirs => {}
        _ => {
            let _ = writeln!(text, "  {at}:\n    ours   {ours}\n    theirs {theirs}");
        }
    }
}

#[test]
fn answers_as_kubernetes_does() {
    let (mut wrong, mut report) = (BTreeMap::<String, (usize, usize)>::new(), String::new());
    assert_eq!(
        QUESTIONS.lines().count(),
        ANSWERS.lines().count(),
        "run cargo xtask oracle-rules"
    );
    for (number, (question, answer)) in QUESTIONS.lines().zip(ANSWERS.lines()).enumerate() {
        let question: Value = serde_json::from_str(question).expect("a question");
        let counts = wrong.entry(question.text("resource").to_owned()).or_default();
        counts.1 += 1;
        if let Some(difference) = compare(&question, answer) {
            counts.0 += 1;
            let (op, resource) = (question.text("op"), question.text("resource"));
            let _ = writeln!(report, "line {}: {op} {resource}\n{difference}", number + 1);
        }
    }
    wrong.retain(|_, counts| counts.0 > 0);
    assert!(report.is_empty(), "{report}\nwrong, of how many: {wrong:?}");
}

/// Puts every question's object to a check of what must hold for any object.
fn for_each_object(check: impl Fn(&dyn Rules, Value, &str)) {
    for (number, question) in QUESTIONS.lines().enumerate() {
        let question: Value = serde_json::from_str(question).expect("a question");
        let (group, plural) = question.text("resource").split_once('/').expect("GROUP/PLURAL");
        let rules = of(if group == "core" { "" } else { group }, plural).expect("rules");
        check(
            rules,
            question.at("object").clone(),
            &format!("line {}: {group}/{plural}", number + 1),
        );
    }
}

#[test]
fn defaults_add_nothing_the_second_time() {
    for_each_object(|rules, mut object, place| {
        rules.default(&mut object);
        let once = object.clone();
        rules.default(&mut object);
        assert_eq!(object, once, "{place}");
    });
}

#[test]
fn an_update_that_changes_nothing_counts_nothing() {
    for_each_object(|rules, mut object, place| {
        rules.default(&mut object);
        rules.prepare_create(&mut object);
        rules.default(&mut object);
        let stored = object.clone();
        rules.prepare_update(&mut object, &stored);
        assert_eq!(object, stored, "{place}");
        rules.prepare_status(&mut object, &stored);
        assert_eq!(object, stored, "{place}: status");
    });
}

#[test]
fn every_row_has_a_cell_for_each_column() {
    let now = "2026-11-22T00:00:00Z".parse().expect("a time");
    for_each_object(|rules, object, place| {
        let (columns, cells) = (rules.columns().len(), rules.cells(&object, now).len());
        // Kubernetes' table of addresses has a cell too many.
        assert!(
            columns == cells || place.ends_with("ipaddresses"),
            "{place}: {columns} columns, {cells} cells"
        );
        let named: Vec<&str> = rules
            .selectable_fields(&object)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(named, rules.selectable(), "{place}");
    });
}

#[test]
fn survives_any_shape() {
    let now = "2026-11-22T00:00:00Z".parse().expect("a time");
    let shapes = [
        json!({}),
        json!({"metadata": null, "spec": null, "status": null}),
        json!({"spec": [], "status": ""}),
    ];
    for_each_object(|rules, object, _| {
        let mut hollow = object;
        if let Value::Object(map) = &mut hollow {
            map.values_mut().for_each(|value| *value = Value::Null);
        }
        for shape in shapes.iter().chain([&hollow]) {
            let mut object = shape.clone();
            let _ = rules.cells(&object, now);
            rules.default(&mut object);
            rules.prepare_create(&mut object);
            let _ = rules.validate_create(&object);
            rules.prepare_update(&mut object, shape);
            let _ = rules.validate_update(&object, shape);
            let _ = rules.cells(&object, now);
        }
    });
}

#[test]
fn agrees_with_the_table_about_namespaces() {
    for row in crate::resource::Catalog::builtin().resources() {
        if let Some(rules) = of(&row.group, &row.plural) {
            assert_eq!(rules.namespaced(), row.namespaced, "{}/{}", row.group, row.plural);
        }
    }
}
