//! The text form of label selectors: a scanner and a parser with Kubernetes' grammar and messages.

use super::{Operator, Requirement, SelectorError, key_error};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Error,
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

const BINARY_OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

/// Reads all requirements, in the order of the text.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser {
        items: scan(text),
        position: 0,
    };
    let mut requirements = Vec::new();
    loop {
        let (token, literal) = parser.peek();
        match token {
            Token::Identifier | Token::Not => {
                let requirement = parser.requirement();
                requirements
                    .push(requirement.map_err(|error| SelectorError(format!("unable to parse requirement: {error}")))?);
                let (token, literal) = parser.next();
                match token {
                    Token::End => return Ok(requirements),
                    Token::Comma => {
                        let (token, literal) = parser.peek();
                        if !matches!(token, Token::Identifier | Token::Not) {
                            return Err(found(&literal, "identifier after ','"));
                        }
                    }
                    _ => return Err(found(&literal, "',' or 'end of string'")),
                }
            }
            Token::End => return Ok(requirements),
            _ => return Err(found(&literal, "!, identifier, or 'end of string'")),
        }
    }
}

fn found(literal: &str, expected: &str) -> SelectorError {
    SelectorError(format!("found '{literal}', expected: {expected}"))
}

fn scan(text: &str) -> Vec<(Token, String)> {
    let is_symbol = |c: char| matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<');
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut items = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    // A NUL ends the text for Kubernetes' scanner.
    while !rest.is_empty() && !rest.starts_with('\0') {
        let (token, length) = if rest.starts_with(is_symbol) {
            symbol(rest)
        } else {
            let length = rest
                .find(|c| is_symbol(c) || is_space(c) || c == '\0')
                .unwrap_or(rest.len());
            let token = match &rest[..length] {
                "in" => Token::In,
                "notin" => Token::NotIn,
                _ => Token::Identifier,
            };
            (token, length)
        };
        items.push((token, rest[..length].to_owned()));
        rest = rest[length..].trim_start_matches(is_space);
    }
    items.push((Token::End, String::new()));
    items
}

/// The longest operator that the text begins with.
fn symbol(text: &str) -> (Token, usize) {
    for (literal, token) in [("==", Token::DoubleEquals), ("!=", Token::NotEquals)] {
        if text.starts_with(literal) {
            return (token, 2);
        }
    }
    let token = match text.as_bytes().first() {
        Some(b'=') => Token::Equals,
        Some(b'!') => Token::Not,
        Some(b'(') => Token::Open,
        Some(b')') => Token::Close,
        Some(b',') => Token::Comma,
        Some(b'>') => Token::Greater,
        Some(b'<') => Token::Less,
        _ => Token::Error,
    };
    (token, 1)
}

struct Parser {
    items: Vec<(Token, String)>,
    position: usize,
}

impl Parser {
    /// The next item where `in` and `notin` are names.
    fn peek(&self) -> (Token, String) {
        let (token, literal) = self.raw();
        let token = if matches!(token, Token::In | Token::NotIn) {
            Token::Identifier
        } else {
            token
        };
        (token, literal)
    }

    fn next(&mut self) -> (Token, String) {
        let item = self.peek();
        self.position += 1;
        item
    }

    fn raw(&self) -> (Token, String) {
        self.items
            .get(self.position)
            .cloned()
            .unwrap_or((Token::End, String::new()))
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let (mut token, mut key) = self.next();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next();
        }
        if token != Token::Identifier {
            return Err(found(&key, "identifier"));
        }
        if let Some(error) = key_error(&key, "<nil>") {
            return Err(SelectorError(error.to_string()));
        }
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Requirement::new(&key, Operator::Exists, Vec::new());
        }
        let operator = self.operator()?;
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        values.sort();
        values.dedup();
        Requirement::new(&key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        let (token, literal) = self.raw();
        self.position += 1;
        Ok(match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            _ => return Err(found(&literal, BINARY_OPERATORS)),
        })
    }

    fn exact_value(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next() {
            (Token::Identifier, literal) => Ok(literal),
            (_, literal) => Err(found(&literal, "identifier")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        let (token, literal) = self.next();
        if token != Token::Open {
            return Err(SelectorError(format!("found '{literal}' expected: '('")));
        }
        let (token, literal) = self.peek();
        match token {
            Token::Identifier | Token::Comma => {
                let values = self.identifiers()?;
                match self.next().0 {
                    Token::Close => Ok(values),
                    _ => Err(found(&literal, "')'")),
                }
            }
            Token::Close => {
                self.position += 1;
                Ok(vec![String::new()])
            }
            _ => Err(found(&literal, "',', ')' or identifier")),
        }
    }

    /// A list in which any element may be empty.
    fn identifiers(&mut self) -> Result<Vec<String>, SelectorError> {
        let mut values = Vec::new();
        loop {
            match self.next() {
                (Token::Identifier, literal) => {
                    values.push(literal);
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, literal) => return Err(found(&literal, "',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    match self.peek().0 {
                        Token::Close => {
                            values.push(String::new());
                            return Ok(values);
                        }
                        Token::Comma => values.push(String::new()),
                        _ => {}
                    }
                }
                (_, literal) => return Err(found(&literal, "',', or identifier")),
            }
        }
    }
}
