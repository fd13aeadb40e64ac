//! Type checking: every name is declared, and every function takes what it is given.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{Expr, Fold, Kind, operator};
use crate::error::{Issue, Issues};
use crate::library::{self, Overload};
use crate::program::Environment;
use crate::types::{Bindings, Object, Type};
use crate::value::Value;

/// What is known of a checked expression, by the ids of its parts.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    types: HashMap<u32, Type>,
    /// Which functions of the name may be meant.
    overloads: HashMap<u32, Vec<&'static Overload>>,
}

impl Checked {
    pub(crate) fn type_of(&self, expr: &Expr) -> &Type {
        self.types.get(&expr.id).unwrap_or(&Type::Dyn)
    }

    pub(crate) fn overloads(&self, expr: &Expr) -> &[&'static Overload] {
        self.overloads.get(&expr.id).map_or(&[], Vec::as_slice)
    }
}

/// Names of types, which stand for themselves.
const TYPES: [&str; 14] = [
    "bool",
    "bytes",
    "double",
    "dyn",
    "google.protobuf.Duration",
    "google.protobuf.Timestamp",
    "int",
    "list",
    "map",
    "null_type",
    "optional_type",
    "string",
    "type",
    "uint",
];

/// Whether a name is that of a type.
pub(crate) fn is_type(name: &str) -> bool {
    TYPES.contains(&name)
}

/// Checks a tree against what is declared.
pub(crate) fn check(source: &str, tree: &Expr, environment: &Environment) -> Result<Checked, Issues> {
    let mut checker = Checker {
        environment,
        checked: Checked::default(),
        scopes: Vec::new(),
        issues: Vec::new(),
    };
    checker.expr(tree);
    if checker.issues.is_empty() {
        Ok(checker.checked)
    } else {
        Err(Issues::new(source, checker.issues))
    }
}

struct Checker<'a> {
    environment: &'a Environment,
    checked: Checked,
    scopes: Vec<(Arc<str>, Type)>,
    issues: Vec<Issue>,
}

