//! Macros: calls that stand for loops and tests, and are replaced while a text is read.

use std::sync::Arc;

use crate::ast::{Expr, Fold, Kind, operator};
use crate::error::Issue;
use crate::parse::Parser;
use crate::value::Value;

/// The accumulator of loops; no text can name it.
const RESULT: &str = "@result";
const UNUSED: &str = "#unused";
const SORTED: &str = "@__sortBy_input__";

/// A function without a target: `has(a.b)`. None when it is no macro.
pub(crate) fn global(
    parser: &mut Parser,
    at: usize,
    name: &str,
    arguments: &mut Vec<Expr>,
) -> Option<Result<Expr, Issue>> {
    match (name, arguments.len()) {
        ("has", 1) => Some(has(parser, at, arguments.remove(0))),
        _ => None,
    }
}

/// A method: `list.all(x, ...)`. The target is the first argument. None when it is no macro.
pub(crate) fn member(
    parser: &mut Parser,
    at: usize,
    name: &str,
    arguments: &mut Vec<Expr>,
) -> Option<Result<Expr, Issue>> {
    let count = arguments.len() - 1;
    let known = match name {
        "all" | "exists" | "exists_one" | "existsOne" => matches!(count, 2 | 3),
        "map" => matches!(count, 2 | 3),
        "filter" | "optMap" | "optFlatMap" | "sortBy" => count == 2,
        "transformList" | "transformMap" | "transformMapEntry" => matches!(count, 3 | 4),
        _ => false,
    };
    // With one variable it has another name than with two.
    let known = known && !(name == "existsOne" && count == 2) && !(name == "exists_one" && count == 3);
    if !known {
        return None;
    }
    let arguments = std::mem::take(arguments);
    Some(expand(parser, at, name, arguments))
}

fn expand(parser: &mut Parser, at: usize, name: &str, arguments: Vec<Expr>) -> Result<Expr, Issue> {
    let mut arguments = arguments.into_iter();
    let mut next = || {
        arguments.next().ok_or(Issue {
            at,
            text: "a macro lacks an argument".to_owned(),
        })
    };
    let target = next()?;
    let first = variable(&next()?)?;
    let two = matches!(name, "transformList" | "transformMap" | "transformMapEntry");
    let mut rest: Vec<Expr> = arguments.collect();
    let takes_two = two || (matches!(name, "all" | "exists" | "exists_one" | "existsOne") && rest.len() == 2);
    let second = if takes_two {
        let second = rest.remove(0);
        let name = variable(&second)?;
        if name == first {
            return Err(issue(&second, &format!("duplicate variable name: {name}")));
        }
        Some(name)
    } else {
        None
    };
    let body = rest.pop().ok_or(Issue {
        at,
        text: "a macro lacks an argument".to_owned(),
    })?;
    let filter = rest.pop();
    let mut maker = Maker { parser, at };
    Ok(match name {
        "optMap" | "optFlatMap" => maker.optional_map(target, first, body, name == "optFlatMap"),
        "sortBy" => maker.sort_by(target, first, body),
        _ => {
            let parts = maker.parts(name, filter, body, &first);
            maker.fold(target, first, second, parts)
        }
    })
}

fn issue(expr: &Expr, text: &str) -> Issue {
    Issue {
        at: expr.at,
        text: text.to_owned(),
    }
}

fn identifier(expr: &Expr) -> Option<Arc<str>> {
    match &expr.kind {
        Kind::Ident(name) => Some(Arc::clone(name)),
        _ => None,
    }
}

fn variable(expr: &Expr) -> Result<Arc<str>, Issue> {
    identifier(expr).ok_or_else(|| issue(expr, "argument must be a simple name"))
}

fn has(parser: &mut Parser, at: usize, argument: Expr) -> Result<Expr, Issue> {
    match argument.kind {
        Kind::Select {
            operand,
            field,
            test: false,
        } => {
            let select = Kind::Select {
                operand,
                field,
                test: true,
            };
            Ok(parser.expr(at, select))
        }
        _ => Err(issue(&argument, "invalid argument to has() macro")),
    }
}

fn bind(parser: &mut Parser, at: usize, variable: Arc<str>, value: Expr, result: Expr) -> Expr {
    let range = parser.expr(at, Kind::List(Vec::new()));
    let condition = parser.expr(at, Kind::Literal(Value::Bool(false)));
    let step = parser.expr(at, Kind::Ident(Arc::clone(&variable)));
    let fold = Fold {
        variable: Arc::from(UNUSED),
        second: None,
        range,
        accumulator: variable,
        init: value,
        condition,
        step,
        result,
        bind: true,
    };
    parser.expr(at, Kind::Fold(Box::new(fold)))
}

/// Initial value, condition, step and result of a loop.
struct Parts {
    init: Expr,
    condition: Expr,
    step: Expr,
    result: Expr,
}

struct Maker<'a> {
    parser: &'a mut Parser,
    at: usize,
}

