//! A set of field paths as a compact sorted tree, with the set operations that ownership needs. A path that is a member
//! says nothing about the paths below it. Knows no schema and no manager.

use std::cmp::Ordering;
use std::fmt;

use super::element::Element;

/// A set of field paths. No node in it is empty: each is a member or has members below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: Vec<Node>,
}

/// One path element in a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The step from the parent to here.
    pub element: Element,
    /// Whether the path that ends here is in the set.
    pub member: bool,
    /// The paths that go on.
    pub children: FieldSet,
}

// === impl FieldSet ===

impl FieldSet {
    /// A set with nothing in it.
    pub const fn new() -> Self {
        Self { nodes: Vec::new() }
    }

    /// The set of these paths of field names.
    pub fn of(paths: &[&[&str]]) -> Self {
        let mut set = Self::new();
        for path in paths {
            set.insert(path.iter().map(|name| Element::field(name)));
        }
        set
    }

    /// Whether there is no path in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many paths are in it.
    pub fn len(&self) -> usize {
        self.nodes
            .iter()
            .map(|node| usize::from(node.member) + node.children.len())
            .sum()
    }

    /// The top level, sorted.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Adds a path. The empty path, the object itself, is never owned.
    pub fn insert(&mut self, path: impl IntoIterator<Item = Element>) {
        let mut path = path.into_iter().peekable();
        let mut set = self;
        while let Some(element) = path.next() {
            let node = set.node_mut(element);
            if path.peek().is_none() {
                node.member = true;
            }
            set = &mut node.children;
        }
    }

    /// Whether the path is a member.
    pub fn has(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.get(last).is_some_and(|node| node.member),
            [first, rest @ ..] => self.get(first).is_some_and(|node| node.children.has(rest)),
        }
    }

    /// The node of an element.
    pub fn get(&self, element: &Element) -> Option<&Node> {
        self.find(element).ok().map(|index| &self.nodes[index])
    }

    /// What is in either.
    pub fn union(&self, other: &Self) -> Self {
        if self.is_empty() {
            return other.clone();
        }
        let mut out = Vec::with_capacity(self.nodes.len().max(other.nodes.len()));
        zip(self, other, |left, right| match (left, right) {
            (Some(left), Some(right)) => out.push(Node {
                element: left.element.clone(),
                member: left.member || right.member,
                children: left.children.union(&right.children),
            }),
            (Some(node), None) | (None, Some(node)) => out.push(node.clone()),
            (None, None) => {}
        });
        Self { nodes: out }
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut out = Self::new();
        zip(self, other, |left, right| {
            if let (Some(left), Some(right)) = (left, right) {
                let children = left.children.intersection(&right.children);
                out.push_node(&left.element, left.member && right.member, children);
            }
        });
        out
    }

    /// What is in this one only, path by path: taking a parent away leaves its children.
    pub fn difference(&self, other: &Self) -> Self {
        let mut out = Self::new();
        zip(self, other, |left, right| match (left, right) {
            (Some(left), Some(right)) => {
                let children = left.children.difference(&right.children);
                out.push_node(&left.element, left.member && !right.member, children);
            }
            (Some(left), None) => out.nodes.push(left.clone()),
            _ => {}
        });
        out
    }

    /// What is neither in the other set nor below a member of it.
    pub fn difference_below(&self, other: &Self) -> Self {
        let mut out = Self::new();
        zip(self, other, |left, right| match (left, right) {
            (Some(left), Some(right)) if !right.member => {
                let children = left.children.difference_below(&right.children);
                out.push_node(&left.element, left.member, children);
            }
            (Some(left), None) => out.nodes.push(left.clone()),
            _ => {}
        });
        out
    }

    /// Whether every path of this set is in the other one.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.nodes.iter().all(|node| {
            other
                .get(&node.element)
                .is_some_and(|twin| (!node.member || twin.member) && node.children.is_subset(&twin.children))
        })
    }

    /// Every path, members of a level before the paths below it, as Kubernetes lists conflicts.
    pub fn paths(&self) -> Vec<Path> {
        let mut out = Vec::new();
        self.collect_paths(&mut Vec::new(), &mut out);
        out
    }

    /// Appends a node that sorts after all others; empty ones are left out.
    pub(crate) fn push_node(&mut self, element: &Element, member: bool, children: FieldSet) {
        if member || !children.is_empty() {
            self.nodes.push(Node {
                element: element.clone(),
                member,
                children,
            });
        }
    }

    /// Takes nodes in any order, none of them empty; the same element twice is united.
    pub(crate) fn from_nodes(mut nodes: Vec<Node>) -> Self {
        if nodes.is_sorted_by(|a, b| a.element < b.element) {
            return Self { nodes };
        }
        nodes.sort_by(|a, b| a.element.cmp(&b.element));
        let mut out: Vec<Node> = Vec::with_capacity(nodes.len());
        for node in nodes {
            match out.last_mut().filter(|last| last.element == node.element) {
                Some(last) => {
                    last.member |= node.member;
                    last.children = last.children.union(&node.children);
                }
                None => out.push(node),
            }
        }
        Self { nodes: out }
    }

    fn find(&self, element: &Element) -> Result<usize, usize> {
        self.nodes.binary_search_by(|node| node.element.cmp(element))
    }

    fn node_mut(&mut self, element: Element) -> &mut Node {
        let index = match self.find(&element) {
            Ok(index) => index,
            Err(index) => {
                self.nodes.insert(
                    index,
                    Node {
                        element,
                        member: false,
                        children: Self::new(),
                    },
                );
                index
            }
        };
        &mut self.nodes[index]
    }

    fn collect_paths(&self, prefix: &mut Vec<Element>, out: &mut Vec<Path>) {
        for node in self.nodes.iter().filter(|node| node.member) {
            let mut path = prefix.clone();
            path.push(node.element.clone());
            out.push(Path(path));
        }
        for node in &self.nodes {
            prefix.push(node.element.clone());
            node.children.collect_paths(prefix, out);
            prefix.pop();
        }
    }
}

/// Walks two sorted levels side by side.
fn zip<'a>(left: &'a FieldSet, right: &'a FieldSet, mut visit: impl FnMut(Option<&'a Node>, Option<&'a Node>)) {
    let (mut i, mut j) = (0, 0);
    loop {
        match (left.nodes.get(i), right.nodes.get(j)) {
            (Some(a), Some(b)) => match a.element.cmp(&b.element) {
                Ordering::Less => {
                    visit(Some(a), None);
                    i += 1;
                }
                Ordering::Greater => {
                    visit(None, Some(b));
                    j += 1;
                }
                Ordering::Equal => {
                    visit(Some(a), Some(b));
                    i += 1;
                    j += 1;
                }
            },
            (Some(a), None) => {
                visit(Some(a), None);
                i += 1;
            }
            (None, Some(b)) => {
                visit(None, Some(b));
                j += 1;
            }
            (None, None) => return,
        }
    }
}

/// A field path; displays as conflicts show it, such as `.spec.containers[name="web"].image`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<Element>);

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| write!(f, "{element}"))
    }
}
