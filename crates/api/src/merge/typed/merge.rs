//! Lays a configuration over an object. Nothing is removed by it, the configuration's leaves win, and a list whose items
//! have owners takes the configuration's order where both have an opinion.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::shape::{Shape, item_element, items};
use crate::merge::fields::Element;
use crate::schema::{List, Schema, TypeId};

/// The live object with the configuration laid over it. Both have been validated.
pub(crate) fn merge(schema: &Schema, ty: TypeId, live: &Value, config: &Value) -> Result<Value, String> {
    let merged = node(schema, ty, Some(live), Some(config))?;
    Ok(merged.unwrap_or(Value::Null))
}

fn node(schema: &Schema, ty: TypeId, live: Option<&Value>, config: Option<&Value>) -> Result<Option<Value>, String> {
    let leaf = || Ok(config.or(live).cloned());
    match Shape::of(schema, ty) {
        Shape::Leaf => leaf(),
        Shape::Items(list) => match (items(live), items(config)) {
            ([], []) => leaf(),
            (live, config) => ListMerge::new(schema, list, live, config)?.run(),
        },
        shape => match (entries(live), entries(config)) {
            (None, None) => leaf(),
            (live, config) => map(schema, shape, live, config),
        },
    }
}

fn map(
    schema: &Schema,
    shape: Shape<'_>,
    live: Option<&Map<String, Value>>,
    config: Option<&Map<String, Value>>,
) -> Result<Option<Value>, String> {
    let mut out = Map::new();
    let mut visit = |name: &String, live: Option<&Value>, config: Option<&Value>| -> Result<(), String> {
        let merged = match (shape.child(name), config) {
            (Some((ty, _)), Some(_)) => node(schema, ty, live, config).map_err(|reason| format!(".{name}{reason}"))?,
            _ => live.cloned(),
        };
        if let Some(value) = merged {
            out.insert(name.clone(), value);
        }
        Ok(())
    };
    for (name, value) in live.into_iter().flatten() {
        visit(name, Some(value), config.and_then(|config| config.get(name)))?;
    }
    for (name, value) in config.into_iter().flatten() {
        if live.is_none_or(|live| !live.contains_key(name)) {
            visit(name, None, Some(value))?;
        }
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

/// The entries of a value that should be a map; null, empty and everything else have none.
fn entries(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object).filter(|map| !map.is_empty())
}

/// The merge of two lists of items that have names. Items keep their order relative to their own list; where the lists
/// disagree, the configuration wins; live items that it doesn't know stay where they are between their neighbours.
struct ListMerge<'a> {
    schema: &'a Schema,
    list: &'a List,
    live: &'a [Value],
    config: &'a [Value],
    live_names: Vec<Element>,
    config_names: Vec<Element>,
    /// The live item of a name; `None` when there are several, which are never merged into.
    live_by_name: BTreeMap<Element, Option<usize>>,
    config_by_name: BTreeMap<Element, usize>,
    out: Vec<Value>,
}

impl<'a> ListMerge<'a> {
    fn new(schema: &'a Schema, list: &'a List, live: &'a [Value], config: &'a [Value]) -> Result<Self, String> {
        let name = |(index, item): (usize, &Value)| {
            item_element(schema, list, item).map_err(|reason| format!(": element {index}: {reason}"))
        };
        let live_names: Vec<Element> = live.iter().enumerate().map(name).collect::<Result<_, _>>()?;
        let config_names: Vec<Element> = config.iter().enumerate().map(name).collect::<Result<_, _>>()?;
        let mut live_by_name = BTreeMap::new();
        for (index, name) in live_names.iter().enumerate() {
            live_by_name
                .entry(name.clone())
                .and_modify(|slot| *slot = None)
                .or_insert(Some(index));
        }
        let mut config_by_name = BTreeMap::new();
        for (index, name) in config_names.iter().enumerate() {
            if config_by_name.insert(name.clone(), index).is_some() {
                return Err(format!(": duplicate entries for key {name}"));
            }
        }
        let out = Vec::with_capacity(live.len().max(config.len()));
        Ok(Self {
            schema,
            list,
            live,
            config,
            live_names,
            config_names,
            live_by_name,
            config_by_name,
            out,
        })
    }

    fn run(mut self) -> Result<Option<Value>, String> {
        let mut shared: Vec<usize> = (0..self.config_names.len())
            .rev()
            .filter(|index| self.live_by_name.contains_key(&self.config_names[*index]))
            .collect();
        let mut next_shared = shared.pop();
        let mut merged = BTreeSet::new();
        let (mut l, mut c) = (0, 0);
        while l < self.live.len() || c < self.config.len() {
            if l < self.live.len() && c < self.config.len() {
                if self.live_names[l] == self.config_names[c] {
                    self.take_config(c)?;
                    merged.insert(c);
                    l += 1;
                    c += 1;
                    next_shared = shared.pop();
                    continue;
                }
                let known = self.config_by_name.contains_key(&self.live_names[l]);
                if known && next_shared.is_some_and(|next| self.config_names[next] != self.live_names[l]) {
                    l += 1;
                    continue;
                }
            }
            if l < self.live.len() {
                match self.config_by_name.get(&self.live_names[l]) {
                    None => {
                        self.out.push(self.live[l].clone());
                        l += 1;
                        continue;
                    }
                    Some(twin) if merged.contains(twin) => l += 1,
                    Some(_) => {}
                }
            }
            if c < self.config.len() {
                self.take_config(c)?;
                merged.insert(c);
                if next_shared == Some(c) {
                    next_shared = shared.pop();
                }
                c += 1;
            }
        }
        Ok((!self.out.is_empty()).then_some(Value::Array(self.out)))
    }

    /// Appends an item of the configuration, merged with its live twin.
    fn take_config(&mut self, index: usize) -> Result<(), String> {
        let name = &self.config_names[index];
        let none = Value::Null;
        let live = self
            .live_by_name
            .get(name)
            .map(|twin| twin.map_or(&none, |twin| &self.live[twin]));
        let merged = node(self.schema, self.list.element, live, Some(&self.config[index]))
            .map_err(|reason| format!("{name}{reason}"))?;
        self.out.extend(merged);
        Ok(())
    }
}
