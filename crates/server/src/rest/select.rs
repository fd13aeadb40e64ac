//! Label and field selectors of lists, watches and collection deletions.

use std::sync::Arc;

use meta::{Status, fields, labels};
use watch::{Scope, Version};

use super::Call;
use crate::kinds::Kind;

/// What a request selects.
#[derive(Clone, Default)]
pub(crate) struct Selected {
    pub(crate) labels: labels::Selector,
    pub(crate) fields: fields::Selector,
}

impl Selected {
    pub(crate) fn parse(call: &Call) -> Result<Selected, Status> {
        let labels = labels::Selector::parse(call.query.get("labelSelector").unwrap_or_default())
            .map_err(|error| Status::bad_request(format!("unable to parse requirement: {error}")))?;
        let fields = fields::Selector::parse(call.query.get("fieldSelector").unwrap_or_default())
            .map_err(|error| Status::bad_request(error.to_string()))?;
        let fields = fields.renamed(|field| call.kind.field(field)).map_err(|field| {
            Status::bad_request(match call.kind.resource.group.as_str() {
                "" | "events.k8s.io" => format!("field label not supported: {field}"),
                _ => format!("field label {field:?} not supported for {}", call.kind.row.kind),
            })
        })?;
        Ok(Selected { labels, fields })
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    pub(crate) fn matches(&self, version: &Version) -> bool {
        if self.is_everything() {
            return true;
        }
        let projection = version.projection();
        self.labels.matches(&projection.labels[..]) && self.fields.matches(&projection.fields[..])
    }

    /// Whether it can be told only of converted objects what is selected: a conversion makes the fields, and labels.
    pub(crate) fn wants_converted(&self, kind: &Kind) -> bool {
        kind.converts() && !self.is_everything()
    }

    /// Whether stored bytes are selected, as the kind's version shows them. [`Kind::present`] is asked for before.
    pub(crate) fn fits(&self, kind: &Kind, stored: &[u8]) -> bool {
        if self.is_everything() {
            return true;
        }
        let Ok(shown) = kind.outward(stored) else { return false };
        let projection = kind.projection(&shown);
        self.labels.matches(&projection.labels[..]) && self.fields.matches(&projection.fields[..])
    }

    /// The filter for a watch; none when everything is wanted, or when it can't be told yet.
    pub(crate) fn filter(&self, kind: &Kind) -> Option<Arc<dyn watch::Filter>> {
        if self.is_everything() || self.wants_converted(kind) {
            return None;
        }
        let own = self.clone();
        Some(Arc::new(move |version: &Version| own.matches(version)))
    }

    /// Where to look: one object when the selector says which, else the namespace or everything.
    pub(crate) fn scope(&self, call: &Call) -> Scope {
        let namespace = call.namespace();
        let name = call.path.name.as_deref().or_else(|| self.fields.exact("metadata.name"));
        match (name, namespace, call.kind.row.namespaced) {
            (Some(name), Some(namespace), true) => Scope::object(Some(namespace), name),
            (Some(name), _, false) => Scope::object(None, name),
            (_, Some(namespace), true) => Scope::namespace(namespace),
            _ => Scope::All,
        }
    }
}
