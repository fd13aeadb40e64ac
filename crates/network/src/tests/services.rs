//! Services from pods, the host and outside.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use super::world::*;
use crate::{LocalService, Protocol, ServiceTable};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[test]
fn a_service_is_reached_from_everywhere() {
    on_host(|| {
        let (dir, outside) = (tempfile::tempdir().unwrap(), outside());
        let network = open(&dir);
        let (one, two, client) = (Pod::new(&network, 1), Pod::new(&network, 2), Pod::new(&network, 3));
        let _servers = (one.serve(8080), two.serve(8080));
        network.apply(&table(service(&[&one, &two]))).unwrap();
        let both = BTreeSet::from([one.ip().to_string(), two.ip().to_string()]);
        let several = |ask: &dyn Fn() -> String| (0..30).map(|_| ask()).collect::<BTreeSet<String>>();

        let seen = client.place.run(|| several(&|| ask((VIP, 80)).unwrap().0));
        assert_eq!(seen, both, "pod to service address");
        assert_eq!(several(&|| ask((VIP, 80)).unwrap().0), both, "host to service address");
        for address in [HOST, LOOPBACK] {
            assert_eq!(several(&|| ask((address, 30080)).unwrap().0), both, "host to {address}");
        }
        let seen = client.place.run(|| ask((HOST, 30080))).unwrap();
        assert!(both.contains(&seen.0));
        let seen = outside.run(|| ask((HOST, 30080))).unwrap();
        assert_eq!(
            seen.1,
            network.node_address().to_string(),
            "from outside the source is changed"
        );
        assert_eq!(client.place.run(|| ask((VIP, 80))).unwrap().1, client.ip().to_string());
        network.teardown().unwrap();
    });
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    on_host(|| {
        let (dir, _outside) = (tempfile::tempdir().unwrap(), outside());
        let network = open(&dir);
        let pod = Pod::new(&network, 1);
        let _server = pod.serve(8080);
        network.apply(&table(service(&[&pod]))).unwrap();
        for _ in 0..5 {
            assert_eq!(
                pod.place.run(|| ask((VIP, 80))).unwrap().1,
                network.node_address().to_string()
            );
        }
        assert!(pod.place.run(|| ask((HOST, 30080))).is_ok());
        network.teardown().unwrap();
    });
}

