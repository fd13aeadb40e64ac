//! The functions: one table of signatures with what they do, read by the checker, the estimator and the evaluator.

mod authorization;
mod conversions;
mod formats;
mod lists;
mod net;
mod operators;
mod optionals;
mod quantities;
mod semver;
mod sets;
mod strings;
mod times;
mod url;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use regex::Regex;

use crate::error::Error;
use crate::types::Type;
use crate::value::{Opaque, Value};

pub(crate) use optionals::field as optional_field;
pub(crate) use times::{duration, timestamp};

/// What a function does.
type Call = fn(&[Value]) -> Result<Value, Error>;

/// One signature of a function.
pub(crate) struct Overload {
    /// By which its costs are known.
    pub(crate) id: &'static str,
    /// Whether it is called on its first argument.
    pub(crate) member: bool,
    pub(crate) params: Vec<Type>,
    pub(crate) result: Type,
    call: Call,
}

impl std::fmt::Debug for Overload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

/// The table while it is made.
#[derive(Default)]
struct Table(HashMap<&'static str, Vec<Overload>>);

impl Table {
    /// Adds a function that stands by itself.
    fn global<const N: usize>(&mut self, name: &'static str, params: [Type; N], result: Type, call: Call) {
        self.add(name, "", false, params, result, call);
    }

    /// Adds a function that is called on its first parameter.
    fn method<const N: usize>(&mut self, name: &'static str, params: [Type; N], result: Type, call: Call) {
        self.add(name, "", true, params, result, call);
    }

    fn add<const N: usize>(
        &mut self,
        name: &'static str,
        id: &'static str,
        member: bool,
        params: [Type; N],
        result: Type,
        call: Call,
    ) {
        self.0.entry(name).or_default().push(Overload {
            id,
            member,
            params: params.into(),
            result,
            call,
        });
    }
}

fn table() -> &'static HashMap<&'static str, Vec<Overload>> {
    static TABLE: OnceLock<HashMap<&'static str, Vec<Overload>>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Table::default();
        operators::add(&mut table);
        conversions::add(&mut table);
        strings::add(&mut table);
        lists::add(&mut table);
        sets::add(&mut table);
        times::add(&mut table);
        optionals::add(&mut table);
        quantities::add(&mut table);
        semver::add(&mut table);
        net::add(&mut table);
        url::add(&mut table);
        formats::add(&mut table);
        authorization::add(&mut table);
        table.0
    })
}

/// All signatures of a function; empty when there is none of that name.
pub(crate) fn overloads(name: &str) -> &'static [Overload] {
    table().get(name).map_or(&[], Vec::as_slice)
}

/// Whether there is a function of that name.
pub(crate) fn is_function(name: &str) -> bool {
    table().contains_key(name)
}

/// Calls a function by its name and what it is given; answers the signature's id, too.
pub(crate) fn call(name: &str, arguments: &[Value]) -> Result<(&'static str, Value), Error> {
    for overload in overloads(name) {
        let fits = overload.params.len() == arguments.len()
            && overload
                .params
                .iter()
                .zip(arguments)
                .all(|(wanted, given)| given.is_of(wanted));
        if fits {
            return (overload.call)(arguments).map(|value| (overload.id, value));
        }
    }
    Err(Error::NoSuchOverload)
}

/// A compiled regular expression. Those of late are kept.
pub(crate) fn regex(pattern: &str) -> Result<Regex, Error> {
    static KEPT: OnceLock<Mutex<HashMap<String, Regex>>> = OnceLock::new();
    const MOST: usize = 256;
    let kept = KEPT.get_or_init(Mutex::default);
    if let Some(known) = kept.lock().get(pattern) {
        return Ok(known.clone());
    }
    // In Go's syntax these mean ASCII, here they would mean Unicode.
    let ascii = pattern.replace(r"\d", "[0-9]").replace(r"\w", "[0-9A-Za-z_]");
    let compiled = regex::RegexBuilder::new(&ascii).size_limit(1 << 20).build();
    let compiled = compiled.map_err(|error| Error::other(format!("error parsing regexp: {error}")))?;
    let mut kept = kept.lock();
    if kept.len() >= MOST {
        kept.clear();
    }
    kept.insert(pattern.to_owned(), compiled.clone());
    Ok(compiled)
}

// What arguments are, for functions whose signature has made sure of it.

fn text(value: &Value) -> Result<&str, Error> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Error::NoSuchOverload),
    }
}

fn int(value: &Value) -> Result<i64, Error> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(Error::NoSuchOverload),
    }
}

fn items(value: &Value) -> Result<&Arc<Vec<Value>>, Error> {
    match value {
        Value::List(items) => Ok(items),
        _ => Err(Error::NoSuchOverload),
    }
}

fn opaque<T: Opaque>(value: &Value) -> Result<&T, Error> {
    match value {
        Value::Opaque(opaque) => opaque.downcast().ok_or(Error::NoSuchOverload),
        _ => Err(Error::NoSuchOverload),
    }
}
