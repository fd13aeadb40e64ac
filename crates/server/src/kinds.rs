//! The rows of the schema table as a running server has them: each with its rules, its place in the store and its
//! watch cache.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use api::codec;
use api::resource::{Catalog, Resource};
use api::rules::{self, Rules};
use bytes::Bytes;
use meta::{GroupKind, GroupResource, Status};
use serde_json::Value;
use watch::{Cache, Hub, Key, Projection};

use crate::object;

/// One kind in one version.
pub(crate) struct Kind {
    pub(crate) row: Arc<Resource>,
    pub(crate) rules: &'static dyn Rules,
    /// `v1`, `apps/v1`.
    pub(crate) api_version: String,
    /// The beginning of every object of the kind.
    pub(crate) head: String,
    pub(crate) resource: GroupResource,
    pub(crate) group_kind: GroupKind,
    /// Tells the versions of one resource apart, whose encodings lie side by side.
    pub(crate) version_slot: u16,
    /// Whether objects are stored in the form of another version: events are, as those of the old core.
    is_converted: bool,
    /// `/registry/GROUP/PLURAL/`.
    prefix: String,
    /// None when its objects are questions (reviews) or made on demand: nobody keeps them.
    cache: Option<Arc<Cache>>,
}

impl Kind {
    /// The key of an object.
    pub(crate) fn key(&self, namespace: Option<&str>, name: &str) -> Key {
        match namespace.filter(|namespace| !namespace.is_empty()) {
            Some(namespace) => Key::from(format!("{}{namespace}/{name}", self.prefix)),
            None => Key::from(format!("{}{name}", self.prefix)),
        }
    }

    /// The watch cache; an answer for clients where there is none.
    pub(crate) fn cache(&self) -> Result<&Arc<Cache>, Status> {
        self.cache.as_ref().ok_or_else(Status::no_such_resource)
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The tree of a stored version.
    pub(crate) fn tree(&self, bytes: &[u8], revision: meta::Revision) -> Result<Value, Status> {
        let tree = object::to_tree(&self.api_version, &self.row.kind, bytes, revision)?;
        Ok(if self.is_converted {
            codec::new_event(tree)
        } else {
            tree
        })
    }

    /// The stored form of a tree.
    pub(crate) fn stored(&self, tree: &Value) -> Result<Bytes, Status> {
        if self.is_converted {
            return object::to_stored(&codec::core_event(tree.clone()));
        }
        object::to_stored(tree)
    }

    /// Stored bytes in the form of this kind's version: the same bytes, unless it is stored in another one.
    pub(crate) fn outward<'a>(&self, stored: &'a [u8]) -> Result<Cow<'a, [u8]>, Status> {
        if !self.is_converted {
            return Ok(Cow::Borrowed(stored));
        }
        let tree = self.tree(stored, meta::Revision(0))?;
        Ok(Cow::Owned(object::to_stored(&tree)?.to_vec()))
    }

    /// What selectors look at in stored bytes that don't come from the cache.
    pub(crate) fn projection(&self, bytes: &[u8]) -> Projection {
        project(self.rules, bytes)
    }

    pub(crate) fn not_found(&self, name: &str) -> Status {
        Status::not_found(&self.resource, name)
    }
}

/// All kinds that are served.
pub(crate) struct Kinds {
    all: Vec<Arc<Kind>>,
    by_path: HashMap<(String, String, String), usize>,
}

impl Kinds {
    /// Fills the cache of every row of the table.
    pub(crate) async fn open(catalog: &'static Catalog, hub: &Hub) -> Result<Kinds, watch::Error> {
        let mut kinds = Kinds {
            all: Vec::new(),
            by_path: HashMap::new(),
        };
        for row in catalog.resources() {
            let siblings = kinds
                .all
                .iter()
                .filter(|kind| kind.row.group == row.group && kind.row.plural == row.plural);
            let slot = u16::try_from(siblings.count()).unwrap_or_default();
            let kind = Arc::new(open(Arc::clone(row), hub, slot).await?);
            let path = (row.group.to_string(), row.version.to_string(), row.plural.to_string());
            kinds.by_path.insert(path, kinds.all.len());
            kinds.all.push(kind);
        }
        Ok(kinds)
    }

    /// By the words of a path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        // Borrowing three texts as a key of three strings isn't possible; allocating them is cheap beside the rest.
        let path = (group.to_owned(), version.to_owned(), plural.to_owned());
        self.by_path.get(&path).map(|at| &self.all[*at])
    }

    /// Any version of a resource.
    pub(crate) fn any(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.all
            .iter()
            .find(|kind| kind.resource.group == group && kind.resource.resource == plural)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.all.iter()
    }
}

async fn open(row: Arc<Resource>, hub: &Hub, version_slot: u16) -> Result<Kind, watch::Error> {
    let prefix = row.key_prefix();
    let rules = rules::of(&row.group, &row.plural).unwrap_or_else(|| rules::other(row.namespaced));
    let kept = row.has_verb("get") && !row.computed;
    let cache = if kept {
        let project = move |_: &Key, bytes: &[u8]| project(rules, bytes);
        Some(hub.cache(&prefix, Arc::new(project)).await?)
    } else {
        None
    };
    let api_version = row.api_version().into_owned();
    Ok(Kind {
        rules,
        head: object::head_of(&api_version, &row.kind),
        api_version,
        resource: row.group_resource(),
        group_kind: row.group_kind(),
        is_converted: row.stored != row.group_version_kind(),
        row,
        version_slot,
        prefix,
        cache,
    })
}

/// What selectors look at. Bytes that can't be read have no labels and no fields.
fn project(rules: &dyn Rules, bytes: &[u8]) -> Projection {
    let Ok(object) = serde_json::from_slice::<Value>(bytes) else {
        return Projection::default();
    };
    let labels = object
        .get("metadata")
        .and_then(|metadata| metadata.get("labels"))
        .and_then(Value::as_object);
    Projection {
        labels: labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
            .collect(),
        fields: rules
            .selectable_fields(&object)
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
    }
}
