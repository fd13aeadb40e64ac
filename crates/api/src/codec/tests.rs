//! The codecs against vectors of our own and by properties. The vectors that Kubernetes publishes are checked by
//! `cargo xtask oracle-codec`.

use serde_json::json;

use super::*;
use crate::resource::Catalog;

fn shape(group: &str, version: &str, kind: &str) -> Shape<'static> {
    Shape::builtin(GroupVersionKind::new(group, version, kind)).unwrap()
}

fn read(shape: &Shape<'_>, text: &str) -> Decoded {
    decode(text.as_bytes(), ContentType::Json, shape, FieldValidation::Warn).unwrap()
}

fn refuse(shape: &Shape<'_>, text: &str) -> String {
    decode(text.as_bytes(), ContentType::Json, shape, FieldValidation::Strict)
        .unwrap_err()
        .message
}

#[test]
fn keeps_what_go_keeps() {
    let pod = read(
        &shape("", "v1", "Pod"),
        r#"{"metadata":{"name":"a","creationTimestamp":null,"labels":{}},"spec":{"hostNetwork":false,"nodeName":"",
            "terminationGracePeriodSeconds":0,"containers":[{"name":"c","resources":{"limits":{"cpu":0.5,"memory":"1024Mi"}}}]}}"#,
    );
    assert_eq!(
        pod.value,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "status": {},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [
                {"name": "c", "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}]}})
    );
    let set = read(&shape("apps", "v1", "ReplicaSet"), r#"{"spec":{"selector":null}}"#);
    assert_eq!(
        set.value,
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {}, "status": {"replicas": 0},
            "spec": {"template": {"metadata": {}, "spec": {}}}})
    );
}

#[test]
fn a_part_stays_a_part() {
    let pod = shape("", "v1", "Pod");
    let text = br#"{"kind":"Pod","apiVersion":"v1","spec":{"hostNetwork":false,"nodeName":""}}"#;
    let decoded = decode_sparse(text, ContentType::Json, &pod, FieldValidation::Strict).unwrap();
    assert_eq!(decoded.value["spec"], json!({"hostNetwork": false, "nodeName": ""}));
    assert!(decoded.value.get("status").is_none());
}

#[test]
fn what_has_no_type_is_read_as_it_is() {
    let any = Shape {
        ty: TypeId::ANY,
        ..shape("", "v1", "Pod")
    };
    let text = b"apiVersion: v1\nkind: Pod\nfoo: {bar: null}\n";
    let decoded = decode_sparse(text, ContentType::Yaml, &any, FieldValidation::Strict).unwrap();
    assert_eq!(
        decoded.value,
        json!({"apiVersion": "v1", "kind": "Pod", "foo": {"bar": null}})
    );
}

#[test]
fn unknown_and_duplicate_fields_are_dropped_and_told() {
    let deployment = shape("apps", "v1", "Deployment");
    let text = r#"{"spec":{"replicas":1,"replicas":2,"foo":1,"template":{"metadata":{"labels":{"a":"1","a":"2"}},
        "spec":{"containers":[{"name":"a"},{"name":"b","imag":"x"}]}}}}"#;
    let decoded = read(&deployment, text);
    assert_eq!(
        decoded.warnings,
        [
            "duplicate field \"spec.replicas\"",
            "unknown field \"spec.foo\"",
            "duplicate field \"spec.template.metadata.labels.a\"",
            "unknown field \"spec.template.spec.containers[1].imag\"",
        ]
    );
    assert_eq!(decoded.value["spec"]["replicas"], 2);
    assert_eq!(
        refuse(&deployment, r#"{"spec":{"foo":1,"bar":2}}"#),
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \
         \"spec.foo\", unknown field \"spec.bar\""
    );
}

