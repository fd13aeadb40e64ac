//! The resources as a running server has them: each with its rules, its place in the store and its watch cache. The
//! built-in ones are there from the start; those of definitions come and go while it runs, all at once for every request.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use api::custom;
use api::forms::{self, Form};
use api::resource::{Catalog, Resource};
use api::rules::{self, Rules};
use arc_swap::ArcSwap;
use bytes::Bytes;
use meta::{GroupKind, GroupResource, Status};
use serde_json::Value;
use tokio::sync::Notify;
use watch::{Cache, Hub, Key, Projection};

use crate::core::Core;
use crate::endpoints::Documents;
use crate::extensions::Converter;
use crate::object;
use crate::runtime::RuntimeConfig;

/// The rules of a kind: compiled in, or made from a definition.
#[derive(Clone)]
pub(crate) enum KindRules {
    Builtin(&'static dyn Rules),
    Custom(Arc<dyn Rules>),
}

impl Deref for KindRules {
    type Target = dyn Rules;

    fn deref(&self) -> &(dyn Rules + 'static) {
        match self {
            KindRules::Builtin(rules) => *rules,
            KindRules::Custom(rules) => &**rules,
        }
    }
}

/// What is done to stored bytes on their way out.
#[derive(Clone, Copy, Debug)]
enum Outward {
    /// Nothing: they are shown as they are.
    Same,
    /// They are stored in the form of another version.
    Form(&'static Form),
    /// What a definition fills in may be younger than the object.
    Defaulted,
}

/// One kind in one version.
pub(crate) struct Kind {
    pub(crate) row: Arc<Resource>,
    pub(crate) rules: KindRules,
    /// `v1`, `apps/v1`.
    pub(crate) api_version: String,
    /// The beginning of every object of the kind.
    pub(crate) head: String,
    pub(crate) resource: GroupResource,
    pub(crate) group_kind: GroupKind,
    /// Tells the versions of one resource apart, whose encodings lie side by side.
    pub(crate) version_slot: u16,
    outward: Outward,
    /// What converts its objects between versions that differ.
    converter: Option<Arc<Converter>>,
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
        let known = self
            .converter
            .as_ref()
            .and_then(|converter| converter.known(bytes, &self.api_version));
        let bytes = known.as_deref().unwrap_or(bytes);
        let mut tree = object::to_tree(&self.api_version, &self.row.kind, bytes, revision)?;
        Ok(match self.outward {
            Outward::Same => tree,
            Outward::Form(form) => (form.outward)(tree),
            Outward::Defaulted => {
                self.rules.default(&mut tree);
                tree
            }
        })
    }

    /// The stored form of a tree.
    pub(crate) fn stored(&self, tree: &Value) -> Result<Bytes, Status> {
        if let Outward::Form(form) = self.outward {
            return object::to_stored(&(form.inward)(tree.clone()));
        }
        let stored = object::to_stored(tree)?;
        Ok(match &self.converter {
            Some(_) => object::marked(stored, &self.api_version),
            None => stored,
        })
    }

    /// The bytes to write for an object whose stored form in this version is `stored`: in the version that is stored.
    pub(crate) async fn written(&self, core: &Core, tree: &Value, stored: &Bytes) -> Result<Bytes, Status> {
        match &self.converter {
            Some(converter) if converter.storage != self.api_version => converter.to_storage(core, tree).await,
            _ => Ok(stored.clone()),
        }
    }

    /// Stored bytes in this version. Who shows or reads objects that may be stored in another one asks for this first;
    /// [`Kind::tree`] and [`Kind::outward`] then know them, too.
    pub(crate) async fn present(&self, core: &Core, stored: &[Bytes]) -> Result<Vec<Bytes>, Status> {
        match &self.converter {
            Some(converter) => converter.convert(core, stored, &self.api_version).await,
            None => Ok(stored.to_vec()),
        }
    }

    /// The field that a selector means by this label; none when objects can't be selected by it.
    pub(crate) fn field(&self, label: &str) -> Option<String> {
        if matches!(label, "metadata.name" | "metadata.namespace") {
            return Some(label.to_owned());
        }
        let field = match self.outward {
            Outward::Form(form) => (form.field)(label)?,
            _ => label.to_owned(),
        };
        self.rules.is_selectable(&field).then_some(field)
    }

