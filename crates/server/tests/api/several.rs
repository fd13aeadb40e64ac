//! Several servers on one store: what one writes the others see, and nothing is given twice.

use std::collections::HashSet;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use server::{Config, User};

use crate::world::World;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";

fn shared(address: &'static str) -> impl FnOnce(&mut Config) {
    move |config| {
        config.shared_store = true;
        config.keys_secret = Some("sixteen letters!".into());
        config.advertise_address = address.parse().unwrap();
    }
}

async fn two() -> [World; 2] {
    let first = World::configured(shared("10.0.0.1")).await;
    let second = first.beside(shared("10.0.0.2")).await.unwrap();
    [first, second]
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

fn node_port(name: &str, port: Option<u16>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sees_at_once_what_the_others_wrote() {
    let [one, two] = two().await;
    let list = one.get(MAPS).await.expect(200);
    let since = list["metadata"]["resourceVersion"].as_str().unwrap();
    let watch = format!("{MAPS}?watch=true&resourceVersion={since}");
    let watching = two
        .send(User::admin(), Request::get(watch).body(Full::default()).unwrap())
        .await;
    let mut events = watching.into_body();
    for round in 0..50 {
        let (writer, reader) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let name = format!("m{round}");
        writer.post(MAPS, &map(&name)).await.expect(201);
        let mut seen = reader.get(&format!("{MAPS}/{name}")).await.expect(200);
        assert_eq!(
            reader.get(MAPS).await.expect(200)["items"].as_array().unwrap().len(),
            round + 1
        );
        reader.post(MAPS, &map(&name)).await.expect(409);

        let stale = seen.clone();
        seen["data"] = json!({"by": "the reader"});
        reader.put(&format!("{MAPS}/{name}"), &seen).await.expect(200);
        writer.put(&format!("{MAPS}/{name}"), &stale).await.expect(409);

        let mut told = Vec::new();
        while told.iter().filter(|byte| **byte == b'\n').count() < 2 {
            let frame = events.frame().await.unwrap().unwrap();
            told.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
        }
        let kinds: Vec<Value> = told
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice::<Value>(line).unwrap()["type"].clone())
            .collect();
        assert_eq!(kinds, ["ADDED", "MODIFIED"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_is_given_twice() {
    let worlds = two().await;
    let creates = (0..60).map(|index| {
        let world = &worlds[index % 2];
        async move {
            world
                .post(SERVICES, &node_port(&format!("s{index}"), None))
                .await
                .expect(201)
        }
    });
    let made = futures::future::join_all(creates).await;
    let different = |path: &str| {
        let values: HashSet<String> = made
            .iter()
            .map(|service| service.pointer(path).unwrap().to_string())
            .collect();
        values.len()
    };
    assert_eq!(different("/spec/clusterIP"), made.len());
    assert_eq!(different("/spec/ports/0/nodePort"), made.len());

    // One number for two.
    let number = Some(31_999);
    let (one, two) = (node_port("mine", number), node_port("yours", number));
    let (one, two) = tokio::join!(worlds[0].post(SERVICES, &one), worlds[1].post(SERVICES, &two));
    let mut codes = [one.code.as_u16(), two.code.as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [201, 422]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_for_all_together() {
    let worlds = two().await;
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
        "spec": {"hard": {"count/configmaps": "10"}},
    });
    let mut made = worlds[0].post(quotas, &quota).await.expect(201);
    made["status"] = json!({"hard": {"count/configmaps": "10"}, "used": {"count/configmaps": "0"}});
    worlds[1].put(&format!("{quotas}/q/status"), &made).await.expect(200);
    let creates = (0..40).map(|index| {
        let world = &worlds[index % 2];
        async move { world.post(MAPS, &map(&format!("m{index}"))).await.code.as_u16() }
    });
    let codes = futures::future::join_all(creates).await;
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), 10, "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_certificates_are_good_everywhere() {
    let [one, two] = two().await;
    one.default_account("default").await;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let token = one.post(path, &request).await.expect(201)["status"]["token"].clone();
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
    });
    let answer = two
        .post("/apis/authentication.k8s.io/v1/tokenreviews", &review)
        .await
        .expect(201);
    assert_eq!(answer["status"]["authenticated"], true, "{answer}");
    assert_eq!(one.server.pki().ca().pem(), two.server.pki().ca().pem());
    let stranger = one.beside(|config| config.shared_store = true).await;
    let error = stranger.err().unwrap().to_string();
    assert!(error.contains("--store-secret"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kubernetes_service_leads_to_all() {
    let [one, two] = two().await;
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let slice = one.get(slice).await.expect(200);
    let addresses: Vec<&Value> = slice["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["addresses"])
        .collect();
    assert_eq!(addresses, [&json!(["10.0.0.1"]), &json!(["10.0.0.2"])]);
    let endpoints = two
        .get("/api/v1/namespaces/default/endpoints/kubernetes")
        .await
        .expect(200);
    assert_eq!(
        endpoints["subsets"][0]["addresses"],
        json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}])
    );
}
