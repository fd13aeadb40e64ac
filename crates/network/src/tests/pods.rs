//! Pods among each other, with the host and with the outside; slots that come, go and are found again.

use super::world::*;
use crate::{Error, Network, SlotId};

#[test]
fn pods_reach_each_other_the_host_and_the_outside() {
    on_host(|| {
        let (dir, outside) = (tempfile::tempdir().unwrap(), outside());
        let network = open(&dir);
        let (one, two) = (Pod::new(&network, 1), Pod::new(&network, 2));
        let _servers = (one.serve(8080), two.serve(8080));
        let _host = Server::start((HOST, 9000).into(), "host");
        let _out = outside.run(|| Server::start((OUTSIDE, 9001).into(), "outside"));

        let answer = one.place.run(|| ask((two.ip(), 8080))).unwrap();
        assert_eq!(
            answer,
            (two.ip().to_string(), one.ip().to_string()),
            "a pod sees the other's own address"
        );
        assert_eq!(ask((one.ip(), 8080)).unwrap().1, network.node_address().to_string());
        let answer = one.place.run(|| ask((HOST, 9000))).unwrap();
        assert_eq!(answer, ("host".into(), one.ip().to_string()));
        let answer = one.place.run(|| ask((OUTSIDE, 9001))).unwrap();
        assert_eq!(
            answer,
            ("outside".into(), HOST.to_string()),
            "leaving the cluster it bears the host's address"
        );
        network.teardown().unwrap();
    });
}

#[test]
fn a_slot_is_found_again_and_half_made_ones_go() {
    on_host(|| {
        let dir = tempfile::tempdir().unwrap();
        let network = open(&dir);
        let (one, two) = (Pod::new(&network, 1), Pod::new(&network, 70_000));
        assert!(matches!(
            network.attach(&one.place.path(), SlotId(1)),
            Err(Error::SlotTaken(_))
        ));
        drop(network);
        // The process died between making a link and noting it.
        let ledger = dir.path().join("network/ledger");
        let text = std::fs::read_to_string(&ledger).unwrap().replace("= 70000\n", "");
        std::fs::write(&ledger, text).unwrap();

        let network = open(&dir);
        assert_eq!(network.attachments(), std::slice::from_ref(&one.attachment));
        let _server = one.serve(8080);
        ask((one.ip(), 8080)).unwrap();
        let third = Pod::new(&network, 70_000);
        assert_ne!(third.ip(), two.ip(), "an address rests before it is used again");
        network.teardown().unwrap();
    });
}

#[test]
fn a_detached_slot_leads_nowhere() {
    on_host(|| {
        let dir = tempfile::tempdir().unwrap();
        let network = open(&dir);
        let pod = Pod::new(&network, 1);
        let _server = pod.serve(8080);
        ask((pod.ip(), 8080)).unwrap();
        network.detach(SlotId(1)).unwrap();
        assert!(ask((pod.ip(), 8080)).is_err());
        assert!(matches!(network.detach(SlotId(1)), Err(Error::NoSuchSlot(_))));
        assert!(network.attachments().is_empty());
        network.settle();
        // Detached while its namespace is gone already: nothing to complain about.
        let pod = Pod::new(&network, 2);
        drop(pod);
        network.detach(SlotId(2)).unwrap();
        network.teardown().unwrap();
    });
}

#[test]
fn a_failed_attach_leaves_nothing() {
    on_host(|| {
        let dir = tempfile::tempdir().unwrap();
        let network = open(&dir);
        let missing = dir.path().join("no-such-namespace");
        assert!(matches!(network.attach(&missing, SlotId(1)), Err(Error::File { .. })));
        let occupied = Pod::new(&network, 2);
        assert!(
            network.attach(&occupied.place.path(), SlotId(3)).is_err(),
            "it has an eth0 already"
        );
        assert_eq!(network.attachments().len(), 1);
        assert_eq!(reopened(network, &dir).attachments().len(), 1);
    });
}

fn reopened(network: Network, dir: &tempfile::TempDir) -> Network {
    drop(network);
    open(dir)
}
