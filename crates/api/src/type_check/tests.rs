//! Policies against what Kubernetes' own type checker says of them: `testdata` has the questions, and the answers of
//! Kubernetes 1.37.2 (`cargo xtask oracle-types`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cel::Declaration;
use meta::GroupVersionKind;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Served, Shape, check, kinds, params};
use crate::rules::view::View as _;

/// Kubernetes looks at literal formats before they run, too.
const UNCHECKED: [&str; 1] = ["'%d'.format([object.metadata.name])"];

fn lines(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

fn kind(of: &Value) -> GroupVersionKind {
    GroupVersionKind {
        group: of.text("group").into(),
        version: of.text("version").into(),
        kind: of.text("kind").into(),
    }
}

/// The numbers in the names of types differ from check to check in Kubernetes.
fn plain(text: &str) -> String {
    let numbered = regex::Regex::new(r"\b([A-Z][A-Za-z]+)[0-9]+\b").unwrap();
    numbered.replace_all(text, "${1}#").into_owned()
}

/// An OpenAPI document of these kinds.
fn document(types: &[Value]) -> Value {
    let mut schemas = serde_json::Map::new();
    for one in types {
        let mut schema = one.at("schema").clone();
        schema["x-kubernetes-group-version-kind"] =
            serde_json::json!([{"group": one["group"], "version": one["version"], "kind": one["kind"]}]);
        schemas.insert(format!("{}.{}", one.text("version"), one.text("kind")), schema);
    }
    serde_json::json!({"components": {"schemas": schemas}})
}

#[test]
fn warnings_are_those_of_kubernetes() {
    let mut questions = lines(include_str!("testdata/questions.jsonl"));
    let world = questions.next().unwrap();
    let served: Vec<Served> = world
        .list("served")
        .iter()
        .map(|one| Served {
            kind: kind(one),
            plural: one.text("plural").to_owned(),
            singular: one.text("singular").to_owned(),
        })
        .collect();
    let document = document(world.list("types"));
    let shape = |kind: &GroupVersionKind, number| {
        Shape::builtin(kind, number).or_else(|| Shape::published(&document, kind, number))
    };
    let mut wrong = String::new();
    for (policy, answer) in questions.zip(lines(include_str!("testdata/answers.jsonl"))) {
        let shapes = kinds(&policy, &served).into_iter().enumerate();
        let shapes: Vec<_> = shapes
            .filter_map(|(index, kind)| shape(&kind, index + 1).map(|shape| (kind, shape)))
            .collect();
        let of_params = params(&policy).map(|kind| shape(&kind, 0));
        let told = check(&policy, &shapes, of_params.as_ref().map(Option::as_ref));
        let told: BTreeMap<String, String> = told
            .into_iter()
            .map(|told| (told.field_ref, plain(&told.warning)))
            .collect();
        let expected: BTreeMap<String, String> = answer
            .list("warnings")
            .iter()
            .map(|told| (told.text("fieldRef").to_owned(), told.text("warning").to_owned()))
            .collect();
        for at in told.keys().chain(expected.keys().filter(|at| !told.contains_key(*at))) {
            let (told, expected) = (told.get(at), expected.get(at));
            let unchecked = expected.is_some_and(|why| UNCHECKED.iter().any(|text| why.contains(text)));
            if told != expected && !unchecked {
                let rules = policy.at("spec").at("matchConstraints").at("resourceRules");
                writeln!(wrong, "{at} of {rules}\n  is       {told:?}\n  should be {expected:?}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn tree(path: &str, declared: &Declaration, out: &mut Vec<String>) {
    let ty = match &declared.ty {
        cel::Type::Object(_) => "object".to_owned(),
        cel::Type::List(_) => "list".to_owned(),
        cel::Type::Map(..) => "map".to_owned(),
        other => other.to_string(),
    };
    let inner = if ty == "map" { "@elem" } else { "@idx" };
    out.push(format!("{path}: {ty}"));
    for (name, field) in &declared.fields {
        tree(&format!("{path}.{name}"), field, out);
    }
    if let Some(element) = &declared.element {
        tree(&format!("{path}.{inner}"), element, out);
    }
}

/// A line a kind: how many parts its declaration has, and the digest of them.
#[test]
fn built_in_types_are_those_of_kubernetes() {
    let mut wrong = Vec::new();
    let mut known = 0;
    for line in include_str!("testdata/kinds.tsv").lines() {
        let mut parts = line.split('\t');
        let mut name = parts.next().unwrap().splitn(3, '/').map(str::to_owned);
        let kind = GroupVersionKind {
            group: name.next().unwrap(),
            version: name.next().unwrap(),
            kind: name.next().unwrap(),
        };
        let (count, digest) = (parts.next().unwrap(), parts.next().unwrap());
        // Versions that are served no more are in Kubernetes' own list only.
        let Some(Shape(Some(declared))) = Shape::builtin(&kind, 1) else {
            continue;
        };
        known += 1;
        let mut all = Vec::new();
        tree("", &declared, &mut all);
        all.sort();
        let own = Sha256::digest(all.join("\n"));
        let own: String = own[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        if (all.len().to_string().as_str(), own.as_str()) != (count, digest) {
            wrong.push(format!("{line}: {} parts", all.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(known > 100, "{known}");
}