#[test]
fn wrong_types_are_told_in_go_words() {
    let deployment = shape("apps", "v1", "Deployment");
    for (text, why) in [
        (
            r#"{"spec":{"replicas":"1"}}"#,
            "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"replicas":3000000000}}"#,
            "cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"spec":{"replicas":1.5}}"#,
            "cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"metadata":{"labels":{"a":1}}}"#,
            "cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":{}}}}}"#,
            "cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            r#"{"spec":{"template":{"spec":{"containers":[{"env":[{"value":true}]}]}}}}"#,
            "cannot unmarshal bool into Go struct field EnvVar.spec.template.spec.containers.env.value of type string",
        ),
        (
            r#"{"spec":{"template":{"spec":{"restartPolicy":1}}}}"#,
            "cannot unmarshal number into Go struct field PodSpec.spec.template.spec.restartPolicy of type v1.RestartPolicy",
        ),
    ] {
        assert_eq!(
            refuse(&deployment, text),
            format!("Deployment in version \"v1\" cannot be handled as a Deployment: json: {why}")
        );
    }
    let secret = shape("", "v1", "Secret");
    assert!(refuse(&secret, r#"{"data":{"a":"!"}}"#).ends_with("Secret: illegal base64 data at input byte 0"));
    let pod = shape("", "v1", "Pod");
    let limits = r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"1x"}}}]}}"#;
    assert!(refuse(&pod, limits).contains("cannot be handled as a Pod: quantities must match the regular expression"));
}

#[test]
fn what_is_no_such_object_is_told() {
    let pod = shape("", "v1", "Pod");
    assert_eq!(
        refuse(&pod, "{"),
        "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: \
         unexpected end of JSON input ({)"
    );
    assert_eq!(
        refuse(&pod, r#"{"kind":"ConfigMap","apiVersion":"v1"}"#),
        "ConfigMap in version \"v1\" cannot be handled as a Pod: converting (v1.ConfigMap) to (v1.Pod): unknown conversion"
    );
    let deployment = shape("apps", "v1", "Deployment");
    assert!(
        refuse(&deployment, r#"{"kind":"Deployment","apiVersion":"apps/v9"}"#)
            .contains("no kind \"Deployment\" is registered for version \"apps/v9\"")
    );
    assert!(decode(b"", ContentType::Protobuf, &pod, FieldValidation::Warn).is_err());
}

#[test]
fn yaml_is_read_as_kubectl_reads_it() {
    let map = shape("", "v1", "Pod");
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations: {a: 'yes', b: 2026-01-01}\nspec:\n  \
                hostNetwork: yes\n  hostPID: off\n  volumes:\n  - name: v\n    secret: {defaultMode: 0644}\n";
    let decoded = decode(text.as_bytes(), ContentType::Yaml, &map, FieldValidation::Strict).unwrap();
    assert_eq!(decoded.value["spec"]["hostNetwork"], true);
    assert!(decoded.value["spec"].get("hostPID").is_none());
    assert_eq!(decoded.value["spec"]["volumes"][0]["secret"]["defaultMode"], 420);
    assert_eq!(
        decoded.value["metadata"]["annotations"],
        json!({"a": "yes", "b": "2026-01-01"})
    );
    for text in [r#" {"metadata": {"name": "a"}}"#, "{metadata: {name: a}}"] {
        let decoded = decode(text.as_bytes(), ContentType::Yaml, &map, FieldValidation::Strict).unwrap();
        assert_eq!(decoded.value["metadata"]["name"], "a");
    }
}

#[test]
fn protobuf_has_its_vectors() {
    let map = shape("", "v1", "ConfigMap");
    let json = br#"{"metadata":{"name":"a"},"data":{"k":"v"}}"#;
    let message = protobuf::encode_json(map.schema, map.ty, json).unwrap();
    assert_eq!(message, b"\x0a\x03\x0a\x01a\x12\x06\x0a\x01k\x12\x01v");
    let body = protobuf::envelope("v1", "ConfigMap", &message);
    assert_eq!(
        body,
        [
            b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0d",
            message.as_slice(),
            b"\x1a\0\x22\0"
        ]
        .concat()
    );
    let decoded = decode(&body, ContentType::Protobuf, &map, FieldValidation::Strict).unwrap();
    assert_eq!(
        decoded.value,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}})
    );
    assert_eq!(
        protobuf::watch_frame("ADDED", b"xy"),
        b"\0\0\0\x0d\x0a\x05ADDED\x12\x04\x0a\x02xy"
    );
    let mut list = protobuf::list(&protobuf::ListMeta {
        resource_version: "7".into(),
        ..Default::default()
    });
    protobuf::add_item(&mut list, Some("5"), &message);
    let lists = shape("", "v1", "ConfigMapList");
    assert_eq!(
        protobuf::decode_message(lists.schema, lists.ty, &list).unwrap(),
        json!({"metadata": {"resourceVersion": "7"},
            "items": [{"metadata": {"name": "a", "resourceVersion": "5"}, "data": {"k": "v"}}]})
    );
}

