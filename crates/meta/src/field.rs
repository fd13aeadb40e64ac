//! What is wrong with one field of an object, in the texts that Kubernetes' validation has, and the path to that field.

use std::fmt;

use serde_json::Value;

use crate::quote;

/// The path to a field. It borrows its parent and is only written out when there is an error to report.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    part: Part<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The path of a field of the object itself.
    #[must_use]
    pub fn new(name: &'a str) -> Self {
        Path {
            parent: None,
            part: Part::Name(name),
        }
    }

    /// A field below.
    #[must_use]
    pub fn child(&'a self, name: &'a str) -> Path<'a> {
        Path {
            parent: Some(self),
            part: Part::Name(name),
        }
    }

    /// An element of this list.
    #[must_use]
    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path {
            parent: Some(self),
            part: Part::Index(index),
        }
    }

    /// An entry of this map.
    #[must_use]
    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path {
            parent: Some(self),
            part: Part::Key(key),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.part {
            Part::Name(name) if self.parent.is_some() => write!(f, ".{name}"),
            Part::Name(name) => f.write_str(name),
            Part::Index(index) => write!(f, "[{index}]"),
            Part::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// The ways in which a field can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorType {
    /// What it names isn't there.
    NotFound,
    /// It must be there.
    Required,
    /// It must be unique.
    Duplicate,
    /// It is malformed.
    Invalid,
    /// It is none of the values allowed.
    NotSupported,
    /// It isn't allowed here and now.
    Forbidden,
    /// It is too long.
    TooLong,
    /// It is too short.
    TooShort,
    /// It has too many items.
    TooMany,
    /// It has too few items.
    TooFew,
    /// It couldn't be checked.
    Internal,
    /// It has the wrong type.
    TypeInvalid,
}

impl FieldErrorType {
    /// What stands in a cause's `reason`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            FieldErrorType::NotFound => "FieldValueNotFound",
            FieldErrorType::Required => "FieldValueRequired",
            FieldErrorType::Duplicate => "FieldValueDuplicate",
            FieldErrorType::Invalid => "FieldValueInvalid",
            FieldErrorType::NotSupported => "FieldValueNotSupported",
            FieldErrorType::Forbidden => "FieldValueForbidden",
            FieldErrorType::TooLong => "FieldValueTooLong",
            FieldErrorType::TooShort => "FieldValueTooShort",
            FieldErrorType::TooMany => "FieldValueTooMany",
            FieldErrorType::TooFew => "FieldValueTooFew",
            FieldErrorType::Internal => "InternalError",
            FieldErrorType::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn text(self) -> &'static str {
        match self {
            FieldErrorType::NotFound => "Not found",
            FieldErrorType::Required => "Required value",
            FieldErrorType::Duplicate => "Duplicate value",
            FieldErrorType::Invalid | FieldErrorType::TypeInvalid => "Invalid value",
            FieldErrorType::NotSupported => "Unsupported value",
            FieldErrorType::Forbidden => "Forbidden",
            FieldErrorType::TooLong => "Too long",
            FieldErrorType::TooShort => "Too short",
            FieldErrorType::TooMany => "Too many",
            FieldErrorType::TooFew => "Too few",
            FieldErrorType::Internal => "Internal error",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(
            self,
            FieldErrorType::Required
                | FieldErrorType::Forbidden
                | FieldErrorType::TooLong
                | FieldErrorType::TooShort
                | FieldErrorType::Internal
        )
    }
}

/// One field that is wrong. The constructors take the path as anything that can be written: a [`Path`] or text.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// The path to the field.
    pub path: String,
    /// In which way it is wrong.
    pub error: FieldErrorType,
    /// The value; none when it isn't to be shown.
    pub bad_value: Option<Value>,
    /// What would be right.
    pub detail: String,
}

impl FieldError {
    fn make(path: impl fmt::Display, error: FieldErrorType, bad_value: Option<Value>, detail: String) -> Self {
        FieldError {
            path: path.to_string(),
            error,
            bad_value,
            detail,
        }
    }

    /// What the value names isn't there.
    #[must_use]
    pub fn not_found(path: impl fmt::Display, value: impl Into<Value>) -> Self {
        Self::make(path, FieldErrorType::NotFound, Some(value.into()), String::new())
    }

    /// The field must be there.
    #[must_use]
    pub fn required(path: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self::make(path, FieldErrorType::Required, None, detail.into())
    }

    /// The value must be unique.
    #[must_use]
    pub fn duplicate(path: impl fmt::Display, value: impl Into<Value>) -> Self {
        Self::make(path, FieldErrorType::Duplicate, Some(value.into()), String::new())
    }

    /// The value is malformed.
    #[must_use]
    pub fn invalid(path: impl fmt::Display, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::make(path, FieldErrorType::Invalid, Some(value.into()), detail.into())
    }

