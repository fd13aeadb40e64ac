//! Golden scenarios for the planner: which rows come and go.

use std::time::Duration;

use super::*;

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 42, 0, last)
}

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

fn claim(address: Option<Ipv4Addr>, port: u16) -> Claim {
    Claim {
        address,
        protocol: Protocol::Tcp,
        port,
    }
}

fn service(endpoints: &[u8]) -> Service {
    let endpoint = |last: &u8| Endpoint {
        address: IpAddr::V4(ip(*last)),
        port: 80,
        local: *last < 100,
    };
    Service {
        cluster_ips: vec![IpAddr::V4(VIP)],
        ports: vec![ServicePort {
            protocol: Protocol::Tcp,
            port: 8080,
            node_port: Some(30000),
            endpoints: endpoints.iter().map(endpoint).collect(),
            local_endpoints: endpoints
                .iter()
                .map(endpoint)
                .filter(|endpoint| endpoint.local)
                .collect(),
        }],
        ..Service::default()
    }
}

fn table(services: &[(&str, Service)]) -> ServiceTable {
    let services = services
        .iter()
        .map(|(name, service)| ((*name).to_owned(), Arc::new(service.clone())));
    ServiceTable {
        services: services.collect(),
        local: Vec::new(),
    }
}

fn sorted(mut rows: Vec<(Key, Value)>) -> Vec<(Key, Value)> {
    rows.sort_by_key(|(key, _)| *key);
    rows
}

fn pick(front: Front, endpoints: u32) -> Value {
    Value::Pick(Pick {
        front,
        outside: false,
        endpoints,
        affinity: None,
    })
}

#[test]
fn a_service_leads_to_its_endpoints_and_a_change_is_small() {
    let mut planner = Planner::default();
    let first = planner.plan(&table(&[("a", service(&[2, 3, 4]))]));
    assert!(first.removed.is_empty());
    assert_eq!(first.added.len(), 2 * (1 + 3) + 3 + 1, "{:?}", first.added);
    assert!(planner.plan(&table(&[("a", service(&[4, 3, 2]))])).is_empty());

    let delta = planner.plan(&table(&[("a", service(&[3, 4]))]));
    let address = Key::Front {
        claim: claim(Some(VIP), 8080),
        outside: false,
    };
    let port = Key::Front {
        claim: claim(None, 30000),
        outside: false,
    };
    let first_of = |claim| Key::Endpoint {
        claim,
        outside: false,
        index: 0,
    };
    let expected = vec![
        (port, pick(Front::Port, 2)),
        (address, pick(Front::Address, 2)),
        (first_of(claim(None, 30000)), Value::Endpoint((ip(4), 80))),
        (first_of(claim(Some(VIP), 8080)), Value::Endpoint((ip(4), 80))),
    ];
    assert_eq!(sorted(delta.added), expected);
    assert_eq!(delta.removed.len(), 2 * (1 + 2) + 1);
    assert_eq!(
        delta.touched.targets[&claim(Some(VIP), 8080)],
        HashSet::from([(ip(3), 80), (ip(4), 80)])
    );
}

#[test]
fn without_endpoints_it_is_refused_and_headless_has_no_rows() {
    let mut planner = Planner::default();
    let delta = planner.plan(&table(&[("a", service(&[]))]));
    let (address, port) = (claim(Some(VIP), 8080), claim(None, 30000));
    assert_eq!(
        sorted(delta.added),
        [
            (Key::Refused(port), Value::Present),
            (Key::Refused(address), Value::Present)
        ]
    );
    let mut headless = service(&[2]);
    headless.cluster_ips.clear();
    headless.ports[0].node_port = None;
    headless.ports[0].endpoints[0].local = false;
    headless.ports[0].local_endpoints.clear();
    let delta = planner.plan(&table(&[("a", headless)]));
    assert!(delta.added.is_empty(), "{:?}", delta.added);
}

#[test]
fn local_policies_keep_to_the_node() {
    let mut planner = Planner::default();
    let mut wanted = service(&[2, 100]);
    wanted.external_local = true;
    let delta = planner.plan(&table(&[("a", wanted)]));
    let outside: Vec<_> = delta
        .added
        .iter()
        .filter(|(key, _)| matches!(key, Key::Front { outside: true, .. }))
        .collect();
    assert!(
        matches!(outside[..], [(_, Value::Pick(Pick { endpoints: 1, .. }))]),
        "{outside:?}"
    );
    assert!(!delta.added.iter().any(|(key, _)| matches!(key, Key::Masqueraded(_))));

    let mut wanted = service(&[100]);
    wanted.internal_local = true;
    let delta = planner.plan(&table(&[("a", wanted)]));
    let address = Key::Front {
        claim: claim(Some(VIP), 8080),
        outside: false,
    };
    assert!(delta.added.contains(&(address, Value::Drop)));
}

#[test]
fn one_address_belongs_to_one_service_and_goes_to_the_next() {
    let mut planner = Planner::default();
    planner.plan(&table(&[("a", service(&[2])), ("b", service(&[3]))]));
    assert_eq!(planner.contested(), ["b"]);
    let delta = planner.plan(&table(&[("b", service(&[3]))]));
    assert!(planner.contested().is_empty());
    let target = delta.touched.targets[&claim(Some(VIP), 8080)].clone();
    assert_eq!(target, HashSet::from([(ip(3), 80)]));
}

#[test]
fn a_local_service_wins_and_gives_back() {
    let mut planner = Planner::default();
    let mut wanted = table(&[("kubernetes", service(&[2]))]);
    planner.plan(&wanted);
    let local = LocalService {
        service: (VIP, 8080).into(),
        protocol: Protocol::Tcp,
        target: ([127, 0, 0, 1], 6443).into(),
    };
    wanted.local.push(local);
    let delta = planner.plan(&wanted);
    assert_eq!(
        delta.touched.targets[&claim(Some(VIP), 8080)],
        HashSet::from([(Ipv4Addr::LOCALHOST, 6443)])
    );
    wanted.local.clear();
    let delta = planner.plan(&wanted);
    assert_eq!(
        delta.touched.targets[&claim(Some(VIP), 8080)],
        HashSet::from([(ip(2), 80)])
    );
    assert!(planner.contested().is_empty());
}

#[test]
fn a_pod_of_two_services_keeps_its_row_until_the_last_goes() {
    let mut planner = Planner::default();
    let mut other = service(&[2]);
    other.cluster_ips.clear();
    other.ports[0].node_port = Some(30001);
    other.affinity = Some(Duration::from_secs(10));
    planner.plan(&table(&[("a", service(&[2])), ("b", other.clone())]));
    let hairpin = (Key::Hairpin(ip(2)), Value::Present);
    assert!(!planner.plan(&table(&[("b", other)])).removed.contains(&hairpin));
    assert!(planner.plan(&table(&[])).removed.contains(&hairpin));
}
