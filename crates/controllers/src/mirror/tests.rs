//! Golden scenarios: what Endpoints become.

use serde_json::json;

use super::plan::{Wanted, slices};

fn wanted(subsets: serde_json::Value) -> Vec<Wanted> {
    slices(&serde_json::from_value::<Vec<_>>(subsets).unwrap())
}

#[test]
fn addresses_of_the_same_ports_are_one_slice_of_each_family() {
    let found = wanted(json!([
        {"addresses": [{"ip": "10.1.2.4", "nodeName": "one"}, {"ip": "fd00::1"}, {"ip": "no address"}],
            "notReadyAddresses": [{"ip": "10.1.2.3", "hostname": "b"}],
            "ports": [{"port": 80}]},
        {"addresses": [{"ip": "10.1.2.5"}], "ports": [{"port": 80, "protocol": "TCP"}]},
        {"addresses": [{"ip": "10.1.2.5"}], "ports": [{"port": 53, "protocol": "UDP", "name": "dns"}]}
    ]));
    let ports = json!([{"name": "", "port": 80, "protocol": "TCP"}]);
    let slice = |family, ports: &serde_json::Value, endpoints: serde_json::Value| Wanted {
        family,
        ports: serde_json::from_value(ports.clone()).unwrap(),
        endpoints: serde_json::from_value(endpoints).unwrap(),
    };
    let dns = json!([{"name": "dns", "port": 53, "protocol": "UDP"}]);
    let ready = json!({"ready": true});
    assert_eq!(
        found,
        [
            slice(
                "IPv4",
                &ports,
                json!([
                {"addresses": ["10.1.2.3"], "conditions": {"ready": false}, "hostname": "b"},
                {"addresses": ["10.1.2.4"], "conditions": ready, "nodeName": "one"},
                {"addresses": ["10.1.2.5"], "conditions": ready}])
            ),
            slice("IPv6", &ports, json!([{"addresses": ["fd00::1"], "conditions": ready}])),
            slice("IPv4", &dns, json!([{"addresses": ["10.1.2.5"], "conditions": ready}])),
        ]
    );
}

#[test]
fn nothing_is_mirrored_of_nothing() {
    assert_eq!(wanted(json!([])), []);
    assert_eq!(wanted(json!([{"ports": [{"port": 80}]}])), []);
}