    /// The value has the wrong type.
    #[must_use]
    pub fn type_invalid(path: impl fmt::Display, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::make(path, FieldErrorType::TypeInvalid, Some(value.into()), detail.into())
    }

    /// The value is none of those allowed. (Kubernetes lists them sorted for most fields: pass them so.)
    #[must_use]
    pub fn not_supported<S: AsRef<str>>(path: impl fmt::Display, value: impl Into<Value>, allowed: &[S]) -> Self {
        let detail = if allowed.is_empty() {
            String::new()
        } else {
            let quoted: Vec<String> = allowed.iter().map(|value| quote(value.as_ref())).collect();
            format!("supported values: {}", quoted.join(", "))
        };
        Self::make(path, FieldErrorType::NotSupported, Some(value.into()), detail)
    }

    /// The field isn't allowed here and now.
    #[must_use]
    pub fn forbidden(path: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self::make(path, FieldErrorType::Forbidden, None, detail.into())
    }

    /// The value has more than so many bytes.
    #[must_use]
    pub fn too_long(path: impl fmt::Display, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::make(
            path,
            FieldErrorType::TooLong,
            None,
            format!("may not be more than {max} {unit}"),
        )
    }

    /// The value has more than so many characters.
    #[must_use]
    pub fn too_long_characters(path: impl fmt::Display, max: usize) -> Self {
        let unit = if max == 1 { "character" } else { "characters" };
        Self::make(
            path,
            FieldErrorType::TooLong,
            None,
            format!("may not be more than {max} {unit}"),
        )
    }

    /// The value has fewer than so many characters.
    #[must_use]
    pub fn too_short(path: impl fmt::Display, min: usize) -> Self {
        let unit = if min == 1 { "character" } else { "characters" };
        Self::make(
            path,
            FieldErrorType::TooShort,
            None,
            format!("must be at least {min} {unit}"),
        )
    }

    /// The list has too many items.
    #[must_use]
    pub fn too_many(path: impl fmt::Display, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {unit}");
        Self::make(path, FieldErrorType::TooMany, Some(Value::from(actual)), detail)
    }

    /// The list has too few items.
    #[must_use]
    pub fn too_few(path: impl fmt::Display, actual: usize, min: usize) -> Self {
        let unit = if min == 1 { "item" } else { "items" };
        let detail = format!("must have at least {min} {unit}");
        Self::make(path, FieldErrorType::TooFew, Some(Value::from(actual)), detail)
    }

    /// The field couldn't be checked.
    #[must_use]
    pub fn internal(path: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self::make(path, FieldErrorType::Internal, None, detail.into())
    }

    /// The message without the path.
    #[must_use]
    pub fn body(&self) -> String {
        let mut text = self.error.text().to_owned();
        if let Some(value) = &self.bad_value
            && self.error.shows_value()
        {
            text.push_str(": ");
            match value {
                Value::String(value) => text.push_str(&quote(value)),
                other => text.push_str(&go_json(other)),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// JSON as Go's encoder writes it: safe inside HTML.
fn go_json(value: &Value) -> String {
    let text = value.to_string();
    if text.contains(['<', '>', '&']) {
        text.replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_read_as_in_kubernetes() {
        let spec = Path::new("spec");
        let containers = spec.child("containers");
        let first = containers.index(0);
        assert_eq!(first.child("name").to_string(), "spec.containers[0].name");
        let metadata = Path::new("metadata");
        assert_eq!(metadata.child("labels").key("a/b").to_string(), "metadata.labels[a/b]");
    }

    #[test]
    fn errors_read_as_in_kubernetes() {
        let check = |error: FieldError, text: &str| assert_eq!(error.to_string(), text);
        check(
            FieldError::required("spec.containers", ""),
            "spec.containers: Required value",
        );
        check(
            FieldError::required("a", "must be set"),
            "a: Required value: must be set",
        );
        check(
            FieldError::invalid("a", -1, "must be at least 0"),
            "a: Invalid value: -1: must be at least 0",
        );
        check(FieldError::invalid("a", "x\"", "no"), r#"a: Invalid value: "x\"": no"#);
        check(
            FieldError::invalid("a", json!({"b": "<1>"}), "no"),
            r#"a: Invalid value: {"b":"\u003c1\u003e"}: no"#,
        );
        check(
            FieldError::invalid("a", Value::Null, "no"),
            "a: Invalid value: null: no",
        );
        check(
            FieldError::not_supported("a", "x", &["Always", "Never"]),
            r#"a: Unsupported value: "x": supported values: "Always", "Never""#,
        );
        check(FieldError::forbidden("a", "no"), "a: Forbidden: no");
        check(FieldError::too_long("a", 1), "a: Too long: may not be more than 1 byte");
        check(
            FieldError::too_many("a", 3, 2),
            "a: Too many: 3: must have at most 2 items",
        );
        check(FieldError::duplicate("a", "b"), r#"a: Duplicate value: "b""#);
        check(FieldError::internal("a", "oops"), "a: Internal error: oops");
    }
}
