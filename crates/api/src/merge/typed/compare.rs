//! How two objects differ, as three field sets: what was removed, modified, added.

use serde_json::{Map, Value};

use super::equal::same;
use super::shape::{Shape, item_element, items};
use crate::merge::fields::{Element, FieldSet, Node};
use crate::schema::{List, Schema, TypeId};

/// The difference between two objects. No path is in more than one of the sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Comparison {
    /// What only the old one has.
    pub(crate) removed: FieldSet,
    /// What both have with different values.
    pub(crate) modified: FieldSet,
    /// What only the new one has.
    pub(crate) added: FieldSet,
}

impl Comparison {
    /// Each set put through a function.
    pub(crate) fn map(self, filter: impl Fn(FieldSet) -> FieldSet) -> Self {
        Self {
            removed: filter(self.removed),
            modified: filter(self.modified),
            added: filter(self.added),
        }
    }
}

/// Compares two objects of one type. Fails when an item of a keyed list has none of its keys.
pub(crate) fn compare(schema: &Schema, ty: TypeId, old: &Value, new: &Value) -> Result<Comparison, String> {
    let branch = Walk { schema }.node(ty, Some(old), Some(new))?;
    Ok(Comparison {
        removed: branch.removed.below,
        modified: branch.modified.below,
        added: branch.added.below,
    })
}

struct Walk<'a> {
    schema: &'a Schema,
}

/// What was found at one path: whether the path itself belongs to a set, and the paths below it.
#[derive(Default)]
struct Part {
    member: bool,
    below: FieldSet,
}

#[derive(Default)]
struct Branch {
    removed: Part,
    modified: Part,
    added: Part,
}

/// The nodes of one level, gathered while its fields or items are visited.
#[derive(Default)]
struct Level {
    removed: Vec<Node>,
    modified: Vec<Node>,
    added: Vec<Node>,
}

// === impl Walk ===

impl Walk<'_> {
    fn node(&self, ty: TypeId, old: Option<&Value>, new: Option<&Value>) -> Result<Branch, String> {
        let mut branch = match Shape::of(self.schema, ty) {
            Shape::Leaf => leaf(old, new),
            Shape::Items(list) => match (items(old), items(new)) {
                ([], []) => leaf(old, new),
                (old, new) => self.list(list, old, new)?,
            },
            shape => match (entries(old), entries(new)) {
                (None, None) => leaf(old, new),
                (old, new) => self.map(shape, old, new)?,
            },
        };
        branch.added.member |= old.is_none();
        branch.removed.member |= new.is_none();
        Ok(branch)
    }

    fn map(
        &self,
        shape: Shape<'_>,
        old: Option<&Map<String, Value>>,
        new: Option<&Map<String, Value>>,
    ) -> Result<Branch, String> {
        let mut level = Level::default();
        let mut visit = |name: &str, old: Option<&Value>, new: Option<&Value>| -> Result<(), String> {
            let Some((ty, _)) = shape.child(name) else {
                return Ok(());
            };
            let branch = self.node(ty, old, new).map_err(|reason| format!(".{name}{reason}"))?;
            level.push(|| Element::field(name), branch);
            Ok(())
        };
        for (name, value) in old.into_iter().flatten() {
            visit(name, Some(value), new.and_then(|new| new.get(name)))?;
        }
        for (name, value) in new.into_iter().flatten() {
            if old.is_none_or(|old| !old.contains_key(name)) {
                visit(name, None, Some(value))?;
            }
        }
        Ok(level.into_branch())
    }

    fn list(&self, list: &List, old: &[Value], new: &[Value]) -> Result<Branch, String> {
        if old == new {
            return Ok(Branch::default());
        }
        let mut all = Vec::with_capacity(old.len() + new.len());
        for (is_new, values) in [(false, old), (true, new)] {
            for (index, value) in values.iter().enumerate() {
                let element =
                    item_element(self.schema, list, value).map_err(|reason| format!(": element {index}: {reason}"))?;
                all.push((element, is_new, value));
            }
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let mut level = Level::default();
        for twins in all.chunk_by(|a, b| a.0 == b.0) {
            let split = twins.iter().position(|(_, is_new, _)| *is_new).unwrap_or(twins.len());
            let element = &twins[0].0;
            let branch = self
                .twins(list.element, &twins[..split], &twins[split..])
                .map_err(|reason| format!("{element}{reason}"))?;
            level.push(|| element.clone(), branch);
        }
        Ok(level.into_branch())
    }

    /// Compares the items of one key. There should be one on each side; duplicates are compared as one value, and marked
    /// by the item's path alone.
    fn twins(
        &self,
        ty: TypeId,
        old: &[(Element, bool, &Value)],
        new: &[(Element, bool, &Value)],
    ) -> Result<Branch, String> {
        let mut branch = match (old, new) {
            ([] | [_], [] | [_]) => {
                return self.node(ty, old.first().map(|item| item.2), new.first().map(|item| item.2));
            }
            ([_, _, ..], [_, _, ..]) => {
                let equal = old.len() == new.len() && old.iter().zip(new).all(|(old, new)| same(old.2, new.2));
                let mut branch = Branch::default();
                branch.modified.member = !equal;
                return Ok(branch);
            }
            (_, []) | ([], _) => Branch::default(),
            ([_, _, ..], [item, ..]) => self.node(ty, None, Some(item.2))?,
            ([item, ..], _) => self.node(ty, Some(item.2), None)?,
        };
        branch.removed.member |= old.len() > 1;
        branch.added.member |= new.len() > 1;
        Ok(branch)
    }
}

/// A value that is compared as a whole. Absence is the caller's to note.
fn leaf(old: Option<&Value>, new: Option<&Value>) -> Branch {
    let mut branch = Branch::default();
    if let (Some(old), Some(new)) = (old, new) {
        branch.modified.member = !same(old, new);
    }
    branch
}

/// The entries of a value that should be a map; null, empty and everything else have none.
fn entries(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object).filter(|map| !map.is_empty())
}

// === impl Level ===

impl Level {
    fn push(&mut self, element: impl Fn() -> Element, branch: Branch) {
        for (nodes, part) in [
            (&mut self.removed, branch.removed),
            (&mut self.modified, branch.modified),
            (&mut self.added, branch.added),
        ] {
            if part.member || !part.below.is_empty() {
                nodes.push(Node {
                    element: element(),
                    member: part.member,
                    children: part.below,
                });
            }
        }
    }

    fn into_branch(self) -> Branch {
        let part = |nodes| Part {
            member: false,
            below: FieldSet::from_nodes(nodes),
        };
        Branch {
            removed: part(self.removed),
            modified: part(self.modified),
            added: part(self.added),
        }
    }
}
