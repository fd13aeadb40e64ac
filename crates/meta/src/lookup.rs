//! How selectors look at an object: by a key they get a text or nothing.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

/// A set of texts by key: an object's labels, or the fields that can be selected by.
pub trait Lookup {
    /// The text of a key.
    fn lookup(&self, key: &str) -> Option<&str>;
}

impl Lookup for BTreeMap<String, String> {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Lookup for HashMap<String, String> {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Lookup for Map<String, Value> {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

/// The labels of an object: `Null` has none.
impl Lookup for Value {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Lookup for [(K, V)] {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.iter()
            .find(|(name, _)| name.as_ref() == key)
            .map(|(_, value)| value.as_ref())
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Lookup for Vec<(K, V)> {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.as_slice().lookup(key)
    }
}

impl<L: Lookup + ?Sized> Lookup for &L {
    fn lookup(&self, key: &str) -> Option<&str> {
        (**self).lookup(key)
    }
}

/// Nothing where there is none.
impl<L: Lookup> Lookup for Option<L> {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.as_ref().and_then(|inner| inner.lookup(key))
    }
}
