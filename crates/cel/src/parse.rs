//! From a text to a tree. Macros are replaced by what they stand for on the way.

use std::sync::Arc;

use crate::ast::{Entry, Expr, Kind, operator};
use crate::error::{Issue, Issues};
use crate::macros;
use crate::token::{Token, Word, is_reserved, tokens};
use crate::value::Value;

/// Deeper expressions are refused, so that none can use up the stack.
const DEEPEST: usize = 96;
/// Also those that are so without brackets: `a + b + ...`, `a.b.c...`.
const HIGHEST: u32 = 250;
/// Longer ones are refused.
const LONGEST: usize = 100_000;

/// Reads an expression.
pub(crate) fn parse(source: &str) -> Result<Expr, Issues> {
    let parsed = if source.chars().count() > LONGEST {
        let text = format!(
            "expression code point size exceeds limit: size: {}, limit {LONGEST}",
            source.len()
        );
        Err(Issue { at: 0, text })
    } else {
        tokens(source).and_then(|words| {
            let mut parser = Parser {
                words,
                next: 0,
                ids: 0,
                depth: 0,
            };
            let expr = parser.expression()?;
            match parser.peek() {
                Token::End => Ok(expr),
                _ => Err(parser.unexpected("<EOF>")),
            }
        })
    };
    parsed.map_err(|issue| Issues::new(source, vec![issue]))
}

pub(crate) struct Parser {
    words: Vec<Word>,
    next: usize,
    ids: u32,
    depth: usize,
}

/// What may begin an operand, as errors list it.
const OPERAND: &str =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

impl Parser {
    fn peek(&self) -> &Token {
        &self.words[self.next].token
    }

    fn at(&self) -> usize {
        self.words[self.next].at
    }

    fn advance(&mut self) -> Token {
        let token = self.words[self.next].token.clone();
        if self.next + 1 < self.words.len() {
            self.next += 1;
        }
        token
    }

    fn is(&self, mark: &str) -> bool {
        matches!(self.peek(), Token::Mark(found) if *found == mark)
    }

    /// Takes a mark when it is the next word.
    fn take(&mut self, mark: &str) -> bool {
        let found = self.is(mark);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, mark: &str) -> Result<(), Issue> {
        if self.take(mark) {
            return Ok(());
        }
        Err(self.unexpected(&format!("'{mark}'")))
    }

