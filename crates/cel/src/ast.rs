//! Expressions as trees.

use std::sync::Arc;

use crate::value::Value;

/// An expression, with the place that errors about it name.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    /// Tells it from all others of the same text.
    pub(crate) id: u32,
    /// Characters from the beginning of the text.
    pub(crate) at: usize,
    /// How many expressions are within each other here.
    pub(crate) height: u32,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Literal(Value),
    Ident(Arc<str>),
    /// `operand.field`; `test` is `has(operand.field)`.
    Select {
        operand: Box<Expr>,
        field: Arc<str>,
        test: bool,
    },
    /// A function or operator. The target of a member function is the first argument.
    Call {
        function: Arc<str>,
        member: bool,
        arguments: Vec<Expr>,
    },
    /// The elements, and whether each is one only if it is there.
    List(Vec<(Expr, bool)>),
    Map(Vec<Entry>),
    /// A literal of a named type.
    Struct(Arc<str>, Vec<(Arc<str>, Expr, bool)>),
    Fold(Box<Fold>),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Expr,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// What macros over lists and maps become: a loop with an accumulator.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    /// The element, or with a second variable its index or key.
    pub(crate) variable: Arc<str>,
    pub(crate) second: Option<Arc<str>>,
    pub(crate) range: Expr,
    pub(crate) accumulator: Arc<str>,
    pub(crate) init: Expr,
    pub(crate) condition: Expr,
    pub(crate) step: Expr,
    pub(crate) result: Expr,
    /// There is no loop, only a name for a value.
    pub(crate) bind: bool,
}

/// The names of operators as functions.
pub(crate) mod operator {
    pub(crate) const CONDITIONAL: &str = "_?_:_";
    pub(crate) const AND: &str = "_&&_";
    pub(crate) const OR: &str = "_||_";
    pub(crate) const NOT: &str = "!_";
    pub(crate) const NEGATE: &str = "-_";
    pub(crate) const INDEX: &str = "_[_]";
    pub(crate) const OPTIONAL_INDEX: &str = "_[?_]";
    pub(crate) const OPTIONAL_SELECT: &str = "_?._";
    pub(crate) const IN: &str = "@in";
    pub(crate) const EQUALS: &str = "_==_";
    pub(crate) const NOT_EQUALS: &str = "_!=_";
    pub(crate) const LESS: &str = "_<_";
    pub(crate) const LESS_EQUALS: &str = "_<=_";
    pub(crate) const GREATER: &str = "_>_";
    pub(crate) const GREATER_EQUALS: &str = "_>=_";
    pub(crate) const ADD: &str = "_+_";
    pub(crate) const SUBTRACT: &str = "_-_";
    pub(crate) const MULTIPLY: &str = "_*_";
    pub(crate) const DIVIDE: &str = "_/_";
    pub(crate) const MODULO: &str = "_%_";
    /// Whether a loop goes on: not after a certain `false`.
    pub(crate) const NOT_STRICTLY_FALSE: &str = "@not_strictly_false";
    pub(crate) const MAP_INSERT: &str = "cel.@mapInsert";
}

impl Expr {
    /// An expression; its height follows from its parts.
    pub(crate) fn new(id: u32, at: usize, kind: Kind) -> Expr {
        let below = match &kind {
            Kind::Literal(_) | Kind::Ident(_) => 0,
            Kind::Select { operand, .. } => operand.height,
            Kind::Call { arguments, .. } => highest(arguments),
            Kind::List(elements) => highest(elements.iter().map(|(element, _)| element)),
            Kind::Map(entries) => highest(entries.iter().flat_map(|entry| [&entry.key, &entry.value])),
            Kind::Struct(_, fields) => highest(fields.iter().map(|(_, value, _)| value)),
            Kind::Fold(fold) => highest([&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result]),
        };
        let height = below + 1;
        Expr { id, at, height, kind }
    }

    /// `a.b.c`, when an expression is nothing else.
    pub(crate) fn dotted(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select {
                operand,
                field,
                test: false,
            } => Some(format!("{}.{field}", operand.dotted()?)),
            _ => None,
        }
    }

    /// Calls a function with this and everything within.
    pub(crate) fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        visit(self);
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => operand.walk(visit),
            Kind::Call { arguments, .. } => arguments.iter().for_each(|argument| argument.walk(visit)),
            Kind::List(elements) => elements.iter().for_each(|(element, _)| element.walk(visit)),
            Kind::Map(entries) => entries.iter().for_each(|entry| {
                entry.key.walk(visit);
                entry.value.walk(visit);
            }),
            Kind::Struct(_, fields) => fields.iter().for_each(|(_, value, _)| value.walk(visit)),
            Kind::Fold(fold) => {
                let parts = [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result];
                parts.into_iter().for_each(|part| part.walk(visit));
            }
        }
    }
}

fn highest<'a>(parts: impl IntoIterator<Item = &'a Expr>) -> u32 {
    parts.into_iter().map(|part| part.height).max().unwrap_or(0)
}
