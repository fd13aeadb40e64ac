//! The Dockerfile's little shell: words, quotes, escapes and `$variables` with their modifiers.
//!
//! It only ever reads text; nothing here knows an instruction or runs anything.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::pattern::shell_matches;

/// Where variables come from.
pub(super) trait Variables {
    /// A variable's value; `None` when it isn't set.
    fn get(&self, name: &str) -> Option<&str>;
}

impl Variables for [(String, String)] {
    fn get(&self, name: &str) -> Option<&str> {
        // The latest wins.
        self.iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// No variable is set.
pub(super) struct Nothing;

impl Variables for Nothing {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }
}

/// How text is read.
#[derive(Clone, Copy)]
pub(super) struct Lexer<'a, V: Variables + ?Sized> {
    /// The variables.
    pub(super) variables: &'a V,
    /// Backslash, or what the `escape` directive says.
    pub(super) escape: char,
    /// Quotes stay, escapes stay, and so do variables that aren't set: for finding words without changing them.
    pub(super) raw: bool,
}

impl<V: Variables + ?Sized> Lexer<'_, V> {
    /// All of the text as one word.
    pub(super) fn word(&self, text: &str) -> Result<String, String> {
        Ok(self.read(text)?.0)
    }

    /// The text's words.
    pub(super) fn words(&self, text: &str) -> Result<Vec<String>, String> {
        Ok(self.read(text)?.1)
    }

    fn read(&self, text: &str) -> Result<(String, Vec<String>), String> {
        let chars: Vec<char> = text.chars().collect();
        let mut reader = Reader {
            lexer: self,
            chars: chars.into_iter().peekable(),
        };
        reader.until(None, self.raw)
    }
}

struct Reader<'l, 'a, V: Variables + ?Sized> {
    lexer: &'l Lexer<'a, V>,
    chars: Peekable<IntoIter<char>>,
}

