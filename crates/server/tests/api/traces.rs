//! Traces: which requests make them, what is in them, and who else is told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use server::{TracingSettings, User};

use crate::aggregation::join;
use crate::collector::{Collector, Span};
use crate::extension::{Age, VERSION};
use crate::hook::{Hook, allow};
use crate::network::connect;
use crate::world::World;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn settings(collector: SocketAddr, per_million: u32) -> TracingSettings {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: {collector}\n\
         samplingRatePerMillion: {per_million}\n"
    );
    TracingSettings::parse(&text).unwrap()
}

async fn traced(collector: &Collector, per_million: u32) -> World {
    let settings = settings(collector.address, per_million);
    World::configured(|config| config.tracing = Some(settings)).await
}

/// Asks for a mutating and a validating webhook for config maps.
async fn hooked(world: &World) -> Hook {
    let hook = Hook::start(&[], |_, review| allow(review)).await;
    for kind in ["Mutating", "Validating"] {
        let object = json!({"apiVersion": "admissionregistration.k8s.io/v1",
            "kind": format!("{kind}WebhookConfiguration"), "metadata": {"name": "maps"},
            "webhooks": [{"name": "maps.example.com", "clientConfig": hook.client("/"), "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                    "operations": ["*"]}]}]});
        let plural = format!("{}webhookconfigurations", kind.to_lowercase());
        let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
        world.post(&path, &object).await.expect(201);
    }
    hook
}

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{SPAN}-{flags}")
}

/// Makes a config map by a request that names a trace.
async fn make(world: &World, user: User, name: &str, parent: &str) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let request = Request::post(format!("{MAPS}?fieldManager=t"))
        .header("content-type", "application/json")
        .header("user-agent", "test/1")
        .header("traceparent", parent)
        .header("tracestate", "vendor=1")
        .header("baggage", "tenant=a")
        .header("audit-id", format!("id-{name}"));
    let request = request.body(Full::new(Bytes::from(map.to_string()))).unwrap();
    let response = world.send(user, request).await;
    assert_eq!(response.status(), 201);
    response.into_body().collect().await.unwrap();
}

async fn grant(world: &World, user: &str) {
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": user}, "subjects": [{"kind": "User", "name": user}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}});
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    world.post(path, &binding).await.expect(201);
}

fn told(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .map(|value| value.to_str().unwrap().to_owned())
        .unwrap_or_default()
}

#[track_caller]
fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(found.len(), 1, "{name} in {names:?}");
    found[0]
}

#[tokio::test]
async fn a_write_is_told_with_its_parts_and_its_webhooks_go_on_with_the_trace() {
    let collector = Collector::start().await;
    let world = traced(&collector, 0).await;
    let hook = hooked(&world).await;
    make(&world, User::admin(), "a", &parent("01")).await;
    world.server.flush_traces().await;
    let spans = collector.trace(TRACE);

    let root = only(&spans, "POST /api/v1/namespaces/{:namespace}/configmaps");
    assert_eq!(
        (root.parent.as_str(), root.kind, root.state.as_str()),
        (SPAN, 2, "vendor=1")
    );
    assert_eq!(root.flags, 0x301);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("url.path", MAPS),
        ("http.target", &format!("{MAPS}?fieldManager=t")),
        ("user_agent.original", "test/1"),
        ("http.response.status_code", "201"),
        ("audit-id", "id-a"),
    ] {
        assert_eq!(root.attributes[key], value, "{key}");
    }
    for name in ["authentication", "priorityandfairness", "authorization", "Create"] {
        let part = only(&spans, name);
        assert_eq!((&part.parent, part.kind, part.flags), (&root.id, 1, 0x101), "{name}");
        assert!(
            root.start <= part.start && part.end <= root.end && part.start <= part.end,
            "{name}"
        );
    }
    let create = only(&spans, "Create");
    assert_eq!(create.attributes["resource"], "configmaps");
    let stored = only(&spans, "Create embedded");
    assert_eq!(stored.parent, create.id);
    assert_eq!(stored.attributes["key"], "/registry/core/configmaps/default/a");
    assert_eq!(only(&spans, "SerializeObject").parent, create.id);

    let came = hook.headers();
    assert_eq!(came.len(), 2);
    for (phase, call, headers) in [
        ("mutating admission", "Call mutating webhook", &came[0]),
        ("validating admission", "Call validating webhook", &came[1]),
    ] {
        let asked = only(&spans, call);
        assert_eq!(asked.parent, only(&spans, phase).id);
        assert_eq!(asked.attributes["configuration"], "maps");
        assert_eq!(asked.attributes["resource"], "/v1, Resource=configmaps");
        assert_eq!(asked.attributes["operation"], "CREATE");
        let http = spans.iter().find(|span| span.parent == asked.id).unwrap();
        assert_eq!((http.name.as_str(), http.kind), ("HTTP POST", 3));
        assert_eq!(http.attributes["http.response.status_code"], "200");
        assert_eq!(http.attributes["server.port"], hook.address.port().to_string());
        assert_eq!(told(headers, "traceparent"), format!("00-{TRACE}-{}-01", http.id));
        assert_eq!(told(headers, "tracestate"), "vendor=1");
        assert_eq!(told(headers, "baggage"), "tenant=a");
    }
    let process = collector.process();
    assert_eq!(process["service.name"], "apiserver");
    assert!(process["service.instance.id"].starts_with("apiserver-"), "{process:?}");
}

