//! Golden scenarios: which endpoints a service has.

use super::plan::subsets;
use super::*;
use crate::testing::{at, labels, pod};

fn slices(service: &Service, pods: &[Arc<Pod>]) -> Vec<Wanted> {
    plan::slices(service, pods, &|node| (node == "n1").then(|| "z1".to_owned()))
}

fn service(ports: Value) -> Service {
    Service {
        key: ObjectKey::namespaced("d", "web"),
        uid: "svc".into(),
        labels: Labels::new(),
        deleting: false,
        selector: Some(labels(&[("app", "web")])),
        headless: false,
        external_name: false,
        publish_not_ready: false,
        distribution: None,
        families: vec!["IPv4".into()],
        ports: serde_json::from_value(ports).unwrap(),
    }
}

fn running(name: &str, address: &str, ready: bool) -> Pod {
    let mut pod = pod(name);
    pod.addresses = vec![address.into()];
    pod.node = Some("n1".into());
    pod.ready = ready.then(|| at(0));
    pod.ports = vec![("http".into(), 8080, "TCP".into())];
    pod
}

#[test]
fn conditions_say_ready_serving_terminating() {
    let mut leaving = running("c", "10.0.0.3", true);
    leaving.deleting = true;
    let pods = [
        running("a", "10.0.0.1", true),
        running("b", "10.0.0.2", false),
        leaving,
        pod("no-address"),
    ];
    let wanted = slices(
        &service(json!([{ "port": 80, "targetPort": "http" }])),
        &pods.map(Arc::new),
    );
    assert_eq!(wanted.len(), 1);
    assert_eq!(
        wanted[0].ports,
        [json!({ "name": "", "port": 8080, "protocol": "TCP" })]
    );
    let conditions: Vec<_> = wanted[0]
        .endpoints
        .iter()
        .map(|endpoint| endpoint["conditions"].clone())
        .collect();
    let expect =
        |ready, serving, terminating| json!({ "ready": ready, "serving": serving, "terminating": terminating });
    assert_eq!(
        conditions,
        [
            expect(true, true, false),
            expect(false, false, false),
            expect(false, true, true)
        ]
    );
}

#[test]
fn hints_follow_the_services_wish() {
    let pods = [
        Arc::new(running("a", "10.0.0.1", true)),
        Arc::new(running("b", "10.0.0.2", false)),
    ];
    let hints = |wish: Option<&str>| {
        let mut service = service(json!([{ "port": 80 }]));
        service.distribution = wish.map(str::to_owned);
        let endpoints = slices(&service, &pods).remove(0).endpoints;
        assert_eq!(endpoints[0]["zone"], "z1");
        assert_eq!(endpoints[1]["hints"], Value::Null, "not of one that isn't ready");
        endpoints[0]["hints"].clone()
    };
    assert_eq!(hints(None), Value::Null);
    for wish in ["PreferClose", "PreferSameZone"] {
        assert_eq!(hints(Some(wish)), json!({ "forZones": [{ "name": "z1" }] }));
    }
    let both = json!({ "forZones": [{ "name": "z1" }], "forNodes": [{ "name": "n1" }] });
    assert_eq!(hints(Some("PreferSameNode")), both);
}

#[test]
fn a_service_without_pods_keeps_an_empty_slice() {
    let wanted = slices(&service(json!([{ "port": 80 }])), &[]);
    assert_eq!(
        wanted,
        [Wanted {
            family: "IPv4",
            ports: vec![],
            endpoints: vec![]
        }]
    );
    assert!(subsets(&service(json!([{ "port": 80 }])), &[]).is_empty());
}

#[test]
fn unready_pods_are_published_when_asked_for() {
    let mut service = service(json!([{ "port": 80 }]));
    service.publish_not_ready = true;
    let pods = [Arc::new(running("a", "10.0.0.1", false))];
    assert_eq!(slices(&service, &pods)[0].endpoints[0]["conditions"]["ready"], true);
    assert_eq!(subsets(&service, &pods)[0]["addresses"][0]["ip"], "10.0.0.1");
}

#[test]
fn different_named_ports_make_different_slices() {
    let mut other = running("b", "10.0.0.2", true);
    other.ports[0].1 = 9090;
    let pods = [Arc::new(running("a", "10.0.0.1", true)), Arc::new(other)];
    let wanted = slices(
        &service(json!([{ "name": "x", "port": 80, "targetPort": "http" }])),
        &pods,
    );
    assert_eq!(
        wanted
            .iter()
            .map(|slice| slice.ports[0]["port"].clone())
            .collect::<Vec<_>>(),
        [8080, 9090]
    );
}

#[test]
fn many_endpoints_are_cut_into_slices() {
    let pods: Vec<_> = (0..250)
        .map(|i| Arc::new(running(&format!("p{i:03}"), &format!("10.0.1.{i}"), true)))
        .collect();
    let sizes: Vec<_> = slices(&service(json!([{ "port": 80 }])), &pods)
        .iter()
        .map(|s| s.endpoints.len())
        .collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn a_pod_with_the_services_subdomain_has_a_name() {
    let mut pod = running("a", "10.0.0.1", true);
    (pod.hostname, pod.subdomain) = (Some("first".into()), Some("web".into()));
    let mut service = service(json!([]));
    service.headless = true;
    assert_eq!(
        slices(&service, &[Arc::new(pod.clone())])[0].endpoints[0]["hostname"],
        "first"
    );
    assert_eq!(
        subsets(&service, &[Arc::new(pod)])[0]["addresses"][0]["hostname"],
        "first"
    );
}
