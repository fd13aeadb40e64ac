//! Versions that another server serves: passing on, availability, discovery, OpenAPI.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use serde_json::{Value, json};
use server::{AuditPolicy, LogSettings, User};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::io::ReaderStream;

use crate::extension::{Age, Extension, VERSION};
use crate::streams::connect;
use crate::world::World;

const APISERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const NAME: &str = "v1alpha1.wardle.example.com";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const TRUST: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Starts an extension server that trusts what the world's config map says.
async fn extension(world: &World, age: Age) -> Extension {
    let trust = world.get(TRUST).await.expect(200);
    let ca = trust["data"]["requestheader-client-ca-file"].as_str().unwrap();
    Extension::start("sample-api.default.svc", ca, age).await
}

async fn service(world: &World) {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "sample-api"},
        "spec": {"ports": [{"name": "https", "port": 7443}]}});
    world.post(SERVICES, &service).await.expect(201);
}

fn slice(address: std::net::SocketAddr, ready: bool) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "sample-api-1", "labels": {"kubernetes.io/service-name": "sample-api"}},
        "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": ready}}],
        "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}]})
}

async fn register(world: &World, extension: &Extension) {
    let service = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": NAME},
        "spec": {"group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000,
            "versionPriority": 200, "caBundle": extension.bundle,
            "service": {"namespace": "default", "name": "sample-api", "port": 7443}}});
    world.post(APISERVICES, &service).await.expect(201);
}

/// A world with a server in it that is available.
async fn joined(age: Age) -> (World, Extension) {
    join(World::new().await, age).await
}

/// The same with a world that is there already.
pub(crate) async fn join(world: World, age: Age) -> (World, Extension) {
    let extension = extension(&world, age).await;
    service(&world).await;
    world.post(SLICES, &slice(extension.address(), true)).await.expect(201);
    register(&world, &extension).await;
    available(&world, "True", "Passed").await;
    until("an answer", async || {
        (world.get(VERSION).await.code == 200).then_some(())
    })
    .await;
    (world, extension)
}

/// Tries until something is there; a change is served within a second or so.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..500 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} doesn't come");
}

/// Waits for the condition, and gives its message.
async fn available(world: &World, status: &str, reason: &str) -> String {
    until(reason, async || {
        let found = world.get(&format!("{APISERVICES}/{NAME}")).await.expect(200);
        let condition = found["status"]["conditions"][0].clone();
        let is_it = condition["status"] == status && condition["reason"] == reason;
        is_it.then(|| condition["message"].as_str().unwrap().to_owned())
    })
    .await
}

fn flunder(name: &str) -> Value {
    json!({"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "metadata": {"name": name}})
}

fn flunders() -> String {
    format!("{VERSION}/namespaces/default/flunders")
}

#[tokio::test]
async fn requests_are_passed_on_in_the_name_of_the_user() {
    let (world, extension) = joined(Age::New).await;
    let made = world
        .post(&format!("{}?fieldManager=me&x=a%20b", flunders()), &flunder("one"))
        .await
        .expect(201);
    assert_eq!(made["metadata"]["uid"], "u-1");
    let shown = world.get(&format!("{}/one", flunders())).await.expect(200);
    assert_eq!(shown["metadata"]["name"], "one");
    let asked = extension.asked();
    assert_eq!(asked[0].method, Method::POST);
    assert_eq!(asked[0].target, format!("{}?fieldManager=me&x=a%20b", flunders()));
    assert_eq!(asked[0].body["metadata"]["name"], "one");
    assert_eq!(asked[0].peer, "front-proxy-client");
    assert_eq!(asked[0].headers["x-remote-user"], "kubernetes-admin");
    assert!(asked[0].headers.contains_key("audit-id"));

    let request = || {
        Request::get(flunders())
            .header("authorization", "Bearer secret")
            .header("impersonate-user", "jane")
            .header("impersonate-group", "devs")
            .header("impersonate-extra-a%2Fb", "c")
            .header("x-remote-user", "root")
            .header("x-remote-group", "system:masters")
            .header("x-remote-extra-scopes", "all")
            .body(Full::default())
            .unwrap()
    };
    assert_eq!(world.send(User::admin(), request()).await.status(), 403, "jane may not");
    assert_eq!(extension.asked().len(), 2, "what is refused isn't passed on");

    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "f"},
        "rules": [{"apiGroups": ["wardle.example.com"], "resources": ["flunders"], "verbs": ["list"]}]});
    world.post(&format!("{rbac}/clusterroles"), &role).await.expect(201);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "f"}, "subjects": [{"kind": "Group", "name": "devs"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "f"}});
    world
        .post(&format!("{rbac}/clusterrolebindings"), &binding)
        .await
        .expect(201);
    assert_eq!(world.send(User::admin(), request()).await.status(), 200);
    let headers = extension.asked().pop().unwrap().headers;
    let all = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(all("x-remote-user"), ["jane"]);
    assert_eq!(all("x-remote-group"), ["devs", "system:authenticated"]);
    assert_eq!(all("x-remote-extra-a%2fb"), ["c"]);
    for gone in ["authorization", "impersonate-user", "x-remote-extra-scopes"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
}

