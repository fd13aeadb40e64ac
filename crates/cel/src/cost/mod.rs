//! What an expression costs: at most, by what is declared of sizes, before it is allowed; and in fact, while it runs.
//!
//! Which rules a definition may have depends on the estimate, so that it must be that of Kubernetes: its costs of
//! functions (`k8s.io/apiserver/pkg/cel/library`, `CostEstimator`) over those of the language (cel-go's `checker`).

mod actual;
mod functions;

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{Expr, Fold, Kind, operator};
use crate::check::{Checked, is_type};
use crate::declare::Declaration;
use crate::program::Environment;
use crate::types::Type;

pub(crate) use actual::{actual, creation};

const LIST: u64 = 10;
const MAP: u64 = 30;
const STRUCT: u64 = 40;
/// Of looking at one letter.
const LETTER: f64 = 0.1;
/// Of one letter of a regular expression.
const REGEX: f64 = 0.25;
/// An authorization check, so that two of them fit into an expression.
const CHECK: u64 = 350_000;
/// A name's format is matched by a regular expression of at most so many letters.
const FORMAT_REGEX: f64 = 128.0;

/// The least and the most that something costs, or how large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

const UNKNOWN: Estimate = Estimate { min: 0, max: u64::MAX };
const ONE: Estimate = Estimate::exactly(1);

impl Estimate {
    const fn exactly(cost: u64) -> Estimate {
        Estimate { min: cost, max: cost }
    }

