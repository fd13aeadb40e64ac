//! One rule: what it says, and what becomes of an object that breaks it.

use std::sync::Arc;

use cel::{Environment, Error, Program, Type, Value as Cel};
use meta::{FieldError, FieldErrorType};
use serde_json::Value;

use super::declare::Sized;
use super::place::Visit;
use crate::rules::view::View as _;

/// A message that is made is no longer than this, in bytes.
const LONGEST_MESSAGE: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// A compiled rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) program: Result<Program, String>,
    pub(super) message_program: Option<Result<Program, String>>,
    pub(super) uses_old: bool,
    optional_old: bool,
    text: String,
    message: String,
    reason: String,
    /// Where errors say that it is, below the place of the rule.
    field: String,
}

impl Rule {
    /// Compiles a rule of a schema, about what is declared.
    pub(super) fn compile(rule: &Value, schema: &Value, about: &Sized) -> Rule {
        let environment = environment(rule, about);
        let program = checked(
            rule.text("rule"),
            &environment,
            &Type::Bool,
            "cel expression must evaluate to a bool",
        );
        let program = program.map_err(|why| why.replacen("{}", "compilation failed", 1));
        let message = rule.text("messageExpression");
        let message_program = (!message.is_empty()).then(|| {
            let wrong = "messageExpression must evaluate to a string";
            let compiled = checked(message, &environment, &Type::String, wrong);
            compiled.map_err(|why| why.replacen("{}", "messageExpression compilation failed", 1))
        });
        Rule {
            uses_old: program.as_ref().is_ok_and(|program| program.uses("oldSelf")),
            program,
            message_program,
            optional_old: rule.is("optionalOldSelf"),
            text: rule.text("rule").trim().to_owned(),
            message: rule.text("message").trim().to_owned(),
            reason: rule.text("reason").to_owned(),
            field: field(rule.text("fieldPath"), schema),
        }
    }

    /// What it is called where it can't be evaluated.
    fn told(&self) -> &str {
        if self.message.is_empty() {
            &self.text
        } else {
            &self.message
        }
    }

    /// Evaluates it. `shown` are the object here as it is, and its type.
    pub(super) fn check(
        &self,
        visit: &mut Visit,
        value: &Cel,
        old: Option<&Cel>,
        shown: (&Value, &str),
        unchanged: bool,
        path: &str,
    ) {
        let program = match &self.program {
            Ok(program) => program,
            Err(why) => {
                let why = format!("rule compile error: {why}");
                visit.errors.push(invalid(path, shown.1.into(), why));
                return;
            }
        };
        if self.uses_old && old.is_none() && !self.optional_old {
            return;
        }
        let before = match (self.optional_old, old) {
            (true, old) => Cel::Optional(old.cloned().map(Arc::new)),
            (false, Some(old)) => old.clone(),
            (false, None) => Cel::Null,
        };
        let variables = [("self", value.clone()), ("oldSelf", before)];
        if visit.budget.left() == 0 {
            visit.over = true;
            visit
                .errors
                .push(invalid(path, shown.1.into(), OUT_OF_BUDGET.to_owned()));
            return;
        }
        let why = match program.run(&variables, &mut visit.budget) {
            Ok(Cel::Bool(true)) => return,
            Ok(_) => None,
            Err(Error::NoSuchOverload) => Some(format!(
                "'no such overload': call arguments did not match a supported operator, function or macro signature for rule: {}",
                self.told()
            )),
            Err(error @ Error::TooCostly) => {
                visit.over = true;
                Some(match visit.budget.left() {
                    0 => OUT_OF_BUDGET.to_owned(),
                    _ => format!(
                        "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                        self.told()
                    ),
                })
            }
            Err(error) => Some(format!("{error} evaluating rule: {}", self.told())),
        };
        if let Some(why) = why {
            visit.errors.push(invalid(path, shown.1.into(), why));
            return;
        }
        // What was wrong before may stay so, unless the rule is about the change.
        if unchanged && !self.uses_old {
            return;
        }
        let detail = match self.made_message(visit, &variables) {
            Some(message) => message,
            None if self.message.is_empty() => format!("failed rule: {}", self.text),
            None => self.message.clone(),
        };
        visit.errors.push(self.error(path, shown.0, detail));
    }

