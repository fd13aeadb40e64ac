//! The functions that expressions have beside the crate's: selecting fields, optional ones too, and the authorizer's.

use std::sync::Arc;

use kube_cel::KubeCelExt as _;
use kube_cel::cel::objects::{Key, OptionalValue, Value};
use kube_cel::cel::{Context, ExecutionError, FunctionContext, ResolveResult};

use super::authorizer;

/// `a.b`, which fails where there is no `b`.
pub(super) const SELECT: &str = "@select";
/// `a.?b`, which is nothing where there is no `b`.
pub(super) const OPTIONAL_SELECT: &str = "@optional_select";

thread_local! {
    /// Making the table of functions costs more than most expressions do.
    static FUNCTIONS: Context<'static> = table();
}

/// Calls with a context that has all functions and no variables.
pub(super) fn with<R>(work: impl FnOnce(&Context<'static>) -> R) -> R {
    FUNCTIONS.with(|context| work(context))
}

fn table() -> Context<'static> {
    let mut context = Context::default().with_all();
    context.add_function(SELECT, select);
    context.add_function(OPTIONAL_SELECT, optional_select);
    authorizer::register(&mut context);
    context
}

/// The operand and the field. What is wrong with the operand is told as it is.
fn operands(call: &FunctionContext<'_, '_>) -> Result<(Value, Arc<String>), ExecutionError> {
    match call.args {
        [operand, field] => match (Value::resolve(operand, call.ptx)?, Value::resolve(field, call.ptx)?) {
            (operand, Value::String(field)) => Ok((operand, field)),
            _ => Err(ExecutionError::NoSuchOverload),
        },
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

fn select(call: &FunctionContext<'_, '_>) -> ResolveResult {
    let (operand, field) = operands(call)?;
    let missing = || ExecutionError::NoSuchKey(Arc::clone(&field));
    if let Some(inner) = optional(&operand) {
        return Ok(of(inner.value().and_then(|value| field_of(value, &field))));
    }
    field_of(&operand, &field).ok_or_else(missing)
}

fn optional_select(call: &FunctionContext<'_, '_>) -> ResolveResult {
    let (operand, field) = operands(call)?;
    let found = match optional(&operand) {
        Some(inner) => inner.value().and_then(|value| field_of(value, &field)),
        None => field_of(&operand, &field),
    };
    Ok(of(found))
}

fn optional(value: &Value) -> Option<&OptionalValue> {
    match value {
        Value::Opaque(opaque) => opaque.downcast_ref::<OptionalValue>(),
        _ => None,
    }
}

fn of(value: Option<Value>) -> Value {
    Value::Opaque(Arc::new(match value {
        Some(value) => OptionalValue::of(value),
        None => OptionalValue::none(),
    }))
}

fn field_of(value: &Value, field: &Arc<String>) -> Option<Value> {
    match value {
        Value::Map(map) => map.get(&Key::String(Arc::clone(field))).cloned(),
        _ => None,
    }
}
