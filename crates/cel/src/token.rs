//! The words of an expression.

use crate::error::Issue;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    Ident(String),
    /// An identifier between backticks, which may have dots and dashes: for fields only.
    Quoted(String),
    /// An operator or bracket.
    Mark(&'static str),
    End,
}

/// A token and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Word {
    pub(crate) token: Token,
    pub(crate) at: usize,
}

/// Longer ones first.
const MARKS: [&str; 27] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}", "=", "&", "|",
];

const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Whether a word can't name anything.
pub(crate) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// How a field is declared whose name is a word of the language; none when it isn't.
pub(crate) fn written(name: &str) -> Option<String> {
    is_reserved(name).then(|| format!("__{name}__"))
}

/// Reads a text into tokens; the last one is [`Token::End`].
pub(crate) fn tokens(source: &str) -> Result<Vec<Word>, Issue> {
    let mut reader = Reader {
        text: source.chars().collect(),
        at: 0,
    };
    let mut words = Vec::new();
    loop {
        reader.skip_blanks();
        let at = reader.at;
        let token = reader.next()?;
        let end = token == Token::End;
        words.push(Word { token, at });
        if end {
            return Ok(words);
        }
    }
}

struct Reader {
    text: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn issue<T>(&self, at: usize, text: impl Into<String>) -> Result<T, Issue> {
        let text = format!("Syntax error: {}", text.into());
        Err(Issue { at, text })
    }

