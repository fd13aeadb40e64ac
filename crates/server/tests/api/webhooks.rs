//! Admission webhooks: who is asked what, and what follows.

use http::Method;
use serde_json::{Value, json};
use server::User;

use crate::hook::{Hook, allow, deny, patch, respond};
use crate::world::{Answer, World};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A configuration with one webhook for config maps, changed as the test needs it.
fn configuration(kind: &str, name: &str, hook: &Hook, path: &str, change: &Value) -> Value {
    let mut webhook = json!({
        "name": format!("{name}.example.com"),
        "clientConfig": hook.client(path),
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    });
    for (key, value) in change.as_object().unwrap() {
        webhook[key] = value.clone();
    }
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "webhooks": [webhook]})
}

async fn mutating(world: &World, name: &str, hook: &Hook, path: &str, change: Value) {
    let object = configuration("MutatingWebhookConfiguration", name, hook, path, &change);
    let path = format!("{GROUP}/mutatingwebhookconfigurations");
    world.post(&path, &object).await.expect(201);
}

async fn validating(world: &World, name: &str, hook: &Hook, path: &str, change: Value) {
    let object = configuration("ValidatingWebhookConfiguration", name, hook, path, &change);
    let path = format!("{GROUP}/validatingwebhookconfigurations");
    world.post(&path, &object).await.expect(201);
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"start": "yes"}})
}

fn message(answer: &Answer, code: u16) -> String {
    answer.expect(code)["message"].as_str().unwrap().to_owned()
}

/// Answers by the last part of the path: `allow`, `deny`, `stage-N` adds data, `warn` warns, `broken` is no answer.
fn answers(path: &str, review: &Value) -> Value {
    let path = path.split('?').next().unwrap();
    match path.rsplit('/').next().unwrap() {
        "deny" => deny(review, "not today"),
        "warn" => respond(
            review,
            json!({"allowed": true, "warnings": ["mind the gap"], "auditAnnotations": {"seen": "yes"}}),
        ),
        "broken" => Value::Null,
        "absent" => json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}),
        stage if stage.starts_with("stage-") => patch(
            review,
            &json!([{"op": "add", "path": format!("/data/{stage}"), "value": "yes"}]),
        ),
        _ => allow(review),
    }
}

