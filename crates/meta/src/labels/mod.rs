//! Label selectors: what they are, how they match, and how they are read from `a=b,c in (d)` and from a LabelSelector.

mod parse;

use std::fmt;

use serde_json::Value;

use crate::{FieldError, Lookup, Path, names, quote};

/// Which objects are meant, by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// One condition of a [`Selector`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What must hold.
    pub operator: Operator,
    /// The values that the operator looks at, sorted.
    pub values: Vec<String>,
}

/// What must hold between a label and the values of a [`Requirement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`: it is the value.
    Equals,
    /// `==`: the same.
    DoubleEquals,
    /// `!=`: it isn't the value, or isn't there.
    NotEquals,
    /// `in`: it is one of the values.
    In,
    /// `notin`: it is none of the values, or isn't there.
    NotIn,
    /// It is there.
    Exists,
    /// `!`: it isn't there.
    DoesNotExist,
    /// `>`: it is a greater integer.
    GreaterThan,
    /// `<`: it is a lesser integer.
    LessThan,
}

/// Why a text or object is no selector, in Kubernetes' words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

impl Selector {
    /// It matches every object.
    #[must_use]
    pub fn everything() -> Self {
        Selector::default()
    }

    /// It matches no object.
    #[must_use]
    pub fn nothing() -> Self {
        Selector {
            requirements: Vec::new(),
            nothing: true,
        }
    }

    /// Reads `a=b,c in (d,e),!f`.
    ///
    /// # Errors
    /// When the text isn't a selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = parse::parse(text)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Selector {
            requirements,
            nothing: false,
        })
    }

    /// Each of these labels with its value; an empty map matches everything.
    #[must_use]
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut requirements: Vec<_> = labels
            .into_iter()
            .map(|(key, value)| Requirement {
                key: key.to_owned(),
                operator: Operator::Equals,
                values: vec![value.to_owned()],
            })
            .collect();
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Selector {
            requirements,
            nothing: false,
        }
    }

    /// A map of labels as it stands in an object (a Service's selector); absent or empty matches everything here, and
    /// its reader decides what that means.
    #[must_use]
    pub fn from_label_map(map: Option<&Value>) -> Self {
        let map = map.and_then(Value::as_object);
        Self::from_labels(
            map.into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))),
        )
    }

    /// Reads a LabelSelector (`matchLabels`, `matchExpressions`): absent or null matches nothing, empty everything.
    ///
    /// # Errors
    /// When a key, value or operator isn't allowed.
    pub fn from_label_selector(selector: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(selector) = selector.filter(|selector| !selector.is_null()) else {
            return Ok(Self::nothing());
        };
        let mut requirements = Vec::new();
        for (key, value) in selector
            .get("matchLabels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::new(key, Operator::Equals, vec![value])?);
        }
        for expression in selector
            .get("matchExpressions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let key = expression.get("key").and_then(Value::as_str).unwrap_or_default();
            let operator = expression.get("operator").and_then(Value::as_str).unwrap_or_default();
            let operator = match operator {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!(
                        "{} is not a valid label selector operator",
                        quote(other)
                    )));
                }
            };
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(|value| value.as_str().map(str::to_owned)).collect();
            requirements.push(Requirement::new(key, operator, values)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Selector {
            requirements,
            nothing: false,
        })
    }

    /// Whether it matches every object.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether it can match no object.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// Its conditions, all of which must hold.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether an object with these labels is meant.
    pub fn matches(&self, labels: &(impl Lookup + ?Sized)) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    /// A condition, checked as Kubernetes checks it.
    ///
    /// # Errors
    /// When the key or a value isn't allowed, or the operator wants another number of values.
    pub fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, SelectorError> {
        let mut errors = Vec::new();
        errors.extend(key_error(key, Path::new("key")));
        errors.extend(count_error(operator, &values));
        let path = Path::new("values");
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
            for (index, value) in values
                .iter()
                .enumerate()
                .filter(|(_, value)| parse_int(value).is_none())
            {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(FieldError::invalid(path.index(index), value.as_str(), detail));
            }
        }
        for (index, value) in values.iter().enumerate() {
            let problems = names::label_value(value);
            if !problems.is_empty() {
                let path = path.index(index);
                errors.push(FieldError::invalid(path.key(key), value.as_str(), problems.join("; ")));
            }
        }
        match errors.len() {
            0 => {}
            1 => return Err(SelectorError(errors[0].to_string())),
            _ => {
                let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
                return Err(SelectorError(format!("[{}]", texts.join(", "))));
            }
        }
        values.sort();
        values.dedup();
        Ok(Requirement {
            key: key.to_owned(),
            operator,
            values,
        })
    }

    /// Whether it holds for an object with these labels.
    pub fn matches(&self, labels: &(impl Lookup + ?Sized)) -> bool {
        let label = labels.lookup(&self.key);
        let is_listed = |label: &str| self.values.iter().any(|value| value == label);
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => label.is_some_and(is_listed),
            Operator::NotEquals | Operator::NotIn => !label.is_some_and(is_listed),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan => self.compare(label).is_some_and(|(label, value)| label > value),
            Operator::LessThan => self.compare(label).is_some_and(|(label, value)| label < value),
        }
    }

    fn compare(&self, label: Option<&str>) -> Option<(i64, i64)> {
        Some((parse_int(label?)?, parse_int(self.values.first()?)?))
    }
}

fn parse_int(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn key_error(key: &str, path: impl fmt::Display) -> Option<FieldError> {
    let problems = names::qualified_name(key);
    (!problems.is_empty()).then(|| FieldError::invalid(path, key, problems.join("; ")))
}

fn count_error(operator: Operator, values: &[String]) -> Option<FieldError> {
    let detail = match operator {
        Operator::In | Operator::NotIn if values.is_empty() => "for 'in', 'notin' operators, values set can't be empty",
        Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
            "exact-match compatibility requires one single value"
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            "values set must be empty for exists and does not exist"
        }
        Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
            "for 'Gt', 'Lt' operators, exactly one value is required"
        }
        _ => return None,
    };
    Some(FieldError::invalid("values", values.to_vec(), detail))
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
