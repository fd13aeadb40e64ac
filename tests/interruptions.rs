//! Commands that are killed half way: the next one finishes what they began.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::cluster::Cluster;
use testkit::leaks::Snapshot;

use crate::stage;

/// When a command is killed, in milliseconds after its start.
const MOMENTS: [u64; 4] = [30, 120, 400, 900];

/// Starts a command and kills it, unless it has ended by then.
fn cut_short(command: &mut Command, moment: u64) {
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(moment));
    let _ = child.kill();
    child.wait().unwrap();
}

fn nothing_is_left(cluster: &Cluster, id: &str) {
    let data = cluster.data().to_string_lossy();
    let left = Snapshot::take(&[&format!("g{id}cp"), &format!("gantry-{id}"), &data]);
    assert!(left.is_empty(), "left behind: {:#?}", left.lines().collect::<Vec<_>>());
    assert!(!cluster.data().exists());
    assert!(!Path::new("/run/gantry").join(format!("{id}.json")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_was_killed_is_finished_by_the_next() {
    let cluster = stage::cluster();
    for moment in MOMENTS {
        cluster.up();
        let id = cluster.id();
        let client = stage::client(&cluster).await;
        stage::add_images(&cluster);
        stage::create_pod(&client, &stage::report_pod("sleeper", &["sleep", "100000"])).await;
        stage::running(&client, "sleeper").await;
        cut_short(&mut cluster.gantry(&["down", "--purge"]), moment);
        cluster.run(&["down", "--purge"]);
        nothing_is_left(&cluster, &id);
    }
}

#[test]
fn an_up_that_was_killed_is_finished_by_the_next() {
    let cluster = stage::cluster();
    for moment in MOMENTS {
        cut_short(&mut cluster.up_command(), moment);
        cluster.up();
        let status = cluster.status();
        assert_eq!(status["nodes"][0]["ready"], true, "{status}");
        let id = cluster.id();
        cluster.run(&["down", "--purge"]);
        nothing_is_left(&cluster, &id);
    }
}
