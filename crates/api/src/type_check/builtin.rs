//! The types of built-in kinds, from the schema table. Kubernetes has them from its published schemas: what these have no
//! type for (quantities, any JSON) is not declared, and so not known in typed expressions.

use std::collections::BTreeMap;

use cel::{Declaration, Type};
use meta::GroupVersionKind;

use crate::custom::escape;
use crate::resource::builtin_type;
use crate::schema::{Schema, Struct, Type as Table, TypeId};

/// The declaration of a kind's objects, whose types' names begin with `name`.
pub(super) fn shape(kind: &GroupVersionKind, name: &str) -> Option<Option<Declaration>> {
    let ty = builtin_type(kind)?;
    Some(Walk::default().declare(ty, name).map(|declared| whole(&declared, name)))
}

/// What every object has, for those kinds whose own metadata isn't an object's.
fn whole(declared: &Declaration, name: &str) -> Declaration {
    let metadata = declared.fields.get("metadata");
    if metadata.is_some_and(|metadata| metadata.fields.contains_key("generateName")) {
        return declared.clone();
    }
    let fields = declared.fields.iter();
    let mut fields: BTreeMap<_, _> = fields.map(|(name, field)| (name.clone(), (**field).clone())).collect();
    let text = |name: &str| (name.to_owned(), Declaration::simple(Type::String, 0));
    fields.extend([text("kind"), text("apiVersion")]);
    let named = BTreeMap::from([text("name"), text("generateName")]);
    let metadata = Declaration::object(&format!("{name}.metadata"), named);
    fields.insert("metadata".to_owned(), metadata);
    Declaration::object(name, fields)
}

/// The structs that are being declared: within themselves they are objects without fields.
#[derive(Default)]
struct Walk(Vec<TypeId>);

impl Walk {
    fn declare(&mut self, ty: TypeId, name: &str) -> Option<Declaration> {
        let simple = |ty| Some(Declaration::simple(ty, 0));
        match Schema::builtin().get(ty) {
            Table::String | Table::Duration => simple(Type::String),
            Table::Bytes => simple(Type::Bytes),
            Table::Bool => simple(Type::Bool),
            Table::Int32 | Table::Int64 => simple(Type::Int),
            Table::Double => simple(Type::Double),
            Table::IntOrString => simple(Type::Dyn),
            Table::Time | Table::MicroTime => simple(Type::Timestamp),
            Table::Quantity => None,
            Table::Any | Table::Deduced => Some(Declaration::object(name, BTreeMap::new())),
            Table::List(list) => {
                let of = self.declare(list.element, &format!("{name}.@idx"))?;
                Some(Declaration::list(of, 0))
            }
            Table::Map(map) => {
                let of = self.declare(map.value, &format!("{name}.@elem"))?;
                Some(Declaration::map(of, 0))
            }
            Table::Struct(_) if self.0.contains(&ty) => Some(Declaration::object(name, BTreeMap::new())),
            Table::Struct(body) => {
                self.0.push(ty);
                let declared = self.object(body, name);
                self.0.pop();
                Some(declared)
            }
        }
    }

    fn object(&mut self, body: &Struct, name: &str) -> Declaration {
        let mut fields = BTreeMap::new();
        for field in &body.fields {
            let Some(escaped) = escape(&field.name).filter(|_| !is_untyped(body, field.ty)) else {
                continue;
            };
            if let Some(declared) = self.declare(field.ty, &format!("{name}.{escaped}")) {
                fields.insert(escaped, declared);
            }
        }
        Declaration::object(name, fields)
    }
}

/// Whether a field has no type in the published schemas: any JSON of a definition's schema, which isn't an object as other
/// JSON is.
fn is_untyped(body: &Struct, ty: TypeId) -> bool {
    let inner = match Schema::builtin().get(ty) {
        Table::List(list) => list.element,
        Table::Map(map) => map.value,
        _ => ty,
    };
    body.name.ends_with(".JSONSchemaProps") && matches!(Schema::builtin().get(inner), Table::Any)
}
