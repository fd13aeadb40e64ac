//! Endpoints that are removed while clients go on: none of them may notice.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::world::*;

/// The node's order of things: first the endpoint leaves the table, then the process ends.
#[test]
fn no_connection_fails_while_endpoints_go_and_come() {
    on_host(|| {
        let (dir, outside) = (tempfile::tempdir().unwrap(), outside());
        let network = open(&dir);
        let client = Pod::new(&network, 100);
        let mut pods: Vec<_> = (0..4)
            .map(|slot| Pod::new(&network, slot))
            .map(|pod| (pod.serve(8080), pod))
            .collect();
        network
            .apply(&table(service(&pods.iter().map(|(_, pod)| pod).collect::<Vec<_>>())))
            .unwrap();
        let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
        let host = namespace_of_this_thread();
        let work = |address: (Ipv4Addr, u16)| {
            while !done.load(Ordering::Relaxed) {
                ask(address).expect("each connection is answered");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| client.place.run(|| work((VIP, 80))));
            scope.spawn(|| outside.run(|| work((HOST, 30080))));
            scope.spawn(|| work((Ipv4Addr::LOCALHOST, 30080)));
            for slot in 10..40 {
                let new = Pod::new(&network, slot);
                pods.push((new.serve(8080), new));
                let (server, old) = pods.remove(0);
                network
                    .apply(&table(service(&pods.iter().map(|(_, pod)| pod).collect::<Vec<_>>())))
                    .unwrap();
                // Connections that were accepted before get their answer.
                std::thread::sleep(Duration::from_millis(20));
                drop(server);
                network.detach(old.attachment.slot).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        drop(host);
        assert!(asked.load(Ordering::Relaxed) > 100, "{asked:?}");
        network.teardown().unwrap();
    });
}
