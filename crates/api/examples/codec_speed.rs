//! Measures the codecs: `cargo run --release -p api --example codec_speed`. Each figure is the median of many rounds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use api::codec::{ContentType, FieldValidation, Shape, decode, protobuf};
use api::resource::Catalog;
use api::schema::Schema;
use serde_json::{Value, json};

fn main() {
    let (before, start) = (resident_kib(), Instant::now());
    black_box(Schema::builtin());
    println!(
        "the table, once: {:?}, {} KiB more resident",
        start.elapsed(),
        resident_kib().saturating_sub(before)
    );
    let start = Instant::now();
    black_box(Catalog::builtin());
    println!("the rows, once: {:?}", start.elapsed());
    for (name, kind, object) in [("ConfigMap", "configmaps", config_map()), ("Pod", "pods", pod())] {
        let Some(resource) = Catalog::builtin().resource("", "v1", kind) else {
            return;
        };
        measure(name, &Shape::from(&**resource), &object);
    }
    let start = Instant::now();
    let document = api::openapi::document(Catalog::builtin(), "", "v1", "v1.37.2").unwrap_or_default();
    let text = document.to_string();
    println!("OpenAPI of v1: {:?}, {} bytes", start.elapsed(), text.len());
}

/// The process's resident memory.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn config_map() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default",
        "labels": {"app": "web"}}, "data": {"settings.conf": "key = value\n".repeat(75)}})
}

fn pod() -> Value {
    let container = json!({"name": "web", "image": "example.com/web:1", "args": ["serve", "--port", "80"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-0", "namespace": "default",
        "labels": {"app": "web", "tier": "front"}}, "spec": {"containers": [container.clone(), container],
        "volumes": [{"name": "data", "emptyDir": {}}], "serviceAccountName": "default", "restartPolicy": "Always",
        "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": 300}]}})
}

fn measure(name: &str, shape: &Shape<'_>, object: &Value) {
    let text = object.to_string().into_bytes();
    let message = protobuf::encode_json(shape.schema, shape.ty, &text).unwrap_or_default();
    let body = protobuf::envelope(&shape.kind.api_version(), &shape.kind.kind, &message);
    println!("{name}: {} bytes of JSON, {} of protobuf", text.len(), body.len());
    let read = |bytes: &[u8], content| decode(bytes, content, shape, FieldValidation::Warn).is_ok();
    report("  serde_json to a tree", || {
        serde_json::from_slice::<Value>(&text).is_ok()
    });
    report("  JSON along the table", || read(&text, ContentType::Json));
    report("  protobuf along the table", || read(&body, ContentType::Protobuf));
    report("  JSON text to protobuf", || {
        protobuf::encode_json(shape.schema, shape.ty, &text).is_ok()
    });
    report("  YAML along the table", || read(&text, ContentType::Yaml));
}

fn report<T>(what: &str, mut action: impl FnMut() -> T) {
    let mut rounds: Vec<Duration> = (0..200)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..20 {
                black_box(action());
            }
            start.elapsed() / 20
        })
        .collect();
    rounds.sort();
    println!("{what}: {:?} (fastest {:?})", rounds[100], rounds[0]);
}