#[tokio::test]
async fn only_those_who_run_the_cluster_decide_what_is_traced() {
    let collector = Collector::start().await;
    let world = traced(&collector, 0).await;
    let hook = hooked(&world).await;
    grant(&world, "jane").await;
    make(&world, User::new("jane", &[]), "a", &parent("01")).await;
    make(&world, User::admin(), "b", &parent("00")).await;
    make(&world, User::admin(), "c", "").await;
    world.server.flush_traces().await;
    assert!(collector.spans().is_empty(), "{:?}", collector.spans());
    // What isn't traced is passed on as such.
    let came: Vec<String> = hook
        .headers()
        .iter()
        .map(|headers| told(headers, "traceparent"))
        .collect();
    assert!(
        came.iter().all(|parent| parent.len() == 55 && parent.ends_with("-00")),
        "{came:?}"
    );
    assert!(!came[0].contains(TRACE) && came[0][..36] == came[1][..36], "{came:?}");
    assert!(
        came[2].starts_with(&format!("00-{TRACE}-")) && !came[2].contains(SPAN),
        "{came:?}"
    );

    let world = traced(&collector, 1_000_000).await;
    grant(&world, "jane").await;
    make(&world, User::new("jane", &[]), "d", &parent("00")).await;
    world.server.flush_traces().await;
    let spans = collector.spans();
    let is_root = |span: &&Span| span.kind == 2 && span.attributes["audit-id"] == "id-d";
    let root = spans.iter().find(is_root).unwrap();
    assert!(
        root.trace != TRACE && root.parent.is_empty() && root.state.is_empty(),
        "{root:?}"
    );
    assert_eq!(root.links, [(TRACE.to_owned(), SPAN.to_owned())]);
}

#[tokio::test]
async fn a_trace_is_passed_on_where_nothing_is_traced() {
    let world = World::new().await;
    let hook = hooked(&world).await;
    make(&world, User::admin(), "a", &parent("01")).await;
    make(&world, User::admin(), "b", "nonsense").await;
    let came: Vec<String> = hook
        .headers()
        .iter()
        .map(|headers| told(headers, "traceparent"))
        .collect();
    assert_eq!(came, [parent("01"), parent("01"), String::new(), String::new()]);
    assert_eq!(told(&hook.headers()[0], "tracestate"), "vendor=1");
}

