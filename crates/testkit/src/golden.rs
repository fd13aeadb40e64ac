//! Questions to an API server as data, and answers in a form in which those of two servers can be compared: what each
//! makes up by itself (uids, revisions, times, addresses) is masked, unless the question said it.

use serde_json::{Map, Value};

/// One request.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its verb.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// What is asked for; JSON by default.
    pub accept: String,
    /// The body's type; empty without a body.
    pub content: String,
    /// The body.
    pub body: String,
}

/// What was answered, as it came.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The HTTP status.
    pub code: u16,
    /// The `Warning` headers.
    pub warnings: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Reads a file of questions.
///
/// # Panics
/// When it is none.
pub fn questions(text: &str) -> Vec<Question> {
    let list: Vec<Value> = serde_json::from_str(text).expect("a list of questions");
    list.iter().map(question).collect()
}

fn question(given: &Value) -> Question {
    let text = |name: &str| given[name].as_str().unwrap_or_default().to_owned();
    let accept = match text("accept") {
        none if none.is_empty() => "application/json".to_owned(),
        accept => accept,
    };
    Question {
        method: text("method"),
        path: text("path"),
        accept,
        content: text("content"),
        body: match &given["body"] {
            Value::Null => text("text"),
            body => body.to_string(),
        },
    }
}

/// An answer as it is written down.
pub fn answer(question: &Question, reply: &Reply) -> Value {
    let mut answer = Map::new();
    answer.insert("code".into(), reply.code.into());
    if !reply.warnings.is_empty() {
        answer.insert("warnings".into(), reply.warnings.clone().into());
    }
    let text = String::from_utf8_lossy(&reply.body);
    let mut body = serde_json::from_slice(&reply.body).unwrap_or_else(|_| Value::String(text.into_owned()));
    mask_table(&mut body);
    mask(&mut body, "", &question.body);
    answer.insert("body".into(), body);
    Value::Object(answer)
}

/// Where two answers differ, by JSON pointers, with both values.
pub fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut all = Vec::new();
    compare(expected, found, "", &mut all);
    all
}

fn compare(expected: &Value, found: &Value, at: &str, all: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(one), Value::Object(other)) => {
            for name in one.keys().chain(other.keys().filter(|name| !one.contains_key(*name))) {
                let side = |map: &Map<String, Value>| map.get(name).cloned().unwrap_or("(absent)".into());
                compare(&side(one), &side(other), &format!("{at}/{name}"), all);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(one, other, &format!("{at}/{index}"), all);
            }
        }
        _ if expected == found => {}
        _ => all.push(format!("{at}: {found} for {expected}")),
    }
}

/// The column that tells how old an object is, and what columns say of themselves, which is prose.
fn mask_table(table: &mut Value) {
    for column in table
        .get_mut("columnDefinitions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        column["description"] = "<description>".into();
    }
    let columns = table["columnDefinitions"].as_array();
    let Some(at) = columns.and_then(|columns| columns.iter().position(|column| column["name"] == "Age")) else {
        return;
    };
    for row in table["rows"].as_array_mut().into_iter().flatten() {
        row["cells"][at] = "<age>".into();
    }
}

fn mask(value: &mut Value, name: &str, asked: &str) {
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(name, value)| mask(value, name, asked)),
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, name, asked)),
        Value::String(text) if name == "resourceVersion" && !text.is_empty() => *text = "<revision>".into(),
        Value::String(text) => {
            let masked = masked(text, asked);
            *text = masked;
        }
        Value::Number(number) if name == "nodePort" && !asked.contains(&number.to_string()) => {
            *value = "<port>".into();
        }
        _ => {}
    }
}

/// A text without what its server made up.
fn masked(text: &str, asked: &str) -> String {
    if text.parse::<std::net::IpAddr>().is_ok() && !asked.contains(text) {
        return "<address>".into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let made_up = [(uid_length(rest), "<uid>"), (time_length(rest), "<time>")];
        let found = made_up
            .into_iter()
            .find(|(length, _)| *length > 0 && !asked.contains(&rest[..*length]));
        let after_revision = ["ResourceVersion in object meta: ", "current: "]
            .iter()
            .any(|word| out.ends_with(word));
        let digits = rest.len() - rest.trim_start_matches(|one: char| one.is_ascii_digit()).len();
        let (length, word) = match found {
            Some(found) => found,
            None if after_revision && digits > 0 => (digits, "<revision>"),
            None => (0, ""),
        };
        if length > 0 {
            out.push_str(word);
            rest = &rest[length..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// How long the uid is that a text begins with; 0 when there is none.
fn uid_length(text: &str) -> usize {
    fits(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
}

/// The same of a time.
fn time_length(text: &str) -> usize {
    let second = fits(text, "dddd-dd-ddTdd:dd:dd");
    if second == 0 {
        return 0;
    }
    let rest = &text[second..];
    let fraction = match rest.strip_prefix('.') {
        Some(digits) => 1 + digits.len() - digits.trim_start_matches(|one: char| one.is_ascii_digit()).len(),
        None => 0,
    };
    if rest[fraction..].starts_with('Z') {
        second + fraction + 1
    } else {
        0
    }
}

/// The pattern's length when a text begins with it: `x` is a hexadecimal digit, `d` a digit.
fn fits(text: &str, pattern: &str) -> usize {
    let fits = |(byte, pattern): (u8, u8)| match pattern {
        b'x' => byte.is_ascii_hexdigit(),
        b'd' => byte.is_ascii_digit(),
        other => byte == other,
    };
    let length = pattern.len();
    if text.len() >= length && text.bytes().zip(pattern.bytes()).all(fits) {
        length
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_makes_up_is_masked() {
        let asked = "2026-01-02T03:04:05Z 192.0.2.7";
        let masked = |text: &str| masked(text, asked);
        assert_eq!(masked("2026-01-02T03:04:05Z"), "2026-01-02T03:04:05Z");
        assert_eq!(masked("at 2027-01-02T03:04:05.000001Z."), "at <time>.");
        assert_eq!(masked("UID: 6a0b2c1e-0000-4000-8000-000000000001"), "UID: <uid>");
        assert_eq!(masked("10.0.0.7"), "<address>");
        assert_eq!(masked("192.0.2.7"), "192.0.2.7");
        assert_eq!(masked("ü, current: 17 of 18"), "ü, current: <revision> of 18");
    }

    #[test]
    fn differences_are_named() {
        let one = serde_json::json!({"a": [1, {"b": 2}], "c": 3});
        let other = serde_json::json!({"a": [1, {"b": 4}], "d": 3});
        assert_eq!(
            differences(&one, &other),
            ["/a/1/b: 4 for 2", "/c: \"(absent)\" for 3", "/d: 3 for \"(absent)\""]
        );
        assert!(differences(&one, &one).is_empty());
    }
}
