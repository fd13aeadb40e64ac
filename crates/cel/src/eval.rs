//! Evaluation of checked expressions.

use std::sync::Arc;

use crate::ast::{Entry, Expr, Fold, Kind, operator};
use crate::cost;
use crate::error::Error;
use crate::library;
use crate::value::{Key, Map, Value};

/// Where the values of variables come from.
pub trait Variables {
    /// The value of a variable; none when there is no such variable.
    ///
    /// # Errors
    /// Why it has no value.
    fn get(&self, name: &str) -> Option<Result<Value, Error>>;

    /// A field of a variable, of those whose fields are worked out when they are asked for.
    ///
    /// # Errors
    /// Why it has no value.
    fn field(&self, _variable: &str, _field: &str) -> Option<Result<Value, Error>> {
        None
    }
}

impl<const N: usize> Variables for [(&str, Value); N] {
    fn get(&self, name: &str) -> Option<Result<Value, Error>> {
        let found = self.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| Ok(value.clone()))
    }
}

/// How much expressions may cost yet.
#[derive(Clone, Debug)]
pub struct Budget {
    left: u64,
    each: u64,
}

impl Budget {
    /// For several expressions together, and for each of them.
    #[must_use]
    pub fn new(together: u64, each: u64) -> Budget {
        Budget { left: together, each }
    }

    /// Takes what was spent elsewhere.
    pub fn spend(&mut self, cost: u64) {
        self.left = self.left.saturating_sub(cost);
    }

    /// What is left for all that comes.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }
}

/// Runs a tree.
pub(crate) fn run(tree: &Expr, variables: &dyn Variables, budget: &mut Budget) -> Result<Value, Error> {
    let limit = budget.each.min(budget.left);
    let mut evaluator = Evaluator {
        variables,
        locals: Vec::new(),
        cost: 0,
        limit,
    };
    let result = evaluator.eval(tree);
    budget.left = budget.left.saturating_sub(evaluator.cost);
    result
}

struct Evaluator<'a> {
    variables: &'a dyn Variables,
    locals: Vec<(Arc<str>, Value)>,
    cost: u64,
    limit: u64,
}

