//! Several instances on one machine: each keeps to itself, and a clash names the other.

use std::process::Stdio;

use serde_json::Value;
use testkit::cluster::{Cluster, output};

use crate::stage::{self, until};

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
    dead_processes_come_back(&cluster).await;
    let mut other = cluster.up_command();
    let refused = output(other.args(["--node-name", "another"]));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("runs with other settings") && said.contains("gantry down"),
        "{said}"
    );
}

/// The supervisor starts a server that died; `up` starts a supervisor that died, which leaves the others as they are.
async fn dead_processes_come_back(cluster: &Cluster) {
    let before = cluster.status();
    stage::kill(&before, "server");
    until("another server", async || {
        let status = cluster.status();
        let another = status["server"]["healthy"] == true && status["server"]["pid"] != before["server"]["pid"];
        another.then_some(()).ok_or(status.to_string())
    })
    .await;
    let before = cluster.status();
    stage::kill(&before, "supervisor");
    until("no supervisor", async || {
        let status = cluster.status();
        status["supervisor"]["pid"]
            .is_null()
            .then_some(())
            .ok_or(status.to_string())
    })
    .await;
    cluster.up();
    let after = cluster.status();
    assert!(after["supervisor"]["pid"].is_u64(), "{after}");
    for process in ["server", "node"] {
        assert_eq!(before[process]["pid"], after[process]["pid"], "{process}");
    }
}

#[test]
fn two_who_start_it_at_once_start_one() {
    let cluster = stage::cluster();
    let ups: Vec<_> = (0..3)
        .map(|_| cluster.up_command().stdout(Stdio::null()).spawn().unwrap())
        .collect();
    let ended: Vec<_> = ups
        .into_iter()
        .map(|up| up.wait_with_output().unwrap().status.code())
        .collect();
    assert_eq!(ended, [Some(0); 3], "{}", cluster.logs(20));
    let status = cluster.status();
    assert_eq!(status["nodes"][0]["ready"], true, "{status}");
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
        let mut own = [
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
