//! The Dockerfile's little language: words, quotes, `NAME=value` pairs and `$variables`.

/// The variables that an instruction sees.
pub(super) struct Variables<'a> {
    env: &'a [String],
}

impl<'a> Variables<'a> {
    pub(super) fn new(env: &'a [String]) -> Self {
        Self { env }
    }

    /// Puts variables in, and takes quotes and backslashes out.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        let words = self.words(text, false)?;
        Ok(words.into_iter().next().unwrap_or_default())
    }

    /// `A=b C="d e"`, or the old `A rest of the line`.
    pub(super) fn pairs(&self, text: &str) -> Result<Vec<(String, String)>, String> {
        let first = text.split_whitespace().next().unwrap_or_default();
        if !first.contains('=') {
            let (key, value) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
            if key.is_empty() || value.is_empty() {
                return Err(format!("{text:?} is not NAME=value"));
            }
            return Ok(vec![(key.to_string(), self.expand(value.trim())?)]);
        }
        self.words(text, true)?
            .into_iter()
            .map(|word| match word.split_once('=') {
                Some((key, value)) if !key.is_empty() => Ok((key.to_string(), value.to_string())),
                _ => Err(format!("{word:?} is not NAME=value")),
            })
            .collect()
    }

    fn words(&self, text: &str, split: bool) -> Result<Vec<String>, String> {
        let mut words = Vec::new();
        let mut word: Option<String> = None;
        let mut chars = text.chars().peekable();
        let mut quote = None;
        while let Some(c) = chars.next() {
            match c {
                '\'' | '"' if quote.is_none() => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                _ if quote == Some(c) => quote = None,
                '\\' if quote != Some('\'') => {
                    let next = chars.next().ok_or("a backslash at the end")?;
                    let word = word.get_or_insert_default();
                    if quote.is_some() && !matches!(next, '"' | '\\' | '$') {
                        word.push('\\');
                    }
                    word.push(next);
                }
                '$' if quote != Some('\'') => {
                    let value = self.variable(&mut chars)?;
                    word.get_or_insert_default().push_str(&value);
                }
                c if split && quote.is_none() && c.is_whitespace() => words.extend(word.take()),
                c => word.get_or_insert_default().push(c),
            }
        }
        if let Some(quote) = quote {
            return Err(format!("a {quote} is not closed"));
        }
        words.extend(word);
        Ok(words)
    }

    /// What follows a `$`: `NAME`, `{NAME}`, `{NAME:-word}` or `{NAME:+word}`.
    fn variable(&self, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, String> {
        let name_char = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        if chars.next_if_eq(&'{').is_none() {
            let mut name = String::new();
            while let Some(c) = chars.next_if(name_char) {
                name.push(c);
            }
            return Ok(if name.is_empty() {
                "$".to_string()
            } else {
                self.get(&name).unwrap_or_default().to_string()
            });
        }
        let mut inner = String::new();
        loop {
            match chars.next() {
                Some('}') => break,
                Some(c) => inner.push(c),
                None => return Err("a ${ is not closed".to_string()),
            }
        }
        let end = inner.find(|c: char| !name_char(&c)).unwrap_or(inner.len());
        let (name, modifier) = inner.split_at(end);
        let value = self.get(name).filter(|value| !value.is_empty());
        match modifier.split_at_checked(2) {
            None if modifier.is_empty() => Ok(value.unwrap_or_default().to_string()),
            Some((":-", word)) => value.map_or_else(|| self.expand(word), |value| Ok(value.to_string())),
            Some((":+", word)) => value.map_or_else(|| Ok(String::new()), |_| self.expand(word)),
            _ => Err(format!(
                "${{{inner}}} is not supported; use ${{NAME}}, ${{NAME:-word}} or ${{NAME:+word}}"
            )),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.env.iter().find_map(|pair| {
            pair.split_once('=')
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value)
        })
    }
}

/// Sets `key` in a list of `NAME=value`.
pub(super) fn set(env: &mut Vec<String>, key: &str, value: &str) {
    let pair = format!("{key}={value}");
    match env
        .iter_mut()
        .find(|old| old.split_once('=').is_some_and(|(name, _)| name == key))
    {
        Some(old) => *old = pair,
        None => env.push(pair),
    }
}

/// `80` is `80/tcp`.
pub(super) fn port(text: &str) -> Result<String, String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    match number.parse::<u16>() {
        Ok(1..) if matches!(protocol.as_str(), "tcp" | "udp" | "sctp") => Ok(format!("{number}/{protocol}")),
        _ => Err(format!("{text:?} is not a port such as 80 or 53/udp")),
    }
}

/// An absolute path without `.` and `..`: `path` seen from `dir`.
pub(super) fn join(dir: &str, path: &str) -> String {
    let full = if path.starts_with('/') {
        path.to_string()
    } else {
        format!("{dir}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in full.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_quotes() {
        let env = vec!["A=one".to_string(), "EMPTY=".to_string()];
        let check = |text: &str, expected: &str| assert_eq!(Variables::new(&env).expand(text).unwrap(), expected);
        check("$A/${A}x", "one/onex");
        check("${B:-two} ${EMPTY:-three} ${A:+four}", "two three four");
        check(r#""$A" '$A' \$A"#, "one $A $A");
        check("a$", "a$");
        assert!(Variables::new(&env).expand("${A").is_err());
        assert!(Variables::new(&env).expand("\"a").is_err());
    }

    #[test]
    fn pairs_of_both_forms() {
        let variables = Variables::new(&[]);
        let pair = |k: &str, v: &str| (k.to_string(), v.to_string());
        assert_eq!(
            variables.pairs(r#"A=b C="d e" F=g\ h"#).unwrap(),
            [pair("A", "b"), pair("C", "d e"), pair("F", "g h")]
        );
        assert_eq!(variables.pairs("A rest of it").unwrap(), [pair("A", "rest of it")]);
        assert!(variables.pairs("A").is_err());
    }

    #[test]
    fn paths_and_ports() {
        assert_eq!(join("/srv", "a/../b/./c"), "/srv/b/c");
        assert_eq!(join("", "a"), "/a");
        assert_eq!(port("80").unwrap(), "80/tcp");
        assert_eq!(port("53/UDP").unwrap(), "53/udp");
        assert!(port("0").is_err() && port("80-90").is_err());
    }
}