    fn unexpected(&self, wanted: &str) -> Issue {
        let found = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Mark(mark) => (*mark).to_owned(),
            Token::Ident(name) | Token::Quoted(name) => name.clone(),
            Token::Int(number) => number.to_string(),
            Token::Uint(number) => format!("{number}u"),
            Token::Double(number) => number.to_string(),
            Token::String(text) => format!("'{text}'"),
            Token::Bytes(_) => "b''".to_owned(),
        };
        Issue {
            at: self.at(),
            text: format!("Syntax error: mismatched input '{found}' expecting {wanted}"),
        }
    }

    pub(crate) fn expr(&mut self, at: usize, kind: Kind) -> Expr {
        self.ids += 1;
        Expr::new(self.ids, at, kind)
    }

    pub(crate) fn call(&mut self, at: usize, function: &str, arguments: Vec<Expr>) -> Expr {
        let function = Arc::from(function);
        self.expr(
            at,
            Kind::Call {
                function,
                member: false,
                arguments,
            },
        )
    }

    fn expression(&mut self) -> Result<Expr, Issue> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Issue {
                at: self.at(),
                text: format!("expression recursion limit exceeded: {DEEPEST}"),
            });
        }
        let condition = self.binary(0)?;
        let at = self.at();
        let expr = if self.take("?") {
            let yes = self.binary(0)?;
            self.expect(":")?;
            let no = self.expression()?;
            self.call(at, operator::CONDITIONAL, vec![condition, yes, no])
        } else {
            condition
        };
        self.depth -= 1;
        Ok(expr)
    }

    /// Operators between two operands, by how strongly they bind.
    fn binary(&mut self, level: usize) -> Result<Expr, Issue> {
        const LEVELS: [&[(&str, &str)]; 5] = [
            &[("||", operator::OR)],
            &[("&&", operator::AND)],
            &[
                ("==", operator::EQUALS),
                ("!=", operator::NOT_EQUALS),
                ("<=", operator::LESS_EQUALS),
                (">=", operator::GREATER_EQUALS),
                ("<", operator::LESS),
                (">", operator::GREATER),
                ("in", operator::IN),
            ],
            &[("+", operator::ADD), ("-", operator::SUBTRACT)],
            &[
                ("*", operator::MULTIPLY),
                ("/", operator::DIVIDE),
                ("%", operator::MODULO),
            ],
        ];
        let Some(level_operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        if level < 2 {
            let (mark, function) = level_operators[0];
            return self.logic(level, left, mark, function);
        }
        loop {
            let at = self.at();
            let found = level_operators.iter().find(|(mark, _)| match self.peek() {
                Token::Mark(found) => found == mark,
                Token::Ident(word) => *mark == "in" && word == "in",
                _ => false,
            });
            let Some((_, function)) = found else {
                return Ok(left);
            };
            self.advance();
            let right = self.binary(level + 1)?;
            left = self.call(at, function, vec![left, right]);
            self.check_height(&left)?;
        }
    }

    fn check_height(&self, expr: &Expr) -> Result<(), Issue> {
        if expr.height <= HIGHEST {
            return Ok(());
        }
        let text = format!("expression recursion limit exceeded: {HIGHEST}");
        Err(Issue { at: expr.at, text })
    }

    /// `a && b && ...`, put together in halves, so that many terms make no high tree.
    fn logic(&mut self, level: usize, first: Expr, mark: &str, function: &str) -> Result<Expr, Issue> {
        let (mut terms, mut places) = (vec![first], Vec::new());
        while self.is(mark) {
            places.push(self.at());
            self.advance();
            terms.push(self.binary(level + 1)?);
        }
        let halved = self.halved(function, &mut terms.into_iter(), &places);
        self.check_height(&halved)?;
        Ok(halved)
    }

    /// One more term than places of operators between them.
    fn halved(&mut self, function: &str, terms: &mut dyn Iterator<Item = Expr>, places: &[usize]) -> Expr {
        let middle = places.len() / 2;
        let Some(at) = places.get(middle) else {
            // There always is one; a place without would be a literal that decides nothing.
            return terms
                .next()
                .unwrap_or_else(|| Expr::new(0, 0, Kind::Literal(Value::Null)));
        };
        let left = self.halved(function, terms, &places[..middle]);
        let right = self.halved(function, terms, &places[middle + 1..]);
        self.call(*at, function, vec![left, right])
    }

    fn unary(&mut self) -> Result<Expr, Issue> {
        for (mark, function) in [("!", operator::NOT), ("-", operator::NEGATE)] {
            let at = self.at();
            let mut count = 0;
            while self.take(mark) {
                count += 1;
            }
            if count == 0 {
                continue;
            }
            if mark == "-" && count == 1 {
                let literal = match self.peek() {
                    Token::Int(number) => Some(Value::Int(number.wrapping_neg())),
                    Token::Double(number) => Some(Value::Double(-number)),
                    _ => None,
                };
                if let Some(value) = literal {
                    self.advance();
                    let literal = self.expr(at, Kind::Literal(value));
                    return self.members(literal);
                }
            }
            let operand = self.member()?;
            return Ok(match count % 2 {
                1 => self.call(at, function, vec![operand]),
                _ => operand,
            });
        }
        if let Token::Int(i64::MIN) = self.peek() {
            return Err(Issue {
                at: self.at(),
                text: "Syntax error: invalid int literal".to_owned(),
            });
        }
        self.member()
    }

    fn member(&mut self) -> Result<Expr, Issue> {
        let primary = self.primary()?;
        self.members(primary)
    }

    /// `.field`, `.method(...)` and `[index]` behind an operand.
    fn members(&mut self, mut operand: Expr) -> Result<Expr, Issue> {
        loop {
            self.check_height(&operand)?;
            let at = self.at();
            if self.take(".") {
                let optional = self.take("?");
                let (name, quoted) = match self.peek().clone() {
                    Token::Ident(name) => (name, false),
                    Token::Quoted(name) => (name, true),
                    _ => {
                        return Err(Issue {
                            at: self.at(),
                            text: "Syntax error: no viable alternative at input '.'".to_owned(),
                        });
                    }
                };
                self.advance();
                let open = self.at();
                if !optional && !quoted && self.take("(") {
                    let arguments = self.arguments(")")?;
                    operand = self.method(open, operand, &name, arguments)?;
                    continue;
                }
                let field = Arc::from(name);
                operand = if optional {
                    let field = self.expr(at, Kind::Literal(Value::String(field)));
                    self.call(at, operator::OPTIONAL_SELECT, vec![operand, field])
                } else {
                    self.expr(
                        at,
                        Kind::Select {
                            operand: Box::new(operand),
                            field,
                            test: false,
                        },
                    )
                };
            } else if self.take("[") {
                let function = match self.take("?") {
                    true => operator::OPTIONAL_INDEX,
                    false => operator::INDEX,
                };
                let index = self.expression()?;
                self.expect("]")?;
                operand = self.call(at, function, vec![operand, index]);
            } else if self.is("{")
                && let Some(name) = operand.dotted()
            {
                self.advance();
                operand = self.structure(at, &name)?;
            } else {
                return Ok(operand);
            }
        }
    }

    fn method(&mut self, at: usize, target: Expr, name: &str, arguments: Vec<Expr>) -> Result<Expr, Issue> {
        let mut arguments = arguments;
        // Functions with a dot in their names.
        if let Kind::Ident(space) = &target.kind {
            let full = format!("{space}.{name}");
            if let Some(expanded) = macros::global(self, at, &full, &mut arguments) {
                return expanded;
            }
            if crate::library::is_function(&full) {
                return Ok(self.call(at, &full, arguments));
            }
        }
        let mut all = vec![target];
        all.append(&mut arguments);
        if let Some(expanded) = macros::member(self, at, name, &mut all) {
            return expanded;
        }
        let function = Arc::from(name);
        Ok(self.expr(
            at,
            Kind::Call {
                function,
                member: true,
                arguments: all,
            },
        ))
    }

    fn arguments(&mut self, close: &str) -> Result<Vec<Expr>, Issue> {
        let mut arguments = Vec::new();
        if self.take(close) {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression()?);
            if !self.take(",") {
                self.expect(close)?;
                return Ok(arguments);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Issue> {
        let at = self.at();
        let literal = |value| Kind::Literal(value);
        let kind = match self.peek().clone() {
            Token::Int(number) => literal(Value::Int(number)),
            Token::Uint(number) => literal(Value::Uint(number)),
            Token::Double(number) => literal(Value::Double(number)),
            Token::String(text) => literal(Value::String(Arc::from(text))),
            Token::Bytes(bytes) => literal(Value::Bytes(Arc::from(bytes))),
            Token::Ident(name) => return self.name(at, &name),
            Token::Mark("(") => {
                self.advance();
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Mark("[") => {
                self.advance();
                let elements = self.elements()?;
                return Ok(self.expr(at, Kind::List(elements)));
            }
            Token::Mark("{") => {
                self.advance();
                let entries = self.entries()?;
                return Ok(self.expr(at, Kind::Map(entries)));
            }
            Token::Mark(".") => {
                // A name from the root: there is no other place to look for names here.
                self.advance();
                let at = self.at();
                match self.peek().clone() {
                    Token::Ident(name) => return self.name(at, &name),
                    _ => return Err(self.unexpected("IDENTIFIER")),
                }
            }
            _ => return Err(self.unexpected(OPERAND)),
        };
        self.advance();
        Ok(self.expr(at, kind))
    }

    fn name(&mut self, at: usize, name: &str) -> Result<Expr, Issue> {
        let literal = match name {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            _ => None,
        };
        if literal.is_none() && is_reserved(name) {
            return Err(match name {
                "in" => self.unexpected(OPERAND),
                _ => Issue {
                    at,
                    text: format!("reserved identifier: {name}"),
                },
            });
        }
        self.advance();
        if let Some(value) = literal {
            return Ok(self.expr(at, Kind::Literal(value)));
        }
        let open = self.at();
        if !self.take("(") {
            return Ok(self.expr(at, Kind::Ident(Arc::from(name))));
        }
        let mut arguments = self.arguments(")")?;
        if let Some(expanded) = macros::global(self, open, name, &mut arguments) {
            return expanded;
        }
        Ok(self.call(open, name, arguments))
    }

    fn elements(&mut self) -> Result<Vec<(Expr, bool)>, Issue> {
        let mut elements = Vec::new();
        loop {
            if self.take("]") {
                return Ok(elements);
            }
            let optional = self.take("?");
            elements.push((self.expression()?, optional));
            if !self.take(",") {
                self.expect("]")?;
                return Ok(elements);
            }
        }
    }

    fn entries(&mut self) -> Result<Vec<Entry>, Issue> {
        let mut entries = Vec::new();
        loop {
            if self.take("}") {
                return Ok(entries);
            }
            let optional = self.take("?");
            let key = self.expression()?;
            self.expect(":")?;
            let value = self.expression()?;
            entries.push(Entry { key, value, optional });
            if !self.take(",") {
                self.expect("}")?;
                return Ok(entries);
            }
        }
    }

    fn structure(&mut self, at: usize, name: &str) -> Result<Expr, Issue> {
        let mut fields = Vec::new();
        loop {
            if self.take("}") {
                break;
            }
            let optional = self.take("?");
            let field = match self.advance() {
                Token::Ident(name) | Token::Quoted(name) => name,
                _ => return Err(self.unexpected("IDENTIFIER")),
            };
            self.expect(":")?;
            fields.push((Arc::from(field), self.expression()?, optional));
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(self.expr(at, Kind::Struct(Arc::from(name), fields)))
    }
}