#[tokio::test]
async fn a_span_lasts_as_long_as_the_answer() {
    let collector = Collector::start().await;
    let world = traced(&collector, 0).await;
    let ask = async |target: String| {
        let request = Request::get(target).header("traceparent", parent("01"));
        world.send(User::admin(), request.body(Full::default()).unwrap()).await
    };
    let watch = ask(format!("{MAPS}?watch=1&resourceVersion=0")).await;
    let list = ask(MAPS.to_owned()).await;
    let gone = ask(format!("{MAPS}/none")).await;
    assert_eq!(gone.status(), 404);
    world.server.flush_traces().await;
    let names = |spans: &[Span]| spans.iter().map(|span| span.name.clone()).collect::<Vec<_>>();
    let now = collector.trace(TRACE);
    let get = only(&now, "GET /api/v1/namespaces/{:namespace}/configmaps/{:name}");
    assert!(!get.failed && get.attributes["http.response.status_code"] == "404");
    assert_eq!(only(&now, "cacher.Get").parent, only(&now, "Get").id);
    assert_eq!(only(&now, "cacher.GetList").attributes["type"], "configmaps");
    assert!(!names(&now).contains(&"List".to_owned()), "{:?}", names(&now));
    list.into_body().collect().await.unwrap();
    drop(watch);
    world.server.flush_traces().await;
    let then = collector.trace(TRACE);
    let list = only(&then, "List");
    only(&then, "WatchServer.HandleHTTP");
    assert!(
        then.iter()
            .any(|span| span.name == "SerializeObject" && span.parent == list.id)
    );
    let root = "GET /api/v1/namespaces/{:namespace}/configmaps".to_owned();
    assert_eq!(names(&then).iter().filter(|name| **name == root).count(), 2);
}

#[tokio::test]
async fn requests_over_the_network_say_where_they_are_from() {
    let collector = Collector::start().await;
    let world = traced(&collector, 0).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("https://{address}");
    let serving = tokio::spawn(world.server.serve(listener));
    let client = connect(&world.server.admin_kubeconfig("t", &url).unwrap()).await;
    let request = Request::get("/version").header("traceparent", parent("01"));
    client
        .request::<Value>(request.body(Vec::new()).unwrap())
        .await
        .unwrap();
    world.server.shutdown();
    serving.await.unwrap();
    world.server.flush_traces().await;
    let spans = collector.trace(TRACE);
    let root = only(&spans, "GET");
    for (key, value) in [
        ("server.address", "127.0.0.1"),
        ("server.port", &address.port().to_string()),
        ("url.scheme", "https"),
        ("url.path", "/version"),
        ("network.peer.address", "127.0.0.1"),
        ("client.address", "127.0.0.1"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(root.attributes[key], value, "{key}");
    }
    assert!(matches!(&*root.attributes["network.protocol.version"], "1.1" | "2.0"));
    let authentication = only(&spans, "authentication");
    assert_eq!((&authentication.parent, authentication.start), (&root.id, root.start));
}

#[tokio::test]
async fn a_server_that_a_request_is_passed_on_to_goes_on_with_the_trace() {
    let collector = Collector::start().await;
    let (world, extension) = join(traced(&collector, 0).await, Age::New).await;
    let target = format!("{VERSION}/namespaces/default/flunders");
    let request = Request::get(&target).header("traceparent", parent("01"));
    let response = world.send(User::admin(), request.body(Full::default()).unwrap()).await;
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap();
    world.server.flush_traces().await;
    let spans = collector.trace(TRACE);
    let root = only(
        &spans,
        "GET /apis/wardle.example.com/v1alpha1/namespaces/{:namespace}/flunders",
    );
    let call = only(&spans, "HTTP GET");
    assert_eq!((&call.parent, call.kind), (&root.id, 3));
    let asked = extension.asked();
    let asked = asked.iter().find(|asked| asked.target == target).unwrap();
    assert_eq!(
        told(&asked.headers, "traceparent"),
        format!("00-{TRACE}-{}-01", call.id)
    );
}

#[tokio::test]
async fn a_collector_that_is_away_costs_nothing_but_spans() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let settings = settings(address, 0);
    let world = World::configured(|config| config.tracing = Some(settings)).await;
    let began = Instant::now();
    for at in 0..300 {
        make(&world, User::admin(), &format!("a-{at}"), &parent("01")).await;
    }
    world.server.flush_traces().await;
    assert!(began.elapsed() < Duration::from_secs(60));
    // Who comes back gets what has waited, and what is new.
    let collector = Collector::listen(address).await;
    let came = async {
        for at in 0.. {
            make(&world, User::admin(), &format!("b-{at}"), &parent("01")).await;
            if !collector.trace(TRACE).is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), came).await.unwrap();
    assert!(collector.spans().len() <= 2048 + 2 * 512, "{}", collector.spans().len());
}