    /// Whether its objects are questions (reviews, bindings): answered and not kept.
    pub(crate) fn is_question(&self) -> bool {
        self.cache.is_none() && !self.row.computed
    }

    /// Whether objects may have to be converted before they are shown.
    pub(crate) fn converts(&self) -> bool {
        self.converter.is_some()
    }

    /// Whether stored bytes are in the version that is stored now.
    pub(crate) fn is_current(&self, stored: &[u8]) -> bool {
        self.converter
            .as_ref()
            .is_none_or(|converter| converter.is_current(stored))
    }

    /// Stored bytes in the form of this kind's version: the same bytes, unless it is stored in another one.
    pub(crate) fn outward<'a>(&self, stored: &'a [u8]) -> Result<Cow<'a, [u8]>, Status> {
        if let Some(converter) = &self.converter {
            let known = converter.known(stored, &self.api_version);
            let known = known.ok_or_else(|| Status::internal("an object is shown before it is converted"))?;
            let tree = self.tree(&known, meta::Revision(0))?;
            return Ok(Cow::Owned(object::to_stored(&tree)?.to_vec()));
        }
        if matches!(self.outward, Outward::Same) {
            return Ok(Cow::Borrowed(stored));
        }
        let tree = self.tree(stored, meta::Revision(0))?;
        Ok(Cow::Owned(object::to_stored(&tree)?.to_vec()))
    }

    /// What selectors look at in stored bytes that don't come from the cache.
    pub(crate) fn projection(&self, bytes: &[u8]) -> Projection {
        project(&*self.rules, bytes)
    }

    /// An object of this kind in the form of another version of the same resource.
    pub(crate) async fn convert(&self, core: &Core, object: &Value, to: &Kind) -> Result<Value, Status> {
        let stored = to.present(core, &[self.stored(object)?]).await?;
        let stored = stored
            .first()
            .ok_or_else(|| Status::internal("nothing was converted"))?;
        let mut converted = to.tree(stored, meta::Revision(0))?;
        match object["metadata"].get("resourceVersion") {
            Some(revision) => converted["metadata"]["resourceVersion"] = revision.clone(),
            None => {
                if let Some(metadata) = converted["metadata"].as_object_mut() {
                    metadata.remove("resourceVersion");
                }
            }
        }
        Ok(converted)
    }

    pub(crate) fn not_found(&self, name: &str) -> Status {
        Status::not_found(&self.resource, name)
    }
}

/// All kinds that are served now, with the documents about them.
pub(crate) struct Kinds {
    builtin: Vec<Arc<Kind>>,
    served: ArcSwap<Served>,
    changes: Notify,
}

/// One state of what is served.
pub(crate) struct Served {
    all: Vec<Arc<Kind>>,
    by_path: HashMap<(String, String, String), usize>,
    /// The kinds that share their objects: versions of one resource.
    by_prefix: HashMap<String, Vec<Arc<Kind>>>,
    pub(crate) documents: Documents,
}

impl Served {
    fn new(all: Vec<Arc<Kind>>) -> Served {
        let rows = all.iter().map(|kind| Arc::clone(&kind.row)).collect();
        let path = |kind: &Kind| {
            let row = &kind.row;
            (row.group.to_string(), row.version.to_string(), row.plural.to_string())
        };
        let places = all.iter().enumerate();
        let mut by_prefix: HashMap<String, Vec<Arc<Kind>>> = HashMap::new();
        for kind in &all {
            by_prefix.entry(kind.prefix.clone()).or_default().push(Arc::clone(kind));
        }
        Served {
            by_path: places.map(|(at, kind)| (path(kind), at)).collect(),
            by_prefix,
            documents: Documents::new(Catalog::new(rows)),
            all,
        }
    }

    /// Every kind.
    pub(crate) fn all(&self) -> &[Arc<Kind>] {
        &self.all
    }

