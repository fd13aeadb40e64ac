//! What a reader wants to see of a cache.

use std::sync::Arc;

use store::Key;

use crate::Version;

/// Which keys: found through the order of keys, so that a namespace costs no walk over the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All objects of the cache.
    #[default]
    All,
    /// Those of one namespace.
    Namespace(String),
    /// One object: `NAMESPACE/NAME`, or `NAME` where there are no namespaces.
    Object(String),
}

impl Scope {
    /// The objects of one namespace.
    pub fn namespace(name: impl Into<String>) -> Self {
        Self::Namespace(name.into())
    }

    /// One object.
    pub fn object(namespace: Option<&str>, name: &str) -> Self {
        Self::Object(namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}")))
    }

    /// What it means in a cache of that prefix.
    pub(crate) fn keys(&self, prefix: &str) -> Keys {
        match self {
            Self::All => Keys {
                text: prefix.to_owned(),
                exact: false,
            },
            Self::Namespace(namespace) => Keys {
                text: format!("{prefix}{namespace}/"),
                exact: false,
            },
            Self::Object(name) => Keys {
                text: format!("{prefix}{name}"),
                exact: true,
            },
        }
    }
}

/// A scope in terms of whole keys.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) text: String,
    pub(crate) exact: bool,
}

impl Keys {
    pub(crate) fn contains(&self, key: &Key) -> bool {
        if self.exact {
            key.as_str() == self.text
        } else {
            key.starts_with(&self.text)
        }
    }
}

/// Whether a version is in a selection: labels and fields, as a rule. Must always say the same of the same version.
pub trait Filter: Send + Sync {
    /// Whether it is.
    fn matches(&self, version: &Version) -> bool;
}

impl<F: Fn(&Version) -> bool + Send + Sync> Filter for F {
    fn matches(&self, version: &Version) -> bool {
        self(version)
    }
}

/// What a watcher wants to see.
#[derive(Clone, Default)]
pub struct Selection {
    pub(crate) scope: Scope,
    pub(crate) filter: Option<Arc<dyn Filter>>,
}

impl Selection {
    /// Everything in a scope.
    pub fn new(scope: Scope) -> Self {
        Self { scope, filter: None }
    }

    /// Of that, only what the filter lets through.
    #[must_use]
    pub fn with_filter(self, filter: Arc<dyn Filter>) -> Self {
        Self {
            filter: Some(filter),
            ..self
        }
    }
}
