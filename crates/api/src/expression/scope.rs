//! What the names in an expression stand for, for one request.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use kube_cel::cel::context::VariableResolver;
use kube_cel::cel::objects::Value as Cel;
use kube_cel::cel::parser::Expression as Tree;
use kube_cel::cel::{Context, ExecutionError};
use serde_json::Value;

use super::authorizer::{Asked, Authorizer, Question};
use super::{Expression, functions, values};

/// The values of names. The composed variables are evaluated when they are first asked for, and once.
pub struct Scope<'a> {
    given: BTreeMap<&'static str, Cel>,
    variables: &'a [(String, Expression)],
    known: Mutex<HashMap<String, Result<Cel, String>>>,
}

impl<'a> Scope<'a> {
    /// The scope of a request: the object as it would be, as it was, and what is asked for.
    #[must_use]
    pub fn new(object: &Value, old: &Value, request: &Value) -> Scope<'a> {
        let given = [("object", object), ("oldObject", old), ("request", request)];
        let mut given: BTreeMap<_, _> = given.map(|(name, value)| (name, values::from_json(value))).into();
        given.insert("namespaceObject", Cel::Null);
        given.insert("params", Cel::Null);
        Scope {
            given,
            variables: &[],
            known: Mutex::default(),
        }
    }

    /// The scope of an expression about one thing, by this name.
    #[must_use]
    pub fn about(name: &'static str, value: &Value) -> Scope<'a> {
        Scope {
            given: BTreeMap::from([(name, values::from_json(value))]),
            variables: &[],
            known: Mutex::default(),
        }
    }

    /// Sets `params`.
    pub fn set_params(&mut self, params: &Value) {
        self.given.insert("params", values::from_json(params));
    }

    /// Sets `namespaceObject`.
    pub fn set_namespace(&mut self, namespace: &Value) {
        self.given.insert("namespaceObject", values::from_json(namespace));
    }

    /// Sets `authorizer`, and what it knows of the request.
    pub fn set_authorizer(&mut self, by: &Arc<dyn Authorizer>, request: Asked) {
        let question = |asked| {
            let by = Arc::clone(by);
            Cel::Opaque(Arc::new(Question { by, asked }))
        };
        self.given.insert("authorizer", question(Asked::default()));
        self.given.insert("authorizer.requestResource", question(request));
    }

    /// Sets the composed variables; each may use those before it.
    pub fn set_variables(&mut self, variables: &'a [(String, Expression)]) {
        self.variables = variables;
    }

    pub(super) fn evaluate(&self, tree: &Tree) -> Result<Cel, String> {
        let value = functions::with(|parent| {
            let context = Context::Child {
                parent,
                variables: BTreeMap::new(),
                resolver: Some(self),
            };
            Cel::resolve(tree, &context)
        });
        value.map_err(|error| match &error {
            ExecutionError::UndeclaredReference(name) => self.failure_of(name).unwrap_or_else(|| values::told(&error)),
            error => values::told(error),
        })
    }

    fn failure_of(&self, name: &str) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let why = known.get(name)?.as_ref().err()?;
        let name = name.strip_prefix("variables.").unwrap_or(name);
        Some(format!("composited variable {name:?} fails to evaluate: {why}"))
    }

    fn variable(&self, name: &str) -> Option<Cel> {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return known.clone().ok();
        }
        let short = name.strip_prefix("variables.")?;
        let (_, expression) = self.variables.iter().find(|(known, _)| known == short)?;
        let value = self.evaluate(&expression.tree);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), value.clone());
        value.ok()
    }
}

impl VariableResolver for Scope<'_> {
    fn resolve(&self, name: &str) -> Option<Cel> {
        match self.given.get(name) {
            Some(value) => Some(value.clone()),
            None => self.variable(name),
        }
    }
}
