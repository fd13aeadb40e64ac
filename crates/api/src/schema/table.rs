//! Reads the compiled-in table of built-in types. The file's head says what its lines mean; `cargo xtask schema` makes
//! it. A line that can't be read is a mistake in the build, caught by the tests here.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::{Field, List, ListType, Map, MapType, PatchStrategy, Presence, Schema, Struct, Text, Type, TypeId, Wire};

const TABLE: &str = include_str!("../../schema/v1.37.txt");

/// The whole table as a schema.
pub(super) fn read() -> Schema {
    let mut reader = Reader {
        schema: Schema::new(),
        packages: HashMap::new(),
        ids: HashMap::new(),
        made: HashMap::new(),
    };
    reader.schema.types.reserve(2500);
    let types = reader.heads();
    for head in &types {
        reader.read_type(head);
    }
    for head in &types {
        flatten(&mut reader.schema, head.id);
    }
    reader.schema
}

/// What tells this table from another.
pub(super) fn hash() -> [u8; 32] {
    Sha256::digest(TABLE).into()
}

struct Head {
    id: TypeId,
    name: &'static str,
    map_type: MapType,
    lines: &'static str,
}

struct Reader {
    schema: Schema,
    /// The full package names by their aliases.
    packages: HashMap<&'static str, &'static str>,
    /// The structs by their names in the table.
    ids: HashMap<&'static str, TypeId>,
    /// The lists and maps made so far: a type that is told by the same words is made once.
    made: HashMap<(&'static str, &'static str, MapType), TypeId>,
}

impl Reader {
    /// The packages, and an id for each type.
    fn heads(&mut self) -> Vec<Head> {
        let mut heads = Vec::with_capacity(1000);
        let start = TABLE.find("\nP ").map_or(0, |at| at + 1);
        let types_start = TABLE.find("\nT ").map_or(TABLE.len(), |at| at + 1);
        for line in TABLE[start..types_start].lines() {
            let mut words = line.split(' ').skip(1);
            if let (Some(alias), Some(package)) = (words.next(), words.next()) {
                self.packages.insert(alias, package);
            }
        }
        for block in TABLE[types_start..].split("\nT ") {
            let block = block.strip_prefix("T ").unwrap_or(block);
            let (head, lines) = block.split_once('\n').unwrap_or((block, ""));
            let (name, mark) = head.split_once(' ').unwrap_or((head, ""));
            let map_type = if mark == "map=atomic" {
                MapType::Atomic
            } else {
                MapType::Granular
            };
            let id = self.schema.add(Type::Any);
            self.ids.insert(name, id);
            heads.push(Head {
                id,
                name,
                map_type,
                lines,
            });
        }
        heads
    }

