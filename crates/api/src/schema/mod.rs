//! The schema table: every type of the API as data, in one arena. Whoever walks an object (codecs, merging, apply,
//! pruning, OpenAPI) walks it along these types; a custom resource is one more `Schema`. No kind is named here, and no
//! behaviour of a kind: that is `rules`.

mod table;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

/// Text of the table: borrowed from the compiled-in data for built-in types, owned for custom ones.
pub type Text = Cow<'static, str>;

/// The place of a type in its [`Schema`]. The scalar types have the same id in every schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(u32);

impl TypeId {
    /// A JSON string.
    pub const STRING: TypeId = TypeId(0);
    /// Bytes, base64 in JSON.
    pub const BYTES: TypeId = TypeId(1);
    /// A boolean.
    pub const BOOL: TypeId = TypeId(2);
    /// A 32-bit integer.
    pub const INT32: TypeId = TypeId(3);
    /// A 64-bit integer.
    pub const INT64: TypeId = TypeId(4);
    /// A floating point number.
    pub const DOUBLE: TypeId = TypeId(5);
    /// A resource quantity: text, or a number that is read as text.
    pub const QUANTITY: TypeId = TypeId(6);
    /// A 32-bit integer or a string.
    pub const INT_OR_STRING: TypeId = TypeId(7);
    /// RFC 3339 to the second.
    pub const TIME: TypeId = TypeId(8);
    /// RFC 3339 with six decimals.
    pub const MICRO_TIME: TypeId = TypeId(9);
    /// Any JSON, kept as it is.
    pub const ANY: TypeId = TypeId(10);
    /// Any JSON whose objects have entries with owners of their own: what a custom schema leaves open.
    pub const DEDUCED: TypeId = TypeId(11);
    /// A duration as Go writes it.
    pub const DURATION: TypeId = TypeId(12);

    /// The position in the arena.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a value may look like.
#[derive(Clone, Debug)]
pub enum Type {
    /// A JSON string.
    String,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A boolean.
    Bool,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A floating point number.
    Double,
    /// A resource quantity: text, or a number that is read as text.
    Quantity,
    /// A 32-bit integer or a string.
    IntOrString,
    /// RFC 3339 to the second.
    Time,
    /// RFC 3339 with six decimals.
    MicroTime,
    /// A duration as Go writes it.
    Duration,
    /// Any JSON, kept as it is (RawExtension, JSON, FieldsV1, fields that a custom schema preserves).
    Any,
    /// Any JSON whose objects have entries with owners of their own: what a custom schema leaves open.
    Deduced,
    /// An object with named fields.
    Struct(Struct),
    /// A list.
    List(List),
    /// An object whose keys are free.
    Map(Map),
}

/// An object with named fields; Go's inlined structs are flattened into it.
#[derive(Clone, Debug)]
pub struct Struct {
    /// The name in OpenAPI, such as `io.k8s.api.core.v1.Pod`.
    pub name: Text,
    /// The fields, ordered by name.
    pub fields: Vec<Field>,
    /// Whether server-side apply sees into it.
    pub map_type: MapType,
    /// Whether fields that the table doesn't know are kept (custom resources only).
    pub preserve_unknown: bool,
    /// The structs whose fields stand among this one's in JSON and form a message of their own in protobuf, by tag.
    /// (Their fields are in `fields`, too, without a tag.)
    pub inlines: Vec<(u32, TypeId)>,
    /// Protobuf tag to position in `fields`, `u16::MAX` where there is none.
    by_tag: Vec<u16>,
}

impl Struct {
    /// A struct of these fields, in any order. Its lookups are built here.
    #[must_use]
    pub fn new(name: impl Into<Text>, mut fields: Vec<Field>, map_type: MapType) -> Self {
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let highest = fields
            .iter()
            .map(|field| field.tag)
            .filter(|tag| *tag <= MAX_INDEXED_TAG)
            .max()
            .unwrap_or(0);
        let mut by_tag = vec![u16::MAX; highest as usize + 1];
        for (position, field) in fields.iter().enumerate() {
            if field.tag != 0
                && let Some(slot) = by_tag.get_mut(field.tag as usize)
            {
                *slot = u16::try_from(position).unwrap_or(u16::MAX);
            }
        }
        Struct {
            name: name.into(),
            fields,
            map_type,
            preserve_unknown: false,
            inlines: Vec::new(),
            by_tag,
        }
    }