    fn skip_blanks(&mut self) {
        while let Some(letter) = self.peek(0) {
            if letter.is_whitespace() {
                self.at += 1;
            } else if letter == '/' && self.peek(1) == Some('/') {
                while self.peek(0).is_some_and(|letter| letter != '\n') {
                    self.at += 1;
                }
            } else {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<Token, Issue> {
        let Some(first) = self.peek(0) else {
            return Ok(Token::End);
        };
        if first.is_ascii_digit() || (first == '.' && self.peek(1).is_some_and(|letter| letter.is_ascii_digit())) {
            return self.number();
        }
        if let Some(token) = self.text_literal()? {
            return Ok(token);
        }
        if first == '_' || first.is_ascii_alphabetic() {
            return Ok(Token::Ident(
                self.take_while(|letter| letter == '_' || letter.is_ascii_alphanumeric()),
            ));
        }
        if first == '`' {
            let at = self.at;
            self.at += 1;
            let name = self.take_while(|letter| letter.is_ascii_alphanumeric() || "_.-/ ".contains(letter));
            if name.is_empty() || self.peek(0) != Some('`') {
                return self.issue(at, "token recognition error at: '`'");
            }
            self.at += 1;
            return Ok(Token::Quoted(name));
        }
        for mark in MARKS {
            if mark
                .chars()
                .enumerate()
                .all(|(ahead, letter)| self.peek(ahead) == Some(letter))
            {
                if matches!(mark, "=" | "&" | "|") {
                    return self.issue(self.at, format!("token recognition error at: '{mark}'"));
                }
                self.at += mark.len();
                return Ok(Token::Mark(mark));
            }
        }
        self.issue(self.at, format!("token recognition error at: '{first}'"))
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> String {
        let from = self.at;
        while self.peek(0).is_some_and(&fits) {
            self.at += 1;
        }
        self.text[from..self.at].iter().collect()
    }

    fn number(&mut self) -> Result<Token, Issue> {
        let at = self.at;
        if self.peek(0) == Some('0') && matches!(self.peek(1), Some('x' | 'X')) {
            self.at += 2;
            let digits = self.take_while(|letter| letter.is_ascii_hexdigit());
            return self.whole(at, &digits, 16);
        }
        let mut text = self.take_while(|letter| letter.is_ascii_digit());
        let mut floating = false;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|letter| letter.is_ascii_digit()) {
            floating = true;
            self.at += 1;
            text.push('.');
            text.push_str(&self.take_while(|letter| letter.is_ascii_digit()));
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            let signed = matches!(self.peek(1), Some('+' | '-'));
            if self
                .peek(1 + usize::from(signed))
                .is_some_and(|letter| letter.is_ascii_digit())
            {
                floating = true;
                text.push('e');
                self.at += 1;
                if signed {
                    text.extend(self.peek(0));
                    self.at += 1;
                }
                text.push_str(&self.take_while(|letter| letter.is_ascii_digit()));
            }
        }
        if floating {
            return match text.parse() {
                Ok(number) => Ok(Token::Double(number)),
                Err(_) => self.issue(at, "invalid double literal"),
            };
        }
        self.whole(at, &text, 10)
    }

    fn whole(&mut self, at: usize, digits: &str, radix: u32) -> Result<Token, Issue> {
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.at += 1;
            return match u64::from_str_radix(digits, radix) {
                Ok(number) => Ok(Token::Uint(number)),
                Err(_) => self.issue(at, "invalid uint literal"),
            };
        }
        match u64::from_str_radix(digits, radix) {
            Ok(number) if number <= i64::MAX.unsigned_abs() + 1 => {
                // The least number has no positive counterpart: the sign before it makes it right.
                Ok(Token::Int(i64::try_from(number).unwrap_or(i64::MIN)))
            }
            _ => self.issue(at, "invalid int literal"),
        }
    }

    /// A text or bytes in quotes, with the letters before them; none when something else begins here.
    fn text_literal(&mut self) -> Result<Option<Token>, Issue> {
        let (mut raw, mut bytes, mut ahead) = (false, false, 0);
        while let Some(letter) = self.peek(ahead) {
            match letter {
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes => bytes = true,
                '"' | '\'' => break,
                _ => return Ok(None),
            }
            ahead += 1;
        }
        let Some(quote) = self.peek(ahead) else {
            return Ok(None);
        };
        let at = self.at;
        self.at += ahead;
        let triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        self.at += if triple { 3 } else { 1 };
        let mut out = Vec::new();
        loop {
            let Some(letter) = self.peek(0) else {
                return self.issue(at, format!("token recognition error at: '{quote}'"));
            };
            let closes = letter == quote && (!triple || (self.peek(1) == Some(quote) && self.peek(2) == Some(quote)));
            if closes {
                self.at += if triple { 3 } else { 1 };
                break;
            }
            if letter == '\n' && !triple {
                return self.issue(at, format!("token recognition error at: '{quote}'"));
            }
            self.at += 1;
            if letter == '\\' && !raw {
                self.escape(bytes, &mut out)?;
            } else {
                out.extend(letter.to_string().as_bytes());
            }
        }
        if bytes {
            return Ok(Some(Token::Bytes(out)));
        }
        match String::from_utf8(out) {
            Ok(text) => Ok(Some(Token::String(text))),
            Err(_) => self.issue(at, "invalid string literal"),
        }
    }

    fn escape(&mut self, bytes: bool, out: &mut Vec<u8>) -> Result<(), Issue> {
        let at = self.at;
        let Some(letter) = self.peek(0) else {
            return self.issue(at, "unexpected end of a literal");
        };
        self.at += 1;
        let plain = match letter {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            '\\' | '?' | '"' | '\'' | '`' => u8::try_from(letter).ok(),
            _ => None,
        };
        if let Some(byte) = plain {
            out.push(byte);
            return Ok(());
        }
        let (digits, radix) = match letter {
            'x' | 'X' => (2, 16),
            'u' if !bytes => (4, 16),
            'U' if !bytes => (8, 16),
            '0'..='3' => {
                self.at -= 1;
                (3, 8)
            }
            _ => return self.issue(at, "unable to unescape string"),
        };
        let text: String = (0..digits).filter_map(|ahead| self.peek(ahead)).collect();
        self.at += digits;
        let Ok(number) = u32::from_str_radix(&text, radix) else {
            return self.issue(at, "unable to unescape string");
        };
        if bytes {
            out.push(u8::try_from(number & 0xff).unwrap_or_default());
            return Ok(());
        }
        match char::from_u32(number) {
            Some(letter) => out.extend(letter.to_string().as_bytes()),
            None => return self.issue(at, "invalid unicode code point"),
        }
        Ok(())
    }
}
