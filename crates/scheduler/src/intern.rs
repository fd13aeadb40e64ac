//! Strings as small integers, so that a filter compares numbers.
//!
//! Only what nodes and selectors say comes in here (node names, label keys and values, taints, resource names), never
//! pods' names or labels: the set is bounded by the cluster's own vocabulary and is never emptied.

use std::sync::LazyLock;

use hashbrown::HashMap;
use parking_lot::RwLock;

/// An interned string; equal numbers mean equal strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sym(u32);

#[derive(Default)]
struct Table {
    by_text: HashMap<&'static str, Sym>,
    texts: Vec<&'static str>,
}

static TABLE: LazyLock<RwLock<Table>> = LazyLock::new(RwLock::default);

impl Sym {
    /// The number of a string.
    pub(crate) fn of(text: &str) -> Self {
        if let Some(sym) = TABLE.read().by_text.get(text) {
            return *sym;
        }
        let mut table = TABLE.write();
        if let Some(sym) = table.by_text.get(text) {
            return *sym;
        }
        let sym = Sym(u32::try_from(table.texts.len()).unwrap_or(u32::MAX));
        let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
        table.texts.push(text);
        table.by_text.insert(text, sym);
        sym
    }

    /// The string of a number.
    pub(crate) fn text(self) -> &'static str {
        TABLE.read().texts.get(self.0 as usize).copied().unwrap_or_default()
    }
}