    /// The field with this JSON name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.position(name).map(|position| &self.fields[position])
    }

    /// The position in `fields` of the field with this JSON name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok()
    }

    /// The field with this protobuf tag.
    #[must_use]
    pub fn field_by_tag(&self, tag: u32) -> Option<&Field> {
        if tag > MAX_INDEXED_TAG {
            return self.fields.iter().find(|field| field.tag == tag);
        }
        let position = *self.by_tag.get(tag as usize)?;
        self.fields.get(usize::from(position))
    }

    /// The positions in `fields` in the order of their protobuf tags (fields without a tag are left out).
    pub fn in_tag_order(&self) -> impl Iterator<Item = usize> + '_ {
        self.by_tag
            .iter()
            .filter(|position| **position != u16::MAX)
            .map(|position| usize::from(*position))
    }
}

/// Tags up to here are looked up by index, higher ones by search: a hostile schema can't make the index huge.
const MAX_INDEXED_TAG: u32 = 1024;

/// A field of a [`Struct`].
#[derive(Clone, Debug)]
pub struct Field {
    /// The JSON name.
    pub name: Text,
    /// The protobuf tag; 0 when the field has none (custom resources, fields without protobuf).
    pub tag: u32,
    /// What it holds.
    pub ty: TypeId,
    /// Whether the published schema says that it must be there.
    pub required: bool,
    /// How Go's type holds it, and so what is written when it is absent or empty.
    pub presence: Presence,
    /// The default in the published schema.
    pub default: Option<Value>,
    /// The values that the published schema allows; empty when any is.
    pub enum_values: Vec<Text>,
    /// How strategic merge treats it.
    pub patch_strategy: PatchStrategy,
    /// The key by which strategic merge matches a list's elements.
    pub patch_merge_key: Option<Text>,
    /// The name of its scalar type in Go, for messages; none where it is the plain one.
    pub go_type: Option<Text>,
    /// What protobuf has instead of the type's usual form.
    pub wire: Wire,
}

impl Field {
    /// A plain optional field.
    #[must_use]
    pub fn new(name: impl Into<Text>, tag: u32, ty: TypeId) -> Self {
        Field {
            name: name.into(),
            tag,
            ty,
            required: false,
            presence: Presence::Pointer,
            default: None,
            enum_values: Vec::new(),
            patch_strategy: PatchStrategy::NONE,
            patch_merge_key: None,
            go_type: None,
            wire: Wire::Plain,
        }
    }
}

/// What protobuf has instead of the usual form of a field (of a map: of its values).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// The usual form.
    #[default]
    Plain,
    /// A list is a message whose first field is repeated.
    Wrapped,
    /// A message of `allows` and `schema`.
    SchemaOrBool,
    /// A message of `schema` and `jSONSchemas`.
    SchemaOrArray,
    /// A message of `schema` and `property`.
    SchemaOrStrings,
}

/// How Go's type holds a field, and so what a Go server writes when it is absent or empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// Absent and empty differ: what was sent is kept (pointers, custom resources).
    #[default]
    Pointer,
    /// `omitempty` on a value: an empty scalar, list or map is left out, a struct is always written.
    OmitEmpty,
    /// `omitzero`: the empty value is left out, a struct too.
    OmitZero,
    /// No `omitempty`: the zero value is written when it is absent.
    Always,
}

/// How strategic merge treats a field: a set of bits, as the tags in Go are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy(u8);

impl PatchStrategy {
    /// No strategy: scalars and lists are replaced, objects merged.
    pub const NONE: PatchStrategy = PatchStrategy(0);
    /// Lists are merged, by key where there is one.
    pub const MERGE: PatchStrategy = PatchStrategy(1);
    /// The value is replaced.
    pub const REPLACE: PatchStrategy = PatchStrategy(2);
    /// `$retainKeys`: keys that the patch doesn't list are cleared.
    pub const RETAIN_KEYS: PatchStrategy = PatchStrategy(4);

