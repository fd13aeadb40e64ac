//! A node renews its certificate by itself, long before it expires, and follows its own address.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::Api;

use crate::stage::{machines, readiness, until, with_client};

#[test]
fn certificates_of_seconds_are_renewed_again_and_again() {
    let pool = machines(2);
    pool.start_server(&["--cluster-signing-duration", "12s"]).unwrap();
    pool.join(1, &[]).unwrap();
    let kubeconfig = pool.data(1).join("node/pki/kubeconfig");
    let first = std::fs::read(&kubeconfig).unwrap();
    // Three lifetimes: without renewal the server would refuse it since long.
    std::thread::sleep(Duration::from_secs(36));
    assert_ne!(std::fs::read(&kubeconfig).unwrap(), first);
    with_client(&pool, |client| async move {
        assert_eq!(readiness(&client, "m1").await, "True");
    });
    // The node itself is let in still.
    let status = pool.run(1, &["status"]).unwrap();
    assert!(status.contains("m0") && status.contains("m1"), "{status}");
}

#[test]
fn a_node_with_another_address_says_so() {
    let mut pool = machines(2);
    pool.start_server(&[]).unwrap();
    pool.join(1, &[]).unwrap();
    pool.world_mut().machine_mut(1).renumber(77).unwrap();
    let wanted = pool.world().machine(1).address().to_string();
    with_client(&pool, |client| async move {
        let api: Api<Node> = Api::all(client);
        until("the new address", async || {
            let node = api.get("m1").await.map_err(|error| error.to_string())?;
            let addresses = node.status.and_then(|status| status.addresses).unwrap_or_default();
            match addresses.iter().any(|known| known.address == wanted) {
                true => Ok(()),
                false => Err(format!("{addresses:?} without {wanted}")),
            }
        })
        .await;
    });
}
