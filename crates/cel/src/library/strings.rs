//! Texts: the standard functions, cel-go's extension in its second version, and regular expressions.

use std::sync::Arc;

use super::{Table, conversions, int, items, regex, text};
use crate::error::Error;
use crate::types::Type;
use crate::value::{Key, Value};

const S: Type = Type::String;
const I: Type = Type::Int;

pub(super) fn add(table: &mut Table) {
    tests(table);
    positions(table);
    changes(table);
    lists(table);
    table.global("strings.quote", [S], S, |a| Ok(Value::text(quoted(text(&a[0])?))));
    table.add("format", "format", true, [S, Type::list(Type::Dyn)], S, |a| {
        formatted(text(&a[0])?, items(&a[1])?).map(Value::text)
    });
}

fn tests(table: &mut Table) {
    table.add("contains", "contains_string", true, [S, S], Type::Bool, |a| {
        Ok(Value::Bool(text(&a[0])?.contains(text(&a[1])?)))
    });
    table.add("startsWith", "starts_with_string", true, [S, S], Type::Bool, |a| {
        Ok(Value::Bool(text(&a[0])?.starts_with(text(&a[1])?)))
    });
    table.add("endsWith", "ends_with_string", true, [S, S], Type::Bool, |a| {
        Ok(Value::Bool(text(&a[0])?.ends_with(text(&a[1])?)))
    });
    let matches: super::Call = |a| Ok(Value::Bool(regex(text(&a[1])?)?.is_match(text(&a[0])?)));
    table.add("matches", "matches", true, [S, S], Type::Bool, matches);
    table.add("matches", "matches", false, [S, S], Type::Bool, matches);
}

fn letters(value: &Value) -> Result<Vec<char>, Error> {
    Ok(text(value)?.chars().collect())
}

fn place(value: &Value, length: usize) -> Result<usize, Error> {
    let index = int(value)?;
    let place = usize::try_from(index).ok().filter(|place| *place <= length);
    place.ok_or_else(|| Error::other(format!("index out of range: {index}")))
}

fn positions(table: &mut Table) {
    table.method("charAt", [S, I], S, |a| {
        let letters = letters(&a[0])?;
        let place = place(&a[1], letters.len())?;
        Ok(Value::text(
            letters.get(place).map(ToString::to_string).unwrap_or_default(),
        ))
    });
    table.method("indexOf", [S, S], I, |a| found(&letters(&a[0])?, &letters(&a[1])?, 0));
    table.method("indexOf", [S, S, I], I, |a| {
        let all = letters(&a[0])?;
        let from = place(&a[2], all.len())?;
        found(&all, &letters(&a[1])?, from)
    });
    table.method("lastIndexOf", [S, S], I, |a| {
        let all = letters(&a[0])?;
        found_last(&all, &letters(&a[1])?, all.len())
    });
    table.method("lastIndexOf", [S, S, I], I, |a| {
        let all = letters(&a[0])?;
        let to = place(&a[2], all.len())?;
        found_last(&all, &letters(&a[1])?, to)
    });
    table.method("substring", [S, I], S, |a| {
        let all = letters(&a[0])?;
        let from = place(&a[1], all.len())?;
        Ok(Value::text(all[from..].iter().collect::<String>()))
    });
    table.method("substring", [S, I, I], S, |a| {
        let all = letters(&a[0])?;
        let (from, to) = (place(&a[1], all.len())?, place(&a[2], all.len())?);
        if from > to {
            return Err(Error::other(format!(
                "invalid substring range. start: {from}, end: {to}"
            )));
        }
        Ok(Value::text(all[from..to].iter().collect::<String>()))
    });
}

#[allow(clippy::unnecessary_wraps, reason = "an index like others")]
fn index(place: Option<usize>) -> Result<Value, Error> {
    Ok(Value::Int(
        place.and_then(|place| i64::try_from(place).ok()).unwrap_or(-1),
    ))
}

fn found(all: &[char], part: &[char], from: usize) -> Result<Value, Error> {
    index((from..=all.len()).find(|place| all[*place..].starts_with(part)))
}

fn found_last(all: &[char], part: &[char], to: usize) -> Result<Value, Error> {
    index((0..=to).rev().find(|place| all[*place..].starts_with(part)))
}

fn changes(table: &mut Table) {
    table.method("lowerAscii", [S], S, |a| {
        Ok(Value::text(text(&a[0])?.to_ascii_lowercase()))
    });
    table.method("upperAscii", [S], S, |a| {
        Ok(Value::text(text(&a[0])?.to_ascii_uppercase()))
    });
    table.method("trim", [S], S, |a| Ok(Value::text(text(&a[0])?.trim())));
    table.method("replace", [S, S, S], S, |a| {
        Ok(Value::text(text(&a[0])?.replace(text(&a[1])?, text(&a[2])?)))
    });
    table.method("replace", [S, S, S, I], S, |a| {
        let (all, from, to) = (text(&a[0])?, text(&a[1])?, text(&a[2])?);
        // Below zero means all.
        Ok(Value::text(match usize::try_from(int(&a[3])?) {
            Ok(count) => all.replacen(from, to, count),
            Err(_) => all.replace(from, to),
        }))
    });
    table.global("jsonpatch.escapeKey", [S], S, |a| {
        Ok(Value::text(text(&a[0])?.replace('~', "~0").replace('/', "~1")))
    });
}

