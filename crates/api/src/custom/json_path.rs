//! The simple paths by which columns, scales and selectable fields are found: `.spec.replicas`,
//! `.status.conditions[?(@.type=="Ready")].status`, `.spec.ports[0].name`, `.metadata.labels.a\.b`, `..`-free.

use serde_json::Value;

/// A path that was read once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// An element; negative counts from the end.
    Index(i64),
    /// All elements or entries.
    All,
    /// A range of elements.
    Slice(Option<i64>, Option<i64>),
    /// The elements that have a value at a path, compared to another value.
    Filter(Vec<Step>, Option<(String, Value)>),
    /// Everything below, at any depth.
    Below,
}

impl JsonPath {
    /// Reads a path; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<JsonPath, String> {
        let inner = text.trim();
        let inner = inner
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or(inner);
        let mut parser = Parser { rest: inner };
        parser.steps(false).map(JsonPath)
    }

    /// Everything at the path.
    pub(crate) fn find<'a>(&self, object: &'a Value) -> Vec<&'a Value> {
        find(&self.0, vec![object])
    }

    /// The names of the path when it has nothing but names.
    pub(crate) fn names(&self) -> Option<Vec<&str>> {
        let name = |step: &'_ Step| match step {
            Step::Field(name) => Some(name.clone()),
            _ => None,
        };
        if self.0.iter().any(|step| name(step).is_none()) {
            return None;
        }
        let names = self.0.iter().filter_map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            _ => None,
        });
        Some(names.collect())
    }
}

fn find<'a>(steps: &[Step], mut found: Vec<&'a Value>) -> Vec<&'a Value> {
    for step in steps {
        found = found.into_iter().flat_map(|value| next(step, value)).collect();
    }
    found
}

fn next<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(index) => at(value, *index).into_iter().collect(),
        Step::All => children(value),
        Step::Slice(from, to) => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let place = |index: i64| if index < 0 { index + count } else { index }.clamp(0, count) as usize;
            let (from, to) = (from.map_or(0, place), to.map_or(items.len(), place));
            items.get(from..to.max(from)).into_iter().flatten().collect()
        }
        Step::Filter(path, test) => {
            let keep = |item: &&'a Value| {
                let found = find(path, vec![*item]);
                match test {
                    None => !found.is_empty(),
                    Some((operator, wanted)) => found.first().is_some_and(|found| compare(found, operator, wanted)),
                }
            };
            children(value).into_iter().filter(keep).collect()
        }
        Step::Below => {
            let mut all = vec![value];
            let mut at = 0;
            while at < all.len() {
                all.extend(children(all[at]));
                at += 1;
            }
            all
        }
    }
}

