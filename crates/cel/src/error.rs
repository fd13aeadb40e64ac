//! What can be wrong with an expression before it runs, and while it does; in the words of Kubernetes.

use std::fmt;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A map has no such key, an object no such field.
    #[error("no such key: {0}")]
    NoSuchKey(String),
    /// No function of that name takes these values.
    #[error("no such overload")]
    NoSuchOverload,
    /// A list has no such index.
    #[error("index out of bounds: {0}")]
    OutOfBounds(i64),
    /// Division by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// Remainder of a division by zero.
    #[error("modulus by zero")]
    ModulusByZero,
    /// A number that doesn't fit.
    #[error("{0} overflow")]
    Overflow(&'static str),
    /// It costs more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    TooCostly,
    /// What a function has to say.
    #[error("{0}")]
    Other(String),
}

impl Error {
    pub(crate) fn other(text: impl fmt::Display) -> Error {
        Error::Other(text.to_string())
    }
}

/// One thing that is wrong with an expression's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    /// Where: a number of characters from the beginning.
    pub(crate) at: usize,
    pub(crate) text: String,
}

/// All that is wrong with an expression's text, each with the line that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issues {
    pub(crate) source: String,
    pub(crate) all: Vec<Issue>,
}

impl Issues {
    pub(crate) fn new(source: &str, mut all: Vec<Issue>) -> Issues {
        all.sort_by_key(|issue| issue.at);
        Issues {
            source: source.to_owned(),
            all,
        }
    }
}

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, issue) in self.all.iter().enumerate() {
            let before: Vec<char> = self.source.chars().take(issue.at).collect();
            let line = before.iter().filter(|letter| **letter == '\n').count();
            let column = before.iter().rev().take_while(|letter| **letter != '\n').count();
            let shown = self.source.split('\n').nth(line).unwrap_or_default().replace('\t', " ");
            // Letters of more than one byte are pointed at with wide signs, as by cel-go.
            let mark = |letter: char, plain, wide| if letter.is_ascii() { plain } else { wide };
            let mut letters = shown.chars();
            let dots: String = letters
                .by_ref()
                .take(column)
                .map(|letter| mark(letter, '.', '．'))
                .collect();
            let hand = letters.next().map_or('^', |letter| mark(letter, '^', '＾'));
            let newline = if index > 0 { "\n" } else { "" };
            write!(
                f,
                "{newline}ERROR: <input>:{}:{}: {}\n | {shown}\n | {dots}{hand}",
                line + 1,
                column + 1,
                issue.text,
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Issues {}
