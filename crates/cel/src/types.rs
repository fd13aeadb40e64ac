//! Types of expressions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::token;

/// The type of an expression, as far as it is known before it runs.
#[derive(Clone, Debug)]
pub enum Type {
    /// Known only while it runs.
    Dyn,
    /// What is wrong already, and is not to be told twice.
    Error,
    /// `null`.
    Null,
    /// `true` and `false`.
    Bool,
    /// Whole numbers of 64 bits.
    Int,
    /// Whole numbers that aren't negative.
    Uint,
    /// Floating point.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A span of time.
    Duration,
    /// A point in time.
    Timestamp,
    /// Types are values, too.
    Type,
    /// A list of things of one type.
    List(Arc<Type>),
    /// A map from keys of one type to values of one type.
    Map(Arc<Type>, Arc<Type>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// Something with named fields.
    Object(Arc<Object>),
    /// What only functions can look into.
    Opaque(&'static str),
    /// Stands for any type, the same one within a function's signature.
    Param(char),
}

/// A type with named fields.
#[derive(Debug)]
pub struct Object {
    /// By which it is told from others.
    pub name: String,
    /// The fields, by their names in expressions.
    pub fields: BTreeMap<String, Type>,
    /// Whether there may be others, of any type.
    pub open: bool,
}

impl Object {
    /// The type of a field. One whose name is a word of the language is declared another way, and may be called by its
    /// name all the same.
    pub(crate) fn field(&self, name: &str) -> Option<&Type> {
        let declared = || self.fields.get(&token::written(name)?);
        self.fields.get(name).or_else(declared)
    }
}

impl PartialEq for Type {
    fn eq(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => a == b,
            (Type::Map(a, b), Type::Map(c, d)) => a == c && b == d,
            (Type::Object(a), Type::Object(b)) => a.name == b.name,
            (Type::Opaque(a), Type::Opaque(b)) => a == b,
            (Type::Param(a), Type::Param(b)) => a == b,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}

impl Type {
    /// A list of these.
    #[must_use]
    pub fn list(of: Type) -> Type {
        Type::List(Arc::new(of))
    }

    /// A map between these.
    #[must_use]
    pub fn map(from: Type, to: Type) -> Type {
        Type::Map(Arc::new(from), Arc::new(to))
    }

    /// Perhaps one of these.
    #[must_use]
    pub fn optional(of: Type) -> Type {
        Type::Optional(Arc::new(of))
    }

    /// Whether nothing is known of it.
    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }

    /// Whether a value is of a size that doesn't matter.
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
            Type::Optional(inner) => inner.is_scalar(),
            _ => false,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => f.write_str("dyn"),
            Type::Error => f.write_str("!error!"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Duration => f.write_str("duration"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Type => f.write_str("type"),
            Type::List(of) => write!(f, "list({of})"),
            Type::Map(from, to) => write!(f, "map({from}, {to})"),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Object(object) => f.write_str(&object.name),
            Type::Opaque(name) => f.write_str(name),
            Type::Param(letter) => write!(f, "{letter}"),
        }
    }
}

/// What type parameters of a signature stand for in one call.
#[derive(Default)]
pub(crate) struct Bindings(Vec<(char, Type)>);

impl Bindings {
    /// Whether a value of a type can stand where another is wanted, noting what parameters then stand for.
    pub(crate) fn accepts(&mut self, wanted: &Type, given: &Type) -> bool {
        match (wanted, given) {
            (Type::Param(letter), given) => self.bind(*letter, given),
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) => true,
            // Types are written to, not only read: what holds messages may be absent.
            (Type::Duration | Type::Timestamp | Type::Object(_) | Type::Opaque(_), Type::Null) => true,
            (Type::Null, Type::Duration | Type::Timestamp | Type::Object(_) | Type::Opaque(_)) => true,
            (Type::List(wanted), Type::List(given)) | (Type::Optional(wanted), Type::Optional(given)) => {
                self.accepts(wanted, given)
            }
            (Type::Map(key, value), Type::Map(given_key, given_value)) => {
                self.accepts(key, given_key) && self.accepts(value, given_value)
            }
            (wanted, given) => wanted == given,
        }
    }

    fn bind(&mut self, letter: char, given: &Type) -> bool {
        let Some(at) = self.0.iter().position(|(known, _)| *known == letter) else {
            self.0.push((letter, given.clone()));
            return true;
        };
        let known = self.0[at].1.clone();
        if known.is_dyn() || given.is_dyn() {
            // What is known of one of them is no less true.
            if known.is_dyn() && !given.is_dyn() {
                self.0[at].1 = Type::Dyn;
            }
            return true;
        }
        if matches!(given, Type::Param(_)) {
            return true;
        }
        let mut inner = Bindings::default();
        if inner.accepts(&known, given) {
            if let Some(wider) = wider(&known, given) {
                self.0[at].1 = wider;
            }
            return true;
        }
        false
    }

    /// A type of the signature with what its parameters stand for.
    pub(crate) fn resolve(&self, ty: &Type) -> Type {
        match ty {
            Type::Param(letter) => {
                let known = self.0.iter().find(|(known, _)| known == letter);
                known.map_or(Type::Dyn, |(_, ty)| ty.clone())
            }
            Type::List(of) => Type::list(self.resolve(of)),
            Type::Optional(of) => Type::optional(self.resolve(of)),
            Type::Map(from, to) => Type::map(self.resolve(from), self.resolve(to)),
            other => other.clone(),
        }
    }
}

/// The type of what may be of either of two that go together.
fn wider(a: &Type, b: &Type) -> Option<Type> {
    match (a, b) {
        (Type::Null, other) => Some(other.clone()),
        (Type::List(a), Type::List(b)) if a != b => Some(Type::list(wider(a, b).unwrap_or(Type::Dyn))),
        (Type::Dyn, _) | (_, Type::Dyn) => Some(Type::Dyn),
        _ => None,
    }
}
