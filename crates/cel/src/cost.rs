//! What an expression costs: at most, by what is declared of sizes, before it is allowed; and in fact, while it runs.
//!
//! Which rules a definition may have depends on the estimate, so that it must be that of Kubernetes: its costs of
//! functions (`k8s.io/apiserver/pkg/cel/library`, `CostEstimator`) over those of the language (cel-go's `checker`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{Expr, Fold, Kind, operator};
use crate::check::{Checked, dotted, is_type};
use crate::declare::Declaration;
use crate::library::Overload;
use crate::program::Environment;
use crate::types::Type;
use crate::value::Value;

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
            Place::Declared(declared) => declared
                .fields
                .get(name)
                .cloned()
                .map_or(Place::Nowhere, Place::Declared),
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
            Kind::Select { .. } if dotted(expr).is_some_and(|name| is_type(&name)) => {
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

    /// What a function costs beside its arguments, and how large its result is, where that is known.
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn overload(
        &mut self,
        expr: &Expr,
        function: &str,
        member: bool,
        overload: &Overload,
        arguments: &[Expr],
    ) -> (Estimate, Option<Estimate>) {
        let sizes: Vec<Estimate> = arguments
            .iter()
            .map(|argument| self.size_or_unknown(argument))
            .collect();
        let first = sizes.first().copied().unwrap_or(UNKNOWN);
        let second = sizes.get(1).copied();
        let letters = |size: Estimate| size.scaled(LETTER);
        let regex = |text: Estimate, pattern: Estimate| letters(text.plus(ONE)).times(pattern.scaled(REGEX));
        match function {
            "check" => return (Estimate::exactly(CHECK), None),
            "fieldSelector" | "labelSelector" => {
                let length = second.unwrap_or(UNKNOWN);
                return (selector(length), None);
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes" if member => {
                let cost = match self.checked.type_of(&arguments[0]) {
                    Type::List(of) => {
                        let mut each = ONE;
                        if matches!(**of, Type::String | Type::Bytes) {
                            each = each.plus(letters(self.element_size(&arguments[0])));
                        }
                        first.times(each)
                    }
                    _ if function == "includes" => first,
                    _ => letters(first),
                };
                return (cost, None);
            }
            "url" | "jsonpatch.escapeKey" | "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                return (letters(first), Some(first));
            }
            "replace" => return (first.scaled(2.0 * LETTER), Some(replaced(&sizes))),
            "split" => {
                let limit = arguments.get(2).and_then(|limit| match limit.kind {
                    Kind::Literal(Value::Int(limit)) => u64::try_from(limit).ok(),
                    _ => None,
                });
                let max = limit.unwrap_or(first.max);
                return (first.scaled(2.0 * LETTER), Some(Estimate { min: 0, max }));
            }
            "join" => {
                let mut size = first.times(self.element_size(&arguments[0]));
                if let Some(separator) = second {
                    size = size.plus(separator.times(Estimate {
                        min: first.min.saturating_sub(1),
                        max: first.max.saturating_sub(1),
                    }));
                }
                return (letters(size), Some(size));
            }
            "find" | "findAll" => {
                let found = Estimate { min: 0, max: first.max };
                return (regex(first, second.unwrap_or(UNKNOWN)), Some(found));
            }
            "ip" if overload.id == "cidr_ip" => return (ONE, None),
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
                return (letters(first), None);
            }
            "ip.isCanonical" => return (first.scaled(2.0 * LETTER), None),
            "containsIP" | "containsCIDR" => {
                let bytes = Estimate { min: 4, max: 16 };
                let mut cost = letters(bytes.plus(bytes));
                if function == "containsCIDR" {
                    cost = cost.plus(letters(bytes)).plus(ONE);
                }
                if overload.id.ends_with("_string") {
                    cost = cost.plus(letters(second.unwrap_or(UNKNOWN)));
                }
                return (cost, None);
            }
            "sets.contains" | "sets.intersects" | "sets.equivalent" => {
                let factor = if function == "sets.equivalent" { 2.0 } else { 1.0 };
                let pairs = first.times(second.unwrap_or(UNKNOWN));
                return (pairs.scaled(factor).plus(ONE), None);
            }
            "reverse" | "slice" | "flatten" | "distinct" | "sort" | "@sortByAssociatedKeys" | "lists.range" => {
                return list_made(function, overload, arguments, &sizes);
            }
            "validate" => {
                let text = second.unwrap_or(UNKNOWN);
                return (letters(text).scaled(FORMAT_REGEX * REGEX), None);
            }
            _ => {}
        }
        match overload.id {
            "format" => (letters(first), None),
            "string_to_bytes" => {
                let size = Estimate {
                    min: first.min,
                    max: first.max.saturating_mul(4),
                };
                (letters(first), Some(size))
            }
            "bytes_to_string" => {
                let size = Estimate {
                    min: first.min / 4,
                    max: first.max,
                };
                (letters(first), Some(size))
            }
            "strings_quote" => {
                let size = Estimate {
                    min: first.min.saturating_add(2),
                    max: first.max.saturating_mul(2).saturating_add(2),
                };
                (letters(first), Some(size))
            }
            "starts_with_string" | "ends_with_string" => (letters(second.unwrap_or(UNKNOWN)), None),
            "in_list" => (second.unwrap_or(UNKNOWN), None),
            "matches" => (regex(first, second.unwrap_or(UNKNOWN)), None),
            "contains_string" => (letters(first).times(letters(second.unwrap_or(UNKNOWN))), None),
            "add_string" | "add_bytes" | "add_list" => {
                let size = first.plus(second.unwrap_or(UNKNOWN));
                if let Some(entries) = Entries::or(self.entries_of(&arguments[0]), self.entries_of(&arguments[1])) {
                    self.entries.insert(expr.id, entries);
                }
                let cost = if overload.id == "add_list" { ONE } else { letters(size) };
                (cost, Some(size))
            }
            "compare_string" | "compare_bytes" | "equals" => {
                if function == operator::EQUALS && self.is_cheap_to_compare(arguments) {
                    return (ONE, None);
                }
                let max = first.max.min(second.unwrap_or(UNKNOWN).max);
                let min = u64::from(max > 0);
                (letters(Estimate { min, max }), None)
            }
            _ => (ONE, None),
        }
    }

    fn is_cheap_to_compare(&self, arguments: &[Expr]) -> bool {
        let types = arguments.iter().map(|argument| self.checked.type_of(argument));
        let all: Vec<&Type> = types.collect();
        matches!(all[..], [Type::Opaque(a), Type::Opaque(b)] if a == b)
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

/// What cel-go's list functions cost: by the size of what they make, and the squares of those that compare.
fn list_made(
    function: &str,
    overload: &Overload,
    arguments: &[Expr],
    sizes: &[Estimate],
) -> (Estimate, Option<Estimate>) {
    let first = sizes.first().copied().unwrap_or(UNKNOWN);
    let written = |at: usize| match arguments.get(at).map(|argument| &argument.kind) {
        Some(Kind::Literal(Value::Int(number))) => u64::try_from(*number).ok(),
        _ => None,
    };
    let of_text = |list: &Type| matches!(list, Type::List(of) if matches!(**of, Type::String | Type::Bytes));
    let compared = |keys: Estimate, list: &Type| {
        let factor = if of_text(list) { 2.0 + LETTER } else { 2.0 };
        (factor, keys.times(keys))
    };
    let (factor, size) = match function {
        "slice" => {
            let (from, to) = (written(1).unwrap_or(0), written(2).unwrap_or(first.max));
            (1.0, Estimate::exactly(to.saturating_sub(from)))
        }
        "lists.range" => (1.0, Estimate::exactly(written(0).unwrap_or(u64::MAX))),
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        "flatten" if arguments.len() == 2 => (written(1).unwrap_or(u64::MAX) as f64, first),
        "distinct" => (2.0, first.times(first)),
        "sort" => compared(first, &overload.params[0]),
        "@sortByAssociatedKeys" => compared(sizes.get(1).copied().unwrap_or(UNKNOWN), &overload.params[1]),
        _ => (1.0, first),
    };
    (size.scaled(factor).plus(ONE).plus(Estimate::exactly(LIST)), Some(size))
}

/// A selector is read into a list of requirements, each at least two letters.
fn selector(length: Estimate) -> Estimate {
    let requirements = length.scaled(0.5).scaled((LIST + STRUCT) as f64);
    Estimate::exactly(LIST).plus(length.scaled(LETTER)).plus(requirements)
}

/// The size of a text in which something is replaced.
#[allow(clippy::cast_precision_loss, reason = "an estimate")]
fn replaced(sizes: &[Estimate]) -> Estimate {
    let [text, from, to, ..] = sizes else { return UNKNOWN };
    let (most, kept_most) = if from.min == 0 {
        (text.max.saturating_add(1), text.max)
    } else if to.max <= from.min {
        (0, text.max)
    } else {
        (text.max.div_ceil(from.min), 0)
    };
    let (least, kept_least) = if from.max == 0 {
        (text.min.saturating_add(1), text.min)
    } else if from.max <= to.min {
        (0, text.min)
    } else {
        (text.min.div_ceil(from.max), 0)
    };
    Estimate {
        min: least.saturating_mul(to.min).saturating_add(kept_least),
        max: most.saturating_mul(to.max).saturating_add(kept_most),
    }
}

/// What a call has cost.
pub(crate) fn actual(function: &str, id: &str, arguments: &[Value], result: &Value) -> u64 {
    let size = |at: usize| arguments.get(at).map_or(1, Value::size);
    let letters = |size: u64| scaled(size, LETTER);
    let regex = |text: u64, pattern: u64| letters(text + 1) * scaled(pattern, REGEX);
    match (function, id) {
        ("check", _) => CHECK,
        ("fieldSelector" | "labelSelector", _) => selector(Estimate::exactly(size(1))).max,
        ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes", _) => {
            arguments.first().map_or(0, Value::traversal)
        }
        (_, "cidr_ip") => 1,
        (
            "url"
            | "lowerAscii"
            | "upperAscii"
            | "substring"
            | "trim"
            | "jsonpatch.escapeKey"
            | "cidr"
            | "isIP"
            | "isCIDR"
            | "ip"
            | "quantity"
            | "isQuantity"
            | "semver"
            | "isSemver",
            _,
        )
        | (_, "string_to_bytes" | "bytes_to_string" | "strings_quote" | "format") => letters(size(0)),
        ("replace" | "split" | "ip.isCanonical", _) => scaled(size(0), 2.0 * LETTER),
        ("join", _) => scaled(result.size(), 2.0 * LETTER),
        ("find" | "findAll", _) | (_, "matches") => regex(size(0), size(1)),
        ("containsIP" | "containsCIDR", _) => {
            let cidr = 4;
            let further = if function == "containsCIDR" {
                letters(cidr) + 1
            } else {
                0
            };
            let read = if id.ends_with("_string") { letters(size(1)) } else { 0 };
            letters(2 * cidr) + further + read
        }
        ("sets.contains" | "sets.intersects", _) => 1 + size(0).saturating_mul(size(1)),
        ("sets.equivalent", _) => 1 + 2 * size(0).saturating_mul(size(1)),
        ("reverse" | "slice" | "lists.range", _) => 1 + LIST + result.size(),
        ("flatten", _) => 1 + LIST + size(0),
        ("distinct" | "sort", _) => 1 + LIST + 2 * size(0).saturating_mul(size(0)),
        ("@sortByAssociatedKeys", _) => 1 + LIST + 2 * size(1).saturating_mul(size(1)),
        ("validate", _) => letters(size(1) + 1) * scaled(128, REGEX),
        (_, "starts_with_string" | "ends_with_string") => letters(size(1)),
        (_, "in_list") => size(1),
        (_, "add_string" | "add_bytes") => letters(size(0) + size(1)),
        (_, "contains_string") => letters(size(0)) * letters(size(1)),
        (_, "compare_string" | "compare_bytes" | "equals") => letters(size(0).min(size(1))),
        _ => 1,
    }
}

/// What making a list, map or struct costs.
pub(crate) const fn creation(kind: &Kind) -> u64 {
    match kind {
        Kind::List(_) => LIST,
        Kind::Map(_) => MAP,
        Kind::Struct(..) => STRUCT,
        _ => 0,
    }
}
