//! Asks the program that answers for Kubernetes, and tells whether an answer is the same as ours.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use api::merge::Problem;
use meta::Status;
use serde_json::{Map, Value, json};

/// The running program.
pub(crate) struct Oracle {
    child: Child,
    questions: ChildStdin,
    replies: BufReader<ChildStdout>,
    /// How many questions it has answered.
    pub(crate) answers: u64,
    /// How many answers were errors.
    pub(crate) refusals: u64,
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The result as the library has it.
    pub(crate) value: Value,
    /// The value as a server would store it.
    pub(crate) next: Option<Value>,
    error: Option<String>,
    causes: Value,
}

impl Oracle {
    /// Starts the program.
    pub(crate) fn start(program: &str) -> io::Result<Self> {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(questions), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("no pipes"));
        };
        Ok(Oracle {
            child,
            questions,
            replies: BufReader::new(replies),
            answers: 0,
            refusals: 0,
        })
    }

    /// Asks one question.
    pub(crate) fn ask(&mut self, question: &Value) -> io::Result<Answer> {
        writeln!(self.questions, "{question}")?;
        self.questions.flush()?;
        let mut line = String::new();
        self.replies.read_line(&mut line)?;
        let mut reply: Value = serde_json::from_str(&line)?;
        let error = reply["error"].as_str().map(str::to_owned);
        self.answers += 1;
        self.refusals += u64::from(error.is_some());
        let next = Some(reply["next"].take()).filter(Value::is_object);
        // An empty map is left out of the reply.
        let value = Some(reply["value"].take())
            .filter(|value| !value.is_null())
            .unwrap_or_else(|| json!({}));
        Ok(Answer {
            value,
            next,
            error,
            causes: reply["causes"].take(),
        })
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // Its input is about to end, and with that the program; a kill only hurries it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Compares a patch's result.
pub(crate) fn compare_values(
    what: &str,
    question: &Value,
    ours: Result<Value, Problem>,
    theirs: Answer,
) -> Result<(), String> {
    match (ours, theirs.error) {
        (Ok(ours), None) if ours == theirs.value => Ok(()),
        (Ok(ours), None) if what == "diff" && without_orders(&ours) == without_orders(&theirs.value) => Ok(()),
        // Kubernetes' library panics, or fails by chance of a map's order; ours says no or yes.
        (_, Some(error)) if error.starts_with("panic") => Ok(()),
        (Err(_), Some(_)) => Ok(()),
        (ours, error) => Err(format!(
            "{what} differs\n  question {question}\n  ours   {}\n  theirs {}",
            ours.map_or_else(|problem| format!("error: {problem}"), |value| value.to_string()),
            error.map_or_else(|| theirs.value.to_string(), |error| format!("error: {error}")),
        )),
    }
}

/// A diff without the order of lists of scalars: kubectl's algorithm sorts the old list before it compares, so that it
/// misses some orders and sends others without need.
fn without_orders(diff: &Value) -> Value {
    let is_order = |name: &str, value: &Value| {
        let scalars = |items: &Vec<Value>| items.iter().all(|item| !item.is_object());
        name.starts_with("$setElementOrder/") && value.as_array().is_some_and(scalars)
    };
    match diff {
        Value::Object(map) => {
            let kept = map.iter().filter(|(name, value)| !is_order(name, value));
            let kept = kept.map(|(name, value)| (name.clone(), without_orders(value)));
            Value::Object(kept.filter(|(_, value)| *value != json!({})).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_orders).collect()),
        scalar => scalar.clone(),
    }
}

/// Compares an object with its managedFields, or an error with its causes.
pub(crate) fn compare_objects(question: &Value, ours: Result<Value, Status>, theirs: Answer) -> Result<(), String> {
    let (ours, theirs) = match (ours, theirs.error) {
        (Ok(ours), None) => (comparable(ours), comparable(theirs.value)),
        (Err(status), Some(error)) if error.contains("errors:\n") => {
            // Which of several findings comes first is chance there.
            (json!(status.message.contains("errors:\n")), json!(true))
        }
        (Err(status), Some(error)) => {
            let mut value = status.to_value();
            (
                json!([status.message, sorted(value["details"]["causes"].take())]),
                json!([error, sorted(theirs.causes)]),
            )
        }
        (Ok(ours), Some(error)) => (ours, json!({"error": error})),
        (Err(status), None) => (json!({"error": status.message}), theirs.value),
    };
    if ours == theirs {
        return Ok(());
    }
    Err(format!(
        "{} differs\n  question {question}\n  ours   {ours}\n  theirs {theirs}",
        question["op"]
    ))
}

fn sorted(causes: Value) -> Value {
    let Value::Array(mut causes) = causes else {
        return Value::Null;
    };
    causes.sort_by_key(Value::to_string);
    Value::Array(causes)
}

/// An object without nulls and what is empty; owners sorted, with times as old, new or none.
fn comparable(mut object: Value) -> Value {
    let managed = object["metadata"]
        .as_object_mut()
        .and_then(|metadata| metadata.remove("managedFields"));
    let mut managed = managed
        .and_then(|managed| managed.as_array().cloned())
        .unwrap_or_default();
    for entry in &mut managed {
        let time = match entry["time"].as_str() {
            None => "none",
            Some(OLD) => "old",
            Some(_) => "new",
        };
        entry["time"] = time.into();
    }
    managed.sort_by_key(Value::to_string);
    json!([without_empty(&object), managed])
}

const OLD: &str = "2000-01-01T00:00:00Z";

/// Makes all owners' times old, so that a new one shows.
pub(crate) fn age(object: &mut Value) {
    for entry in object["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
        if entry.get("time").is_some() {
            entry["time"] = OLD.into();
        }
    }
}

/// The value without null fields.
pub(crate) fn without_null(value: &Value) -> Value {
    strip(value, &Value::is_null)
}

/// The value without fields that are null or empty, which a typed server doesn't tell from absent ones.
pub(crate) fn without_empty(value: &Value) -> Value {
    strip(value, &|value| match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    })
}

fn strip(value: &Value, is_nothing: &dyn Fn(&Value) -> bool) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(name, value)| (name.clone(), strip(value, is_nothing)));
            Value::Object(kept.filter(|(_, value)| !is_nothing(value)).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| strip(item, is_nothing)).collect()),
        scalar => scalar.clone(),
    }
}
