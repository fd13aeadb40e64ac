//! Checks the codecs against the vectors that Kubernetes publishes: every kind as JSON, YAML and protobuf.
//! `cargo xtask oracle-codec` runs it with the directory that they lie in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use api::codec::{ContentType, FieldValidation, Shape, decode, protobuf};
use meta::GroupVersionKind;
use serde_json::Value;

/// Groups and versions with vectors that v1.37 doesn't serve, and options that aren't read from bodies.
const NOT_SERVED: [&str; 5] = [
    "extensions.v1beta1.",
    "imagepolicy.k8s.io.",
    "apps.v1beta",
    "apidiscovery.k8s.io.v2beta1.",
    "admission.k8s.io.v1beta1.",
];

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1).map(PathBuf::from) else {
        eprintln!("usage: codec_oracle DIRECTORY");
        return ExitCode::FAILURE;
    };
    let names = match names(&dir) {
        Ok(names) if !names.is_empty() => names,
        Ok(_) => {
            eprintln!("{}: there are no vectors in it", dir.display());
            return ExitCode::FAILURE;
        }
        Err(error) => {
            eprintln!("{}: {error}", dir.display());
            return ExitCode::FAILURE;
        }
    };
    let (mut checked, mut left_out, mut failures) = (0, BTreeMap::new(), Vec::new());
    for name in &names {
        match shape(name) {
            Some(shape) => {
                checked += 1;
                failures.extend(
                    check(&dir, name, &shape)
                        .into_iter()
                        .map(|failure| format!("{name}: {failure}")),
                );
            }
            None => {
                let group = name.rsplit_once('.').map_or(name.as_str(), |(group, _)| group);
                *left_out.entry(group.to_owned()).or_insert(0) += 1;
            }
        }
    }
    println!("{checked} kinds checked, {} failures", failures.len());
    println!("left out, because v1.37 doesn't serve them: {left_out:?}");
    for failure in &failures {
        println!("  {failure}");
    }
    if failures.is_empty() && checked > 130 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The names of the vectors: group, version and kind.
fn names(dir: &Path) -> std::io::Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(dir)?
        .filter_map(|entry| {
            entry
                .ok()?
                .file_name()
                .to_str()?
                .strip_suffix(".json")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    Ok(names)
}

fn shape(name: &str) -> Option<Shape<'static>> {
    let (rest, kind) = name.rsplit_once('.')?;
    let (group, version) = rest.rsplit_once('.')?;
    let group = if group == "core" { "" } else { group };
    if NOT_SERVED.iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    Shape::builtin(GroupVersionKind::new(group, version, kind))
}

/// What is wrong with one kind.
fn check(dir: &Path, name: &str, shape: &Shape<'_>) -> Vec<String> {
    let read = |extension: &str| std::fs::read(dir.join(format!("{name}.{extension}")));
    let (Ok(json), Ok(yaml), Ok(pb)) = (read("json"), read("yaml"), read("pb")) else {
        return vec!["a vector is missing".to_owned()];
    };
    let expected: Value = serde_json::from_slice(&json).unwrap_or_default();
    let mut failures = Vec::new();
    for (content, bytes) in [
        (ContentType::Json, &json),
        (ContentType::Yaml, &yaml),
        (ContentType::Protobuf, &pb),
    ] {
        match decode(bytes, content, shape, FieldValidation::Strict) {
            Ok(decoded) => failures.extend(difference(&format!("{content:?}"), &expected, &decoded.value)),
            Err(status) => failures.push(format!("{content:?}: {status}")),
        }
    }
    match protobuf::encode_json(shape.schema, shape.ty, &json) {
        Ok(message) => {
            let body = protobuf::envelope(&shape.kind.api_version(), &shape.kind.kind, &message);
            match decode(&body, ContentType::Protobuf, shape, FieldValidation::Strict) {
                Ok(decoded) => failures.extend(difference("written and read again", &expected, &decoded.value)),
                Err(status) => failures.push(format!("written and read again: {status}")),
            }
        }
        Err(error) => failures.push(error.to_string()),
    }
    failures
}

/// The first path at which two trees differ.
fn difference(what: &str, expected: &Value, found: &Value) -> Option<String> {
    let path = first_difference(expected, found)?;
    let at = |value: &Value| value.pointer(&path).map_or("nothing".to_owned(), ToString::to_string);
    Some(format!("{what}: {path}: {} instead of {}", at(found), at(expected)))
}

fn first_difference(a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => a.keys().chain(b.keys()).find_map(|key| {
            let below = match (a.get(key), b.get(key)) {
                (Some(a), Some(b)) => first_difference(a, b)?,
                _ => String::new(),
            };
            Some(format!("/{}{below}", key.replace('~', "~0").replace('/', "~1")))
        }),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(index, (a, b))| Some(format!("/{index}{}", first_difference(a, b)?)))
        }
        (a, b) => (a != b).then(String::new),
    }
}
