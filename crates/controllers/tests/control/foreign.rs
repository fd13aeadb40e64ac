//! Kinds that another server serves behind an APIService. The other server is a second one of ours, which believes the
//! first as a front proxy.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use kube::Client;
use serde_json::{Value, json};
use server::{Config, RequestHeaderSettings, Server, User};

use crate::harness::Plane;

const WIDGETS: &str = "/apis/example.com/v1/namespaces/a/widgets";
const APISERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1.example.com";
const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/other-1";

/// The second server; it ends when it is dropped.
struct Other {
    server: Server,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Other {
    async fn start(plane: &Plane) -> (Other, SocketAddr) {
        let trust = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
        let trust = plane.get(trust).await.unwrap();
        let ca = trust["data"]["requestheader-client-ca-file"].as_str().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = store::embedded::Embedded::open(&dir.path().join("store"), Default::default()).unwrap();
        let mut config = Config::new(dir.path());
        let mut proxies = RequestHeaderSettings::new(ca);
        proxies.allowed_names = vec!["front-proxy-client".to_owned()];
        config.request_header = Some(proxies);
        let server = Server::start(config, store).await.unwrap();
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(server.serve(listener));
        let client = client::in_process(server.service(User::admin()));
        let other = Other {
            server,
            client,
            _dir: dir,
        };
        (other, SocketAddr::new(own_address(), port))
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(body).unwrap())
            .unwrap();
        self.client.request(request).await.unwrap()
    }

    /// Serves `widgets` in a namespace called `a`.
    async fn define(&self) {
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
                "names": {"plural": "widgets", "kind": "Widget"}, "versions": [{"name": "v1", "served": true,
                    "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.post(definitions, &definition).await;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
        self.post("/api/v1/namespaces", &namespace).await;
        for _ in 0..500 {
            let request = http::Request::get(WIDGETS).body(Vec::new()).unwrap();
            if self.client.request::<Value>(request).await.is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("widgets aren't served");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.server.shutdown();
    }
}

/// An address of this machine: one of loopback can't be an endpoint's. Nothing is sent to find it.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let routed = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    routed
        .expect("this test needs an address beside loopback, and a route")
        .ip()
}

async fn register(plane: &Plane, address: SocketAddr) {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"},
        "spec": {"ports": [{"name": "https", "port": 443}]}});
    plane.create("/api/v1/namespaces/default/services", service).await;
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "other-1", "labels": {"kubernetes.io/service-name": "other"}},
        "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}]});
    plane
        .create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice)
        .await;
    let registration = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.example.com"}, "spec": {"group": "example.com", "version": "v1",
            "groupPriorityMinimum": 1000, "versionPriority": 10, "insecureSkipTLSVerify": true,
            "service": {"namespace": "default", "name": "other"}}});
    plane
        .create("/apis/apiregistration.k8s.io/v1/apiservices", registration)
        .await;
    plane
        .until("the other server", APISERVICE, |seen| {
            seen["status"]["conditions"][0]["status"] == "True"
        })
        .await;
}

fn widget(name: &str, owner: Option<&Value>) -> Value {
    let mut widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}});
    if let Some(owner) = owner {
        widget["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap",
            "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}]);
    }
    widget
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_go_with_their_owners_and_with_their_namespace() {
    let plane = Plane::start().await;
    plane.namespace("a").await;
    plane.namespace("b").await;
    let (other, address) = Other::start(&plane).await;
    other.define().await;
    register(&plane, address).await;
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}});
    let owner = plane.create("/api/v1/namespaces/a/configmaps", owner).await;
    plane.create(WIDGETS, widget("owned", Some(&owner))).await;
    plane.create(WIDGETS, widget("free", None)).await;
    plane
        .delete("/api/v1/namespaces/a/configmaps/owner", "Background")
        .await;
    plane
        .until("the end of what was owned", &format!("{WIDGETS}/owned"), Value::is_null)
        .await;
    assert_eq!(plane.items(WIDGETS).await.len(), 1);
    plane.delete("/api/v1/namespaces/a", "Background").await;
    plane
        .until("the end of the namespace", "/api/v1/namespaces/a", Value::is_null)
        .await;
    assert_eq!(plane.items(WIDGETS).await, Vec::<Value>::new());

    // While the other server is away nobody knows what it has in a namespace.
    plane
        .patch(
            SLICE,
            json!({"endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": false}}]}),
        )
        .await;
    plane
        .until("its absence", APISERVICE, |seen| {
            seen["status"]["conditions"][0]["reason"] == "MissingEndpoints"
        })
        .await;
    plane.delete("/api/v1/namespaces/b", "Background").await;
    let why = "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: \
        example.com/v1: the server is currently unable to handle the request";
    plane
        .until("why the namespace stays", "/api/v1/namespaces/b", |seen| {
            let mut conditions = seen["status"]["conditions"].as_array().into_iter().flatten();
            conditions.any(|condition| {
                condition["type"] == "NamespaceDeletionDiscoveryFailure"
                    && condition["status"] == "True"
                    && condition["message"] == why
            })
        })
        .await;
    plane
        .until("an empty namespace", "/api/v1/namespaces/b/configmaps", |seen| {
            seen["items"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
    plane.delete(APISERVICE, "Background").await;
    plane
        .until("the end of the namespace", "/api/v1/namespaces/b", Value::is_null)
        .await;
}
