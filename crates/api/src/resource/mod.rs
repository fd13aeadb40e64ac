//! The resources that are served: which paths there are, under which names, with which verbs. What happens at a path is
//! the server's, what a kind's objects must look like is `rules`'.

mod rows;

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use meta::{GroupKind, GroupResource, GroupVersion, GroupVersionKind};

use crate::custom::Custom;
use crate::schema::{Schema, Text, TypeId};

/// A resource in one version of its group.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The group; empty for the legacy one.
    pub group: Text,
    /// The version.
    pub version: Text,
    /// The kind of its objects.
    pub kind: Text,
    /// The kind of its lists.
    pub list_kind: Text,
    /// The name in paths.
    pub plural: Text,
    /// The name of one, for people.
    pub singular: Text,
    /// Abbreviations.
    pub short_names: Vec<Text>,
    /// The sets that it belongs to, such as `all`.
    pub categories: Vec<Text>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with it, in discovery's order.
    pub verbs: Vec<&'static str>,
    /// The paths below an object.
    pub subresources: Vec<Subresource>,
    /// The shape of its objects.
    pub ty: TypeId,
    /// The kind in whose form objects are stored.
    pub stored: GroupVersionKind,
    /// Whether objects are made when they are asked for, and never stored.
    pub computed: bool,
    /// Whether it is served only when somebody switches it on.
    pub off: bool,
    /// What is known of a custom resource; none for a built-in one.
    pub custom: Option<Arc<Custom>>,
}

/// A path below an object, such as `status`.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// The last part of the path.
    pub name: Text,
    /// What can be done with it.
    pub verbs: Vec<&'static str>,
    /// The kind of its body.
    pub kind: GroupVersionKind,
    /// The shape of its body.
    pub ty: TypeId,
}

impl Resource {
    /// The schema that `ty` belongs to.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        match &self.custom {
            Some(custom) => custom.schema(),
            None => Schema::builtin(),
        }
    }

    /// Whether it has this verb.
    #[must_use]
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// The path below its objects of this name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// What stands in its objects' `apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> Cow<'_, str> {
        if self.group.is_empty() {
            Cow::Borrowed(&self.version)
        } else {
            Cow::Owned(format!("{}/{}", self.group, self.version))
        }
    }

    /// Its group and version.
    #[must_use]
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion::new(&*self.group, &*self.version)
    }

    /// Its group and kind.
    #[must_use]
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(&*self.group, &*self.kind)
    }

    /// Its group, version and kind.
    #[must_use]
    pub fn group_version_kind(&self) -> GroupVersionKind {
        GroupVersionKind::new(&*self.group, &*self.version, &*self.kind)
    }

    /// Its group and plural.
    #[must_use]
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&*self.group, &*self.plural)
    }

    /// What the keys of its objects in the store begin with, with a slash at the end.
    #[must_use]
    pub fn key_prefix(&self) -> String {
        let group = if self.stored.group.is_empty() {
            "core"
        } else {
            self.stored.group.as_str()
        };
        format!("/registry/{group}/{}/", self.plural)
    }
}

/// The shape of a built-in kind, served or not: `DeleteOptions` and its like are found in every group.
#[must_use]
pub fn builtin_type(kind: &GroupVersionKind) -> Option<TypeId> {
    rows::find(kind)
}

/// All resources that are served.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// In the order in which groups are shown.
    resources: Vec<Arc<Resource>>,
    /// Positions in `resources`, ordered by group, version and plural.
    by_plural: Vec<usize>,
    /// Positions in `resources`, ordered by group, version and kind.
    by_kind: Vec<usize>,
}

