//! What the names in an expression stand for, for one request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cel::{Asked, Authorizer, Budget, Error, Program, Question, Value as Cel, Variables};
use parking_lot::Mutex;
use serde_json::Value;

use super::Expression;

/// What all expressions of a policy may cost for one request, as in Kubernetes.
const TOGETHER: u64 = 10_000_000;
/// What each of them may cost.
const EACH: u64 = 1_000_000;

/// The values of names. The composed variables are evaluated when they are first asked for, and once.
pub struct Scope<'a> {
    given: BTreeMap<&'static str, Cel>,
    variables: &'a [(String, Expression)],
    known: Mutex<HashMap<String, Result<Cel, Error>>>,
    budget: Mutex<Budget>,
}

impl<'a> Scope<'a> {
    /// The scope of a request: the object as it would be, as it was, and what is asked for.
    #[must_use]
    pub fn new(object: &Value, old: &Value, request: &Value) -> Scope<'a> {
        let given = [("object", object), ("oldObject", old), ("request", request)];
        let mut given: BTreeMap<_, _> = given.map(|(name, value)| (name, Cel::from_json(value))).into();
        given.insert("namespaceObject", Cel::Null);
        given.insert("params", Cel::Null);
        Scope {
            given,
            variables: &[],
            known: Mutex::default(),
            budget: Mutex::new(Budget::new(TOGETHER, EACH)),
        }
    }

    /// The scope of an expression about one thing, by this name.
    #[must_use]
    pub fn about(name: &'static str, value: &Value) -> Scope<'a> {
        Scope {
            given: BTreeMap::from([(name, Cel::from_json(value))]),
            variables: &[],
            known: Mutex::default(),
            budget: Mutex::new(Budget::new(TOGETHER, EACH)),
        }
    }

    /// Sets `params`.
    pub fn set_params(&mut self, params: &Value) {
        self.given.insert("params", Cel::from_json(params));
    }

    /// Sets `namespaceObject`.
    pub fn set_namespace(&mut self, namespace: &Value) {
        self.given.insert("namespaceObject", Cel::from_json(namespace));
    }

    /// Sets `authorizer`, and what it knows of the request.
    pub fn set_authorizer(&mut self, by: &Arc<dyn Authorizer>, request: Asked) {
        self.given.insert("authorizer", Question::open(by));
        self.given
            .insert("authorizer.requestResource", Question::about(by, request));
    }

    /// Sets the composed variables; each may use those before it.
    pub fn set_variables(&mut self, variables: &'a [(String, Expression)]) {
        self.variables = variables;
    }

    pub(super) fn evaluate(&self, program: &Program) -> Result<Cel, String> {
        self.run(program).map_err(|error| {
            if self.budget.lock().left() == 0 {
                let why =
                    "validation failed due to running out of cost budget, no further validation rules will be run";
                return why.to_owned();
            }
            format!("expression '{}' resulted in error: {error}", program.source())
        })
    }

    fn run(&self, program: &Program) -> Result<Cel, Error> {
        // A variable may be evaluated while another expression is: the budget can't be held meanwhile.
        let mut budget = self.budget.lock().clone();
        let before = budget.left();
        let value = program.run(self, &mut budget);
        self.budget.lock().spend(before - budget.left());
        value
    }

    fn variable(&self, name: &str) -> Option<Result<Cel, Error>> {
        if let Some(known) = self.known.lock().get(name) {
            return Some(known.clone());
        }
        let (_, expression) = self.variables.iter().find(|(known, _)| known == name)?;
        let value = self.run(&expression.0);
        let value =
            value.map_err(|error| Error::Other(format!("composited variable {name:?} fails to evaluate: {error}")));
        self.known.lock().insert(name.to_owned(), value.clone());
        Some(value)
    }
}

impl Variables for Scope<'_> {
    fn get(&self, name: &str) -> Option<Result<Cel, Error>> {
        self.given.get(name).map(|value| Ok(value.clone()))
    }

    fn field(&self, variable: &str, field: &str) -> Option<Result<Cel, Error>> {
        match variable {
            "variables" => self.variable(field),
            "authorizer" if field == "requestResource" => self.get("authorizer.requestResource"),
            _ => None,
        }
    }
}