    fn plus(self, other: Estimate) -> Estimate {
        Estimate {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }

    fn times(self, other: Estimate) -> Estimate {
        Estimate {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }

    fn scaled(self, factor: f64) -> Estimate {
        Estimate {
            min: scaled(self.min, factor),
            max: scaled(self.max, factor),
        }
    }

    fn or(self, other: Estimate) -> Estimate {
        Estimate {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded up; what is too large becomes the largest"
)]
fn scaled(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

/// The sizes of keys and values of a list or map.
#[derive(Clone, Copy, Debug)]
struct Entries {
    key: Estimate,
    value: Estimate,
}

impl Entries {
    fn or(a: Option<Entries>, b: Option<Entries>) -> Option<Entries> {
        let (a, b) = (a?, b?);
        Some(Entries {
            key: a.key.or(b.key),
            value: a.value.or(b.value),
        })
    }
}

/// Which part of a declared variable an expression is.
#[derive(Clone, Debug)]
enum Place {
    Declared(Arc<Declaration>),
    /// The keys of a map, of which nothing is declared but that they are texts.
    Keys,
    /// A part that isn't declared.
    Nowhere,
}

impl Place {
    fn size(&self) -> Option<Estimate> {
        let max = match self {
            Place::Declared(declared) => declared.largest,
            Place::Keys => 0,
            Place::Nowhere => return None,
        };
        Some(Estimate { min: 0, max })
    }

    fn element(&self) -> Place {
        match self {
            Place::Declared(declared) => declared.element.clone().map_or(Place::Nowhere, Place::Declared),
            Place::Keys | Place::Nowhere => Place::Nowhere,
        }
    }

    fn field(&self, name: &str) -> Place {
        match self {
            Place::Declared(declared) => declared.field(name).cloned().map_or(Place::Nowhere, Place::Declared),
            Place::Keys | Place::Nowhere => Place::Nowhere,
        }
    }
}

#[derive(Clone, Debug)]
struct Local {
    name: Arc<str>,
    place: Option<Place>,
    size: Option<Estimate>,
    entries: Option<Entries>,
}

/// Estimates a checked expression.
pub(crate) fn estimate(tree: &Expr, checked: &Checked, environment: &Environment) -> Estimate {
    let root = environment.variable("self").cloned();
    let mut coster = Coster {
        checked,
        root: root.map_or(Place::Nowhere, |root| Place::Declared(Arc::new(root))),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        places: HashMap::new(),
        locals: Vec::new(),
    };
    coster.cost(tree)
}

struct Coster<'a> {
    checked: &'a Checked,
    /// `self`. Kubernetes looks up sizes by the path from a variable, whatever the variable is, so that what has no path
    /// of its own is as large as `self`: a type, or an element of a list that is written out.
    root: Place,
    sizes: HashMap<u32, Estimate>,
    entries: HashMap<u32, Entries>,
    places: HashMap<u32, Place>,
    locals: Vec<Local>,
}

impl Coster<'_> {
    fn cost(&mut self, expr: &Expr) -> Estimate {
        match &expr.kind {
            Kind::Literal(_) => Estimate::exactly(0),
            Kind::Ident(name) => {
                let place = match self.local(name) {
                    Some(local) => local.place.clone(),
                    None => Some(self.root.clone()),
                };
                if let Some(place) = place {
                    self.places.insert(expr.id, place);
                }
                ONE
            }
            Kind::Select { .. } if expr.dotted().is_some_and(|name| is_type(&name)) => {
                self.places.insert(expr.id, self.root.clone());
                ONE
            }
            Kind::Select { operand, field, test } => {
                let cost = self.cost(operand);
                if *test {
                    return cost;
                }
                let place = self
                    .place(operand)
                    .map_or(self.root.clone(), |place| place.field(field));
                self.places.insert(expr.id, place);
                match self.checked.type_of(operand) {
                    Type::Map(..) | Type::Object(_) | Type::Param(_) => cost.plus(ONE),
                    _ => cost,
                }
            }
            Kind::Call {
                function,
                member,
                arguments,
            } => self.call(expr, function, *member, arguments),
            Kind::List(elements) => {
                let mut sum = Estimate::exactly(LIST);
                let mut value = Self::nothing(elements.is_empty());
                for (element, _) in elements {
                    sum = sum.plus(self.cost(element));
                    value = value.or(self.size_or_unknown(element));
                }
                self.entries.insert(expr.id, Entries { key: ONE, value });
                sum
            }
            Kind::Map(all) => {
                let mut sum = Estimate::exactly(MAP);
                let (mut key, mut value) = (Self::nothing(all.is_empty()), Self::nothing(all.is_empty()));
                for entry in all {
                    sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    key = key.or(self.size_or_unknown(&entry.key));
                    value = value.or(self.size_or_unknown(&entry.value));
                }
                self.entries.insert(expr.id, Entries { key, value });
                sum
            }
            Kind::Struct(_, fields) => fields.iter().fold(Estimate::exactly(STRUCT), |sum, (_, value, _)| {
                sum.plus(self.cost(value))
            }),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    /// The size of what has no parts, to which those of parts are added.
    fn nothing(empty: bool) -> Estimate {
        Estimate {
            min: if empty { 0 } else { u64::MAX },
            max: 0,
        }
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> Estimate {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        let before = self.locals.len();
        let accumulator = Local {
            name: Arc::clone(&fold.accumulator),
            place: self.place(&fold.init),
            size: self.size(&fold.init),
            entries: self.entries_of(&fold.init),
        };
        self.locals.push(accumulator);
        if fold.bind {
            sum = sum.plus(self.cost(&fold.result));
            self.locals.truncate(before);
            self.copy_sizes(expr, &fold.result);
            return sum;
        }
        let entries = self.entries_of(&fold.range);
        let place = self.place(&fold.range);
        let of_map = matches!(self.checked.type_of(&fold.range), Type::Map(..));
        let key = |name: &Arc<str>| Local {
            name: Arc::clone(name),
            place: Some(match &place {
                // The keys of what has no path, and indices.
                None => self.root.clone(),
                Some(_) if of_map => Place::Keys,
                Some(_) => Place::Nowhere,
            }),
            size: entries.map(|entries| entries.key),
            entries: None,
        };
        let value = |name: &Arc<str>| Local {
            name: Arc::clone(name),
            place: Some(place.as_ref().map_or(self.root.clone(), Place::element)),
            size: entries.map(|entries| entries.value),
            entries: None,
        };
        match &fold.second {
            Some(second) => self.locals.extend([key(&fold.variable), value(second)]),
            None if of_map => self.locals.push(key(&fold.variable)),
            None => self.locals.push(value(&fold.variable)),
        }
        let each = self.cost(&fold.condition).plus(self.cost(&fold.step));
        self.locals.truncate(before + 1);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.truncate(before);
        let count = self.size_or_unknown(&fold.range);
        match &fold.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&fold.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            Kind::List(_) | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(entries) = self.entries_of(&fold.step) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        sum.plus(count.times(each))
    }

    fn call(&mut self, expr: &Expr, function: &str, member: bool, arguments: &[Expr]) -> Estimate {
        let costs: Vec<Estimate> = arguments.iter().map(|argument| self.cost(argument)).collect();
        let sum = costs.iter().fold(Estimate::exactly(0), |sum, cost| sum.plus(*cost));
        match (function, arguments) {
            ("dyn", [argument]) => {
                self.copy_sizes(expr, argument);
                return sum.plus(ONE);
            }
            (operator::AND | operator::OR, [_, _]) => {
                return Estimate {
                    min: costs[0].min,
                    max: sum.max,
                };
            }
            (operator::CONDITIONAL, [_, yes, no]) => {
                let size = self.size_or_unknown(yes).or(self.size_or_unknown(no));
                self.sizes.insert(expr.id, size);
                if let Some(entries) = Entries::or(self.entries_of(yes), self.entries_of(no)) {
                    self.entries.insert(expr.id, entries);
                }
                return costs[0].plus(costs[1].or(costs[2]));
            }
            _ => {}
        }
        let overloads = self.checked.overloads(expr).to_vec();
        if overloads.is_empty() {
            return match function {
                operator::OPTIONAL_SELECT => sum.plus(ONE),
                _ => Estimate::exactly(0),
            };
        }
        let mut cost: Option<Estimate> = None;
        let mut size: Option<Estimate> = None;
        for overload in overloads {
            let (own, result) = self.overload(expr, function, member, overload, arguments);
            cost = Some(cost.map_or(own, |cost| cost.or(own)));
            if let Some(result) = result {
                size = Some(size.map_or(result, |size| size.or(result)));
            }
            if matches!(overload.id, "index_list" | "index_map") {
                size = self.entries_of(&arguments[0]).map(|entries| entries.value);
                let place = self.place(&arguments[0]);
                let place = place.map_or(self.root.clone(), |place| place.element());
                self.places.insert(expr.id, place);
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        sum.plus(cost.unwrap_or(ONE))
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| &*local.name == name)
    }

    fn place(&self, expr: &Expr) -> Option<Place> {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.place.clone();
        }
        self.places.get(&expr.id).cloned()
    }

    /// The size of the elements of a list that is a part of a variable.
    fn element_size(&self, list: &Expr) -> Estimate {
        let place = self.place(list).map(|place| place.element());
        place.and_then(|place| place.size()).unwrap_or(UNKNOWN)
    }

    fn size(&mut self, expr: &Expr) -> Option<Estimate> {
        if let Some(known) = self.sizes.get(&expr.id) {
            return Some(*known);
        }
        let written = match &expr.kind {
            Kind::Literal(value) => Some(value.size()),
            Kind::List(elements) => Some(elements.len() as u64),
            Kind::Map(entries) => Some(entries.len() as u64),
            _ => None,
        };
        if let Some(size) = written {
            return Some(Estimate::exactly(size));
        }
        if let Some(size) = self.place(expr).and_then(|place| place.size()) {
            return Some(size);
        }
        if self.checked.type_of(expr).is_scalar() {
            return Some(ONE);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Estimate {
        self.size(expr).unwrap_or(UNKNOWN)
    }

    fn entries_of(&self, expr: &Expr) -> Option<Entries> {
        if let Some(known) = self.entries.get(&expr.id) {
            return Some(*known);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entries),
            _ => None,
        }
    }

    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(to.id, size);
        }
        if let Some(entries) = self.entries_of(from) {
            self.entries.insert(to.id, entries);
        }
    }
}
