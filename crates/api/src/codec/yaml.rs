//! YAML into a tree, read as YAML 1.1: `yes` is true and `0644` octal, as kubectl and Kubernetes read it. Of a key that
//! stands twice the last value counts; strict readers are told.

use std::collections::HashSet;

use granit_parser::{Event, Parser};
use serde_json::Value;
use serde_saphyr::DuplicateKeyPolicy;

use super::read::Failure;

/// Reads one document.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|_| Failure::Syntax("yaml: invalid UTF-8".to_owned()))?;
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        strict_booleans: false,
        duplicate_keys: DuplicateKeyPolicy::LastWins,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| Failure::Syntax(format!("yaml: {error}")))
}

/// What Kubernetes' YAML library says of the keys that stand twice in a mapping; none when there are none, or when the
/// text is no YAML.
#[must_use]
pub fn duplicates(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut walk = Walk::default();
    for next in Parser::new_from_str(text) {
        let (event, span) = next.ok()?;
        walk.step(&event, span.start.line());
    }
    if walk.found.is_empty() {
        return None;
    }
    Some(format!("yaml: unmarshal errors:\n  {}", walk.found.join("\n  ")))
}

/// A collection whose end hasn't come.
struct Open {
    /// The keys so far; none for a sequence.
    keys: Option<HashSet<String>>,
    /// The key whose value comes next, and whether it was there before.
    pending: Option<(String, bool)>,
    /// Where it began.
    line: usize,
}

#[derive(Default)]
struct Walk {
    open: Vec<Open>,
    found: Vec<String>,
}

impl Walk {
    fn step(&mut self, event: &Event<'_>, line: usize) {
        match event {
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                let is_mapping = matches!(event, Event::MappingStart(..));
                self.open.push(Open {
                    keys: is_mapping.then(HashSet::new),
                    pending: None,
                    line,
                });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                if let Some(done) = self.open.pop() {
                    self.node(String::new(), done.line);
                }
            }
            Event::Scalar(text, ..) => self.node(text.to_string(), line),
            Event::Alias(_) => self.node(String::new(), line),
            _ => {}
        }
    }

    /// A whole node: a key, or the value of one. Reported is the line of the value, after what is inside of it.
    fn node(&mut self, text: String, line: usize) {
        let Some(Open {
            keys: Some(keys),
            pending,
            ..
        }) = self.open.last_mut()
        else {
            return;
        };
        match pending.take() {
            Some((key, true)) => self
                .found
                .push(format!("line {line}: key {} already set in map", meta::quote(&key))),
            Some(_) => {}
            None => *pending = Some((text.clone(), !keys.insert(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_value_counts_and_the_line_is_told() {
        let text = "\na: 1\nb:\n  c: x\n  d: [{e: 1, e: 2}]\n  c: y\nb:\n  f: 1\n";
        assert_eq!(
            duplicates(text.as_bytes()).unwrap(),
            "yaml: unmarshal errors:\n  line 5: key \"e\" already set in map\n  line 6: key \"c\" already set in map\n  \
             line 8: key \"b\" already set in map"
        );
        let value = parse(text.as_bytes()).unwrap_or_default();
        assert_eq!(value, json!({"a": 1, "b": {"f": 1}}));
        assert_eq!(duplicates(b"a: {b: 1}\nc: {b: 1}\n"), None);
        assert_eq!(duplicates(br#"{"a": 1, "b": 2}"#), None);
    }
}