fn at(value: &Value, index: i64) -> Option<&Value> {
    let items = value.as_array()?;
    let index = match index {
        negative if negative < 0 => i64::try_from(items.len()).ok()? + negative,
        index => index,
    };
    items.get(usize::try_from(index).ok()?)
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn compare(found: &Value, operator: &str, wanted: &Value) -> bool {
    let order = match (found, wanted) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) => (a == b).then_some(std::cmp::Ordering::Equal),
    };
    match (operator, order) {
        ("==", order) => order.is_some_and(|order| order.is_eq()),
        ("!=", order) => order.is_none_or(|order| order.is_ne()),
        ("<", Some(order)) => order.is_lt(),
        ("<=", Some(order)) => order.is_le(),
        (">", Some(order)) => order.is_gt(),
        (">=", Some(order)) => order.is_ge(),
        _ => false,
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    /// Steps up to the end; inside of a filter, up to its operator or end.
    fn steps(&mut self, in_filter: bool) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        loop {
            let trimmed = self.rest.trim_start();
            let ends = trimmed.is_empty() || (in_filter && trimmed.starts_with(['=', '!', '<', '>', ')']));
            if ends {
                self.rest = trimmed;
                return Ok(steps);
            }
            if let Some(rest) = self.rest.strip_prefix("..") {
                self.rest = rest;
                steps.push(Step::Below);
                if !self.rest.starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if let Some(rest) = self.rest.strip_prefix('.') {
                self.rest = rest;
                if !self.rest.is_empty() && !self.rest.starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if let Some(rest) = self.rest.strip_prefix('[') {
                self.rest = rest;
                steps.push(self.bracket()?);
            } else if let Some(rest) = self.rest.strip_prefix(['@', '$']) {
                self.rest = rest;
            } else {
                steps.push(self.name()?);
            }
        }
    }

    fn name(&mut self) -> Result<Step, String> {
        let (mut name, mut escaped, mut end) = (String::new(), false, self.rest.len());
        for (at, letter) in self.rest.char_indices() {
            if escaped {
                name.push(letter);
                escaped = false;
            } else if letter == '\\' {
                escaped = true;
            } else if matches!(
                letter,
                '.' | '[' | ']' | '=' | '!' | '<' | '>' | '(' | ')' | ' ' | '{' | '}'
            ) {
                end = at;
                break;
            } else {
                name.push(letter);
            }
        }
        if name.is_empty() {
            return Err(format!("unrecognized character in action: {:?}", self.rest));
        }
        self.rest = &self.rest[end..];
        Ok(if name == "*" { Step::All } else { Step::Field(name) })
    }

    fn bracket(&mut self) -> Result<Step, String> {
        if let Some(rest) = self.rest.strip_prefix("?(") {
            self.rest = rest;
            let path = self.steps(true)?;
            let test = match self.operator() {
                Some(operator) => Some((operator, self.literal()?)),
                None => None,
            };
            let rest = self.rest.trim_start().strip_prefix(')').map(str::trim_start);
            self.rest = rest
                .and_then(|rest| rest.strip_prefix(']'))
                .ok_or("unterminated filter")?;
            return Ok(Step::Filter(path, test));
        }
        let (inner, rest) = self.rest.split_once(']').ok_or("unterminated array")?;
        self.rest = rest;
        let inner = inner.trim();
        let number = |text: &str| -> Result<Option<i64>, String> {
            if text.is_empty() {
                return Ok(None);
            }
            text.parse()
                .map(Some)
                .map_err(|_| format!("invalid array index {text}"))
        };
        if inner == "*" {
            return Ok(Step::All);
        }
        if let Some(name) = inner.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            return Ok(Step::Field(name.to_owned()));
        }
        match inner.split_once(':') {
            Some((from, to)) => Ok(Step::Slice(number(from)?, number(to.split(':').next().unwrap_or(""))?)),
            None => number(inner)?
                .map(Step::Index)
                .ok_or_else(|| "invalid array index".to_owned()),
        }
    }

    fn operator(&mut self) -> Option<String> {
        let found = ["==", "!=", "<=", ">=", "<", ">"]
            .into_iter()
            .find(|operator| self.rest.starts_with(operator))?;
        self.rest = self.rest[found.len()..].trim_start();
        Some(found.to_owned())
    }

    fn literal(&mut self) -> Result<Value, String> {
        if let Some(quote) = self.rest.chars().next().filter(|letter| matches!(letter, '\'' | '"')) {
            let inner = &self.rest[1..];
            let end = inner.find(quote).ok_or("unterminated quoted string")?;
            let text = inner[..end].to_owned();
            self.rest = &inner[end + 1..];
            return Ok(text.into());
        }
        let end = self.rest.find([')', ' ']).unwrap_or(self.rest.len());
        let text = &self.rest[..end];
        self.rest = &self.rest[end..];
        serde_json::from_str(text).map_err(|_| format!("cannot compare with {text}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_what_kubectl_finds() {
        let object = json!({"spec": {"replicas": 3, "ports": [{"name": "a"}, {"name": "b"}]},
            "metadata": {"labels": {"x.y/z": "w"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]}});
        for (path, expected) in [
            (".spec.replicas", json!([3])),
            ("{.spec.replicas}", json!([3])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (".status.conditions[?(@.type == 'Ready')].status", json!(["True"])),
            (".spec.ports[0].name", json!(["a"])),
            (".spec.ports[-1].name", json!(["b"])),
            (".spec.ports[*].name", json!(["a", "b"])),
            (r".metadata.labels.x\.y/z", json!(["w"])),
            (".metadata.labels['x.y/z']", json!(["w"])),
            (".spec.nothing.there", json!([])),
            ("..name", json!(["a", "b"])),
        ] {
            let found = JsonPath::parse(path).unwrap();
            assert_eq!(json!(found.find(&object)), expected, "{path}");
        }
        assert!(JsonPath::parse(".spec[").is_err());
        assert_eq!(JsonPath::parse(".spec.a").unwrap().names(), Some(vec!["spec", "a"]));
    }
}