impl Maker<'_> {
    fn literal(&mut self, value: Value) -> Expr {
        self.parser.expr(self.at, Kind::Literal(value))
    }

    fn result(&mut self) -> Expr {
        self.parser.expr(self.at, Kind::Ident(Arc::from(RESULT)))
    }

    fn call(&mut self, function: &str, arguments: Vec<Expr>) -> Expr {
        self.parser.call(self.at, function, arguments)
    }

    fn parts(&mut self, name: &str, filter: Option<Expr>, body: Expr, variable: &Arc<str>) -> Parts {
        match name {
            "all" => {
                let init = self.literal(Value::Bool(true));
                let so_far = self.result();
                let condition = self.call(operator::NOT_STRICTLY_FALSE, vec![so_far]);
                let so_far = self.result();
                let step = self.call(operator::AND, vec![so_far, body]);
                self.with(init, condition, step)
            }
            "exists" => {
                let init = self.literal(Value::Bool(false));
                let so_far = self.result();
                let not = self.call(operator::NOT, vec![so_far]);
                let condition = self.call(operator::NOT_STRICTLY_FALSE, vec![not]);
                let so_far = self.result();
                let step = self.call(operator::OR, vec![so_far, body]);
                self.with(init, condition, step)
            }
            "exists_one" | "existsOne" => {
                let init = self.literal(Value::Int(0));
                let condition = self.literal(Value::Bool(true));
                let (so_far, one, same) = (self.result(), self.literal(Value::Int(1)), self.result());
                let more = self.call(operator::ADD, vec![so_far, one]);
                let step = self.call(operator::CONDITIONAL, vec![body, more, same]);
                let (count, one) = (self.result(), self.literal(Value::Int(1)));
                let result = self.call(operator::EQUALS, vec![count, one]);
                Parts {
                    init,
                    condition,
                    step,
                    result,
                }
            }
            "transformMap" | "transformMapEntry" => {
                let init = self.parser.expr(self.at, Kind::Map(Vec::new()));
                let so_far = self.result();
                let arguments = match name {
                    "transformMap" => {
                        let key = self.parser.expr(self.at, Kind::Ident(Arc::clone(variable)));
                        vec![so_far, key, body]
                    }
                    _ => vec![so_far, body],
                };
                let step = self.call(operator::MAP_INSERT, arguments);
                self.collected(init, filter, step)
            }
            // map, filter and transformList.
            _ => {
                let init = self.parser.expr(self.at, Kind::List(Vec::new()));
                let (added, filter) = match name {
                    "filter" => {
                        let element = self.parser.expr(self.at, Kind::Ident(Arc::clone(variable)));
                        (element, Some(body))
                    }
                    _ => (body, filter),
                };
                let added = self.parser.expr(self.at, Kind::List(vec![(added, false)]));
                let so_far = self.result();
                let step = self.call(operator::ADD, vec![so_far, added]);
                self.collected(init, filter, step)
            }
        }
    }

    fn with(&mut self, init: Expr, condition: Expr, step: Expr) -> Parts {
        let result = self.result();
        Parts {
            init,
            condition,
            step,
            result,
        }
    }

    fn collected(&mut self, init: Expr, filter: Option<Expr>, step: Expr) -> Parts {
        let condition = self.literal(Value::Bool(true));
        let step = match filter {
            Some(filter) => {
                let same = self.result();
                self.call(operator::CONDITIONAL, vec![filter, step, same])
            }
            None => step,
        };
        self.with(init, condition, step)
    }

    fn fold(&mut self, range: Expr, variable: Arc<str>, second: Option<Arc<str>>, parts: Parts) -> Expr {
        let fold = Fold {
            variable,
            second,
            range,
            accumulator: Arc::from(RESULT),
            init: parts.init,
            condition: parts.condition,
            step: parts.step,
            result: parts.result,
            bind: false,
        };
        self.parser.expr(self.at, Kind::Fold(Box::new(fold)))
    }

    fn method(&mut self, name: &str, arguments: Vec<Expr>) -> Expr {
        let function = Arc::from(name);
        let call = Kind::Call {
            function,
            member: true,
            arguments,
        };
        self.parser.expr(self.at, call)
    }

    /// `target.hasValue() ? optional.of(body with the value) : optional.none()`.
    fn optional_map(&mut self, target: Expr, variable: Arc<str>, body: Expr, flat: bool) -> Expr {
        let there = self.method("hasValue", vec![target.clone()]);
        let value = self.method("value", vec![target]);
        let mapped = bind(self.parser, self.at, variable, value, body);
        let mapped = match flat {
            true => mapped,
            false => self.call("optional.of", vec![mapped]),
        };
        let none = self.call("optional.none", Vec::new());
        self.call(operator::CONDITIONAL, vec![there, mapped, none])
    }

    fn sort_by(&mut self, target: Expr, variable: Arc<str>, key: Expr) -> Expr {
        let input = |maker: &mut Self| maker.parser.expr(maker.at, Kind::Ident(Arc::from(SORTED)));
        let range = input(self);
        let parts = self.parts("map", None, key, &variable);
        let keys = self.fold(range, variable, None, parts);
        let list = input(self);
        let sorted = self.method("@sortByAssociatedKeys", vec![list, keys]);
        bind(self.parser, self.at, Arc::from(SORTED), target, sorted)
    }
}