    /// The other versions of a kind's resource.
    pub(crate) fn siblings(&self, kind: &Kind) -> Vec<Arc<Kind>> {
        let versions = self.by_prefix.get(&kind.prefix).into_iter().flatten();
        versions
            .filter(|other| other.api_version != kind.api_version)
            .cloned()
            .collect()
    }
}

impl Kinds {
    /// Fills the cache of every built-in row that is served.
    pub(crate) async fn open(
        catalog: &'static Catalog,
        runtime: &RuntimeConfig,
        hub: &Hub,
    ) -> Result<Kinds, watch::Error> {
        let served = catalog.resources().iter().filter(|resource| runtime.serves(resource));
        let served: Vec<Arc<Resource>> = served.cloned().collect();
        let builtin = open_all(&served, hub, None).await?;
        Ok(Kinds {
            served: ArcSwap::from_pointee(Served::new(builtin.clone())),
            changes: Notify::new(),
            builtin,
        })
    }

    /// Serves these custom resources beside the built-in ones, from the next request on.
    pub(crate) fn serve_custom(&self, custom: Vec<Arc<Kind>>) {
        let mut all = self.builtin.clone();
        all.extend(custom);
        self.served.store(Arc::new(Served::new(all)));
        self.changes.notify_one();
    }

    /// Until something else is served than when this was asked last. One task may ask.
    pub(crate) async fn changed(&self) {
        self.changes.notified().await;
    }

    /// What is served now.
    pub(crate) fn now(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// By the words of a path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        // Borrowing three texts as a key of three strings isn't possible; allocating them is cheap beside the rest.
        let path = (group.to_owned(), version.to_owned(), plural.to_owned());
        let served = self.served.load();
        served.by_path.get(&path).map(|at| Arc::clone(&served.all[*at]))
    }

    /// Any version of a built-in resource.
    pub(crate) fn any(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.builtin
            .iter()
            .find(|kind| kind.resource.group == group && kind.resource.resource == plural)
    }

    /// Whether a resource is built in.
    pub(crate) fn is_builtin(&self, group: &str, plural: &str) -> bool {
        self.any(group, plural).is_some()
    }
}

/// Fills the cache of every row; rows of one resource share it.
pub(crate) async fn open_all(
    rows: &[Arc<Resource>],
    hub: &Hub,
    converter: Option<&Arc<Converter>>,
) -> Result<Vec<Arc<Kind>>, watch::Error> {
    let mut all: Vec<Arc<Kind>> = Vec::new();
    for row in rows {
        // Not by the group: events are served in two, and lie side by side all the same.
        let siblings = all.iter().filter(|kind| kind.prefix == row.key_prefix());
        let slot = u16::try_from(siblings.count()).unwrap_or_default();
        let mut kind = open(Arc::clone(row), hub, slot).await?;
        kind.converter = converter.cloned();
        all.push(Arc::new(kind));
    }
    Ok(all)
}

async fn open(row: Arc<Resource>, hub: &Hub, version_slot: u16) -> Result<Kind, watch::Error> {
    let prefix = row.key_prefix();
    let rules = match &row.custom {
        Some(own) => KindRules::Custom(custom::rules(own)),
        None => {
            let builtin = rules::of_version(&row.group, &row.version, &row.plural);
            KindRules::Builtin(builtin.unwrap_or_else(|| rules::other(row.namespaced)))
        }
    };
    let cache = if row.has_verb("get") && !row.computed {
        let own = rules.clone();
        let project = move |_: &Key, bytes: &[u8]| project(&*own, bytes);
        Some(hub.cache(&prefix, Arc::new(project)).await?)
    } else {
        None
    };
    let api_version = row.api_version().into_owned();
    let outward = match &row.custom {
        Some(custom) if custom.has_defaults() => Outward::Defaulted,
        Some(_) => Outward::Same,
        None => forms::of(&row.group_version_kind()).map_or(Outward::Same, Outward::Form),
    };
    Ok(Kind {
        rules,
        head: object::head_of(&api_version, &row.kind),
        api_version,
        resource: row.group_resource(),
        group_kind: row.group_kind(),
        outward,
        converter: None,
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
            .projected(&object)
            .into_iter()
            .map(|(name, value)| (name.as_ref().into(), value.into()))
            .collect(),
    }
}