    fn read_type(&mut self, head: &Head) {
        let (mut fields, mut inlines) = (Vec::new(), Vec::new());
        for line in head.lines.lines() {
            let mut words = line.split(' ').skip(1);
            let (Some(name), Some(tag), Some(ty)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let tag = tag.parse().unwrap_or(0);
            if name == "^" {
                inlines.push((tag, self.base(ty)));
            } else {
                fields.push(self.field(name, tag, ty, words));
            }
        }
        let (alias, kind) = head.name.rsplit_once('.').unwrap_or(("", head.name));
        let package = self.packages.get(alias).copied().unwrap_or_default();
        let mut body = Struct::new(format!("{package}.{kind}"), fields, head.map_type);
        body.inlines = inlines;
        self.schema.set(head.id, Type::Struct(body));
    }

    fn field(
        &mut self,
        name: &'static str,
        tag: u32,
        ty: &'static str,
        marks: impl Iterator<Item = &'static str>,
    ) -> Field {
        let mut field = Field::new(name, tag, TypeId::ANY);
        let (mut list, mut map_type) = ("", MapType::Granular);
        for mark in marks {
            match mark.split_once('=') {
                None => match mark {
                    "o" => field.presence = Presence::OmitEmpty,
                    "z" => field.presence = Presence::OmitZero,
                    "a" => field.presence = Presence::Always,
                    "!" => field.required = true,
                    _ => {}
                },
                Some(("list", kind)) => list = kind,
                Some(("map", _)) => map_type = MapType::Atomic,
                Some(("default", json)) => field.default = serde_json::from_str(json).ok(),
                Some(("enum", values)) => field.enum_values = values.split('|').map(text).collect(),
                Some(("patch", strategies)) => field.patch_strategy = patch_strategy(strategies),
                Some(("key", key)) => field.patch_merge_key = Some(key.into()),
                Some(("go", name)) => field.go_type = Some(name.into()),
                Some(("wire", union)) => field.wire = wire(union),
                Some(_) => {}
            }
        }
        if ty.contains("()") {
            field.wire = Wire::Wrapped;
        }
        field.ty = self.ty(ty, list, map_type);
        field
    }

    fn ty(&mut self, ty: &'static str, list: &'static str, map_type: MapType) -> TypeId {
        let (prefix, rest) = (ty.get(..2).unwrap_or(ty), ty.get(2..).unwrap_or_default());
        if !matches!(prefix, "[]" | "{}" | "()") {
            return self.base(ty);
        }
        if let Some(id) = self.made.get(&(ty, list, map_type)) {
            return *id;
        }
        let inner = self.ty(rest, "", MapType::Granular);
        let made = if prefix == "{}" {
            Type::Map(Map { value: inner, map_type })
        } else {
            let (list_type, keys) = match list.split_once(':') {
                Some((_, keys)) => (ListType::Map, keys.split(',').map(Text::Borrowed).collect()),
                None if list == "set" => (ListType::Set, Vec::new()),
                None => (ListType::Atomic, Vec::new()),
            };
            Type::List(List {
                element: inner,
                list_type,
                keys,
            })
        };
        let id = self.schema.add(made);
        self.made.insert((ty, list, map_type), id);
        id
    }

    fn base(&self, ty: &str) -> TypeId {
        match ty {
            "string" => TypeId::STRING,
            "bytes" => TypeId::BYTES,
            "bool" => TypeId::BOOL,
            "int32" => TypeId::INT32,
            "int64" => TypeId::INT64,
            "double" => TypeId::DOUBLE,
            "quantity" => TypeId::QUANTITY,
            "intorstring" => TypeId::INT_OR_STRING,
            "time" => TypeId::TIME,
            "microtime" => TypeId::MICRO_TIME,
            "duration" => TypeId::DURATION,
            other => self.ids.get(other).copied().unwrap_or(TypeId::ANY),
        }
    }
}

fn text(value: &'static str) -> Text {
    if value.contains('~') {
        value.replace('~', " ").into()
    } else {
        value.into()
    }
}

fn patch_strategy(words: &str) -> PatchStrategy {
    words.split(',').fold(PatchStrategy::NONE, |all, word| {
        all.with(match word {
            "merge" => PatchStrategy::MERGE,
            "replace" => PatchStrategy::REPLACE,
            "retainKeys" => PatchStrategy::RETAIN_KEYS,
            _ => PatchStrategy::NONE,
        })
    })
}

fn wire(union: &str) -> Wire {
    match union {
        "bool" => Wire::SchemaOrBool,
        "array" => Wire::SchemaOrArray,
        _ => Wire::SchemaOrStrings,
    }
}

/// Copies the fields of inlined structs among those of the struct, as JSON has them.
fn flatten(schema: &mut Schema, id: TypeId) {
    let inlines: Vec<TypeId> = match schema.get(id) {
        Type::Struct(body) if !body.inlines.is_empty() => body.inlines.iter().map(|(_, inner)| *inner).collect(),
        _ => return,
    };
    let mut added = Vec::new();
    for inner in inlines {
        flatten(schema, inner);
        let fields = schema
            .get_struct(inner)
            .map(|body| body.fields.as_slice())
            .unwrap_or_default();
        added.extend(fields.iter().map(|field| Field {
            tag: 0,
            ..field.clone()
        }));
    }
    if let Type::Struct(body) = schema.get(id).clone() {
        let mut fields = body.fields;
        added.retain(|field| fields.iter().all(|known| known.name != field.name));
        fields.extend(added);
        let flat = Struct {
            inlines: body.inlines,
            ..Struct::new(body.name, fields, body.map_type)
        };
        schema.set(id, Type::Struct(flat));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(name: &str) -> &'static Struct {
        let schema = Schema::builtin();
        let id = schema
            .named(name)
            .unwrap_or_else(|| panic!("{name} is not in the table"));
        schema.get_struct(id).unwrap()
    }

    fn list(field: &Field) -> &'static List {
        match Schema::builtin().get(field.ty) {
            Type::List(list) => list,
            other => panic!("{} is {other:?}", field.name),
        }
    }