#[tokio::test]
async fn objects_are_changed_in_the_order_of_the_configurations() {
    let (world, hook) = (World::new().await, Hook::start(&[], answers).await);
    mutating(&world, "b", &hook, "/stage-2", json!({})).await;
    mutating(&world, "a", &hook, "/stage-1", json!({})).await;
    let made = world.post(MAPS, &map("x")).await.expect(201);
    assert_eq!(
        made["data"],
        json!({"start": "yes", "stage-1": "yes", "stage-2": "yes"})
    );
    let asked = hook.asked();
    assert_eq!(
        asked.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
        ["/stage-1?timeout=10s", "/stage-2?timeout=10s"]
    );
    let request = &asked[0].1["request"];
    assert_eq!(asked[0].1["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(
        request["kind"],
        json!({"group": "", "version": "v1", "kind": "ConfigMap"})
    );
    assert_eq!(
        request["resource"],
        json!({"group": "", "version": "v1", "resource": "configmaps"})
    );
    assert_eq!(request["requestResource"], request["resource"]);
    assert_eq!(
        [
            &request["name"],
            &request["namespace"],
            &request["operation"],
            &request["dryRun"],
            &request["oldObject"]
        ],
        [
            &json!("x"),
            &json!("default"),
            &json!("CREATE"),
            &json!(false),
            &Value::Null
        ]
    );
    assert_eq!(request["object"]["kind"], "ConfigMap");
    assert_eq!(request["userInfo"]["username"], "kubernetes-admin");
    assert_eq!(request["options"]["kind"], "CreateOptions");
    assert_eq!(asked[1].1["request"]["object"]["data"]["stage-1"], "yes");
    // One connection each, used again for the next request.
    world.post(MAPS, &map("y")).await.expect(201);
    assert_eq!(hook.connections(), 2);
}

#[tokio::test]
async fn requests_are_refused_as_the_webhook_says() {
    let (world, hook) = (World::new().await, Hook::start(&[], answers).await);
    world.post(MAPS, &map("before")).await.expect(201);
    validating(&world, "no", &hook, "/deny", json!({})).await;
    let denied = "admission webhook \"no.example.com\" denied the request: not today";
    assert_eq!(message(&world.post(MAPS, &map("x")).await, 400), denied);
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let path = format!("{MAPS}/before");
    assert_eq!(
        message(&world.patch("merge-patch+json", &path, &labels).await, 400),
        denied
    );
    assert_eq!(message(&world.delete(&path).await, 400), denied);
    assert_eq!(message(&world.delete(MAPS).await, 400), denied);
    let asked = hook.asked();
    let operations: Vec<_> = asked
        .iter()
        .map(|(_, review)| review["request"]["operation"].clone())
        .collect();
    assert_eq!(operations, ["CREATE", "UPDATE", "DELETE", "DELETE"]);
    assert_eq!(asked[1].1["request"]["options"]["kind"], "UpdateOptions");
    assert_eq!(asked[1].1["request"]["oldObject"]["metadata"]["name"], "before");
    assert_eq!(asked[2].1["request"]["object"], Value::Null);
    assert_eq!(asked[2].1["request"]["oldObject"]["data"]["start"], "yes");
    // Configurations can be taken away whatever webhooks say.
    let path = format!("{GROUP}/validatingwebhookconfigurations/no");
    world.delete(&path).await.expect(200);
    world.post(MAPS, &map("x")).await.expect(201);
}

#[tokio::test]
async fn only_what_matches_is_asked_about() {
    let (world, hook) = (World::new().await, Hook::start(&[], answers).await);
    let rule = |resources: &str, operations: &str, scope: &str| {
        json!([{"apiGroups": ["*"], "apiVersions": ["*"], "resources": [resources], "operations": [operations],
            "scope": scope}])
    };
    for (name, change) in [
        ("of-deletions", json!({"rules": rule("configmaps", "DELETE", "*")})),
        ("of-cluster", json!({"rules": rule("*", "*", "Cluster")})),
        ("of-below", json!({"rules": rule("*/status", "*", "*")})),
        (
            "of-namespace",
            json!({"namespaceSelector": {"matchLabels": {"hooked": "yes"}}}),
        ),
        (
            "of-object",
            json!({"objectSelector": {"matchLabels": {"hooked": "yes"}}}),
        ),
        (
            "of-condition",
            json!({"matchConditions": [{"name": "a", "expression": "object.metadata.name != 'x'"}]}),
        ),
        (
            "of-user",
            json!({"matchConditions": [{"name": "a", "expression":
            "!authorizer.group('').resource('secrets').namespace('default').check('get').allowed()"}]}),
        ),
    ] {
        validating(&world, name, &hook, "/deny", change).await;
    }
    world.post(MAPS, &map("x")).await.expect(201);
    assert_eq!(hook.asked().len(), 0);
    let denied = |name: &str| format!("admission webhook \"{name}.example.com\" denied the request: not today");
    assert_eq!(message(&world.post(MAPS, &map("y")).await, 400), denied("of-condition"));
    let mut labelled = map("x2");
    labelled["metadata"]["labels"]["hooked"] = json!("yes");
    let path = format!("{GROUP}/validatingwebhookconfigurations/of-condition");
    world.delete(&path).await.expect(200);
    assert_eq!(message(&world.post(MAPS, &labelled).await, 400), denied("of-object"));
    let space =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"hooked": "yes"}}});
    assert_eq!(
        message(&world.post("/api/v1/namespaces", &space).await, 400),
        denied("of-cluster")
    );
    let path = format!("{GROUP}/validatingwebhookconfigurations/of-cluster");
    world.delete(&path).await.expect(200);
    world.post("/api/v1/namespaces", &space).await.expect(201);
    let inside = world.post("/api/v1/namespaces/n/configmaps", &map("x")).await;
    assert_eq!(message(&inside, 400), denied("of-namespace"));
    assert_eq!(
        message(&world.delete(&format!("{MAPS}/x")).await, 400),
        denied("of-deletions")
    );
}

