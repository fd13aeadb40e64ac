//! `authorizer` in expressions: a question is put together step by step and asked by `check`. Who answers is the
//! server's.

use std::fmt;
use std::sync::Arc;

use kube_cel::cel::extractors::This;
use kube_cel::cel::objects::{Opaque, Value};
use kube_cel::cel::{Context, ExecutionError, ResolveResult};

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Namespace and name of the service account that it is about; none for the user who makes the request.
    pub account: Option<(String, String)>,
    /// The verb.
    pub verb: String,
    /// The path, when it is about no resource.
    pub path: Option<String>,
    /// The group.
    pub group: String,
    /// The resource's plural.
    pub resource: String,
    /// The subresource.
    pub subresource: String,
    /// The namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// A field selector.
    pub fields: String,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
}

/// Who answers.
pub trait Authorizer: Send + Sync {
    /// Answers a question.
    fn decide(&self, asked: &Asked) -> Verdict;
}

/// A question on its way.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) by: Arc<dyn Authorizer>,
    pub(super) asked: Asked,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.asked.fmt(f)
    }
}

impl PartialEq for Question {
    fn eq(&self, other: &Question) -> bool {
        self.asked == other.asked
    }
}

impl Eq for Question {}

impl Opaque for Question {
    fn runtime_type_name(&self) -> &str {
        "kubernetes.authorization.Authorizer"
    }
}

impl Opaque for Verdict {
    fn runtime_type_name(&self) -> &str {
        "kubernetes.authorization.Decision"
    }
}

/// Adds the functions.
pub(super) fn register(context: &mut Context<'_>) {
    context.add_function("path", |This(this): This<Value>, path: Arc<String>| {
        step(&this, |asked| asked.path = Some(path.to_string()))
    });
    context.add_function("group", |This(this): This<Value>, group: Arc<String>| {
        step(&this, |asked| asked.group = group.to_string())
    });
    context.add_function(
        "serviceAccount",
        |This(this): This<Value>, namespace: Arc<String>, name: Arc<String>| {
            step(&this, |asked| {
                asked.account = Some((namespace.to_string(), name.to_string()))
            })
        },
    );
    context.add_function("resource", |This(this): This<Value>, resource: Arc<String>| {
        step(&this, |asked| asked.resource = resource.to_string())
    });
    context.add_function("subresource", |This(this): This<Value>, subresource: Arc<String>| {
        step(&this, |asked| asked.subresource = subresource.to_string())
    });
    context.add_function("namespace", |This(this): This<Value>, namespace: Arc<String>| {
        step(&this, |asked| asked.namespace = namespace.to_string())
    });
    context.add_function("name", |This(this): This<Value>, name: Arc<String>| {
        step(&this, |asked| asked.name = name.to_string())
    });
    context.add_function("fieldSelector", |This(this): This<Value>, fields: Arc<String>| {
        step(&this, |asked| asked.fields = fields.to_string())
    });
    // No authorizer here looks at labels: the question stays as wide as it is, which can only refuse more.
    context.add_function("labelSelector", |This(this): This<Value>, _labels: Arc<String>| {
        step(&this, |_| {})
    });
    context.add_function("check", check);
    context.add_function("allowed", |This(this): This<Value>| {
        verdict(&this).map(|verdict| Value::Bool(verdict.allowed))
    });
    context.add_function("reason", |This(this): This<Value>| {
        verdict(&this).map(|verdict| Value::String(Arc::new(verdict.reason.clone())))
    });
    // Asking can't fail here.
    context.add_function("errored", |This(this): This<Value>| {
        verdict(&this).map(|_| Value::Bool(false))
    });
    context.add_function("error", |This(this): This<Value>| {
        verdict(&this).map(|_| Value::String(Arc::default()))
    });
}

fn step(this: &Value, change: impl FnOnce(&mut Asked)) -> ResolveResult {
    let mut question = question(this)?.clone();
    change(&mut question.asked);
    Ok(Value::Opaque(Arc::new(question)))
}

fn check(This(this): This<Value>, verb: Arc<String>) -> ResolveResult {
    let mut question = question(&this)?.clone();
    question.asked.verb = verb.to_string();
    Ok(Value::Opaque(Arc::new(question.by.decide(&question.asked))))
}

fn question(this: &Value) -> Result<&Question, ExecutionError> {
    match this {
        Value::Opaque(opaque) => opaque.downcast_ref().ok_or(ExecutionError::NoSuchOverload),
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

fn verdict(this: &Value) -> Result<&Verdict, ExecutionError> {
    match this {
        Value::Opaque(opaque) => opaque.downcast_ref().ok_or(ExecutionError::NoSuchOverload),
        _ => Err(ExecutionError::NoSuchOverload),
    }
}