impl Evaluator<'_> {
    fn charge(&mut self, cost: u64) -> Result<(), Error> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit {
            return Err(Error::TooCostly);
        }
        Ok(())
    }

    fn eval(&mut self, expr: &Expr) -> Result<Value, Error> {
        match &expr.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Ident(name) => {
                self.charge(1)?;
                self.ident(name)
            }
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call {
                function, arguments, ..
            } => self.call(function, arguments),
            Kind::List(elements) => {
                self.charge(cost::creation(&expr.kind))?;
                let mut items = Vec::with_capacity(elements.len());
                for (element, optional) in elements {
                    let value = self.eval(element)?;
                    items.extend(self.present(value, *optional)?);
                }
                Ok(Value::list(items))
            }
            Kind::Map(entries) => {
                self.charge(cost::creation(&expr.kind))?;
                self.map(entries)
            }
            Kind::Struct(name, fields) => {
                self.charge(cost::creation(&expr.kind))?;
                let mut map = Map {
                    name: Some(Arc::clone(name)),
                    ..Map::default()
                };
                for (field, value, optional) in fields {
                    let value = self.eval(value)?;
                    if let Some(value) = self.present(value, *optional)? {
                        map.entries.insert(Key::String(Arc::clone(field)), value);
                    }
                }
                Ok(Value::Map(Arc::new(map)))
            }
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    /// An optional element is an element only when it is there.
    #[allow(clippy::unused_self, reason = "reads like its neighbours")]
    fn present(&self, value: Value, optional: bool) -> Result<Option<Value>, Error> {
        match (optional, value) {
            (false, value) => Ok(Some(value)),
            (true, Value::Optional(inner)) => Ok(inner.map(|inner| (*inner).clone())),
            (true, _) => Err(Error::NoSuchOverload),
        }
    }

    fn map(&mut self, entries: &[Entry]) -> Result<Value, Error> {
        let mut map = Map::default();
        for entry in entries {
            let key = self.eval(&entry.key)?;
            let key =
                Key::of(&key).ok_or_else(|| Error::other(format!("unsupported key type: {}", key.type_name())))?;
            let value = self.eval(&entry.value)?;
            if let Some(value) = self.present(value, entry.optional)?
                && map.entries.insert(key.clone(), value).is_some()
            {
                return Err(Error::other(format!("Failed with repeated key {key}")));
            }
        }
        Ok(Value::Map(Arc::new(map)))
    }

    fn ident(&mut self, name: &str) -> Result<Value, Error> {
        if let Some((_, value)) = self.locals.iter().rev().find(|(known, _)| &**known == name) {
            return Ok(value.clone());
        }
        match self.variables.get(name) {
            Some(found) => found,
            None => Ok(Value::Type(Arc::from(name))),
        }
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, test: bool) -> Result<Value, Error> {
        if let Some(name) = expr.dotted()
            && name.starts_with("google.protobuf.")
        {
            return Ok(Value::Type(Arc::from(name)));
        }
        if let Kind::Ident(name) = &operand.kind
            && !self.locals.iter().any(|(known, _)| known == name)
            && let Some(found) = self.variables.field(name, field)
        {
            self.charge(1)?;
            // What is declared is there.
            return if test { Ok(Value::Bool(true)) } else { found };
        }
        let operand = self.eval(operand)?;
        if test {
            return Ok(Value::Bool(match &operand {
                Value::Map(map) => map.field(field).is_some(),
                Value::Optional(None) => false,
                Value::Optional(Some(inner)) => matches!(&**inner, Value::Map(map) if map.field(field).is_some()),
                // What has no fields has none of this name either.
                _ => false,
            }));
        }
        self.charge(1)?;
        match &operand {
            Value::Map(map) => map
                .field(field)
                .cloned()
                .ok_or_else(|| Error::NoSuchKey(field.to_owned())),
            Value::Optional(_) => library::optional_field(&operand, field),
            _ => Err(Error::NoSuchKey(field.to_owned())),
        }
    }

    fn call(&mut self, function: &str, arguments: &[Expr]) -> Result<Value, Error> {
        match (function, arguments) {
            (operator::AND, [left, right]) => return self.logic(left, right, false),
            (operator::OR, [left, right]) => return self.logic(left, right, true),
            (operator::CONDITIONAL, [condition, yes, no]) => {
                return match self.eval(condition)? {
                    Value::Bool(true) => self.eval(yes),
                    Value::Bool(false) => self.eval(no),
                    _ => Err(Error::NoSuchOverload),
                };
            }
            (operator::NOT_STRICTLY_FALSE, [value]) => {
                let going_on = !matches!(self.eval(value), Ok(Value::Bool(false)));
                return Ok(Value::Bool(going_on));
            }
            ("or" | "orValue", [first, other]) => {
                // The other is asked only when the first is nothing.
                let first = self.eval(first)?;
                self.charge(1)?;
                return match first {
                    Value::Optional(Some(inner)) if function == "orValue" => Ok((*inner).clone()),
                    Value::Optional(Some(inner)) => Ok(Value::Optional(Some(inner))),
                    Value::Optional(None) => self.eval(other),
                    _ => Err(Error::NoSuchOverload),
                };
            }
            _ => {}
        }
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(self.eval(argument)?);
        }
        let (id, result) = library::call(function, &values)?;
        self.charge(cost::actual(function, id, &values, &result))?;
        Ok(result)
    }

    /// `&&` and `||`: an error on one side is none when the other side decides.
    fn logic(&mut self, left: &Expr, right: &Expr, decisive: bool) -> Result<Value, Error> {
        let first = self.eval(left);
        if matches!(first, Err(Error::TooCostly)) {
            return first;
        }
        if matches!(first, Ok(Value::Bool(flag)) if flag == decisive) {
            return first;
        }
        let second = self.eval(right);
        match (first, second) {
            (_, Err(Error::TooCostly)) => Err(Error::TooCostly),
            (_, Ok(Value::Bool(flag))) if flag == decisive => Ok(Value::Bool(decisive)),
            (Err(error), _) | (Ok(Value::Bool(_)), Err(error)) => Err(error),
            (Ok(Value::Bool(_)), Ok(Value::Bool(_))) => Ok(Value::Bool(!decisive)),
            _ => Err(Error::NoSuchOverload),
        }
    }

    fn fold(&mut self, fold: &Fold) -> Result<Value, Error> {
        let before = self.locals.len();
        let init = self.eval(&fold.init)?;
        if fold.bind {
            self.locals.push((Arc::clone(&fold.accumulator), init));
            let result = self.eval(&fold.result);
            self.locals.truncate(before);
            return result;
        }
        let range = self.eval(&fold.range)?;
        let result = self.looped(fold, init, &range);
        self.locals.truncate(before);
        result
    }

    fn looped(&mut self, fold: &Fold, init: Value, range: &Value) -> Result<Value, Error> {
        let place = self.locals.len();
        self.locals.push((Arc::clone(&fold.accumulator), init));
        let mut failed: Option<Error> = None;
        let mut step = |evaluator: &mut Self, first: Value, second: Option<Value>| -> Result<bool, Error> {
            // An error so far may be none in the end: `exists` and `all` go on looking for what decides.
            if failed.is_none() && !matches!(evaluator.eval(&fold.condition)?, Value::Bool(true)) {
                return Ok(false);
            }
            evaluator.locals.push((Arc::clone(&fold.variable), first));
            if let (Some(name), Some(second)) = (&fold.second, second) {
                evaluator.locals.push((Arc::clone(name), second));
            }
            let next = evaluator.step(fold, place);
            evaluator.locals.truncate(place + 1);
            match next {
                Ok(value) => {
                    // After an error only what decides counts.
                    let decides = match (&failed, &fold.init.kind, &value) {
                        (None, ..) => true,
                        (Some(_), Kind::Literal(Value::Bool(neutral)), Value::Bool(flag)) => neutral != flag,
                        _ => false,
                    };
                    if decides {
                        failed = None;
                        evaluator.locals[place].1 = value;
                    }
                    Ok(true)
                }
                Err(Error::TooCostly) => Err(Error::TooCostly),
                Err(error) if matches!(fold.init.kind, Kind::Literal(Value::Bool(_))) => {
                    failed.get_or_insert(error);
                    Ok(true)
                }
                Err(error) => Err(error),
            }
        };
        match range {
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let (first, second) = match &fold.second {
                        Some(_) => (Value::Int(i64::try_from(index).unwrap_or(i64::MAX)), Some(item.clone())),
                        None => (item.clone(), None),
                    };
                    if !step(self, first, second)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, value) in &map.entries {
                    let second = fold.second.as_ref().map(|_| value.clone());
                    if !step(self, key.value(), second)? {
                        break;
                    }
                }
            }
            _ => return Err(Error::NoSuchOverload),
        }
        if let Some(error) = failed {
            return Err(error);
        }
        self.locals.truncate(place + 1);
        self.eval(&fold.result)
    }

    /// One turn: what the accumulator is next. A list that grows is not copied each time.
    fn step(&mut self, fold: &Fold, place: usize) -> Result<Value, Error> {
        let added = match &fold.step.kind {
            Kind::Call {
                function, arguments, ..
            } => match (&**function, &arguments[..]) {
                (operator::CONDITIONAL, [condition, yes, _]) if is_append(yes, &fold.accumulator) => {
                    match self.eval(condition)? {
                        Value::Bool(true) => Some(yes),
                        Value::Bool(false) => {
                            self.charge(1)?;
                            return Ok(std::mem::replace(&mut self.locals[place].1, Value::Null));
                        }
                        _ => return Err(Error::NoSuchOverload),
                    }
                }
                _ if is_append(&fold.step, &fold.accumulator) => Some(&fold.step),
                _ => None,
            },
            _ => None,
        };
        let Some(Kind::Call { arguments, .. }) = added.map(|added| &added.kind) else {
            return self.eval(&fold.step);
        };
        let more = self.eval(&arguments[1])?;
        // Reading the accumulator, and adding.
        self.charge(2)?;
        match (std::mem::replace(&mut self.locals[place].1, Value::Null), more) {
            (Value::List(mut list), Value::List(more)) => {
                Arc::make_mut(&mut list).extend(more.iter().cloned());
                Ok(Value::List(list))
            }
            _ => Err(Error::NoSuchOverload),
        }
    }
}

/// Whether an expression is `accumulator + [...]`.
fn is_append(expr: &Expr, accumulator: &str) -> bool {
    let Kind::Call {
        function, arguments, ..
    } = &expr.kind
    else {
        return false;
    };
    let [left, right] = &arguments[..] else { return false };
    &**function == operator::ADD
        && matches!(&left.kind, Kind::Ident(name) if &**name == accumulator)
        && matches!(right.kind, Kind::List(_))
}