#[tokio::test]
async fn conditions_say_what_is_missing() {
    let world = World::new().await;
    let extension = extension(&world, Age::Old).await;
    register(&world, &extension).await;
    let message = available(&world, "False", "ServiceNotFound").await;
    assert_eq!(message, "service/sample-api in \"default\" is not present");
    let refused = world.get(&flunders()).await;
    assert_eq!(
        (refused.code.as_u16(), &refused.bytes[..]),
        (503, &b"service unavailable\n"[..])
    );
    service(&world).await;
    available(&world, "False", "EndpointsNotFound").await;
    let mut slice = slice(extension.address(), false);
    world.post(SLICES, &slice).await.expect(201);
    available(&world, "False", "MissingEndpoints").await;
    let table = world
        .get_as(
            User::admin(),
            &format!("{APISERVICES}/{NAME}"),
            "application/json;as=Table;v=v1;g=meta.k8s.io",
        )
        .await
        .expect(200);
    let cells = &table["rows"][0]["cells"];
    assert_eq!(
        (&cells[1], &cells[2]),
        (&json!("default/sample-api"), &json!("False (MissingEndpoints)"))
    );
    let path = format!("{SLICES}/sample-api-1");
    slice["endpoints"][0]["conditions"]["ready"] = json!(true);
    world.put(&path, &slice).await.expect(200);
    let message = available(&world, "True", "Passed").await;
    assert_eq!(message, "all checks passed");
    until("an answer", async || {
        (world.get(&flunders()).await.code == 200).then_some(())
    })
    .await;

    // Nobody listens there.
    let closed = std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap();
    slice["ports"][0]["port"] = json!(closed.port());
    world.put(&path, &slice).await.expect(200);
    let message = available(&world, "False", "FailedDiscoveryCheck").await;
    let url = format!("https://{}:{}{VERSION}", extension.address().ip(), closed.port());
    assert!(
        message.starts_with(&format!(
            "failing or missing response from {url}: Get \"{url}\": dial tcp"
        )),
        "{message}"
    );
    assert!(message.ends_with("connect: connection refused"), "{message}");
    for line in [
        format!("aggregator_unavailable_apiservice{{name=\"{NAME}\"}} 1\n"),
        format!("aggregator_unavailable_apiservice_total{{name=\"{NAME}\",reason=\"FailedDiscoveryCheck\"}} 1\n"),
    ] {
        until(&line, async || {
            let metrics = world.get("/metrics").await;
            String::from_utf8_lossy(&metrics.bytes).contains(&line).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_not_trusted() {
    let (world, extension) = joined(Age::Old).await;
    let other = Extension::start("sample-api.default.svc", world.server.pki().ca().pem(), Age::Old).await;
    let bundle = json!({"spec": {"caBundle": other.bundle}});
    let path = format!("{APISERVICES}/{NAME}");
    world.patch("merge-patch+json", &path, &bundle).await.expect(200);
    let message = available(&world, "False", "FailedDiscoveryCheck").await;
    assert!(
        message.ends_with("x509: certificate signed by unknown authority"),
        "{message}"
    );
    let anyone = json!({"spec": {"caBundle": null, "insecureSkipTLSVerify": true}});
    world.patch("merge-patch+json", &path, &anyone).await.expect(200);
    available(&world, "True", "Passed").await;
    drop(extension);
}

#[tokio::test]
async fn discovery_shows_it_among_the_others() {
    for age in [Age::Old, Age::New] {
        let (world, extension) = joined(age).await;
        let list = world.get("/apis").await.expect(200);
        let groups = list["groups"].as_array().unwrap();
        let names: Vec<&str> = groups.iter().map(|group| group["name"].as_str().unwrap()).collect();
        let at = |wanted: &str| names.iter().position(|name| *name == wanted).unwrap();
        assert!(at("apps") < at("wardle.example.com"), "{names:?}");
        let group = world.get("/apis/wardle.example.com").await.expect(200);
        assert_eq!(group["preferredVersion"]["groupVersion"], "wardle.example.com/v1alpha1");
        let own = world.get(VERSION).await.expect(200);
        assert_eq!(own["resources"][0]["name"], "flunders");

        let entry = async || {
            let shown = world.get_as(User::admin(), "/apis", AGGREGATED).await.expect(200);
            let mut items = shown["items"].as_array().unwrap().iter();
            let found = items.find(|item| item["metadata"]["name"] == "wardle.example.com");
            found.map(|item| item["versions"][0].clone())
        };
        // It may have been asked before the Service's endpoints were known.
        let shown = until("a fresh entry", async || {
            let shown = entry().await?;
            (shown["freshness"] == "Current").then_some(shown)
        })
        .await;
        let resource = &shown["resources"][0];
        assert_eq!(resource["resource"], "flunders");
        assert_eq!(resource["scope"], "Namespaced");
        let of_age = match age {
            Age::Old => json!({"group": "", "version": "", "kind": "Flunder"}),
            Age::New => json!({"group": "", "version": "", "kind": ""}),
        };
        assert_eq!(resource["responseKind"], of_age);

        // What can't be asked any more is stale.
        let mut slice = slice(extension.address(), true);
        slice["ports"][0]["port"] = json!(1);
        world.put(&format!("{SLICES}/sample-api-1"), &slice).await.expect(200);
        let stale = until("a stale entry", async || {
            let shown = entry().await?;
            (shown["freshness"] == "Stale").then_some(shown)
        })
        .await;
        assert_eq!(stale, json!({"version": "v1alpha1", "freshness": "Stale"}));

        world.delete(&format!("{APISERVICES}/{NAME}")).await.expect(200);
        until("its end", async || {
            let gone = world.get(VERSION).await.code == 404;
            (gone && world.get("/apis/wardle.example.com").await.code == 404).then_some(())
        })
        .await;
        assert!(entry().await.is_none());
    }
}

#[tokio::test]
async fn openapi_has_its_part() {
    for age in [Age::Old, Age::New] {
        let (world, extension) = joined(age).await;
        let address = until("its address", async || {
            let index = world.get("/openapi/v3").await.expect(200);
            assert!(index["paths"].get("version").is_none());
            assert!(index["paths"]["apis/apps/v1"]["serverRelativeURL"].is_string());
            let address = &index["paths"][&VERSION[1..]]["serverRelativeURL"];
            address.as_str().map(str::to_owned)
        })
        .await;
        let document = world.get(&address).await.expect(200);
        match age {
            Age::New => {
                assert_eq!(address, format!("/openapi/v3{VERSION}?hash=ABC"));
                assert_eq!(document["mine"], true);
                let asked = extension.last(&format!("/openapi/v3{VERSION}")).unwrap();
                assert_eq!(asked.headers["x-remote-user"], "kubernetes-admin");
            }
            // Made from what it has of version 2.
            Age::Old => {
                assert!(address.starts_with(&format!("/openapi/v3{VERSION}?hash=")));
                let schemas = &document["components"]["schemas"];
                let reference = &schemas["com.example.wardle.v1alpha1.Flunder"]["properties"]["metadata"]["$ref"];
                let wanted = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
                assert_eq!(*reference, wanted);
            }
        }
        let whole = world.get("/openapi/v2").await.expect(200);
        let flunders = format!("{VERSION}/flunders");
        let schema = &whole["paths"][&flunders]["get"]["responses"]["200"]["schema"];
        assert_eq!(schema["$ref"], "#/definitions/com.example.wardle.v1alpha1.Flunder");
        let definitions = &whole["definitions"];
        let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
        assert!(definitions[meta]["properties"]["ownerReferences"].is_object());
        assert!(definitions[format!("{meta}_v2")]["properties"]["only"].is_object());
        let metadata = &definitions["com.example.wardle.v1alpha1.Flunder"]["properties"]["metadata"];
        assert_eq!(metadata["$ref"], format!("#/definitions/{meta}_v2"));
        assert!(whole["paths"].get("/version/").is_none());
        let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
        let whole = world.get_as(User::admin(), "/openapi/v2", protobuf).await;
        // The name that is asked for is none that a client could read in an answer.
        let told = whole.headers["content-type"].to_str().unwrap();
        assert_eq!(told, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
        assert_eq!(whole.code, 200);
        let text = String::from_utf8_lossy(&whole.bytes);
        assert!(text.contains("#/definitions/com.example.wardle.v1alpha1.Flunder"));
    }
}

#[tokio::test]
async fn the_audit_log_has_what_is_passed_on_but_no_objects() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.log");
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: RequestResponse\n  \
        resources: [{group: wardle.example.com}]\n";
    let world = World::configured(|config| {
        config.audit.policy = Some(AuditPolicy::parse(policy).unwrap());
        config.audit.log = Some(LogSettings::new(&log));
    })
    .await;
    let (world, _extension) = join(world, Age::Old).await;
    world.post(&flunders(), &flunder("one")).await.expect(201);
    world.get(&format!("{}/none", flunders())).await.expect(404);
    let request = Request::get(format!("{}?watch=1", flunders()))
        .body(Full::default())
        .unwrap();
    let watch = world.send(User::admin(), request).await;
    drop(watch);
    let text = std::fs::read_to_string(&log).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<String> = events
        .iter()
        .map(|event| {
            assert!(event.get("requestObject").is_none() && event.get("responseObject").is_none());
            let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let code = event["responseStatus"]["code"].as_u64().unwrap_or_default();
            format!("{} {} {code}", part(&event["verb"]), part(&event["stage"]))
        })
        .collect();
    assert_eq!(
        told,
        [
            "create RequestReceived 0",
            "create ResponseComplete 201",
            "get RequestReceived 0",
            "get ResponseComplete 404",
            "watch RequestReceived 0",
            "watch ResponseStarted 200",
            "watch ResponseComplete 200",
        ]
    );
    let metrics = world.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.bytes);
    assert!(metrics.contains(&format!("aggregator_unavailable_apiservice{{name=\"{NAME}\"}} 0\n")));
}

#[tokio::test]
async fn a_watch_brings_events_as_they_happen() {
    let (world, _extension) = joined(Age::New).await;
    let request = Request::get(format!("{}?watch=1", flunders()))
        .body(Full::default())
        .unwrap();
    let response = world.send(User::admin(), request).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    for name in ["a", "b"] {
        world.post(&flunders(), &flunder(name)).await.expect(201);
        let event = tokio::time::timeout(Duration::from_secs(5), body.frame())
            .await
            .unwrap();
        let event = event.unwrap().unwrap().into_data().unwrap();
        let event: Value = serde_json::from_slice(&event).unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["metadata"]["name"]),
            (&json!("ADDED"), &json!(name))
        );
    }
}

/// A node that connects to pods' addresses: all of them are this machine here.
async fn node(request: Request<Incoming>) -> Response<tunnel::Body> {
    let words: Vec<&str> = request.uri().path().split('/').collect();
    assert_eq!(words[1..3], ["dial", "10.244.9.9"]);
    let tcp = TcpStream::connect(("127.0.0.1", words[3].parse().unwrap()))
        .await
        .unwrap();
    let (from_pod, mut to_pod) = tcp.into_split();
    tokio::spawn(async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            to_pod.write_all(&frame.into_data().unwrap()).await.unwrap();
        }
    });
    let pieces = ReaderStream::new(from_pod).map_ok(http_body::Frame::data);
    Response::new(StreamBody::new(pieces).boxed_unsync())
}

