//! What a variable is declared as: a type, and how large its values can be, from which costs are estimated.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::token;
use crate::types::{Object, Type};

/// The declaration of a variable, or of a part of one.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// The type.
    pub ty: Type,
    /// At most so many letters, bytes or elements; 0 for what has no size.
    pub largest: u64,
    /// The elements of a list, or the values of a map.
    pub element: Option<Arc<Declaration>>,
    /// The fields of an object.
    pub fields: BTreeMap<String, Arc<Declaration>>,
}

impl Declaration {
    /// Of a type without parts, or with parts that nothing is known of.
    #[must_use]
    pub fn simple(ty: Type, largest: u64) -> Declaration {
        Declaration {
            ty,
            largest,
            element: None,
            fields: BTreeMap::new(),
        }
    }

    /// A list.
    #[must_use]
    pub fn list(of: Declaration, largest: u64) -> Declaration {
        Declaration {
            ty: Type::list(of.ty.clone()),
            largest,
            element: Some(Arc::new(of)),
            fields: BTreeMap::new(),
        }
    }

    /// A map with keys of text.
    #[must_use]
    pub fn map(of: Declaration, largest: u64) -> Declaration {
        Declaration {
            ty: Type::map(Type::String, of.ty.clone()),
            largest,
            element: Some(Arc::new(of)),
            fields: BTreeMap::new(),
        }
    }

    /// An object, of a type with this name.
    #[must_use]
    pub fn object(name: &str, fields: BTreeMap<String, Declaration>) -> Declaration {
        let types = fields
            .iter()
            .map(|(field, declared)| (field.clone(), declared.ty.clone()));
        Declaration {
            ty: Type::Object(Arc::new(Object {
                name: name.to_owned(),
                fields: types.collect(),
                open: false,
            })),
            largest: 0,
            element: None,
            fields: fields
                .into_iter()
                .map(|(name, declared)| (name, Arc::new(declared)))
                .collect(),
        }
    }

    /// The declaration of a field, also by a name that is a word of the language.
    pub(crate) fn field(&self, name: &str) -> Option<&Arc<Declaration>> {
        let declared = || self.fields.get(&token::written(name)?);
        self.fields.get(name).or_else(declared)
    }

    /// The same, absent or there.
    #[must_use]
    pub fn optional(self) -> Declaration {
        Declaration {
            ty: Type::optional(self.ty),
            ..self
        }
    }
}

impl From<Type> for Declaration {
    fn from(ty: Type) -> Declaration {
        Declaration::simple(ty, 0)
    }
}