    /// The message that the rule makes itself; none when it makes no good one.
    fn made_message(&self, visit: &mut Visit, variables: &[(&str, Cel); 2]) -> Option<String> {
        let Some(Ok(program)) = &self.message_program else {
            return None;
        };
        let Ok(Cel::String(message)) = program.run(variables, &mut visit.budget) else {
            return None;
        };
        let message = message.trim();
        let fits = !message.is_empty() && message.len() <= LONGEST_MESSAGE && !message.contains('\n');
        fits.then(|| message.to_owned())
    }

    fn error(&self, path: &str, value: &Value, detail: String) -> FieldError {
        let path = match (path, &*self.field) {
            (path, "") => path.to_owned(),
            ("", field) => field.to_owned(),
            (path, field) if field.starts_with('[') => format!("{path}{field}"),
            (path, field) => format!("{path}.{field}"),
        };
        let shown = match value {
            Value::Object(_) | Value::Array(_) => None,
            scalar => Some(scalar.clone()),
        };
        let path = named(&path);
        match self.reason.as_str() {
            "FieldValueForbidden" => FieldError::forbidden(path, detail),
            "FieldValueRequired" => FieldError::required(path, detail),
            "FieldValueDuplicate" => FieldError {
                path,
                error: FieldErrorType::Duplicate,
                bad_value: shown,
                detail: String::new(),
            },
            _ => FieldError {
                path,
                error: FieldErrorType::Invalid,
                bad_value: shown,
                detail,
            },
        }
    }
}

/// What a rule may refer to.
pub(super) fn environment(rule: &Value, about: &Sized) -> Environment {
    let declared = about.declared.clone();
    let before = match rule.is("optionalOldSelf") {
        true => declared.clone().optional(),
        false => declared.clone(),
    };
    Environment::new().with("self", declared).with("oldSelf", before)
}

/// An expression of a type. What is wrong with its text is told behind `{}`.
fn checked(text: &str, environment: &Environment, wanted: &Type, wrong: &str) -> Result<Program, String> {
    let program = Program::compile(text, environment).map_err(|issues| format!("{{}}: {issues}"))?;
    if program.output() == wanted {
        Ok(program)
    } else {
        Err(wrong.to_owned())
    }
}

fn invalid(path: &str, value: Value, detail: String) -> FieldError {
    FieldError {
        path: named(path),
        error: FieldErrorType::Invalid,
        bad_value: Some(value),
        detail,
    }
}

fn named(path: &str) -> String {
    if path.is_empty() {
        "<nil>".to_owned()
    } else {
        path.to_owned()
    }
}

/// `.a['b.c'].d` as errors write it: `a[b.c].d`.
fn field(path: &str, schema: &Value) -> String {
    let mut out = String::new();
    let mut place = schema;
    let mut rest = path.trim();
    while !rest.is_empty() {
        let (name, after) = if let Some(quoted) = rest.strip_prefix("['") {
            let end = quoted.find("']").unwrap_or(quoted.len());
            (&quoted[..end], quoted.get(end + 2..).unwrap_or_default())
        } else {
            let plain = rest.trim_start_matches('.');
            let end = plain.find(['.', '[']).unwrap_or(plain.len());
            plain.split_at(end)
        };
        let properties = place.at("properties");
        if properties.is_object() {
            let dot = if out.is_empty() { "" } else { "." };
            out.push_str(&format!("{dot}{name}"));
            place = properties.at(name);
        } else {
            out.push_str(&format!("[{name}]"));
            place = place.at("additionalProperties");
        }
        rest = after;
    }
    out
}