#[tokio::test]
async fn a_pod_is_reached_through_its_node() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(world.server.serve(listener));
    let client = world.server.pki().ca();
    let client = client.client("system:node:n1", Some("system:nodes")).unwrap();
    let upgraded = tunnel::dial(connect(&world, address, &client).await, "server")
        .await
        .unwrap();
    tokio::spawn(tunnel::serve(upgraded, node));
    let extension = extension(&world, Age::New).await;
    service(&world).await;
    let mut slice = slice(([10, 244, 9, 9], extension.port).into(), true);
    slice["endpoints"][0]["nodeName"] = json!("n1");
    world.post(SLICES, &slice).await.expect(201);
    register(&world, &extension).await;
    available(&world, "True", "Passed").await;
    until("an answer", async || {
        (world.get(VERSION).await.code == 200).then_some(())
    })
    .await;
    for name in ["one", "two"] {
        world.post(&flunders(), &flunder(name)).await.expect(201);
    }
    let list = world.get(&flunders()).await.expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        extension.asked()[0].headers["host"],
        format!("10.244.9.9:{}", extension.port)
    );
}

#[tokio::test]
async fn an_upgraded_connection_is_joined() {
    let (world, extension) = joined(Age::Old).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(world.server.serve(listener));
    let admin = world.server.pki().ca().client("admin", Some("system:masters")).unwrap();
    let stream = connect(&world, address, &admin).await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection.with_upgrades());
    let request = Request::get(format!("{}/one/connect?x=1", flunders()))
        .header("host", "front")
        .header("connection", "Upgrade")
        .header("upgrade", "capitals/1")
        .body(Full::<Bytes>::default())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.headers()["upgrade"], "capitals/1");
    let mut upgraded = hyper_util::rt::TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    upgraded.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    upgraded.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"HELLO");
    let asked = extension.asked().pop().unwrap();
    assert_eq!(asked.target, format!("{}/one/connect?x=1", flunders()));
    assert_eq!(asked.headers["x-remote-user"], "admin");
    assert_eq!(asked.headers["x-forwarded-for"], "127.0.0.1");
}

