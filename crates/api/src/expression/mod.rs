//! Expressions in CEL as admission has them: match conditions of webhooks, and all of the admission policies. An
//! expression is parsed once, brought into a form that the crate's interpreter evaluates as Kubernetes does, and
//! evaluated against a [`Scope`].
//!
//! Whose expression it is, and what follows from its value, is not known here. The rules of custom resources' schemas
//! are `custom::cel`'s.

mod authorizer;
mod functions;
mod names;
mod rewrite;
mod scope;
mod values;

use kube_cel::cel::parser::{Expression as Tree, Parser};
use serde_json::Value;

pub use authorizer::{Asked, Authorizer, Verdict};
pub use scope::Scope;

/// What an expression may refer to beside `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Declared<'a> {
    /// `params`.
    pub params: bool,
    /// `authorizer`.
    pub authorizer: bool,
    /// `variables.NAME`, for these names.
    pub variables: &'a [String],
    /// `Object{...}` and `JSONPatch{...}`.
    pub patches: bool,
}

/// An expression that is ready to be evaluated.
#[derive(Debug)]
pub struct Expression {
    text: String,
    tree: Tree,
    /// The fields that it selects of what it is about: in an expression about one thing only.
    selected: Vec<String>,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// Why it is none, in Kubernetes' words.
    pub fn compile(text: &str, declared: &Declared<'_>) -> Result<Expression, String> {
        let failed = |why: String| format!("compilation failed: {why}");
        let parsed = Parser::default().enable_optional_syntax(true).parse(text);
        let mut tree = parsed.map_err(|errors| failed(errors.to_string()))?;
        names::check(&tree, text, declared).map_err(failed)?;
        rewrite::rewrite(&mut tree);
        Ok(Expression {
            text: text.to_owned(),
            tree,
            selected: Vec::new(),
        })
    }

    /// Reads an expression about one thing, by this name, instead of a request.
    ///
    /// # Errors
    /// Why it is none, in Kubernetes' words.
    pub fn compile_about(text: &str, name: &str) -> Result<Expression, String> {
        let failed = |why: String| format!("compilation failed: {why}");
        let parsed = Parser::default().enable_optional_syntax(true).parse(text);
        let mut tree = parsed.map_err(|errors| failed(errors.to_string()))?;
        names::check_about(&tree, text, name).map_err(failed)?;
        let selected = names::selected(&tree, name);
        rewrite::rewrite(&mut tree);
        Ok(Expression {
            text: text.to_owned(),
            tree,
            selected,
        })
    }

    /// Whether it selects a field of what it is about (`name.field`, `name.?field`); the text of an index counts for
    /// nothing, as in Kubernetes.
    #[must_use]
    pub fn selects(&self, field: &str) -> bool {
        self.selected.iter().any(|selected| selected == field)
    }

    /// Whether a text is an expression about one thing, by this name.
    ///
    /// # Errors
    /// Why it is none, in Kubernetes' words.
    pub fn check_about(text: &str, name: &str) -> Result<(), String> {
        let failed = |why: String| format!("compilation failed: {why}");
        let parsed = Parser::default().enable_optional_syntax(true).parse(text);
        let tree = parsed.map_err(|errors| failed(errors.to_string()))?;
        names::check_about(&tree, text, name).map_err(failed)
    }

    /// The expression as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its value, as JSON.
    ///
    /// # Errors
    /// Why it has none, in Kubernetes' words.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, String> {
        let value = scope.evaluate(&self.tree);
        let value = value.map_err(|why| format!("expression '{}' resulted in error: {why}", self.text))?;
        values::to_json(&value)
    }
}

/// Whether a text can name a variable.
#[must_use]
pub fn is_identifier(name: &str) -> bool {
    const RESERVED: [&str; 22] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
        "",
    ];
    let mut letters = name.chars();
    let first = letters
        .next()
        .is_some_and(|letter| letter == '_' || letter.is_ascii_alphabetic());
    first && letters.all(|letter| letter == '_' || letter.is_ascii_alphanumeric()) && !RESERVED.contains(&name)
}

#[cfg(test)]
mod tests;
