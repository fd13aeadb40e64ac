//! The objects that an informer knows, with their indexes. No task, no stream, no clock.

use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};
use meta::ObjectKey;

/// Says under which values of an index an object is found.
pub(crate) type IndexFn<P> = Box<dyn Fn(&P, &mut Vec<CompactString>) + Send + Sync>;

pub(crate) struct Objects<P> {
    by_key: HashMap<ObjectKey, Arc<P>>,
    indexes: Vec<Index<P>>,
}

struct Index<P> {
    values: IndexFn<P>,
    keys: HashMap<CompactString, HashSet<ObjectKey>>,
}

// === impl Objects ===

impl<P> Objects<P> {
    pub(crate) fn new(indexes: Vec<IndexFn<P>>) -> Self {
        let indexes = indexes
            .into_iter()
            .map(|values| Index {
                values,
                keys: HashMap::new(),
            })
            .collect();
        Self {
            by_key: HashMap::new(),
            indexes,
        }
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<P>> {
        self.by_key.get(key).cloned()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<P>)> {
        self.by_key.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn by(&self, index: usize, value: &str) -> Vec<Arc<P>> {
        let Some(keys) = self.indexes.get(index).and_then(|index| index.keys.get(value)) else {
            return Vec::new();
        };
        keys.iter().filter_map(|key| self.by_key.get(key).cloned()).collect()
    }

    /// Puts an object in, and returns the one that was there.
    pub(crate) fn insert(&mut self, key: &ObjectKey, object: Arc<P>) -> Option<Arc<P>> {
        let before = self.by_key.insert(key.clone(), object.clone());
        for index in &mut self.indexes {
            index.replace(key, before.as_deref(), Some(&object));
        }
        before
    }

    pub(crate) fn remove(&mut self, key: &ObjectKey) -> Option<Arc<P>> {
        let before = self.by_key.remove(key)?;
        for index in &mut self.indexes {
            index.replace(key, Some(&before), None);
        }
        Some(before)
    }
}

// === impl Index ===

impl<P> Index<P> {
    fn replace(&mut self, key: &ObjectKey, before: Option<&P>, after: Option<&P>) {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        if let Some(before) = before {
            (self.values)(before, &mut old);
        }
        if let Some(after) = after {
            (self.values)(after, &mut new);
        }
        for value in old.iter().filter(|value| !new.contains(value)) {
            if let Some(keys) = self.keys.get_mut(value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(value);
                }
            }
        }
        for value in new {
            if !old.contains(&value) {
                self.keys.entry(value).or_default().insert(key.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_follow_objects() {
        let mut objects: Objects<(u32, &'static str)> =
            Objects::new(vec![Box::new(|object, values| values.push(object.1.into()))]);
        let key = ObjectKey::namespaced("a", "b");
        assert!(objects.insert(&key, Arc::new((1, "red"))).is_none());
        assert_eq!(objects.by(0, "red").len(), 1);
        assert_eq!(objects.insert(&key, Arc::new((2, "blue"))).map(|old| old.0), Some(1));
        assert!(objects.by(0, "red").is_empty());
        assert_eq!(objects.by(0, "blue").len(), 1);
        objects.remove(&key);
        assert!(objects.by(0, "blue").is_empty() && objects.len() == 0);
        assert!(objects.indexes[0].keys.is_empty());
    }
}