#[tokio::test]
async fn what_extension_servers_trust_is_kept() {
    let world = World::new().await;
    let data = world.get(TRUST).await.expect(200)["data"].clone();
    assert_eq!(data["client-ca-file"], world.server.pki().ca().pem());
    assert_ne!(data["client-ca-file"], data["requestheader-client-ca-file"]);
    assert_eq!(data["requestheader-allowed-names"], "[\"front-proxy-client\"]");
    assert_eq!(data["requestheader-username-headers"], "[\"X-Remote-User\"]");
    assert_eq!(data["requestheader-group-headers"], "[\"X-Remote-Group\"]");
    assert_eq!(data["requestheader-extra-headers-prefix"], "[\"X-Remote-Extra-\"]");
    let other = json!({"data": {"requestheader-client-ca-file": "other", "theirs": "stays"}});
    world.patch("merge-patch+json", TRUST, &other).await.expect(200);
    until("the authority", async || {
        let now = world.get(TRUST).await.expect(200)["data"].clone();
        let right = now["requestheader-client-ca-file"] == data["requestheader-client-ca-file"];
        (right && now["theirs"] == "stays").then_some(())
    })
    .await;
    world.delete(TRUST).await.expect(200);
    until("the config map", async || {
        (world.get(TRUST).await.code == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn metrics_are_given_over_to_who_registers_for_them() {
    let world = World::new().await;
    let extension = extension(&world, Age::Old).await;
    let name = "v1beta1.metrics.k8s.io";
    let path = format!("{APISERVICES}/{name}");
    let spec = json!({"spec": {"caBundle": extension.bundle,
        "service": {"namespace": "default", "name": "sample-api", "port": 7443}}});
    world.patch("merge-patch+json", &path, &spec).await.expect(200);
    until("a refusal", async || {
        (world.get("/apis/metrics.k8s.io/v1beta1/nodes").await.code == 503).then_some(())
    })
    .await;
    world.delete(&path).await.expect(200);
    until("our own", async || {
        (world.get("/apis/metrics.k8s.io/v1beta1/nodes").await.code == 200).then_some(())
    })
    .await;
}
