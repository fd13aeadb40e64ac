//! For tests: a schema small enough to read, with one field of each kind that merging tells apart. It looks like a
//! Deployment.

use serde_json::{Value, json};

use crate::schema::{Field, List, ListType, Map, MapType, PatchStrategy, Presence, Schema, Struct, Type, TypeId};

/// The schema, and the type of the object.
pub(crate) struct Sample {
    pub(crate) schema: Schema,
    pub(crate) ty: TypeId,
}

impl Sample {
    pub(crate) fn new() -> Self {
        let mut schema = Schema::new();
        let metadata = metadata(&mut schema);
        let container = container(&mut schema);
        let containers = list(&mut schema, container, ListType::Map, &["name"]);
        let strings = list(&mut schema, TypeId::STRING, ListType::Atomic, &[]);
        let selector = map(&mut schema, TypeId::STRING, MapType::Atomic);
        let source = structure(&mut schema, "Source", vec![plain("path", TypeId::STRING)]);
        let volume = structure(
            &mut schema,
            "Volume",
            vec![
                plain("name", TypeId::STRING),
                plain("emptyDir", source),
                plain("hostPath", source),
            ],
        );
        let volumes = list(&mut schema, volume, ListType::Map, &["name"]);
        let retain = PatchStrategy::MERGE.with(PatchStrategy::RETAIN_KEYS);
        let pod = structure(
            &mut schema,
            "PodSpec",
            vec![
                Field {
                    presence: Presence::Always,
                    ..merged("containers", containers, "name")
                },
                Field {
                    patch_strategy: retain,
                    ..merged("volumes", volumes, "name")
                },
                plain("args", strings),
                plain("nodeSelector", selector),
                plain("extra", TypeId::ANY),
            ],
        );
        let template = structure(
            &mut schema,
            "Template",
            vec![by_value("metadata", metadata), by_value("spec", pod)],
        );
        let rolling = structure(&mut schema, "Rolling", vec![plain("maxSurge", TypeId::INT_OR_STRING)]);
        let strategy = structure(
            &mut schema,
            "Strategy",
            vec![plain("type", TypeId::STRING), plain("rollingUpdate", rolling)],
        );
        let spec = structure(
            &mut schema,
            "Spec",
            vec![
                plain("replicas", TypeId::INT32),
                plain("paused", TypeId::BOOL),
                Field {
                    patch_strategy: PatchStrategy::RETAIN_KEYS,
                    ..by_value("strategy", strategy)
                },
                by_value("template", template),
            ],
        );
        let status = structure(&mut schema, "Status", vec![plain("replicas", TypeId::INT32)]);
        let ty = structure(
            &mut schema,
            "Deployment",
            vec![
                plain("apiVersion", TypeId::STRING),
                plain("kind", TypeId::STRING),
                by_value("metadata", metadata),
                by_value("spec", spec),
                by_value("status", status),
            ],
        );
        Self { schema, ty }
    }

    /// An object with this spec.
    pub(crate) fn object(spec: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
    }
}

fn metadata(schema: &mut Schema) -> TypeId {
    let labels = map(schema, TypeId::STRING, MapType::Granular);
    let finalizers = list(schema, TypeId::STRING, ListType::Set, &[]);
    let managed = list(schema, TypeId::ANY, ListType::Atomic, &[]);
    let mut fields = vec![
        plain("labels", labels),
        plain("annotations", labels),
        merged("finalizers", finalizers, ""),
        plain("managedFields", managed),
    ];
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        fields.push(plain(name, TypeId::STRING));
    }
    structure(schema, "ObjectMeta", fields)
}

fn container(schema: &mut Schema) -> TypeId {
    let protocol = Field {
        default: Some("TCP".into()),
        ..plain("protocol", TypeId::STRING)
    };
    let port = structure(
        schema,
        "Port",
        vec![
            plain("containerPort", TypeId::INT32),
            plain("name", TypeId::STRING),
            protocol,
        ],
    );
    let ports = list(schema, port, ListType::Map, &["containerPort", "protocol"]);
    let env = structure(
        schema,
        "Env",
        vec![plain("name", TypeId::STRING), plain("value", TypeId::STRING)],
    );
    let envs = list(schema, env, ListType::Map, &["name"]);
    let limits = map(schema, TypeId::QUANTITY, MapType::Granular);
    let resources = structure(schema, "Resources", vec![plain("limits", limits)]);
    structure(
        schema,
        "Container",
        vec![
            plain("name", TypeId::STRING),
            plain("image", TypeId::STRING),
            merged("ports", ports, "containerPort"),
            merged("env", envs, "name"),
            by_value("resources", resources),
        ],
    )
}

fn plain(name: &'static str, ty: TypeId) -> Field {
    Field::new(name, 0, ty)
}

fn by_value(name: &'static str, ty: TypeId) -> Field {
    Field {
        presence: Presence::OmitEmpty,
        ..plain(name, ty)
    }
}

fn merged(name: &'static str, ty: TypeId, key: &'static str) -> Field {
    let patch_merge_key = (!key.is_empty()).then(|| key.into());
    Field {
        patch_strategy: PatchStrategy::MERGE,
        patch_merge_key,
        ..plain(name, ty)
    }
}

fn structure(schema: &mut Schema, name: &'static str, fields: Vec<Field>) -> TypeId {
    schema.add(Type::Struct(Struct::new(name, fields, MapType::Granular)))
}

fn list(schema: &mut Schema, element: TypeId, list_type: ListType, keys: &[&'static str]) -> TypeId {
    let keys = keys.iter().map(|key| (*key).into()).collect();
    schema.add(Type::List(List {
        element,
        list_type,
        keys,
    }))
}

fn map(schema: &mut Schema, value: TypeId, map_type: MapType) -> TypeId {
    schema.add(Type::Map(Map { value, map_type }))
}