fn lists(table: &mut Table) {
    let list = Type::list(S);
    table.method("split", [S, S], list.clone(), |a| {
        Ok(split(text(&a[0])?, text(&a[1])?, None))
    });
    table.method("split", [S, S, I], list.clone(), |a| {
        Ok(split(text(&a[0])?, text(&a[1])?, usize::try_from(int(&a[2])?).ok()))
    });
    table.method("join", [list.clone()], S, |a| joined(&a[0], ""));
    table.method("join", [list.clone(), S], S, |a| joined(&a[0], text(&a[1])?));
    table.method("find", [S, S], S, |a| {
        let all = text(&a[0])?;
        let found = regex(text(&a[1])?)?.find(all).map(|found| found.as_str().to_owned());
        Ok(Value::text(found.unwrap_or_default()))
    });
    table.method("findAll", [S, S], list.clone(), |a| find_all(a, usize::MAX));
    table.method("findAll", [S, S, I], list, |a| {
        find_all(a, usize::try_from(int(&a[2])?).unwrap_or(usize::MAX))
    });
}

fn find_all(a: &[Value], most: usize) -> Result<Value, Error> {
    let (all, pattern) = (text(&a[0])?, regex(text(&a[1])?)?);
    let found = pattern.find_iter(all).take(most);
    Ok(Value::list(found.map(|found| Value::text(found.as_str())).collect()))
}

fn split(all: &str, by: &str, most: Option<usize>) -> Value {
    let parts: Vec<String> = match (most, by) {
        (Some(0), _) => Vec::new(),
        (None, "") => all.chars().map(String::from).collect(),
        (Some(most), "") => {
            let letters: Vec<char> = all.chars().collect();
            let alone = letters.len().min(most.saturating_sub(1));
            let rest: String = letters[alone..].iter().collect();
            let alone = letters[..alone].iter().map(ToString::to_string);
            alone.chain((!rest.is_empty()).then_some(rest)).collect()
        }
        (None, by) => all.split(by).map(str::to_owned).collect(),
        (Some(most), by) => all.splitn(most, by).map(str::to_owned).collect(),
    };
    Value::list(parts.into_iter().map(Value::text).collect())
}

fn joined(list: &Value, by: &str) -> Result<Value, Error> {
    let parts = items(list)?.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    Ok(Value::text(parts.join(by)))
}

fn quoted(all: &str) -> String {
    let mut out = String::from('"');
    for letter in all.chars() {
        match letter {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// `'%s has %d'.format([name, count])`.
fn formatted(pattern: &str, arguments: &[Value]) -> Result<String, Error> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut letters = pattern.chars().peekable();
    let mut number = 0;
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        if letters.peek() == Some(&'%') {
            letters.next();
            out.push('%');
            continue;
        }
        let mut precision = None;
        if letters.peek() == Some(&'.') {
            letters.next();
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = digits.parse::<usize>().ok();
        }
        let Some(clause) = letters.next() else {
            return Err(Error::other("unexpected end of string"));
        };
        let Some(value) = arguments.next() else {
            return Err(Error::other(format!("index {number} out of range")));
        };
        number += 1;
        out.push_str(&clause_of(clause, precision, value)?);
    }
    Ok(out)
}

fn clause_of(clause: char, precision: Option<usize>, value: &Value) -> Result<String, Error> {
    let wrong = |what: &str| {
        let given = value.type_name();
        Error::other(format!(
            "error during formatting: {what} clause can't be used on {given}"
        ))
    };
    let digits = precision.unwrap_or(6).min(100);
    Ok(match (clause, value) {
        ('s', value) => shown(value),
        ('d', Value::Int(number)) => number.to_string(),
        ('d', Value::Uint(number)) => number.to_string(),
        ('f', value) => format!("{:.digits$}", value.as_double().ok_or_else(|| wrong("fixed-point"))?),
        ('e', value) => {
            let text = format!("{:.digits$e}", value.as_double().ok_or_else(|| wrong("scientific"))?);
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, exponent) = exponent
                .strip_prefix('-')
                .map_or(("", exponent), |exponent| ("⁻", exponent));
            let raised = format!("{exponent:0>2}").chars().map(raised).collect::<String>();
            format!("{digits}×10{sign}{raised}")
        }
        ('b', Value::Int(number)) => signed(*number, &format!("{:b}", number.unsigned_abs())),
        ('b', Value::Uint(number)) => format!("{number:b}"),
        ('b', Value::Bool(flag)) => u8::from(*flag).to_string(),
        ('o', Value::Int(number)) => signed(*number, &format!("{:o}", number.unsigned_abs())),
        ('o', Value::Uint(number)) => format!("{number:o}"),
        ('x', Value::Int(number)) => signed(*number, &format!("{:x}", number.unsigned_abs())),
        ('x', Value::Uint(number)) => format!("{number:x}"),
        ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('x', Value::Bytes(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        ('X', value) => clause_of('x', precision, value)?.to_ascii_uppercase(),
        ('d', _) => return Err(wrong("decimal")),
        ('b', _) => return Err(wrong("binary")),
        ('o', _) => return Err(wrong("octal")),
        ('x', _) => return Err(wrong("hex")),
        (other, _) => {
            return Err(Error::other(format!(
                "could not parse formatting clause: unrecognized formatting clause \"{other}\""
            )));
        }
    })
}

/// A digit as an exponent is written.
fn raised(digit: char) -> char {
    const RAISED: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let value = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
    value.map_or(digit, |value| RAISED[value])
}

fn signed(number: i64, digits: &str) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{digits}")
}

/// Any value as `%s` writes it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Type(name) => name.to_string(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let entries = map.entries.iter();
            let entries: Vec<String> = entries
                .map(|(key, value): (&Key, &Value)| format!("{key}: {}", shown(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Optional(Some(inner)) => shown(&Value::clone(&Arc::clone(inner))),
        value => conversions::plain(value).unwrap_or_else(|_| value.type_name().to_owned()),
    }
}