impl Checker<'_> {
    fn issue(&mut self, expr: &Expr, text: String) -> Type {
        self.issues.push(Issue { at: expr.at, text });
        Type::Error
    }

    fn expr(&mut self, expr: &Expr) -> Type {
        let ty = match &expr.kind {
            Kind::Literal(value) => literal(value),
            Kind::Ident(name) => self.ident(expr, name),
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call {
                function,
                member,
                arguments,
            } => self.call(expr, function, *member, arguments),
            Kind::List(elements) => {
                let types = elements.iter().map(|(element, optional)| {
                    let ty = self.expr(element);
                    let ty = if *optional { self.unwrapped(element, ty) } else { ty };
                    (element, ty)
                });
                let types: Vec<(&Expr, Type)> = types.collect();
                Type::list(self.common(types))
            }
            Kind::Map(entries) => {
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                for entry in entries {
                    keys.push((&entry.key, self.expr(&entry.key)));
                    let value = self.expr(&entry.value);
                    let value = if entry.optional {
                        self.unwrapped(&entry.value, value)
                    } else {
                        value
                    };
                    values.push((&entry.value, value));
                }
                Type::map(self.common(keys), self.common(values))
            }
            Kind::Struct(name, fields) => self.structure(expr, name, fields),
            Kind::Fold(fold) => self.fold(fold),
        };
        self.checked.types.insert(expr.id, ty.clone());
        ty
    }

    /// What is in an optional element or entry.
    fn unwrapped(&mut self, expr: &Expr, ty: Type) -> Type {
        match ty {
            Type::Optional(inner) => (*inner).clone(),
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                let text = format!("expected type 'optional_type({other})' but found '{other}'");
                self.issue(expr, text)
            }
        }
    }

    /// The type of all elements of a literal, which Kubernetes wants to be one.
    fn common(&mut self, types: Vec<(&Expr, Type)>) -> Type {
        let mut common: Option<Type> = None;
        for (expr, ty) in types {
            let Some(known) = &common else {
                common = Some(ty);
                continue;
            };
            if known.is_dyn() || ty.is_dyn() {
                if !known.is_dyn() {
                    common = Some(Type::Dyn);
                }
                continue;
            }
            if Bindings::default().accepts(known, &ty) {
                if matches!(known, Type::Null) {
                    common = Some(ty);
                }
                continue;
            }
            let text = format!("expected type '{known}' but found '{ty}'");
            self.issue(expr, text);
        }
        common.unwrap_or(Type::Dyn)
    }

    fn ident(&mut self, expr: &Expr, name: &str) -> Type {
        if let Some((_, ty)) = self.scopes.iter().rev().find(|(known, _)| &**known == name) {
            return ty.clone();
        }
        if let Some(declared) = self.environment.variable(name) {
            return declared.ty.clone();
        }
        if TYPES.contains(&name) {
            return Type::Type;
        }
        self.issue(expr, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, test: bool) -> Type {
        // The names of types and of variables may have dots.
        if let Some(name) = expr.dotted() {
            if TYPES.contains(&name.as_str()) {
                return Type::Type;
            }
            if let Some(declared) = self.environment.variable(&name) {
                return declared.ty.clone();
            }
        }
        let operand = self.expr(operand);
        let found = self.field(expr, &operand, field);
        if test { Type::Bool } else { found }
    }

    fn field(&mut self, expr: &Expr, operand: &Type, field: &str) -> Type {
        match operand {
            Type::Dyn | Type::Error => Type::Dyn,
            Type::Map(_, value) => (**value).clone(),
            Type::Optional(inner) => {
                let found = self.field(expr, inner, field);
                match found {
                    Type::Error => Type::Error,
                    found => Type::optional(found),
                }
            }
            Type::Object(object) => match object.field(field) {
                Some(ty) => ty.clone(),
                None if object.open => Type::Dyn,
                None => self.issue(expr, format!("undefined field '{field}'")),
            },
            // Types of Kubernetes' libraries are objects without a declaration to cel-go.
            Type::Opaque(name) => self.issue(expr, format!("unexpected failed resolution of '{name}'")),
            other => {
                let text = format!("type '{other}' does not support field selection");
                self.issue(expr, text);
                Type::Dyn
            }
        }
    }

    fn call(&mut self, expr: &Expr, function: &str, member: bool, arguments: &[Expr]) -> Type {
        let types: Vec<Type> = arguments
            .iter()
            .map(|argument| match &argument.kind {
                // What is put into a text may be of many types.
                Kind::List(elements) if function == "format" && member => {
                    elements.iter().for_each(|(element, _)| drop(self.expr(element)));
                    let ty = Type::list(Type::Dyn);
                    self.checked.types.insert(argument.id, ty.clone());
                    ty
                }
                _ => self.expr(argument),
            })
            .collect();
        if function == operator::OPTIONAL_SELECT {
            return self.optional_select(expr, &types, arguments);
        }
        let overloads = library::overloads(function);
        if overloads.is_empty() {
            let text = format!("undeclared reference to '{function}' (in container '')");
            return self.issue(expr, text);
        }
        if types.iter().any(|ty| matches!(ty, Type::Error)) {
            return Type::Error;
        }
        if matches!(function, operator::AND | operator::OR) {
            return self.logical(expr, &types, arguments, overloads);
        }
        let mut fitting = Vec::new();
        let mut result: Option<Type> = None;
        for overload in overloads {
            if overload.member != member || overload.params.len() != types.len() {
                continue;
            }
            let mut bindings = Bindings::default();
            let fits = overload.params.iter().zip(&types);
            if !fits.into_iter().all(|(wanted, given)| bindings.accepts(wanted, given)) {
                continue;
            }
            fitting.push(overload);
            let own = bindings.resolve(&overload.result);
            result = Some(match result {
                None => own,
                Some(known) if known == own => known,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            let mut shown: Vec<String> = types.iter().map(ToString::to_string).collect();
            // What a loop has gathered so far is of the type of what it adds to it.
            if let [
                _,
                yes,
                Expr {
                    kind: Kind::Ident(name),
                    ..
                },
            ] = arguments
                && function == operator::CONDITIONAL
                && name.starts_with('@')
            {
                shown[2] = self.checked.type_of(yes).to_string();
            }
            let signature = match (member, shown.split_first()) {
                (true, Some((target, rest))) => format!("{target}.({})", rest.join(", ")),
                _ => format!("({})", shown.join(", ")),
            };
            let text = format!("found no matching overload for '{function}' applied to '{signature}'");
            return self.issue(expr, text);
        };
        self.literal_arguments(function, arguments);
        self.checked.overloads.insert(expr.id, fitting);
        result
    }

    /// `&&` and `||`: what they are given must be bools each.
    fn logical(&mut self, expr: &Expr, types: &[Type], arguments: &[Expr], overloads: &'static [Overload]) -> Type {
        let before = self.issues.len();
        for (ty, argument) in types.iter().zip(arguments) {
            self.must_be(argument, &Type::Bool, ty);
        }
        if self.issues.len() > before {
            return Type::Error;
        }
        self.checked.overloads.insert(expr.id, overloads.iter().collect());
        Type::Bool
    }

    fn optional_select(&mut self, expr: &Expr, types: &[Type], arguments: &[Expr]) -> Type {
        let (Some(operand), Some(Kind::Literal(Value::String(field)))) =
            (types.first(), arguments.get(1).map(|argument| &argument.kind))
        else {
            return Type::Error;
        };
        match self.field(expr, &operand.clone(), field) {
            Type::Error => Type::Error,
            found @ Type::Optional(_) => found,
            found => Type::optional(found),
        }
    }

    /// Texts that are written out must be what they are taken for.
    fn literal_arguments(&mut self, function: &str, arguments: &[Expr]) {
        let text = |expr: &Expr| match &expr.kind {
            Kind::Literal(Value::String(text)) => Some(Arc::clone(text)),
            _ => None,
        };
        let (argument, wrong) = match (function, arguments) {
            ("duration", [argument]) => (
                argument,
                text(argument).is_some_and(|text| library::duration(&text).is_err()),
            ),
            ("timestamp", [argument]) => (
                argument,
                text(argument).is_some_and(|text| library::timestamp(&text).is_err()),
            ),
            ("matches", [_, argument]) => (
                argument,
                text(argument).is_some_and(|text| library::regex(&text).is_err()),
            ),
            _ => return,
        };
        if wrong {
            self.issue(argument, format!("invalid {function} argument"));
        }
    }

    fn structure(&mut self, expr: &Expr, name: &Arc<str>, fields: &[(Arc<str>, Expr, bool)]) -> Type {
        if !self.environment.has_struct(name) {
            return self.issue(expr, format!("undeclared reference to '{name}' (in container '')"));
        }
        for (_, value, optional) in fields {
            let ty = self.expr(value);
            if *optional {
                self.unwrapped(value, ty);
            }
        }
        Type::Object(Arc::new(Object {
            name: name.to_string(),
            fields: std::collections::BTreeMap::new(),
            open: true,
        }))
    }

    fn fold(&mut self, fold: &Fold) -> Type {
        let range = self.expr(&fold.range);
        let init = self.expr(&fold.init);
        let (first, second) = match (&range, &fold.second) {
            (Type::List(of), None) => ((**of).clone(), Type::Dyn),
            (Type::List(of), Some(_)) => (Type::Int, (**of).clone()),
            (Type::Map(key, value), _) => ((**key).clone(), (**value).clone()),
            (Type::Dyn | Type::Error, _) => (Type::Dyn, Type::Dyn),
            (other, _) => {
                let text = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.issue(&fold.range, text);
                (Type::Error, Type::Error)
            }
        };
        let before = self.scopes.len();
        // What an empty list holds follows from what is added to it.
        let accumulated = match &init {
            Type::List(of) if of.is_dyn() && !fold.bind => None,
            Type::Map(..) if !fold.bind => None,
            other => Some(other.clone()),
        };
        let accumulator = Arc::clone(&fold.accumulator);
        self.scopes
            .push((accumulator, accumulated.clone().unwrap_or(Type::Dyn)));
        if !fold.bind {
            self.scopes.push((Arc::clone(&fold.variable), first));
            if let Some(name) = &fold.second {
                self.scopes.push((Arc::clone(name), second));
            }
        }
        let condition = self.expr(&fold.condition);
        self.must_be(&fold.condition, &Type::Bool, &condition);
        let step = match fold.bind {
            true => init.clone(),
            false => self.expr(&fold.step),
        };
        if let (Some(wanted), false) = (&accumulated, fold.bind) {
            self.must_be(&fold.step, wanted, &step);
        }
        self.scopes.truncate(before + 1);
        if accumulated.is_none() {
            let element = self.added(&fold.step, &init);
            self.scopes[before].1 = element;
        }
        let result = self.expr(&fold.result);
        self.scopes.truncate(before);
        result
    }

    /// The type of a list or map that a step adds to.
    fn added(&self, step: &Expr, init: &Type) -> Type {
        let Kind::Call {
            function, arguments, ..
        } = &step.kind
        else {
            return init.clone();
        };
        match (&**function, &arguments[..]) {
            (operator::CONDITIONAL, [_, yes, _]) => self.added(yes, init),
            (operator::ADD, [_, added]) => self.checked.type_of(added).clone(),
            (operator::MAP_INSERT, [_, key, value]) => {
                Type::map(self.checked.type_of(key).clone(), self.checked.type_of(value).clone())
            }
            (operator::MAP_INSERT, [_, entry]) => self.checked.type_of(entry).clone(),
            _ => init.clone(),
        }
    }

    fn must_be(&mut self, expr: &Expr, wanted: &Type, given: &Type) {
        if !Bindings::default().accepts(wanted, given) {
            let text = format!("expected type '{wanted}' but found '{given}'");
            self.issue(expr, text);
        }
    }
}

fn literal(value: &Value) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Uint(_) => Type::Uint,
        Value::Double(_) => Type::Double,
        Value::String(_) => Type::String,
        Value::Bytes(_) => Type::Bytes,
        _ => Type::Dyn,
    }
}
