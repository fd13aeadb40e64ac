//! A structural schema as types of the schema table, for merging and server-side apply. All versions of a kind live in
//! one arena, so that ownership can move between them.

use std::collections::HashMap;

use super::structural::{Kind, Node};
use crate::schema::{Field, List, Map, MapType, Schema, Struct, Type, TypeId};

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Makes types.
pub(crate) struct Types {
    schema: Schema,
    metadata: TypeId,
}

impl Types {
    /// An arena with what every object has.
    pub(crate) fn new() -> Types {
        let mut schema = Schema::new();
        let builtin = Schema::builtin();
        let metadata = builtin
            .named(METADATA)
            .map_or(TypeId::ANY, |ty| copy(&mut schema, builtin, ty, &mut HashMap::new()));
        Types { schema, metadata }
    }

    /// Adds the type of a whole object.
    pub(crate) fn object(&mut self, name: &str, root: &Node) -> TypeId {
        let fields = self.fields(root, true);
        self.structure(name, fields, root)
    }

    /// The finished arena.
    pub(crate) fn finish(self) -> Schema {
        self.schema
    }

    fn structure(&mut self, name: &str, fields: Vec<Field>, node: &Node) -> TypeId {
        let mut body = Struct::new(name.to_owned(), fields, node.map_type);
        body.preserve_unknown = node.preserve_unknown;
        self.schema.add(Type::Struct(body))
    }

    fn fields(&mut self, node: &Node, whole: bool) -> Vec<Field> {
        let mut fields = Vec::new();
        if whole {
            for name in ["apiVersion", "kind"] {
                fields.push(Field::new(name, 0, TypeId::STRING));
            }
            fields.push(Field::new("metadata", 0, self.metadata));
        }
        let required = node.checks.as_deref().map_or(&[][..], |checks| &checks.required);
        for (name, child) in &node.properties {
            if whole && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                continue;
            }
            let mut field = Field::new(name.clone(), 0, self.node(child));
            field.required = required.contains(name);
            field.default.clone_from(&child.default);
            fields.push(field);
        }
        fields
    }

    fn node(&mut self, node: &Node) -> TypeId {
        if node.int_or_string {
            return TypeId::INT_OR_STRING;
        }
        match node.kind {
            Some(Kind::String) => TypeId::STRING,
            Some(Kind::Boolean) => TypeId::BOOL,
            Some(Kind::Integer | Kind::Number) => TypeId::DOUBLE,
            Some(Kind::Array) => {
                let element = node.items.as_deref().map_or(TypeId::DEDUCED, |items| self.node(items));
                self.schema.add(Type::List(List {
                    element,
                    list_type: node.list_type,
                    keys: node.list_keys.iter().cloned().map(Into::into).collect(),
                }))
            }
            Some(Kind::Object) => self.map_or_struct(node),
            None => TypeId::DEDUCED,
        }
    }

    fn map_or_struct(&mut self, node: &Node) -> TypeId {
        if let Some(additional) = node.additional.as_ref().filter(|_| node.properties.is_empty()) {
            let value = match &additional.of {
                Some(of) => self.node(of),
                None => TypeId::DEDUCED,
            };
            return self.schema.add(Type::Map(Map {
                value,
                map_type: node.map_type,
            }));
        }
        if node.preserve_unknown && node.properties.is_empty() && node.map_type == MapType::Granular && !node.embedded {
            return TypeId::DEDUCED;
        }
        let fields = self.fields(node, node.embedded);
        self.structure("", fields, node)
    }
}

/// Copies a built-in type and all that it holds.
fn copy(into: &mut Schema, from: &Schema, ty: TypeId, done: &mut HashMap<TypeId, TypeId>) -> TypeId {
    if let Some(made) = done.get(&ty) {
        return *made;
    }
    let made = match from.get(ty) {
        Type::Struct(body) => {
            let place = into.add(Type::Any);
            done.insert(ty, place);
            let fields = body.fields.iter().map(|field| Field {
                ty: copy(into, from, field.ty, done),
                ..field.clone()
            });
            let copied = Struct::new(body.name.clone(), fields.collect(), body.map_type);
            into.set(place, Type::Struct(copied));
            place
        }
        Type::List(list) => {
            let element = copy(into, from, list.element, done);
            into.add(Type::List(List {
                element,
                ..list.clone()
            }))
        }
        Type::Map(map) => {
            let value = copy(into, from, map.value, done);
            into.add(Type::Map(Map { value, ..map.clone() }))
        }
        // The scalars are the same in every arena.
        _ => ty,
    };
    done.insert(ty, made);
    made
}
