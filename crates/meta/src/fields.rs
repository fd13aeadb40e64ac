//! Field selectors: `spec.nodeName=a,status.phase!=Running`. Which fields a kind has to select by is that kind's rule.

use std::fmt;

use crate::Lookup;

/// Which objects are meant, by some of their fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    terms: Vec<Term>,
}

/// One condition of a [`Selector`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The field's path, such as `metadata.name`.
    pub field: String,
    /// What it must be, or must not be.
    pub value: String,
    /// Whether it must not be the value.
    pub negated: bool,
}

/// Why a text is no field selector, in Kubernetes' words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// A part has no operator.
    #[error("invalid selector: '{selector}'; can't understand '{part}'")]
    Part {
        /// The whole.
        selector: String,
        /// The part.
        part: String,
    },
    /// A backslash stands before something that needs none.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A character must be escaped. (Kubernetes shows its number.)
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(u32),
}

impl Selector {
    /// It matches every object.
    #[must_use]
    pub fn everything() -> Self {
        Selector::default()
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// When the text isn't a field selector.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let (field, negated, value) = split_term(part).ok_or_else(|| SelectorError::Part {
                selector: text.to_owned(),
                part: part.to_owned(),
            })?;
            terms.push(Term {
                field: field.to_owned(),
                value: unescape(value)?,
                negated,
            });
        }
        Ok(Selector { terms })
    }

    /// Its conditions, all of which must hold.
    #[must_use]
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The same conditions on fields that go by other names.
    ///
    /// # Errors
    /// The first field for which there is none.
    pub fn renamed(self, name: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let renamed = self.terms.into_iter().map(|term| match name(&term.field) {
            Some(field) => Ok(Term { field, ..term }),
            None => Err(term.field),
        });
        Ok(Selector {
            terms: renamed.collect::<Result<_, _>>()?,
        })
    }

    /// Whether it matches every object.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that the field must have, when there is such a condition.
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| !term.negated && term.field == field)
            .map(|term| term.value.as_str())
    }

    /// Whether an object with these fields is meant; a field that isn't there is empty.
    pub fn matches(&self, fields: &(impl Lookup + ?Sized)) -> bool {
        self.terms.iter().all(|term| {
            let same = fields.lookup(&term.field).unwrap_or_default() == term.value;
            same != term.negated
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if term.negated { "!=" } else { "=" };
            write!(f, "{comma}{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

/// The parts between commas that aren't escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    for (index, _) in term.char_indices() {
        let rest = &term[index..];
        for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((&term[..index], negated, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(SelectorError::Escape(format!("\\{c}"))),
                None => return Err(SelectorError::Escape("\\".to_owned())),
            },
            ',' | '=' => return Err(SelectorError::Unescaped(u32::from(c))),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_matches() {
        let object = [("metadata.name", "web"), ("status.phase", "Running")];
        for (text, written, expected) in [
            ("", "", true),
            ("metadata.name=web", "metadata.name=web", true),
            (
                "status.phase!=Running,metadata.name==web",
                "metadata.name=web,status.phase!=Running",
                false,
            ),
            ("spec.nodeName=", "spec.nodeName=", true),
            ("spec.nodeName!=", "spec.nodeName!=", false),
            (r"a=b\,c\=d\\", r"a=b\,c\=d\\", false),
        ] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.to_string(), written);
            assert_eq!(selector.matches(object.as_slice()), expected, "{text}");
        }
        assert_eq!(Selector::parse("a=b").unwrap().exact("a"), Some("b"));
    }

    #[test]
    fn says_what_kubernetes_says() {
        for (text, message) in [
            ("abc", "invalid selector: 'abc'; can't understand 'abc'"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            (r"a=\b", r"invalid field selector: invalid escape sequence: \b"),
            (r"a=\", r"invalid field selector: invalid escape sequence: \"),
        ] {
            assert_eq!(Selector::parse(text).unwrap_err().to_string(), message);
        }
    }
}