    /// Both together.
    #[must_use]
    pub const fn with(self, other: PatchStrategy) -> PatchStrategy {
        PatchStrategy(self.0 | other.0)
    }

    /// Whether lists are merged.
    #[must_use]
    pub const fn merge(self) -> bool {
        self.0 & Self::MERGE.0 != 0
    }

    /// Whether the value is replaced.
    #[must_use]
    pub const fn replace(self) -> bool {
        self.0 & Self::REPLACE.0 != 0
    }

    /// Whether `$retainKeys` is honoured.
    #[must_use]
    pub const fn retain_keys(self) -> bool {
        self.0 & Self::RETAIN_KEYS.0 != 0
    }
}

/// Whether server-side apply sees into a map or struct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MapType {
    /// Each entry has its own owner.
    #[default]
    Granular,
    /// The whole has one owner.
    Atomic,
}

/// A list.
#[derive(Clone, Debug)]
pub struct List {
    /// What its elements are.
    pub element: TypeId,
    /// How server-side apply tells elements apart.
    pub list_type: ListType,
    /// The keys of a `Map` list.
    pub keys: Vec<Text>,
}

/// How server-side apply tells the elements of a list apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// The whole list has one owner.
    #[default]
    Atomic,
    /// Elements are their own key.
    Set,
    /// Elements are objects with key fields.
    Map,
}

/// An object whose keys are free.
#[derive(Clone, Debug)]
pub struct Map {
    /// What its values are.
    pub value: TypeId,
    /// Whether server-side apply sees into it.
    pub map_type: MapType,
}

/// An arena of types. The built-in one is [`Schema::builtin`]; a custom resource makes its own.
#[derive(Clone, Debug)]
pub struct Schema {
    types: Vec<Type>,
    names: HashMap<Text, TypeId>,
}

impl Default for Schema {
    fn default() -> Self {
        Self::new()
    }
}

impl Schema {
    /// The types of Kubernetes, read from the compiled-in table at first use.
    #[must_use]
    pub fn builtin() -> &'static Schema {
        static BUILTIN: LazyLock<Schema> = LazyLock::new(table::read);
        &BUILTIN
    }

    /// What tells one compiled-in table from another.
    #[must_use]
    pub fn builtin_hash() -> [u8; 32] {
        static HASH: LazyLock<[u8; 32]> = LazyLock::new(table::hash);
        *HASH
    }

    /// An arena with the scalar types only.
    #[must_use]
    pub fn new() -> Self {
        let types = vec![
            Type::String,
            Type::Bytes,
            Type::Bool,
            Type::Int32,
            Type::Int64,
            Type::Double,
            Type::Quantity,
            Type::IntOrString,
            Type::Time,
            Type::MicroTime,
            Type::Any,
            Type::Deduced,
            Type::Duration,
        ];
        Schema {
            types,
            names: HashMap::new(),
        }
    }

    /// Adds a type. A struct can be found by its name afterwards.
    ///
    /// # Panics
    /// When there are more than four billion types.
    #[allow(clippy::expect_used)]
    pub fn add(&mut self, ty: Type) -> TypeId {
        let id = TypeId(u32::try_from(self.types.len()).expect("fewer than four billion types"));
        self.types.push(Type::Any);
        self.set(id, ty);
        id
    }

    /// Replaces a type: a type that contains itself is added as `Any` first and set when its parts are known.
    pub fn set(&mut self, id: TypeId, ty: Type) {
        if let Type::Struct(body) = &ty
            && !body.name.is_empty()
        {
            self.names.insert(body.name.clone(), id);
        }
        self.types[id.index()] = ty;
    }

    /// The type with this id. Ids come from this arena, so that it is always there.
    #[must_use]
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.index()]
    }

    /// The struct with this id, when it is one.
    #[must_use]
    pub fn get_struct(&self, id: TypeId) -> Option<&Struct> {
        match self.get(id) {
            Type::Struct(body) => Some(body),
            _ => None,
        }
    }

    /// The struct with this name, such as `io.k8s.api.core.v1.Pod`.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<TypeId> {
        self.names.get(name).copied()
    }

    /// Every type with its id.
    pub fn types(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        self.types
            .iter()
            .enumerate()
            .map(|(index, ty)| (TypeId(index as u32), ty))
    }
}
