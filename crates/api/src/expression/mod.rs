//! Expressions in CEL as admission has them: match conditions of webhooks, and all of the admission policies. An
//! expression is compiled once and evaluated against a [`Scope`].
//!
//! The language is the crate `cel`'s. Whose expression it is, and what follows from its value, is not known here. The
//! rules of custom resources' schemas are `custom::cel`'s.

pub(crate) mod environment;
mod scope;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::{Environment, Object, Program};
use serde_json::Value;

pub use cel::{Asked, Authorizer, Type, Verdict, is_identifier};
pub use scope::Scope;

/// What an expression may refer to beside `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Declared<'a> {
    /// `params`.
    pub params: bool,
    /// `authorizer`.
    pub authorizer: bool,
    /// `variables.NAME`, for these names, with their types.
    pub variables: &'a [(String, Type)],
    /// `Object{...}` and `JSONPatch{...}`.
    pub patches: bool,
}

/// An expression that is ready to be evaluated.
#[derive(Debug)]
pub struct Expression(Program);

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// Why it is none, in Kubernetes' words.
    pub fn compile(text: &str, declared: &Declared<'_>) -> Result<Expression, String> {
        Expression::within(text, &environment::of(declared))
    }

    /// Reads an expression whose value must be of one of these types, as far as its type is known.
    ///
    /// # Errors
    /// Why it is none, in Kubernetes' words.
    pub fn compile_to(text: &str, declared: &Declared<'_>, wanted: &[Type]) -> Result<Expression, String> {
        let expression = Expression::compile(text, declared)?;
        let output = expression.output();
        if matches!(output, Type::Dyn) || wanted.contains(output) {
            return Ok(expression);
        }
        Err(match wanted {
            [one] => format!("must evaluate to {one} but got {output}"),
            many => {
                let many: Vec<String> = many.iter().map(ToString::to_string).collect();
                format!("must evaluate to one of [{}] but got {output}", many.join(" "))
            }
        })
    }

    /// The type of literals such as `Object{...}`.
    #[must_use]
    pub fn literal_type(name: &str) -> Type {
        Type::Object(Arc::new(Object {
            name: name.to_owned(),
            fields: BTreeMap::new(),
            open: true,
        }))
    }

    /// Reads an expression about one thing, by this name, instead of a request.
    ///
    /// # Errors
    /// Why it is none, in Kubernetes' words.
    pub fn compile_about(text: &str, name: &str) -> Result<Expression, String> {
        Expression::within(text, &Environment::new().with(name, Type::Dyn))
    }

    /// Whether a text is an expression about one thing, by this name.
    ///
    /// # Errors
    /// Why it is none, in Kubernetes' words.
    pub fn check_about(text: &str, name: &str) -> Result<(), String> {
        Expression::compile_about(text, name).map(drop)
    }

    /// Whether it selects a field of a variable (`name.field`, `name.?field`); the text of an index counts for nothing,
    /// as in Kubernetes.
    #[must_use]
    pub fn selects(&self, variable: &str, field: &str) -> bool {
        self.0.selects(variable, field)
    }

    fn within(text: &str, environment: &Environment) -> Result<Expression, String> {
        let compiled = Program::compile(text, environment);
        compiled
            .map(Expression)
            .map_err(|issues| format!("compilation failed: {issues}"))
    }

    /// The expression as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.source()
    }

    /// The type of its value, as far as that is known.
    #[must_use]
    pub fn output(&self) -> &Type {
        self.0.output()
    }

    /// Its value, as JSON.
    ///
    /// # Errors
    /// Why it has none, in Kubernetes' words.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, String> {
        values::to_json(&scope.evaluate(&self.0)?)
    }
}

#[cfg(test)]
mod tests;
