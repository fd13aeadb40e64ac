//! Custom resources: a definition's object becomes rows of the catalog, each with a schema, rules and columns made from
//! what the definition says. Serving them is the server's; a definition itself is a built-in kind with rules of its own.

mod check;
mod columns;
mod expressions;
mod format;
mod json_path;
mod lists;
mod number;
mod prune;
mod rules;
mod structural;
mod types;
mod validate;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use meta::GroupVersionKind;
use serde_json::Value;

use crate::resource::{Resource, Subresource};
use crate::rules::Rules;
use crate::rules::view::View as _;
use crate::schema::{Schema, Text, TypeId};

pub(crate) use check::{leads_somewhere, schema as check_schema};
pub(crate) use expressions::{declare_published, escape};
pub(crate) use json_path::JsonPath;
pub(crate) use structural::Node;

/// The verbs of a custom resource, in the order in which discovery shows them.
const VERBS: [&str; 8] = [
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];
/// Those that are left while its definition is being deleted.
const TERMINATING_VERBS: [&str; 7] = ["delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// What is known of one version of a custom resource beyond its row.
#[derive(Debug)]
pub struct Custom {
    family: Arc<Family>,
    version: String,
    root: Node,
    ty: TypeId,
    has_defaults: bool,
    has_status: bool,
    has_rules: bool,
    expressions: OnceLock<expressions::Expressions>,
    scale: Option<ScalePaths>,
    deprecation: Option<String>,
    columns: Vec<columns::Column>,
    selectable: Vec<(String, JsonPath)>,
    namespaced: bool,
    kind: GroupVersionKind,
}

/// What all versions of a custom resource share.
#[derive(Debug)]
struct Family {
    schema: Schema,
    /// The types of the versions, by group and version.
    versions: Vec<(String, TypeId)>,
    /// The definition as it is stored, for the documents about the API.
    definition: Bytes,
}

/// Where an object has what its scale shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// Such as `.spec.replicas`.
    pub spec_replicas: String,
    /// Such as `.status.replicas`.
    pub status_replicas: String,
    /// Such as `.status.selector`; empty when there is none.
    pub label_selector: String,
}

/// The rows of a definition, one for each version that is served, the preferred one first. `stored` are the bytes of
/// the definition itself.
#[must_use]
pub fn resources(definition: &Value, stored: &Bytes) -> Vec<Arc<Resource>> {
    let spec = definition.at("spec");
    let names = definition.at("status").at("acceptedNames");
    let group = spec.text("group");
    let kind = names.text("kind");
    let mut versions: Vec<&Value> = spec
        .list("versions")
        .iter()
        .filter(|version| version.is("served"))
        .collect();
    versions.sort_by(|a, b| compare_versions(b.text("name"), a.text("name")));
    let storage = spec.list("versions").iter().find(|version| version.is("storage"));
    let storage = storage.map(|version| version.text("name")).unwrap_or_default();
    let mut types = types::Types::new();
    let mut known = Vec::new();
    let roots: Vec<Node> = spec
        .list("versions")
        .iter()
        .map(|version| {
            let root = Node::read(version.at("schema").at("openAPIV3Schema"));
            let name = version.text("name");
            let ty = types.object(&type_name(group, name, kind), &root);
            known.push((format!("{group}/{name}"), ty));
            root
        })
        .collect();
    let family = Arc::new(Family {
        schema: types.finish(),
        versions: known,
        definition: stored.clone(),
    });
    let mut roots: Vec<(&str, Node)> = spec
        .list("versions")
        .iter()
        .map(|version| version.text("name"))
        .zip(roots)
        .collect();
    versions
        .into_iter()
        .filter_map(|version| {
            let place = roots.iter().position(|(name, _)| *name == version.text("name"))?;
            let (_, root) = roots.swap_remove(place);
            Some(Arc::new(resource(definition, version, storage, &family, root)))
        })
        .collect()
}

fn resource(definition: &Value, version: &Value, storage: &str, family: &Arc<Family>, root: Node) -> Resource {
    let spec = definition.at("spec");
    let names = definition.at("status").at("acceptedNames");
    let (group, name, kind) = (spec.text("group"), version.text("name"), names.text("kind"));
    let ty = family
        .versions
        .iter()
        .find(|(known, _)| known.strip_prefix(group).and_then(|rest| rest.strip_prefix('/')) == Some(name))
        .map_or(TypeId::ANY, |(_, ty)| *ty);
    let gvk = GroupVersionKind::new(group, name, kind);
    let namespaced = spec.text("scope") == "Namespaced";
    let terminating = definition.at("metadata").has("deletionTimestamp");
    let subresources = version.at("subresources");
    let scale = subresources.get("scale").filter(|scale| scale.is_object());
    let custom = Custom {
        family: Arc::clone(family),
        version: name.to_owned(),
        ty,
        has_defaults: root.has_defaults(),
        has_status: subresources.has("status"),
        has_rules: root.has_rules(),
        expressions: OnceLock::new(),
        scale: scale.map(|scale| ScalePaths {
            spec_replicas: scale.text("specReplicasPath").to_owned(),
            status_replicas: scale.text("statusReplicasPath").to_owned(),
            label_selector: scale.text("labelSelectorPath").to_owned(),
        }),
        deprecation: version.is("deprecated").then(|| deprecation(version, &gvk)),
        columns: columns::read(version),
        selectable: version
            .list("selectableFields")
            .iter()
            .filter_map(|field| {
                let path = field.text("jsonPath");
                Some((path.trim_start_matches('.').to_owned(), JsonPath::parse(path).ok()?))
            })
            .collect(),
        namespaced,
        kind: gvk.clone(),
        root,
    };
    let text = |value: &str| Text::from(value.to_owned());
    let own = |key: &str| structural::texts(names, key).into_iter().map(Text::from).collect();
    let verbs = if terminating {
        TERMINATING_VERBS.to_vec()
    } else {
        VERBS.to_vec()
    };
    Resource {
        group: text(group),
        version: text(name),
        kind: text(kind),
        list_kind: text(names.text("listKind")),
        plural: text(names.text("plural")),
        singular: text(names.text("singular")),
        short_names: own("shortNames"),
        categories: own("categories"),
        namespaced,
        verbs,
        subresources: subresources_of(&custom),
        ty,
        stored: GroupVersionKind::new(group, storage, kind),
        computed: false,
        off: false,
        custom: Some(Arc::new(custom)),
    }
}

