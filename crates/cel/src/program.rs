//! Expressions that are ready to run, and what they may refer to.

use std::collections::BTreeMap;

use crate::ast::{Expr, Kind, operator};
use crate::check::{Checked, check};
use crate::cost::{self, Estimate};
use crate::declare::Declaration;
use crate::error::{Error, Issues};
use crate::eval::{Budget, Variables, run};
use crate::parse::parse;
use crate::types::Type;
use crate::value::Value;

/// The variables and types that expressions may refer to.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, Declaration>,
    structs: Vec<String>,
}

impl Environment {
    /// Without any.
    #[must_use]
    pub fn new() -> Environment {
        Environment::default()
    }

    /// Declares a variable.
    #[must_use]
    pub fn with(mut self, name: &str, declared: impl Into<Declaration>) -> Environment {
        self.variables.insert(name.to_owned(), declared.into());
        self
    }

    /// Allows literals of a type with this name, and of types whose names begin with it and a dot.
    #[must_use]
    pub fn with_struct(mut self, name: &str) -> Environment {
        self.structs.push(name.to_owned());
        self
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Declaration> {
        self.variables.get(name)
    }

    pub(crate) fn has_struct(&self, name: &str) -> bool {
        let fits = |known: &String| {
            name == known
                || name
                    .strip_prefix(known.as_str())
                    .is_some_and(|rest| rest.starts_with('.'))
        };
        self.structs.iter().any(fits)
    }
}

/// A checked expression.
#[derive(Debug)]
pub struct Program {
    source: String,
    tree: Expr,
    checked: Checked,
}

impl Program {
    /// Reads and checks an expression.
    ///
    /// # Errors
    /// All that is wrong with it, with the places.
    pub fn compile(source: &str, environment: &Environment) -> Result<Program, Issues> {
        let tree = parse(source)?;
        let checked = check(source, &tree, environment)?;
        Ok(Program {
            source: source.to_owned(),
            tree,
            checked,
        })
    }

    /// The text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The type of its value.
    #[must_use]
    pub fn output(&self) -> &Type {
        self.checked.type_of(&self.tree)
    }

    /// Whether it refers to a variable.
    #[must_use]
    pub fn uses(&self, variable: &str) -> bool {
        let mut found = false;
        self.tree.walk(&mut |expr| {
            found |= matches!(&expr.kind, Kind::Ident(name) if &**name == variable);
        });
        found
    }

    /// Whether it selects a field of a variable: `variable.field` or `variable.?field`.
    #[must_use]
    pub fn selects(&self, variable: &str, field: &str) -> bool {
        let is_it = |operand: &Expr| matches!(&operand.kind, Kind::Ident(name) if &**name == variable);
        let mut found = false;
        self.tree.walk(&mut |expr| {
            found |= match &expr.kind {
                Kind::Select {
                    operand, field: own, ..
                } => is_it(operand) && &**own == field,
                Kind::Call {
                    function, arguments, ..
                } if &**function == operator::OPTIONAL_SELECT => match &arguments[..] {
                    [operand, own] => {
                        is_it(operand) && matches!(&own.kind, Kind::Literal(Value::String(own)) if &**own == field)
                    }
                    _ => false,
                },
                _ => false,
            };
        });
        found
    }

    /// What it can cost, by what is declared of the variables' sizes.
    #[must_use]
    pub fn estimate(&self, environment: &Environment) -> Estimate {
        cost::estimate(&self.tree, &self.checked, environment)
    }

    /// Runs it. The cost is taken from the budget.
    ///
    /// # Errors
    /// Why it has no value.
    pub fn run(&self, variables: &dyn Variables, budget: &mut Budget) -> Result<Value, Error> {
        run(&self.tree, variables, budget)
    }
}