impl Catalog {
    /// The built-in resources.
    #[must_use]
    pub fn builtin() -> &'static Catalog {
        static BUILTIN: LazyLock<Catalog> =
            LazyLock::new(|| Catalog::new(rows::read().into_iter().map(Arc::new).collect()));
        &BUILTIN
    }

    /// A catalog of these resources, shown in this order of groups.
    #[must_use]
    pub fn new(resources: Vec<Arc<Resource>>) -> Self {
        let mut by_plural: Vec<usize> = (0..resources.len()).collect();
        let mut by_kind = by_plural.clone();
        by_plural.sort_by_key(|position| plural_key(&resources[*position]));
        by_kind.sort_by_key(|position| kind_key(&resources[*position]));
        Catalog {
            resources,
            by_plural,
            by_kind,
        }
    }

    /// Every resource.
    #[must_use]
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// The resource at a path.
    #[must_use]
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        let key = (group, version, plural);
        let found = self
            .by_plural
            .binary_search_by(|position| plural_key(&self.resources[*position]).cmp(&key))
            .ok()?;
        Some(&self.resources[self.by_plural[found]])
    }

    /// The resource of a kind.
    #[must_use]
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let key = (group, version, kind);
        let found = self
            .by_kind
            .binary_search_by(|position| kind_key(&self.resources[*position]).cmp(&key))
            .ok()?;
        Some(&self.resources[self.by_kind[found]])
    }

    /// The resource of a kind.
    #[must_use]
    pub fn gvk(&self, kind: &GroupVersionKind) -> Option<&Arc<Resource>> {
        self.kind(&kind.group, &kind.version, &kind.kind)
    }

    /// The groups with their versions (the preferred one first), in the order in which they are shown.
    #[must_use]
    pub fn groups(&self) -> Vec<(&str, Vec<&str>)> {
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for resource in &self.resources {
            let (group, version): (&str, &str) = (&resource.group, &resource.version);
            match groups.iter_mut().find(|(known, _)| *known == group) {
                Some((_, versions)) if !versions.contains(&version) => versions.push(version),
                Some(_) => {}
                None => groups.push((group, vec![version])),
            }
        }
        groups
    }

    /// The resources of a group and version, ordered by plural.
    pub fn in_version<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Arc<Resource>> {
        let all = self.by_plural.iter().map(|position| &self.resources[*position]);
        all.filter(move |resource| resource.group == group && resource.version == version)
    }
}

fn plural_key(resource: &Resource) -> (&str, &str, &str) {
    (&resource.group, &resource.version, &resource.plural)
}

fn kind_key(resource: &Resource) -> (&str, &str, &str) {
    (&resource.group, &resource.version, &resource.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_path_and_by_kind() {
        let catalog = Catalog::builtin();
        let pods = catalog.resource("", "v1", "pods").unwrap();
        assert_eq!(
            (&*pods.kind, &*pods.list_kind, &*pods.singular),
            ("Pod", "PodList", "pod")
        );
        assert_eq!(pods.key_prefix(), "/registry/core/pods/");
        let deployment = catalog.kind("apps", "v1", "Deployment").unwrap();
        assert_eq!(
            deployment.subresource("scale").unwrap().kind.to_string(),
            "autoscaling/v1, Kind=Scale"
        );
        assert!(catalog.resource("", "v1", "deployments").is_none());
        let events = catalog.resource("events.k8s.io", "v1", "events").unwrap();
        assert_eq!(events.key_prefix(), "/registry/core/events/");
        assert_eq!(catalog.groups()[2], ("apps", vec!["v1"]));
    }

    #[test]
    fn every_row_has_its_shape() {
        for resource in Catalog::builtin().resources() {
            let types = std::iter::once((&resource.kind[..], resource.ty))
                .chain(resource.subresources.iter().map(|sub| (&sub.kind.kind[..], sub.ty)));
            for (kind, ty) in types {
                let name = resource.schema().get_struct(ty).map(|body| body.name.clone());
                let name = name.unwrap_or_else(|| panic!("{}: {kind} is not in the table", resource.plural));
                assert!(name.ends_with(&format!(".{kind}")), "{name}");
            }
            assert!(!resource.verbs.is_empty());
        }
    }
}
