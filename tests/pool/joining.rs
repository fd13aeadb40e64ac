//! A second machine joins with one line, once or again; what is wrong with the line is said in one line, and leaves
//! nothing behind.

use std::path::PathBuf;
use std::process::Output;
use std::time::Instant;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use testkit::leaks::Snapshot;
use testkit::pool::Pool;

use crate::stage::{machines, readiness, with_client};

#[test]
fn a_machine_joins_with_one_line() {
    let pool = machines(2);
    pool.start_server(&[]).unwrap();
    let began = Instant::now();
    let said = pool.join(1, &["--labels", "disk=ssd"]).unwrap();
    println!("joined after {:?}: {said}", began.elapsed());
    assert!(said.contains("node m1 of"), "{said}");
    let again = pool.run(1, &["join", &pool.url()]).unwrap();
    assert!(again.contains("is ready"), "{again}");
    let address = pool.world().machine(1).address().to_string();
    with_client(&pool, |client| async move {
        let nodes = Api::<Node>::all(client.clone())
            .list(&ListParams::default())
            .await
            .unwrap();
        assert_eq!(nodes.items.len(), 2);
        let joined = nodes
            .items
            .iter()
            .find(|node| node.metadata.name.as_deref() == Some("m1"));
        let joined = joined.unwrap();
        assert_eq!(joined.metadata.labels.as_ref().unwrap()["disk"], "ssd");
        let addresses = joined.status.as_ref().unwrap().addresses.as_ref().unwrap();
        assert_eq!(addresses[0].address, address);
        assert_eq!(readiness(&client, "m1").await, "True");
    });
    let status = pool.status(0).unwrap();
    assert_eq!(status["nodes"].as_array().unwrap().len(), 2, "{status}");
    let kept = std::fs::read_to_string(pool.data(1).join("join.kubeconfig")).unwrap();
    assert!(!kept.contains("token"), "the token is of no more use and must go");
}

/// What the second machine had, to see what a join leaves.
pub(crate) struct Traces {
    data: PathBuf,
    before: Snapshot,
}

impl Traces {
    pub(crate) fn before(pool: &Pool) -> Self {
        let data = pool.data(1);
        let before = Snapshot::take(&[data.to_str().unwrap()]);
        Self { data, before }
    }

    pub(crate) fn none_left(&self, what: &str) {
        let left = Snapshot::take(&[self.data.to_str().unwrap()]).since(&self.before);
        assert!(left.is_empty(), "{what} left {left:?}");
    }
}

/// A join that must fail, with one line that has these words, and with nothing left.
pub(crate) fn refused(pool: &Pool, arguments: &[&str], words: &[&str]) {
    let traces = Traces::before(pool);
    let output = pool.output(1, arguments).unwrap();
    told(&output, words);
    traces.none_left(&arguments.join(" "));
}

/// A command that failed and said why, in one line that has these words.
pub(crate) fn told(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("gantry: ")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    println!("{}", lines[0]);
    for word in words {
        assert!(lines[0].contains(word), "{word:?} is missing: {said}");
    }
}

#[test]
fn what_is_wrong_is_said_in_one_line_and_leaves_nothing() {
    let pool = machines(2);
    pool.start_server(&[]).unwrap();
    let (url, token) = (pool.url(), pool.token(&[]).unwrap());
    let check = |token: &str, name: &str, words: &[&str]| {
        refused(&pool, &["join", &url, "--token", token, "--node-name", name], words);
    };
    let (bearer, _) = token.rsplit_once('.').unwrap();
    let other = format!("{bearer}.{}", "ab".repeat(32));
    check(&other, "m1", &["another hash", "gantry token create"]);
    let unknown = format!("zzzzzz.{}", token.split_once('.').unwrap().1);
    check(&unknown, "m1", &["expired or was revoked", "gantry token create"]);
    let short = pool.token(&["--ttl", "1s"]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1200));
    check(&short, "m1", &["expired", "gantry token create"]);
    check(&token, "m0", &["m0", "alive", "--node-name"]);
    check("nonsense", "m1", &["--token"]);
    let nowhere = format!("https://{}:6999", pool.world().machine(0).address());
    refused(
        &pool,
        &["join", &nowhere, "--token", &token],
        &["6999", "gantry status"],
    );
    pool.run(0, &["token", "revoke", &token]).unwrap();
    check(&token, "m1", &["revoked"]);
    let precious = pool.data(1).join("precious");
    std::fs::create_dir_all(pool.data(1)).unwrap();
    std::fs::write(&precious, "").unwrap();
    check(&token, "m1", &["in use", "--data-dir"]);
    assert!(precious.exists());
    std::fs::remove_dir_all(pool.data(1)).unwrap();
}

#[test]
fn on_loopback_nobody_is_invited() {
    let pool = machines(1);
    pool.start_server(&["--listen", "127.0.0.1:6443"]).unwrap();
    let said = pool.run(0, &["token", "create"]).unwrap_err();
    assert!(
        said.contains("nobody can join") && said.contains("--listen 0.0.0.0:6443"),
        "{said}"
    );
}

#[test]
fn a_server_stands_alone() {
    let pool = machines(2);
    pool.start_server(&["--no-node"]).unwrap();
    pool.join(1, &[]).unwrap();
    with_client(&pool, |client| async move {
        let nodes = Api::<Node>::all(client.clone())
            .list(&ListParams::default())
            .await
            .unwrap();
        assert_eq!(nodes.items.len(), 1);
        assert_eq!(readiness(&client, "m1").await, "True");
    });
}
