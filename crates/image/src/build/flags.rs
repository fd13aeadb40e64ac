//! The `--name=value` of an instruction: each is taken by whoever knows it, and what nobody took is refused by name.

use super::parse::Line;

/// A line's flags that nobody has taken yet.
pub(super) struct Flags<'l> {
    keyword: &'l str,
    left: Vec<(&'l str, Option<&'l str>)>,
}

impl<'l> Flags<'l> {
    /// All of a line's.
    pub(super) fn of(line: &'l Line) -> Self {
        let pair = |flag: &'l String| {
            let flag = flag.trim_start_matches("--");
            match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            }
        };
        Self {
            keyword: &line.keyword,
            left: line.flags.iter().map(pair).collect(),
        }
    }

    /// Whether one is there; it stays.
    pub(super) fn has(&self, name: &str) -> bool {
        self.left.iter().any(|(flag, _)| *flag == name)
    }

    /// A flag with a value that may be there once.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        let mut all = self.texts(name)?;
        if all.len() > 1 {
            return Err(format!("{} --{name} is there twice", self.keyword));
        }
        Ok(all.pop())
    }

    /// A flag with a value that may be there several times.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, String> {
        let (taken, left): (Vec<_>, Vec<_>) = self.left.drain(..).partition(|(flag, _)| *flag == name);
        self.left = left;
        let value = |(_, value): (_, Option<&str>)| value.map(str::to_string);
        let values = taken.into_iter().map(value).collect::<Option<_>>();
        values.ok_or_else(|| format!("{} --{name} wants a value: --{name}=...", self.keyword))
    }

    /// A flag that is on by its name alone.
    pub(super) fn switch(&mut self, name: &str) -> Result<Option<bool>, String> {
        let Some(at) = self.left.iter().position(|(flag, _)| *flag == name) else {
            return Ok(None);
        };
        match self.left.remove(at).1 {
            None | Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(format!("{} --{name}={other}: it is true or false", self.keyword)),
        }
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), String> {
        match self.left.first() {
            Some((name, _)) => Err(format!("{} --{name} is not supported", self.keyword)),
            None => Ok(()),
        }
    }
}