    #[test]
    fn every_line_is_understood() {
        let schema = Schema::builtin();
        let lines = TABLE.lines().filter(|line| line.starts_with("T ")).count();
        let structs = schema.types().filter(|(_, ty)| matches!(ty, Type::Struct(_))).count();
        assert_eq!(lines, structs);
        for line in TABLE.lines().filter(|line| line.starts_with(' ')) {
            let ty = line
                .split(' ')
                .nth(3)
                .unwrap()
                .trim_start_matches(['[', ']', '{', '}', '(', ')']);
            let known = ty == "any" || !ty.contains('.') || lines_have(ty);
            assert!(known, "{line}");
        }
    }

    fn lines_have(ty: &str) -> bool {
        static NAMES: std::sync::LazyLock<std::collections::HashSet<&str>> = std::sync::LazyLock::new(|| {
            TABLE
                .lines()
                .filter_map(|line| line.strip_prefix("T "))
                .filter_map(|rest| rest.split(' ').next())
                .collect()
        });
        NAMES.contains(ty)
    }

    #[test]
    fn knows_what_is_published() {
        let pod_spec = body("io.k8s.api.core.v1.PodSpec");
        let containers = pod_spec.field("containers").unwrap();
        assert!(containers.required && containers.patch_strategy.merge());
        assert_eq!(containers.patch_merge_key.as_deref(), Some("name"));
        assert_eq!((containers.tag, list(containers).list_type), (2, ListType::Map));
        assert_eq!(list(containers).keys, ["name"]);
        assert!(pod_spec.field("volumes").unwrap().patch_strategy.retain_keys());
        let port = body("io.k8s.api.core.v1.ContainerPort").field("protocol").unwrap();
        assert_eq!(port.default, Some(serde_json::json!("TCP")));
        assert_eq!(port.enum_values, ["SCTP", "TCP", "UDP"]);
        assert_eq!(
            body("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector").map_type,
            MapType::Atomic
        );
        assert_eq!(
            list(
                body("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
                    .field("finalizers")
                    .unwrap()
            )
            .list_type,
            ListType::Set
        );
    }

    #[test]
    fn inlined_structs_are_flat() {
        let volume = body("io.k8s.api.core.v1.Volume");
        assert_eq!(volume.field("emptyDir").unwrap().tag, 0);
        assert_eq!(volume.field("name").unwrap().tag, 1);
        assert_eq!(volume.inlines.len(), 1);
        let rule = body("io.k8s.api.admissionregistration.v1.NamedRuleWithOperations");
        assert!(rule.field("apiGroups").is_some() && rule.field("operations").is_some());
    }

    #[test]
    fn is_read_in_a_few_milliseconds() {
        let start = std::time::Instant::now();
        let schema = read();
        let took = start.elapsed();
        eprintln!("{} types in {took:?}", schema.types().count());
        assert!(
            took < std::time::Duration::from_millis(250),
            "{took:?}, and that is an unoptimised build"
        );
    }
}
