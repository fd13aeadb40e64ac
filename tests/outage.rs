//! Server, node and supervisor killed for five seconds: containers don't notice, and what became of them meanwhile is
//! told truly afterwards.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::api::{Api, LogParams};
use kube::{Client, ResourceExt as _};
use rustix::process::{Pid, Signal, kill_process};
use testkit::cluster::Cluster;

use crate::house;
use crate::stage::{self, HELLO, http, until};
use crate::web;

const OUTAGE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn containers_do_not_notice() {
    let cluster = stage::cluster();
    cluster.up();
    let client = stage::client(&cluster).await;
    stage::add_images(&cluster);
    let pods = [
        stage::report_pod("counter", &["lines", "1000000", "10"]),
        of_policy("ends", "Never"),
        of_policy("comes-back", "Always"),
        of_policy("killed", "Never"),
        web_pod(),
    ];
    for pod in &pods {
        stage::create_pod(&client, pod).await;
    }
    for pod in &pods {
        stage::running(&client, &pod.name_any()).await;
    }
    let service = web::expose(&client, "ClusterIP").await;
    until("an answer", async || http(service)).await;
    let id = cluster.id();
    let before = containers(&id);
    assert_eq!(before.len(), pods.len(), "{before:?}");

    kill_everything(&cluster);
    tokio::time::sleep(OUTAGE / 2).await;
    let told = now();
    for (pod, signal) in [
        ("ends", Signal::TERM),
        ("comes-back", Signal::TERM),
        ("killed", Signal::KILL),
    ] {
        kill_process(Pid::from_raw(before[pod].0).unwrap(), signal).unwrap();
    }
    let page = http(service).expect("Services go on without server and node");
    assert!(page.starts_with("Hello from web"), "{page}");
    tokio::time::sleep(OUTAGE / 2).await;
    cluster.up();

    let after = containers(&id);
    for pod in ["counter", "web"] {
        assert_eq!(before[pod], after[pod], "{pod}");
    }
    the_log_has_no_gap(&client).await;
    for (pod, code, restarts) in [("ends", 7, 0), ("killed", 137, 0), ("comes-back", 7, 1)] {
        let end = ended(&client, pod, restarts).await;
        assert_eq!(
            (end.exit_code, end.reason.as_deref()),
            (code, Some("Error")),
            "{pod}: {end:?}"
        );
        let finished = end.finished_at.unwrap().0.as_second();
        assert!(
            (told - 1..=told + 1).contains(&finished),
            "{pod} ended at {told}, and the status says {finished}"
        );
    }
    until("an answer", async || http(service)).await;
}

/// A pod that ends with 7 when it is told to.
fn of_policy(name: &str, policy: &str) -> Pod {
    let mut pod = stage::report_pod(name, &["stop"]);
    pod.spec.as_mut().unwrap().restart_policy = Some(policy.into());
    pod
}

fn web_pod() -> Pod {
    let mut pod = stage::report_pod("web", &[]);
    pod.metadata = stage::named("web");
    pod.spec.as_mut().unwrap().containers[0].image = Some(HELLO.into());
    pod
}

/// The programs in the instance's containers: each pod's process and its start.
fn containers(id: &str) -> BTreeMap<String, (i32, String)> {
    let all = house::processes(id).into_iter().filter(|process| process.is_program);
    all.map(|process| (process.pod, (process.pid, process.started)))
        .collect()
}

/// The supervisor first, or it would start the others again.
fn kill_everything(cluster: &Cluster) {
    let status = cluster.status();
    for process in ["supervisor", "server", "node"] {
        stage::kill(&status, process);
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// The program numbers its lines.
async fn the_log_has_no_gap(client: &Client) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let log = pods.logs("counter", &LogParams::default()).await.unwrap();
    let mut count = 0;
    for (at, line) in log.lines().enumerate() {
        assert_eq!(line, format!("line {}", at + 1));
        count += 1;
    }
    assert!(count > 100, "only {count} lines");
}

/// How the container of a pod ended: now, or before its restart.
async fn ended(client: &Client, name: &str, restarts: i32) -> ContainerStateTerminated {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    until(&format!("{name} has ended"), async || {
        let pod = pods.get(name).await.map_err(|error| error.to_string())?;
        let status = pod.status.unwrap_or_default().container_statuses.unwrap_or_default();
        let container = status.first().ok_or("no status")?;
        let state = if restarts > 0 {
            &container.last_state
        } else {
            &container.state
        };
        let end = state.clone().and_then(|state| state.terminated);
        end.filter(|_| container.restart_count == restarts)
            .ok_or(format!("{container:?}"))
    })
    .await
}
