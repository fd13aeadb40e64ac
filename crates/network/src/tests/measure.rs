//! Figures for docs/design/network.md, and limits that a slip of an order of magnitude breaks.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::world::*;
use crate::{Endpoint, Protocol, Service, ServicePort, ServiceTable, SlotId};

fn report(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let median = times[times.len() / 2];
    println!(
        "{what}: min {:?}, median {median:?}, max {:?}",
        times[0],
        times[times.len() - 1]
    );
    median
}

#[test]
fn slots() {
    on_host(|| {
        let dir = tempfile::tempdir().unwrap();
        let network = open(&dir);
        let places: Vec<Place> = (0..100).map(|_| Place::new()).collect();
        let timed = |work: &dyn Fn(u32, &Place)| -> Vec<Duration> {
            let one = |(slot, place)| {
                let start = Instant::now();
                work(slot, place);
                start.elapsed()
            };
            (0..).zip(&places).map(one).collect()
        };
        let attached = timed(&|slot, place| {
            network.attach(&place.path(), SlotId(slot)).unwrap();
        });
        let detached = timed(&|slot, _| network.detach(SlotId(slot)).unwrap());
        let start = Instant::now();
        network.settle();
        println!("100 links deleted behind: {:?}", start.elapsed());
        assert!(report("attach", attached) < Duration::from_millis(50));
        assert!(report("detach", detached) < Duration::from_millis(50));
        network.teardown().unwrap();
    });
}

fn many(services: u32, endpoints: u8) -> ServiceTable {
    let service = |number: u32| {
        let [.., high, low] = number.to_be_bytes();
        let endpoint = |last| Endpoint {
            address: IpAddr::V4(Ipv4Addr::new(10, 42, low, last)),
            port: 80,
            local: false,
        };
        let service = Service {
            cluster_ips: vec![IpAddr::V4(Ipv4Addr::new(10, 96, high, low))],
            ports: vec![ServicePort {
                protocol: Protocol::Tcp,
                port: 80,
                node_port: None,
                endpoints: (0..endpoints).map(endpoint).collect(),
                local_endpoints: Vec::new(),
            }],
            ..Service::default()
        };
        (format!("default/service-{number}"), Arc::new(service))
    };
    ServiceTable {
        services: (0..services).map(service).collect(),
        local: Vec::new(),
    }
}

#[test]
fn a_thousand_services_of_ten_endpoints() {
    on_host(|| {
        let dir = tempfile::tempdir().unwrap();
        let network = open(&dir);
        let mut table = many(1000, 10);
        let start = Instant::now();
        let applied = network.apply(&table).unwrap();
        let full = start.elapsed();
        assert_eq!((applied.added, applied.removed), (11_000, 0));
        println!("1,000 services of 10 endpoints: {full:?}");
        let mut deltas = Vec::new();
        for number in 0..50 {
            let name = format!("default/service-{number}");
            let mut service = (*table.services[&name]).clone();
            service.ports[0].endpoints.remove(3);
            table.services.insert(name, Arc::new(service));
            let start = Instant::now();
            let applied = network.apply(&table).unwrap();
            deltas.push(start.elapsed());
            assert!(applied.added + applied.removed < 10, "{applied:?}");
        }
        let delta = report("one endpoint less", deltas);
        let unchanged: Vec<Duration> = (0..20)
            .map(|_| {
                let start = Instant::now();
                network.apply(&table).unwrap();
                start.elapsed()
            })
            .collect();
        report("nothing changed", unchanged);
        assert!(full < Duration::from_secs(2), "{full:?}");
        assert!(delta < Duration::from_millis(100), "{delta:?}");
        let start = Instant::now();
        network.teardown().unwrap();
        println!("teardown: {:?}", start.elapsed());
    });
}