#[test]
fn no_endpoints_means_refused_at_once() {
    on_host(|| {
        let (dir, outside) = (tempfile::tempdir().unwrap(), outside());
        let network = open(&dir);
        let pod = Pod::new(&network, 1);
        let mut both = service(&[]);
        both.ports.extend(port_service(Protocol::Udp, &[]).ports);
        network.apply(&table(both)).unwrap();
        let refused = || {
            for address in [(VIP, 80), (VIP, 81), (HOST, 30080)] {
                let start = Instant::now();
                assert_eq!(
                    ask(address).unwrap_err().kind(),
                    ErrorKind::ConnectionRefused,
                    "{address:?}"
                );
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.connect(address).unwrap();
                socket.set_read_timeout(Some(WAIT)).unwrap();
                // On the host itself it is the call that fails, elsewhere the answer.
                let error = socket
                    .send(b"?")
                    .and_then(|_| socket.recv(&mut [0; 8]))
                    .unwrap_err()
                    .kind();
                let expected = [ErrorKind::ConnectionRefused, ErrorKind::PermissionDenied];
                assert!(expected.contains(&error), "{address:?}: {error}");
                assert!(start.elapsed() < Duration::from_millis(500));
            }
        };
        refused();
        pod.place.run(refused);
        let error = outside.run(|| ask((HOST, 30080))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        network.teardown().unwrap();
    });
}

#[test]
fn a_client_keeps_its_endpoint() {
    on_host(|| {
        let (dir, _outside) = (tempfile::tempdir().unwrap(), outside());
        let network = open(&dir);
        let pods: Vec<Pod> = (1..=4).map(|slot| Pod::new(&network, slot)).collect();
        let servers: Vec<_> = pods.iter().map(|pod| pod.serve(8080)).collect();
        let wanted = |pods: &[&Pod]| {
            let mut wanted = service(pods);
            wanted.affinity = Some(Duration::from_secs(60));
            table(wanted)
        };
        network.apply(&wanted(&pods.iter().collect::<Vec<_>>())).unwrap();
        let client = Pod::new(&network, 9);
        let all = || (0..20).map(|_| ask((VIP, 80)).unwrap().0).collect::<BTreeSet<String>>();
        let first = client.place.run(all);
        assert_eq!(first.len(), 1, "{first:?}");

        let rest: Vec<&Pod> = pods
            .iter()
            .filter(|pod| !first.contains(&pod.ip().to_string()))
            .collect();
        network.apply(&wanted(&rest)).unwrap();
        let second = client.place.run(all);
        assert_eq!(second.len(), 1);
        assert!(second.is_disjoint(&first), "its endpoint went, so it has another");
        drop(servers);
        network.teardown().unwrap();
    });
}

#[test]
fn local_traffic_keeps_its_source() {
    on_host(|| {
        let (dir, outside) = (tempfile::tempdir().unwrap(), outside());
        let network = open(&dir);
        let pod = Pod::new(&network, 1);
        let _server = pod.serve(8080);
        let mut wanted = service(&[&pod]);
        wanted.external_local = true;
        wanted.external_ips = vec![IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7))];
        network.apply(&table(wanted.clone())).unwrap();
        assert_eq!(outside.run(|| ask((HOST, 30080))).unwrap().1, OUTSIDE.to_string());
        assert!(
            ask((Ipv4Addr::new(198, 51, 100, 7), 80)).is_ok(),
            "an external address, from the host"
        );
        assert!(ask((LOOPBACK, 30080)).is_ok());

        wanted.ports[0].endpoints[0].local = false;
        wanted.ports[0].local_endpoints.clear();
        network.apply(&table(wanted)).unwrap();
        let error = outside.run(|| ask((HOST, 30080))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "no endpoint on this node: dropped");
        assert!(ask((HOST, 30080)).is_ok(), "but not for the node itself");
        network.teardown().unwrap();
    });
}

#[test]
fn datagrams_find_the_new_endpoint() {
    on_host(|| {
        let (dir, _outside) = (tempfile::tempdir().unwrap(), outside());
        let network = open(&dir);
        let (one, two, client) = (Pod::new(&network, 1), Pod::new(&network, 2), Pod::new(&network, 3));
        let _servers = (one.serve(8080), two.serve(8080));
        let address = (VIP, 80);
        client.place.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            network.apply(&table(port_service(Protocol::Udp, &[&one]))).unwrap();
            assert_eq!(ask_datagram(&socket, address).unwrap().0, one.ip().to_string());
            network.apply(&table(port_service(Protocol::Udp, &[&two]))).unwrap();
            assert_eq!(
                ask_datagram(&socket, address).unwrap().0,
                two.ip().to_string(),
                "from the same port"
            );
            network.apply(&ServiceTable::default()).unwrap();
            assert!(ask_datagram(&socket, address).is_err());
        });
        network.teardown().unwrap();
    });
}

#[test]
fn a_service_may_be_a_socket_of_the_host_on_loopback() {
    on_host(|| {
        let (dir, _outside) = (tempfile::tempdir().unwrap(), outside());
        let network = open(&dir);
        let pod = Pod::new(&network, 1);
        let _server = Server::start((LOOPBACK, 6443).into(), "api");
        let vip = Ipv4Addr::new(10, 96, 0, 1);
        let local = |protocol| LocalService {
            service: (vip, 443).into(),
            protocol,
            target: (LOOPBACK, 6443).into(),
        };
        let local = vec![local(Protocol::Tcp), local(Protocol::Udp)];
        network
            .apply(&ServiceTable {
                local,
                ..ServiceTable::default()
            })
            .unwrap();
        assert_eq!(
            pod.place.run(|| ask((vip, 443))).unwrap(),
            ("api".into(), pod.ip().to_string())
        );
        let datagram = || {
            ask_datagram(&UdpSocket::bind("0.0.0.0:0").unwrap(), (vip, 443))
                .unwrap()
                .0
        };
        assert_eq!(pod.place.run(datagram), "api");
        assert_eq!(ask((vip, 443)).unwrap().0, "api");
        assert_eq!(datagram(), "api");
        network.teardown().unwrap();
    });
}
