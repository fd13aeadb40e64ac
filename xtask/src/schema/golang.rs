//! Reads what Go's sources say of a type beyond protobuf: struct tags, `+default` marks, the values of `+enum` types.

use std::collections::BTreeMap;

/// The types of a package's files.
#[derive(Default)]
pub(crate) struct Source {
    /// The structs by name.
    pub(crate) structs: BTreeMap<String, Vec<Field>>,
    /// The values of the types that are marked as enumerations.
    pub(crate) enums: BTreeMap<String, Vec<String>>,
    /// The types that are those of the group's `v1`, and their names there.
    pub(crate) aliases: BTreeMap<String, String>,
    constants: Vec<(String, String)>,
}

/// A field of a struct.
#[derive(Clone, Debug, Default)]
pub(crate) struct Field {
    /// The Go type, such as `*int32` or `[]Container`.
    pub(crate) ty: String,
    /// Whether the field has no name of its own.
    pub(crate) embedded: bool,
    /// The JSON name; empty when the field is inlined.
    pub(crate) json: String,
    /// The words after the JSON name (`omitempty`, `omitzero`, `inline`).
    pub(crate) options: Vec<String>,
    /// The protobuf tag.
    pub(crate) tag: Option<u32>,
    /// The `patchStrategy` tag.
    pub(crate) patch_strategy: String,
    /// The `patchMergeKey` tag.
    pub(crate) patch_merge_key: String,
    /// The `+default` mark, JSON.
    pub(crate) default: Option<String>,
    /// Whether it has the `+optional` mark.
    pub(crate) optional: bool,
}

impl Source {
    /// Adds a file's types.
    pub(crate) fn read(&mut self, text: &str) {
        let (mut current, mut marks) = (None::<(String, Vec<Field>)>, Vec::<String>::new());
        for line in text.lines() {
            let trimmed = line.trim();
            if let Some(mark) = trimmed.strip_prefix("//") {
                marks.push(mark.trim().to_owned());
                continue;
            }
            if let Some((_, fields)) = &mut current {
                if line == "}" {
                    self.structs.extend(current.take());
                } else if let Some(field) = field(trimmed, &marks) {
                    fields.push(field);
                }
            } else if let Some(rest) = line.strip_prefix("type ") {
                if let Some((name, body)) = rest.split_once(" struct") {
                    if body.ends_with("{}") {
                        self.structs.insert(name.to_owned(), Vec::new());
                    } else {
                        current = Some((name.to_owned(), Vec::new()));
                    }
                } else if let Some((name, target)) = rest.split_once(" v1.") {
                    self.aliases.insert(name.to_owned(), target.to_owned());
                } else if let Some((name, "string")) = rest.split_once(' ')
                    && marks.iter().any(|mark| mark == "+enum")
                {
                    self.enums.insert(name.to_owned(), Vec::new());
                }
            } else if let Some((ty, value)) = constant(trimmed) {
                self.constants.push((ty, value));
            }
            if !trimmed.is_empty() || current.is_none() {
                marks.clear();
            }
        }
        for (ty, value) in &self.constants {
            if let Some(values) = self.enums.get_mut(ty)
                && !values.contains(value)
            {
                values.push(value.clone());
            }
        }
        self.enums.values_mut().for_each(|values| values.sort());
    }
}

/// `Name Type = "value"`, with or without `const`.
fn constant(line: &str) -> Option<(String, String)> {
    let (left, right) = line.strip_prefix("const ").unwrap_or(line).split_once(" = \"")?;
    let mut words = left.split_whitespace();
    let (_, ty) = (words.next()?, words.next()?);
    Some((ty.to_owned(), right.split('"').next()?.to_owned()))
}

fn field(line: &str, marks: &[String]) -> Option<Field> {
    let (left, tags) = line.split_once('`')?;
    let tags = tags.split('`').next()?;
    let mut words = left.split_whitespace();
    let (first, second) = (words.next()?, words.collect::<Vec<_>>().join(" "));
    let embedded = second.is_empty();
    let json = tag_value(tags, "json").unwrap_or_default();
    let mut options = json.split(',').map(str::to_owned);
    let json = options.next().unwrap_or_default();
    if json == "-" {
        return None;
    }
    let protobuf = tag_value(tags, "protobuf").unwrap_or_default();
    let default = marks.iter().find_map(|mark| mark.strip_prefix("+default="));
    Some(Field {
        ty: if embedded { first.to_owned() } else { second },
        embedded,
        json,
        options: options.collect(),
        tag: protobuf.split(',').nth(1).and_then(|tag| tag.parse().ok()),
        patch_strategy: tag_value(tags, "patchStrategy").unwrap_or_default(),
        patch_merge_key: tag_value(tags, "patchMergeKey").unwrap_or_default(),
        optional: marks.iter().any(|mark| mark == "+optional"),
        default: default.filter(|value| !value.starts_with("ref(")).map(str::to_owned),
    })
}

fn tag_value(tags: &str, key: &str) -> Option<String> {
    let start = tags.find(&format!("{key}:\""))? + key.len() + 2;
    Some(tags[start..].split('"').next()?.to_owned())
}