/// Words that are being collected.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    fn split(&mut self, text: &str) {
        for c in text.chars() {
            if !c.is_whitespace() {
                self.word.push(c);
            } else if !self.word.is_empty() {
                self.done.push(std::mem::take(&mut self.word));
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

impl<V: Variables + ?Sized> Reader<'_, '_, V> {
    /// Reads up to a character, or to the end.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Vec<String>), String> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(c) = self.chars.next() {
            match c {
                _ if stop == Some(c) => return Ok((text, words.finish())),
                '\'' | '"' => {
                    let quoted = if c == '"' {
                        self.double(raw_escapes)?
                    } else {
                        self.single()?
                    };
                    text.push_str(&quoted);
                    words.word.push_str(&quoted);
                }
                '$' => {
                    let value = self.dollar()?;
                    text.push_str(&value);
                    words.split(&value);
                }
                _ if c == self.lexer.escape => {
                    let kept = raw_escapes.then_some(c);
                    for c in kept.into_iter().chain(self.chars.next()) {
                        text.push(c);
                        words.word.push(c);
                    }
                }
                _ => {
                    text.push(c);
                    words.split(c.encode_utf8(&mut [0; 4]));
                }
            }
        }
        match stop {
            Some(stop) => Err(format!("a {stop} is missing")),
            None => Ok((text, words.finish())),
        }
    }

    fn single(&mut self) -> Result<String, String> {
        let quote = if self.lexer.raw { "'" } else { "" };
        let mut text = quote.to_string();
        loop {
            match self.chars.next() {
                Some('\'') => return Ok(text + quote),
                Some(c) => text.push(c),
                None => return Err("a ' is not closed".to_string()),
            }
        }
    }

    fn double(&mut self, raw_escapes: bool) -> Result<String, String> {
        let quote = if self.lexer.raw { "\"" } else { "" };
        let mut text = quote.to_string();
        loop {
            match self.chars.next() {
                Some('"') => return Ok(text + quote),
                Some('$') => text.push_str(&self.dollar()?),
                Some(c) if c == self.lexer.escape => {
                    if raw_escapes {
                        text.push(c);
                    }
                    // Only these can be escaped; before anything else the escape stands for itself.
                    let escape = self.lexer.escape;
                    match self.chars.next_if(|next| matches!(next, '"' | '$') || *next == escape) {
                        Some(next) => text.push(next),
                        None if self.chars.peek().is_some() => text.push(c),
                        None => {}
                    }
                }
                Some(c) => text.push(c),
                None => return Err("a \" is not closed".to_string()),
            }
        }
    }

    /// What follows a `$`.
    fn dollar(&mut self) -> Result<String, String> {
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            return Ok(match self.lexer.variables.get(&name) {
                _ if name.is_empty() => "$".to_string(),
                None if self.lexer.raw => format!("${name}"),
                value => value.unwrap_or_default().to_string(),
            });
        }
        if matches!(self.chars.peek(), None | Some('{' | '}' | ':')) {
            return Err("${ must be followed by a variable's name".to_string());
        }
        let name = self.name();
        let value = self.lexer.variables.get(&name).map(str::to_string);
        if self.lexer.raw && value.is_none() {
            let (rest, _) = self.until(Some('}'), true)?;
            return Ok(format!("${{{name}{rest}}}"));
        }
        match self.chars.next() {
            Some('}') => Ok(value.unwrap_or_default()),
            Some(':') => {
                let modifier = self.chars.next();
                self.modified(&name, value, modifier, true)
            }
            modifier => self.modified(&name, value, modifier, false),
        }
    }

    /// `${NAME:-word}` and its relatives; `strict` is the colon, with which empty counts as unset.
    fn modified(
        &mut self,
        name: &str,
        value: Option<String>,
        modifier: Option<char>,
        strict: bool,
    ) -> Result<String, String> {
        let unset = value.as_deref().is_none_or(|value| strict && value.is_empty());
        match modifier {
            Some(kind @ ('-' | '+' | '?')) => {
                let (word, _) = self.until(Some('}'), false)?;
                match kind {
                    '-' if unset => Ok(word),
                    '+' if unset => Ok(String::new()),
                    '+' => Ok(word),
                    '?' if unset && word.is_empty() => Err(format!("{name} must be set; give it a value")),
                    '?' if unset => Err(format!("{name}: {word}")),
                    _ => Ok(value.unwrap_or_default()),
                }
            }
            Some(kind @ ('#' | '%')) if !strict => {
                let (word, _) = self.until(Some('}'), true)?;
                let (pattern, longest) = match word.strip_prefix(kind) {
                    Some(rest) => (rest, true),
                    None => (word.as_str(), false),
                };
                Ok(trim(&value.unwrap_or_default(), pattern, kind == '%', longest))
            }
            Some('/') if !strict => {
                let all = self.chars.next_if_eq(&'/').is_some();
                let (pattern, _) = self.until(Some('/'), true)?;
                let (with, _) = self.until(Some('}'), true)?;
                Ok(replace(&value.unwrap_or_default(), &pattern, &with, all))
            }
            Some(c) => Err(format!("the modifier {c:?} of ${{{name}}} is not known")),
            None => Err("a ${ is not closed".to_string()),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek() {
            Some(c) if c.is_ascii_digit() => {
                while let Some(c) = self.chars.next_if(char::is_ascii_digit) {
                    name.push(c);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.chars.next()),
            _ => {
                while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
        }
        name
    }
}

/// Takes a matching beginning (or end) away, the shortest or the longest.
fn trim(value: &str, pattern: &str, end: bool, longest: bool) -> String {
    let mut cuts: Vec<usize> = value.char_indices().map(|(at, _)| at).chain([value.len()]).collect();
    // From the beginning the shortest comes first; from the end the last cut is the shortest.
    if end != longest {
        cuts.reverse();
    }
    for cut in cuts {
        let (head, tail) = value.split_at(cut);
        let (part, rest) = if end { (tail, head) } else { (head, tail) };
        if shell_matches(pattern, part) {
            return rest.to_string();
        }
    }
    value.to_string()
}

/// Puts `with` in the place of the first match, or of all.
fn replace(value: &str, pattern: &str, with: &str, all: bool) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
        let longest = ends.rev().find(|end| *end > 0 && shell_matches(pattern, &rest[..*end]));
        match longest {
            Some(end) => {
                out.push_str(with);
                rest = &rest[end..];
                if !all {
                    break;
                }
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out + rest
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

    fn env() -> Vec<(String, String)> {
        let pair = |k: &str, v: &str| (k.to_string(), v.to_string());
        vec![
            pair("A", "old"),
            pair("EMPTY", ""),
            pair("A", "one"),
            pair("FILE", "a/b/c.tar.gz"),
            pair("TWO", "x y"),
        ]
    }

    fn lexer(env: &[(String, String)]) -> Lexer<'_, [(String, String)]> {
        Lexer {
            variables: env,
            escape: '\\',
            raw: false,
        }
    }

    #[test]
    fn variables_and_quotes() {
        let env = env();
        for (text, expected) in [
            ("$A/${A}x", "one/onex"),
            ("${B:-two} ${EMPTY:-three} ${A:+four} ${EMPTY-five}", "two three four "),
            ("${B-${A}} ${A+x${TWO}} ${B+no}", "one xx y "),
            (r#""$A" '$A' \$A"#, "one $A $A"),
            (r#""a\"b\c""#, r#"a"b\c"#),
            ("a$", "a$"),
            ("${A:?must}", "one"),
            (
                "${FILE#*/} ${FILE##*/} ${FILE%.*} ${FILE%%.*}",
                "b/c.tar.gz c.tar.gz a/b/c.tar a/b/c",
            ),
            (
                "${FILE/?/X} ${FILE//[a/X} ${FILE//a/X}",
                "X/b/c.tar.gz a/b/c.tar.gz X/b/c.tXr.gz",
            ),
        ] {
            assert_eq!(lexer(&env).word(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "${A",
            "\"a",
            "'a",
            "${}",
            "${A:#x}",
            "${B:?must be there}",
            "${B?}",
            "${A!x}",
        ] {
            assert!(lexer(&env).word(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_split_at_blanks_outside_of_quotes() {
        let env = env();
        assert_eq!(
            lexer(&env).words(r#"a "b c" $TWO d\ e"#).unwrap(),
            ["a", "b c", "x", "y", "d e"]
        );
        let raw = Lexer {
            variables: &Nothing,
            escape: '\\',
            raw: true,
        };
        assert_eq!(
            raw.words(r#"cat <<"EOF" $X ${Y:-z}"#).unwrap(),
            ["cat", "<<\"EOF\"", "$X", "${Y:-z}"]
        );
    }

    #[test]
    fn another_escape() {
        let env = env();
        let lexer = Lexer {
            escape: '`',
            ..lexer(&env)
        };
        assert_eq!(lexer.word(r"C:\dir\$A `$A").unwrap(), r"C:\dir\one $A");
    }

    #[test]
    fn paths() {
        assert_eq!(join("/srv", "a/../b/./c"), "/srv/b/c");
        assert_eq!(join("", "a"), "/a");
        assert_eq!(join("/a", "../../.."), "/");
    }
}