#[test]
fn inlined_structs_and_long_messages_survive_protobuf() {
    let pod = shape("", "v1", "Pod");
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a".repeat(300)}, "status": {},
        "spec": {"volumes": [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}],
            "containers": [{"name": "c", "resources": {}, "readinessProbe":
                {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 3},
                "livenessProbe": {"tcpSocket": {"port": 80}},
                "envFrom": [{"configMapRef": {"name": "x", "optional": true}}]}]}});
    let message = protobuf::encode_value(pod.schema, pod.ty, &object).unwrap();
    let body = protobuf::envelope("v1", "Pod", &message);
    let decoded = decode(&body, ContentType::Protobuf, &pod, FieldValidation::Strict).unwrap();
    assert_eq!(decoded.value, object);
}

#[test]
fn bodies_within_bodies_are_read_so_deep_and_no_deeper() {
    let list = shape("", "v1", "List");
    let nested = |depth: usize| {
        (0..depth).fold(protobuf::envelope("v1", "List", b""), |inner, _| {
            let mut raw = vec![0x0a];
            let mut length = inner.len();
            while length >= 0x80 {
                raw.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            raw.push(length as u8);
            raw.extend_from_slice(&inner);
            let mut message = Vec::new();
            protobuf::add_item(&mut message, None, &raw);
            protobuf::envelope("v1", "List", &message)
        })
    };
    let read = |bytes: &[u8]| decode(bytes, ContentType::Protobuf, &list, FieldValidation::Warn);
    assert_eq!(read(&nested(2)).unwrap().value["items"][0]["items"][0]["kind"], "List");
    assert!(read(&nested(5000)).unwrap_err().message.contains("nested too deep"));
}

#[test]
fn schemas_with_unions_survive_protobuf() {
    let shape = shape("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let schema = json!({"type": "object", "$ref": "r", "maximum": 1.5, "default": {"a": [1]},
        "properties": {
            "any": {"additionalProperties": true, "x-kubernetes-preserve-unknown-fields": true},
            "none": {"additionalProperties": false},
            "list": {"items": {"type": "string"}},
            "lists": {"items": [{"type": "string"}, {"type": "integer"}]},
            "map": {"additionalProperties": {"type": "string", "enum": ["a", null]}}},
        "dependencies": {"a": ["b", "c"], "d": {"type": "object"}}});
    let object = json!({"metadata": {"name": "a"}, "spec": {"group": "example.com", "scope": "Cluster",
        "names": {"plural": "as", "kind": "A"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    let decoded = conform(object, &shape, FieldValidation::Strict).unwrap();
    let message = protobuf::encode_value(shape.schema, shape.ty, &decoded.value).unwrap();
    let body = protobuf::envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", &message);
    let again = decode(&body, ContentType::Protobuf, &shape, FieldValidation::Strict).unwrap();
    assert_eq!(again.value, decoded.value);
    assert_eq!(again.value["spec"]["versions"][0]["schema"]["openAPIV3Schema"], schema);
}

#[test]
fn a_status_survives_protobuf() {
    let status = Status::not_found(&meta::GroupResource::new("apps", "deployments"), "web");
    let shape = shape("", "v1", "Status");
    let decoded = decode(
        &protobuf::status(&status),
        ContentType::Protobuf,
        &shape,
        FieldValidation::Warn,
    )
    .unwrap();
    assert_eq!(serde_json::from_value::<Status>(decoded.value).unwrap(), status);
}

#[test]
fn events_change_their_form_and_back() {
    let core = json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"name": "a"}, "message": "m", "count": 2,
        "source": {"component": "c"}, "reportingComponent": "r", "firstTimestamp": "2026-01-01T00:00:00Z"});
    let new = new_event(core.clone());
    assert_eq!(new["note"], "m");
    assert_eq!(new["deprecatedCount"], 2);
    assert_eq!(new["apiVersion"], "events.k8s.io/v1");
    let shape = shape("events.k8s.io", "v1", "Event");
    assert_eq!(
        conform(new.clone(), &shape, FieldValidation::Strict).unwrap().warnings,
        Vec::<String>::new()
    );
    assert_eq!(core_event(new), core);
}

/// An object with every field of its type.
fn full(schema: &Schema, ty: TypeId, depth: usize) -> Value {
    use crate::schema::Type;
    match schema.get(ty) {
        Type::String => json!("text"),
        Type::Bytes => json!("AAEC"),
        Type::Bool => json!(true),
        Type::Int32 | Type::Int64 => json!(-7),
        Type::Double => json!(1.5),
        Type::Quantity => json!("1500m"),
        Type::IntOrString => json!("50%"),
        Type::Time => json!("2026-01-02T03:04:05Z"),
        Type::MicroTime => json!("2026-01-02T03:04:05.000006Z"),
        Type::Duration => json!("1m0.5s"),
        Type::Any | Type::Deduced => json!({"a": [1, null]}),
        Type::List(list) => json!([full(schema, list.element, depth + 1)]),
        Type::Map(map) => json!({"key": full(schema, map.value, depth + 1)}),
        Type::Struct(_) if depth > 12 => json!({}),
        Type::Struct(body) => {
            // The kind of an object within an object is no part of its message.
            let is_kind = |name: &str| matches!(name, "apiVersion" | "kind");
            let has_message = |field: &&crate::schema::Field| !(field.tag == 0 && is_kind(&field.name));
            let plain = |field: &&crate::schema::Field| field.wire == crate::schema::Wire::Plain;
            let fields = body.fields.iter().filter(plain).filter(has_message);
            fields
                .map(|field| (field.name.to_string(), full(schema, field.ty, depth + 1)))
                .collect()
        }
    }
}

#[test]
fn every_field_of_every_kind_survives_both_codecs() {
    for resource in Catalog::builtin().resources() {
        let shape = Shape::from(&**resource);
        let mut object = full(shape.schema, shape.ty, 0);
        object["apiVersion"] = shape.kind.api_version().into();
        object["kind"] = shape.kind.kind.clone().into();
        let text = object.to_string();
        let from_json = decode(text.as_bytes(), ContentType::Json, &shape, FieldValidation::Strict)
            .unwrap()
            .value;
        let message = protobuf::encode_json(shape.schema, shape.ty, text.as_bytes()).unwrap();
        let body = protobuf::envelope(&shape.kind.api_version(), &shape.kind.kind, &message);
        let from_protobuf = decode(&body, ContentType::Protobuf, &shape, FieldValidation::Strict)
            .unwrap()
            .value;
        assert!(from_json == from_protobuf, "{}", resource.plural);
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let pod = shape("", "v1", "Pod");
            let mut body = b"k8s\0".to_vec();
            body.extend_from_slice(&bytes);
            let _ = decode(&body, ContentType::Protobuf, &pod, FieldValidation::Warn);
            let _ = protobuf::decode_message(pod.schema, pod.ty, &bytes);
            let _ = decode(&bytes, ContentType::Json, &pod, FieldValidation::Warn);
            let _ = decode(&bytes, ContentType::Yaml, &pod, FieldValidation::Warn);
        }

        #[test]
        fn what_is_written_is_read_again(
            labels in proptest::collection::btree_map("[a-z]{1,8}", "\\PC{0,200}", 0..6),
            replicas in any::<i32>(),
            port in any::<i32>(),
        ) {
            let deployment = shape("apps", "v1", "Deployment");
            let object = json!({"metadata": {"labels": labels}, "spec": {"replicas": replicas,
                "strategy": {"rollingUpdate": {"maxSurge": port}}}});
            let once = conform(object, &deployment, FieldValidation::Strict).unwrap().value;
            let message = protobuf::encode_value(deployment.schema, deployment.ty, &once).unwrap();
            let body = protobuf::envelope("apps/v1", "Deployment", &message);
            let twice = decode(&body, ContentType::Protobuf, &deployment, FieldValidation::Strict).unwrap().value;
            prop_assert_eq!(once, twice);
        }
    }
}