fn subresources_of(custom: &Custom) -> Vec<Subresource> {
    let mut subresources = Vec::new();
    let verbs = vec!["get", "patch", "update"];
    if custom.has_status {
        subresources.push(Subresource {
            name: "status".into(),
            verbs: verbs.clone(),
            kind: custom.kind.clone(),
            ty: custom.ty,
        });
    }
    if custom.scale.is_some() {
        let kind = GroupVersionKind::new("autoscaling", "v1", "Scale");
        let ty = crate::resource::builtin_type(&kind).unwrap_or(TypeId::ANY);
        subresources.push(Subresource {
            name: "scale".into(),
            verbs,
            kind,
            ty,
        });
    }
    subresources
}

fn deprecation(version: &Value, kind: &GroupVersionKind) -> String {
    match version.text("deprecationWarning") {
        "" => format!("{}/{} {} is deprecated", kind.group, kind.version, kind.kind),
        own => own.to_owned(),
    }
}

impl Custom {
    /// The types of all versions.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.family.schema
    }

    /// The type of another version.
    #[must_use]
    pub fn type_in(&self, api_version: &str) -> Option<TypeId> {
        let found = self.family.versions.iter().find(|(known, _)| known == api_version)?;
        Some(found.1)
    }

    /// Whether objects that were stored by an older definition may lack something that is filled in.
    #[must_use]
    pub fn has_defaults(&self) -> bool {
        self.has_defaults
    }

    /// Where the scale is, when there is one.
    #[must_use]
    pub fn scale(&self) -> Option<&ScalePaths> {
        self.scale.as_ref()
    }

    /// What users of this version are told.
    #[must_use]
    pub fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }

    /// The schema as the definition has it.
    #[must_use]
    pub fn published(&self) -> Value {
        let definition: Value = serde_json::from_slice(&self.family.definition).unwrap_or_default();
        let versions = definition.at("spec").list("versions");
        let version = versions.iter().find(|version| version.text("name") == self.version);
        version
            .map(|version| version.at("schema").at("openAPIV3Schema").clone())
            .unwrap_or_default()
    }

    /// What tells this definition from another state of it.
    pub(crate) fn definition(&self) -> &Bytes {
        &self.family.definition
    }

    /// The rules in CEL; none when there are none.
    pub(crate) fn expressions(&self) -> Option<&expressions::Expressions> {
        let compile = || expressions::Expressions::compile(&self.published());
        self.has_rules.then(|| self.expressions.get_or_init(compile))
    }

    /// Removes what the schema doesn't know; answers its paths.
    pub(crate) fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(object, &self.root)
    }

    /// Fills in what is absent.
    pub fn default(&self, object: &mut Value) {
        prune::default(object, &self.root);
        prune::drop_nulls(object, &self.root);
    }
}

/// The rules of a custom resource.
#[must_use]
pub fn rules(custom: &Arc<Custom>) -> Arc<dyn Rules> {
    Arc::new(rules::OfCustom(Arc::clone(custom)))
}

/// The name of a kind in OpenAPI: the group's parts reversed, `com.example.v1.Thing`.
#[must_use]
pub fn type_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').rev().collect();
    parts.extend([version, kind]);
    parts.join(".")
}

/// Versions by how far they are: `v2` after `v1`, `v1` after `v1beta2`, anything else before.
#[must_use]
pub fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => std::cmp::Ordering::Greater,
        (None, Some(_)) => std::cmp::Ordering::Less,
        (None, None) => b.cmp(a),
    }
}

/// Stability, number, number within the stability.
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let major: u64 = rest[..digits].parse().ok()?;
    let minor = |rest: &str| rest.parse::<u64>().ok();
    match &rest[digits..] {
        "" => Some((2, major, 0)),
        rest => match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
            (Some(rest), _) => Some((1, major, minor(rest)?)),
            (_, Some(rest)) => Some((0, major, minor(rest)?)),
            _ => None,
        },
    }
}

#[cfg(test)]
pub(crate) mod tests;
