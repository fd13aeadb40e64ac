//! COPY: files of the context become a layer.

use std::fs;
use std::path::{Path, PathBuf};

use parse_dockerfile::{CopyInstruction, Source};

use crate::error::{At as _, Result};
use crate::layer::Owner;

use super::{Build, fault, unknown_option, words};

impl Build<'_> {
    /// COPY, with the rules of the Dockerfile reference: a directory gives its content, several sources need a
    /// destination that ends with a slash.
    pub(super) fn copy(&mut self, copy: &CopyInstruction<'_>) -> Result<()> {
        if let Some(option) = copy.options.first() {
            return Err(unknown_option("COPY", &option.name.value));
        }
        let mut sources = Vec::new();
        for source in &copy.src {
            match source {
                Source::Path(path) => {
                    let pattern = self.variables().expand(&path.value).map_err(fault)?;
                    sources.extend(matches(self.context, &pattern)?);
                }
                _ => return Err(fault("a here-document in COPY is not supported")),
            }
        }
        let dest = self.variables().expand(&copy.dest.value).map_err(fault)?;
        let into_directory = dest.ends_with('/') || dest == "." || dest.ends_with("/.");
        let target = words::join(&self.config.config.working_dir, &dest);
        if sources.len() > 1 && !into_directory {
            return Err(fault(format!(
                "with several sources the destination {dest:?} must end with a /"
            )));
        }
        let into_directory = into_directory || self.base.is_directory(&target)?;
        let mut layer = self.store.new_layer()?;
        for source in &sources {
            let path = if source.is_dir() || !into_directory {
                target.clone()
            } else {
                let name = source.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                words::join(&target, name)
            };
            let real = self.base.real_path(&path)?;
            if source.is_dir() && !self.base.is_directory(&path)? && !real.is_empty() {
                layer.directory(&real, 0o755)?;
            }
            copy_one(&mut layer, source, &real)?;
        }
        self.push_layer(layer.finish()?)
    }
}

fn copy_one(layer: &mut crate::Layer, source: &Path, path: &str) -> Result<()> {
    let keep_all = |_: &Path| false;
    if !source.is_dir() {
        // A link in the context that is named itself is followed, as Docker does.
        let source = fs::canonicalize(source).at("reading", source)?;
        return layer.copy(&source, path, Owner::default(), &keep_all);
    }
    let mut names: Vec<_> = fs::read_dir(source)
        .at("reading", source)?
        .collect::<Result<_, _>>()
        .at("reading", source)?;
    names.sort_by_key(fs::DirEntry::file_name);
    for entry in names {
        let name = entry.file_name();
        let inside = format!("{path}/{}", name.to_string_lossy());
        layer.copy(
            &entry.path(),
            inside.trim_start_matches('/'),
            Owner::default(),
            &keep_all,
        )?;
    }
    Ok(())
}

/// The context's files that a source names; none is an error, as is one outside of the context.
fn matches(context: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let root = fs::canonicalize(context).at("reading", context)?;
    let relative = words::join("/", pattern);
    let mut found = vec![root.clone()];
    for part in relative.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for dir in found {
            if !part.contains(['*', '?', '[']) {
                next.extend(Some(dir.join(part)).filter(|path| path.symlink_metadata().is_ok()));
                continue;
            }
            if !dir.is_dir() {
                continue;
            }
            for entry in fs::read_dir(&dir).at("reading", &dir)? {
                let name = entry.at("reading", &dir)?.file_name();
                if name.to_str().is_some_and(|name| glob(part.as_bytes(), name.as_bytes())) {
                    next.push(dir.join(name));
                }
            }
        }
        found = next;
    }
    for path in &found {
        let real = fs::canonicalize(path).at("reading", path)?;
        if !real.starts_with(&root) {
            return Err(fault(format!("{} leads out of the build's directory", path.display())));
        }
    }
    if found.is_empty() {
        return Err(fault(format!("{pattern:?} matches nothing in {}", context.display())));
    }
    found.sort();
    Ok(found)
}

/// Go's `path.Match`: `*`, `?`, `[a-z]`, `[^a]` and backslash.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', rest @ ..] => (0..=name.len()).any(|i| glob(rest, &name[i..])),
        [b'?', rest @ ..] => !name.is_empty() && glob(rest, &name[1..]),
        [b'[', rest @ ..] => {
            let Some(&first) = name.first() else { return false };
            let Some(end) = rest.iter().skip(1).position(|b| *b == b']').map(|i| i + 1) else {
                return false;
            };
            let (set, negated) = match &rest[..end] {
                [b'^', set @ ..] => (set, true),
                set => (set, false),
            };
            class(set, first) != negated && glob(&rest[end + 1..], &name[1..])
        }
        [b'\\', c, rest @ ..] | [c, rest @ ..] => name.first() == Some(c) && glob(rest, &name[1..]),
    }
}

fn class(set: &[u8], byte: u8) -> bool {
    match set {
        [] => false,
        [low, b'-', high, rest @ ..] => (*low..=*high).contains(&byte) || class(rest, byte),
        [one, rest @ ..] => *one == byte || class(rest, byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, name, expected) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "a.txt2", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("*", "", true),
            ("[", "[", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
