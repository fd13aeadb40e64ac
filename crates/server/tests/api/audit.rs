//! The audit log: what is written, when, and how much of it.

use std::path::Path;

use http::Method;
use serde_json::{Value, json};
use server::{AuditPolicy, LogSettings, User};

use crate::world::World;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  users: [jane]
  resources: [{group: "", resources: [configmaps]}]
  omitManagedFields: true
- level: Metadata
  users: [jane]
"#;

async fn world(log: &Path) -> World {
    World::configured(|config| {
        config.audit.policy = Some(AuditPolicy::parse(POLICY).unwrap());
        config.audit.log = Some(LogSettings::new(log));
    })
    .await
}

fn events(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_request_leaves_its_trail() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.log");
    let world = world(&log).await;
    let jane = User::new("jane", &["system:masters"]);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1"}});
    let write = async |path: &str, body: &Value| {
        world
            .write(jane.clone(), Method::POST, path, "application/json", body)
            .await
    };
    write(MAPS, &map).await.expect(201);
    write(MAPS, &map).await.expect(409);
    // Nobody asked for others.
    world.get(MAPS).await.expect(200);
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "hidden"}});
    write("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    let eve = User::new("jane", &[]);
    assert_eq!(world.get_as(eve, "/api/v1/nodes", "*/*").await.code, 403);

    let events = events(&log);
    assert_eq!(events.len(), 4);
    let first = &events[0];
    let head = json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse",
        "stage": "ResponseComplete", "requestURI": MAPS, "verb": "create", "userAgent": "test/1",
        "user": {"username": "jane", "groups": ["system:masters", "system:authenticated"]},
        "objectRef": {"resource": "configmaps", "namespace": "default", "name": "m", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201}});
    for (key, value) in head.as_object().unwrap() {
        assert_eq!(&first[key], value, "{key}");
    }
    assert_eq!(first["requestObject"]["data"], json!({"a": "1"}));
    assert!(first["responseObject"]["metadata"]["uid"].is_string());
    assert!(first["responseObject"]["metadata"].get("managedFields").is_none());
    assert_eq!(first["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(
        first["requestReceivedTimestamp"].as_str().unwrap().len(),
        "2026-01-02T03:04:05.000006Z".len()
    );

    assert_eq!(events[1]["responseStatus"]["reason"], "AlreadyExists");
    assert_eq!(events[2]["level"], "Metadata");
    assert!(events[2].get("requestObject").is_none());
    assert!(!events[2].to_string().contains("hidden"));
    assert_eq!(events[3]["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(events[3]["responseStatus"]["code"], 403);
}

#[tokio::test]
async fn a_stream_is_told_when_it_starts_and_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.log");
    let world = world(&log).await;
    let jane = User::new("jane", &["system:masters"]);
    let request = http::Request::get(format!("{MAPS}?watch=true")).header("audit-id", "mine");
    let request = request.body(http_body_util::Full::default()).unwrap();
    let response = world.send(jane, request).await;
    assert_eq!(response.headers()["audit-id"], "mine");
    assert_eq!(events(&log).len(), 1);
    drop(response);
    let stages: Vec<Value> = events(&log).iter().map(|event| event["stage"].clone()).collect();
    assert_eq!(stages, ["ResponseStarted", "ResponseComplete"]);
    assert!(events(&log).iter().all(|event| event["auditID"] == "mine"));
}