#[tokio::test]
async fn failures_are_told_or_passed_over() {
    let (world, hook) = (World::new().await, Hook::start(&[], answers).await);
    let address = hook.address;
    for (name, change, why) in [
        (
            "broken",
            json!({"clientConfig": hook.client("/broken")}),
            "an error on the server (\"out of order\") has \
            prevented the request from succeeding"
                .to_owned(),
        ),
        (
            "slow",
            json!({"clientConfig": hook.client("/slow"), "timeoutSeconds": 1}),
            format!("Post \"https://{address}/slow?timeout=1s\": context deadline exceeded"),
        ),
        (
            "untrusted",
            json!({"clientConfig": {"url": format!("https://{address}/")}}),
            format!(
                "Post \"https://{address}/?timeout=10s\": tls: failed to verify certificate: x509: certificate \
                signed by unknown authority"
            ),
        ),
        (
            "away",
            json!({"clientConfig": {"url": "https://127.0.0.1:1/"}}),
            "Post \"https://127.0.0.1:1/?timeout=10s\": dial tcp 127.0.0.1:1: connect: connection refused".to_owned(),
        ),
        (
            "nowhere",
            json!({"clientConfig": {"service": {"namespace": "default", "name": "none", "path": "/p"}}}),
            "Post \"https://none.default.svc:443/p?timeout=10s\": service \"none\" not found".to_owned(),
        ),
    ] {
        let full = format!("{name}.example.com");
        validating(&world, name, &hook, "/", change.clone()).await;
        let told = format!("Internal error occurred: failed calling webhook {full:?}: failed to call webhook: {why}");
        assert_eq!(message(&world.post(MAPS, &map(name)).await, 500), told);
        let path = format!("{GROUP}/validatingwebhookconfigurations/{name}");
        let ignore = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
        world.patch("json-patch+json", &path, &ignore).await.expect(200);
        world.post(MAPS, &map(name)).await.expect(201);
        world.delete(&path).await.expect(200);
    }
    validating(&world, "absent", &hook, "/absent", json!({})).await;
    assert_eq!(
        message(&world.post(MAPS, &map("z")).await, 500),
        "Internal error occurred: failed calling webhook \"absent.example.com\": received invalid webhook response: \
         webhook response was absent"
    );
}

#[tokio::test]
async fn warnings_and_dry_runs() {
    let (world, hook) = (World::new().await, Hook::start(&[], answers).await);
    validating(&world, "warns", &hook, "/warn", json!({"sideEffects": "NoneOnDryRun"})).await;
    let made = world.post(MAPS, &map("x")).await;
    made.expect(201);
    assert_eq!(made.headers["warning"], "299 - \"mind the gap\"");
    let dry = world.post(&format!("{MAPS}?dryRun=All"), &map("y")).await;
    dry.expect(201);
    let (_, review) = hook.asked().pop().unwrap();
    assert_eq!(review["request"]["dryRun"], true);
    assert_eq!(review["request"]["options"]["dryRun"], json!(["All"]));
    // A refusal comes with the warnings of those who were asked too.
    validating(&world, "zz-no", &hook, "/deny", json!({})).await;
    let refused = world.post(MAPS, &map("y")).await;
    refused.expect(400);
    assert_eq!(refused.headers["warning"], "299 - \"mind the gap\"");
}

#[tokio::test]
async fn earlier_webhooks_see_later_changes_when_they_want() {
    let hook = Hook::start(&[], |path, review| {
        let counted = review["request"]["object"]["data"]["count"]
            .as_str()
            .unwrap_or("")
            .len();
        match path.split('?').next().unwrap() {
            "/count" => patch(
                review,
                &json!([{"op": "add", "path": "/data/count", "value": "i".repeat(counted + 1)}]),
            ),
            path => answers(path, review),
        }
    })
    .await;
    let world = World::new().await;
    mutating(&world, "a", &hook, "/count", json!({"reinvocationPolicy": "IfNeeded"})).await;
    world.post(MAPS, &map("alone")).await.expect(201);
    mutating(&world, "b", &hook, "/stage-1", json!({})).await;
    let made = world.post(MAPS, &map("x")).await.expect(201);
    assert_eq!(made["data"], json!({"start": "yes", "count": "ii", "stage-1": "yes"}));
    let paths: Vec<_> = hook.asked().into_iter().map(|(path, _)| path).collect();
    let (count, stage) = ("/count?timeout=10s", "/stage-1?timeout=10s");
    assert_eq!(paths, [count, count, stage, count]);
}

