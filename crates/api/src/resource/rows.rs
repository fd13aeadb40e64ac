//! Reads the compiled-in rows. The file's head says what its lines mean.

use meta::{GroupVersion, GroupVersionKind};

use super::{Resource, Subresource};
use crate::schema::{Schema, Text, TypeId};

const ROWS: &str = include_str!("../../schema/resources.txt");

/// All verbs with their letters, in discovery's order.
const VERBS: [(char, &str); 8] = [
    ('c', "create"),
    ('d', "delete"),
    ('D', "deletecollection"),
    ('g', "get"),
    ('l', "list"),
    ('p', "patch"),
    ('u', "update"),
    ('w', "watch"),
];

/// Every row.
pub(super) fn read() -> Vec<Resource> {
    let mut resources: Vec<Resource> = Vec::new();
    let (mut here, mut off) = (GroupVersion::default(), false);
    for line in ROWS.lines().filter(|line| !line.starts_with('#')) {
        if let Some(rest) = line.strip_prefix("G ") {
            off = rest.ends_with(" off");
            here = group_version(rest.strip_suffix(" off").unwrap_or(rest), ' ');
        } else if let Some(rest) = line.strip_prefix("  /") {
            if let Some(owner) = resources.last_mut() {
                let made = subresource(rest, owner);
                owner.subresources.push(made);
            }
        } else if let Some(rest) = line.strip_prefix(' ') {
            resources.push(Resource {
                off,
                ..resource(rest, &here)
            });
        }
    }
    resources
}

fn group_version(text: &'static str, separator: char) -> GroupVersion {
    let (group, version) = text.split_once(separator).unwrap_or(("", text));
    GroupVersion::new(if group == "core" { "" } else { group }, version)
}

fn resource(line: &'static str, here: &GroupVersion) -> Resource {
    let mut words = line.split(' ');
    let (plural, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let namespaced = words.next() == Some("n");
    let gvk = here.with_kind(kind);
    let mut resource = Resource {
        group: here.group.clone().into(),
        version: here.version.clone().into(),
        kind: kind.into(),
        list_kind: format!("{kind}List").into(),
        plural: plural.into(),
        singular: kind.to_lowercase().into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced,
        verbs: VERBS.iter().map(|(_, verb)| *verb).collect(),
        subresources: Vec::new(),
        ty: type_of(&gvk),
        stored: gvk,
        computed: false,
        off: false,
        custom: None,
    };
    for mark in words {
        match mark.split_once('=') {
            Some(("short", names)) => resource.short_names = names.split(',').map(Text::Borrowed).collect(),
            Some(("in", names)) => resource.categories = names.split(',').map(Text::Borrowed).collect(),
            Some(("verbs", letters)) => resource.verbs = verbs(letters),
            Some(("stored", kind)) => resource.stored = read_kind(kind),
            None if mark == "computed" => resource.computed = true,
            _ => {}
        }
    }
    resource
}

fn subresource(line: &'static str, owner: &Resource) -> Subresource {
    let mut words = line.split(' ');
    let (name, letters) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let kind = words.next().map_or_else(|| owner.group_version_kind(), read_kind);
    Subresource {
        name: name.into(),
        verbs: verbs(letters),
        ty: type_of(&kind),
        kind,
    }
}

/// `GROUP/VERSION.KIND`.
fn read_kind(text: &'static str) -> GroupVersionKind {
    let (before, kind) = text.rsplit_once('.').unwrap_or(("", text));
    group_version(before, '/').with_kind(kind)
}

fn verbs(letters: &str) -> Vec<&'static str> {
    VERBS
        .iter()
        .filter(|(letter, _)| letters.contains(*letter))
        .map(|(_, verb)| *verb)
        .collect()
}

fn type_of(kind: &GroupVersionKind) -> TypeId {
    super::builtin_type(kind).unwrap_or(TypeId::ANY)
}

/// The name of a kind in the table.
fn table_name(kind: &GroupVersionKind) -> String {
    let GroupVersionKind { group, version, kind } = kind;
    match group.as_str() {
        "" => format!("io.k8s.api.core.{version}.{kind}"),
        "apiextensions.k8s.io" => format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}.{kind}"),
        "apiregistration.k8s.io" => format!("io.k8s.kube-aggregator.pkg.apis.apiregistration.{version}.{kind}"),
        "metrics.k8s.io" => format!("io.k8s.metrics.pkg.apis.metrics.{version}.{kind}"),
        "internal.apiserver.k8s.io" => format!("io.k8s.api.apiserverinternal.{version}.{kind}"),
        group => {
            let first = group.split('.').next().unwrap_or_default();
            format!("io.k8s.api.{first}.{version}.{kind}")
        }
    }
}

/// The struct of a built-in kind.
pub(super) fn find(kind: &GroupVersionKind) -> Option<TypeId> {
    let schema = Schema::builtin();
    schema.named(&table_name(kind)).or_else(|| {
        // Kinds that every group has.
        schema.named(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{}", kind.kind))
    })
}
