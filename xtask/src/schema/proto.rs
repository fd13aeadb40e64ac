//! Reads the subset of protobuf's language that Kubernetes' `generated.proto` files use.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};

/// A message: its fields by tag.
pub(crate) type Message = BTreeMap<u32, Field>;

/// A field of a message.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// The name.
    pub(crate) name: String,
    /// The type as it stands there; of a map, the type of its values.
    pub(crate) ty: String,
    /// Whether it is repeated or a map.
    pub(crate) shape: Shape,
}

/// How often a field may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Once.
    One,
    /// Any number.
    Repeated,
    /// A map from strings.
    Map,
}

/// The package's name and its messages.
pub(crate) fn parse(text: &str) -> anyhow::Result<(String, BTreeMap<String, Message>)> {
    let (mut package, mut messages, mut current) = (None, BTreeMap::new(), None::<(String, Message)>);
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("package ") {
            package = Some(rest.trim_end_matches(';').to_owned());
        } else if let Some(rest) = line.strip_prefix("message ") {
            current = Some((rest.trim_end_matches('{').trim().to_owned(), Message::new()));
        } else if line == "}" {
            messages.extend(current.take());
        } else if let Some((_, message)) = &mut current
            && line.ends_with(';')
            && !line.starts_with("//")
        {
            let (tag, field) = field(line).with_context(|| line.to_owned())?;
            message.insert(tag, field);
        }
    }
    Ok((package.context("no package")?, messages))
}

fn field(line: &str) -> anyhow::Result<(u32, Field)> {
    let line = line.trim_end_matches(';');
    let (left, tag) = line.split_once('=').context("no tag")?;
    let tag = tag.split('[').next().unwrap_or_default().trim().parse()?;
    let (left, shape) = if let Some(rest) = left.strip_prefix("map<string,") {
        (rest.replacen('>', "", 1), Shape::Map)
    } else if let Some(rest) = left.strip_prefix("repeated ") {
        (rest.to_owned(), Shape::Repeated)
    } else {
        (
            left.trim_start_matches("optional ")
                .trim_start_matches("required ")
                .to_owned(),
            Shape::One,
        )
    };
    let mut words = left.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(ty), Some(name), None) => Ok((
            tag,
            Field {
                name: name.to_owned(),
                ty: ty.trim_start_matches('.').to_owned(),
                shape,
            },
        )),
        _ => bail!("not a field"),
    }
}