#[tokio::test]
async fn a_service_is_reached_by_its_endpoints() {
    let world = World::new().await;
    let hook = Hook::start(&["hooks.default.svc"], answers).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hooks"},
        "spec": {"ports": [{"name": "https", "port": 8443}]}});
    world
        .post("/api/v1/namespaces/default/services", &service)
        .await
        .expect(201);
    let client = json!({"service": {"namespace": "default", "name": "hooks", "port": 8443, "path": "/stage-1"},
        "caBundle": hook.bundle});
    mutating(&world, "a", &hook, "/", json!({"clientConfig": client})).await;
    let told = "Internal error occurred: failed calling webhook \"a.example.com\": failed to call webhook: Post \
        \"https://hooks.default.svc:8443/stage-1?timeout=10s\": no endpoints available for service \"hooks\"";
    assert_eq!(message(&world.post(MAPS, &map("x")).await, 500), told);
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "hooks-1", "labels": {"kubernetes.io/service-name": "hooks"}},
        "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": false}},
            {"addresses": [own_address().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": hook.address.port(), "protocol": "TCP"}]});
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    world.post(slices, &slice).await.expect(201);
    let made = world.post(MAPS, &map("x")).await.expect(201);
    assert_eq!(made["data"]["stage-1"], "yes");
}

/// An address of this machine: one of loopback can't be an endpoint's. Nothing is sent to find it.
pub(crate) fn own_address() -> std::net::IpAddr {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let routed = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    routed
        .expect("this test needs an address beside loopback, and a route")
        .ip()
}

#[tokio::test]
async fn subresources_and_connections() {
    let (world, hook) = (World::new().await, Hook::start(&[], answers).await);
    let rules = |resources: &str, operation: &str| {
        json!({"rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "resources": [resources],
            "operations": [operation]}]})
    };
    validating(&world, "attach", &hook, "/deny", rules("pods/attach", "CONNECT")).await;
    let path = "/api/v1/namespaces/default/pods/p/attach?stdin=true&container=c";
    let answer = world
        .write(User::admin(), Method::POST, path, "application/json", &json!({}))
        .await;
    let denied = "admission webhook \"attach.example.com\" denied the request: not today";
    assert_eq!(message(&answer, 400), denied);
    let (_, review) = hook.asked().pop().unwrap();
    let request = &review["request"];
    assert_eq!(request["kind"]["kind"], "PodAttachOptions");
    assert_eq!(request["subResource"], "attach");
    assert_eq!(request["object"]["container"], "c");
    // A scale is seen as a scale, and changed as one.
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    world.post(deployments, &deployment).await.expect(201);
    validating(&world, "scale", &hook, "/deny", rules("deployments/scale", "UPDATE")).await;
    let scale = json!({"spec": {"replicas": 3}});
    let path = format!("{deployments}/d/scale");
    let answer = world.patch("merge-patch+json", &path, &scale).await;
    assert_eq!(
        message(&answer, 400),
        "admission webhook \"scale.example.com\" denied the request: not today"
    );
    let (_, review) = hook.asked().pop().unwrap();
    let request = &review["request"];
    assert_eq!(
        request["kind"],
        json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
    );
    assert_eq!(
        [
            &request["object"]["spec"]["replicas"],
            &request["oldObject"]["spec"]["replicas"]
        ],
        [3, 1]
    );
}

#[tokio::test]
async fn configurations_are_checked() {
    let (world, hook) = (World::new().await, Hook::start(&[], answers).await);
    let path = format!("{GROUP}/validatingwebhookconfigurations");
    let kind = "ValidatingWebhookConfiguration";
    let made = world
        .post(&path, &configuration(kind, "a", &hook, "/", &json!({})))
        .await
        .expect(201);
    let webhook = &made["webhooks"][0];
    assert_eq!(
        [
            &webhook["failurePolicy"],
            &webhook["matchPolicy"],
            &webhook["timeoutSeconds"],
            &webhook["namespaceSelector"]
        ],
        [&json!("Fail"), &json!("Equivalent"), &json!(10), &json!({})]
    );
    assert_eq!(webhook["rules"][0]["scope"], "*");
    assert_eq!(made["metadata"]["generation"], 1);
    for (change, why) in [
        (
            json!({"name": "short"}),
            "webhooks[0].name: Invalid value: \"short\": should be a domain with at least three \
            segments separated by dots",
        ),
        (
            json!({"sideEffects": "Some"}),
            "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
        ),
        (
            json!({"timeoutSeconds": 31}),
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        ),
        (
            json!({"clientConfig": {}}),
            "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
        ),
        (
            json!({"clientConfig": {"url": "http://a/"}}),
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' \
            is the only allowed URL scheme; desired format: https://host[/path]",
        ),
        (
            json!({"admissionReviewVersions": ["v0"]}),
            "webhooks[0].admissionReviewVersions: Invalid value: [\"v0\"]: must \
            include at least one of v1, v1beta1",
        ),
    ] {
        let told = message(
            &world.post(&path, &configuration(kind, "b", &hook, "/", &change)).await,
            422,
        );
        assert_eq!(
            told,
            format!("{kind}.admissionregistration.k8s.io \"b\" is invalid: {why}")
        );
    }
    let bad = json!({"matchConditions": [{"name": "x", "expression": "... [] bad expression"}]});
    let told = message(
        &world.post(&path, &configuration(kind, "b", &hook, "/", &bad)).await,
        422,
    );
    assert!(
        told.contains(
            "webhooks[0].matchConditions[0].expression: Invalid value: \"... [] bad expression\": \
        compilation failed: "
        ),
        "{told}"
    );
}
