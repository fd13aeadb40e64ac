//! Several instances on one machine: each keeps to itself, and a clash names the other.

use serde_json::Value;
use testkit::cluster::{Cluster, output};

use crate::stage;

#[tokio::test(flavor = "multi_thread")]
async fn up_again_changes_nothing() {
    let cluster = stage::cluster();
    cluster.up();
    let before = cluster.status();
    fields_are_there(&cluster, &before);
    cluster.up();
    let after = cluster.status();
    for process in ["server", "node", "supervisor"] {
        assert_eq!(before[process]["pid"], after[process]["pid"], "{process}");
    }
    let mut other = cluster.up_command();
    let refused = output(other.args(["--node-name", "another"]));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("runs with other settings") && said.contains("gantry down"),
        "{said}"
    );
}

fn fields_are_there(cluster: &Cluster, status: &Value) {
    assert!(
        status["server"]["pid"].is_u64() && status["node"]["pid"].is_u64(),
        "{status}"
    );
    assert_eq!(status["server"]["endpoint"], format!("https://{}", cluster.listen()));
    assert!(
        status["server"]["version"].as_str().unwrap().starts_with("v1.37."),
        "{status}"
    );
    assert_eq!(status["dataDir"].as_str().unwrap(), cluster.data().to_str().unwrap());
    let nodes = status["nodes"].as_array().unwrap();
    assert_eq!((nodes.len(), &nodes[0]["ready"]), (1, &Value::Bool(true)), "{status}");
    assert!(status["pods"].is_array(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_live_side_by_side() {
    let (first, second) = (stage::cluster(), stage::cluster());
    first.up();
    clashes_name_the_first(&first, &second);
    second.up();
    for cluster in [&first, &second] {
        let client = stage::client(cluster).await;
        stage::add_images(cluster);
        stage::create_pod(&client, &stage::report_pod("sleeper", &["sleep", "100000"])).await;
        stage::running(&client, "sleeper").await;
    }
    let id = second.id();
    second.run(&["down", "--purge"]);
    let left = testkit::leaks::Snapshot::take(&[&format!("g{id}"), &format!("gantry-{id}")]);
    assert!(left.is_empty(), "{left:?}");
    // The one that stays doesn't notice.
    let client = stage::client(&first).await;
    let pod = stage::running(&client, "sleeper").await;
    assert_eq!(pod.status.unwrap().container_statuses.unwrap()[0].restart_count, 0);
}

/// Each of the three that two instances can't share, one at a time.
fn clashes_name_the_first(first: &Cluster, second: &Cluster) {
    let clash = |flag: &str, value: &str| {
        let mut own = vec![
            ("--listen", second.listen()),
            ("--pod-cidr", second.pod_cidr()),
            ("--service-cidr", second.service_cidr()),
        ];
        own.iter_mut()
            .filter(|(name, _)| *name == flag)
            .for_each(|(_, own)| *own = value.to_owned());
        let mut command = second.gantry(&["up", "--no-kubeconfig"]);
        own.iter().for_each(|(name, value)| {
            command.args([*name, value]);
        });
        let refused = output(&mut command);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.contains(first.data().to_str().unwrap()) && said.contains(flag),
            "{said}"
        );
        assert!(!second.data().exists(), "something was left behind");
    };
    clash("--listen", &first.listen());
    clash("--pod-cidr", &first.pod_cidr());
    clash("--service-cidr", &first.service_cidr());
}
