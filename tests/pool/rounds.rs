//! Crashes and cuts at random: rounds of pods that come and go on two nodes while processes are killed and links are cut,
//! by a printed seed. Each round must converge, and in the end nothing may be left that wasn't there in the beginning.
//! Once more with links that delay and lose packets all the time.
//!
//! `GANTRY_SEED` repeats a run, `GANTRY_ROUNDS` makes it longer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;
use testkit::ask;
use testkit::pool::Pool;
use testkit::seed::Seed;
use testkit::world::Conditions;

use crate::stage::{HELLO, add_images, eventually, machines, until, with_client};
use crate::view::View;

const REPLICAS: i32 = 4;
const NODES: [usize; 2] = [1, 2];
/// Answers in a row that say that all is well.
const ROW: usize = 20;

fn deployment() -> Deployment {
    let object = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "main", "image": HELLO,
                        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                    }],
                },
            },
        },
    });
    serde_json::from_value(object).unwrap()
}

/// The Service before them; its address.
async fn expose(client: &Client) -> SocketAddr {
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    let made: Service = crate::stage::make(client, service).await;
    let address = made.spec.and_then(|spec| spec.cluster_ip).unwrap();
    SocketAddr::new(address.parse().unwrap(), 80)
}

/// Each node leads to all replicas, wherever they are, and to nothing else.
fn everybody_answers(pool: &Pool, service: SocketAddr) {
    for node in NODES {
        let view = View::of_machine(pool, node);
        let (mut pages, mut row) = (BTreeSet::new(), 0);
        eventually("all replicas to answer, and nobody to fail", || {
            for _ in 0..ROW {
                let page = view.ask(|| ask::http(service)).inspect_err(|_| row = 0)?;
                pages.insert(page);
                row += 1;
            }
            let all = pages.len() == REPLICAS as usize && row >= ROW;
            all.then_some(())
                .ok_or(format!("{}: {row} answers, {pages:?}", view.name))
        });
    }
}

/// A server that was just killed refuses for a moment.
async fn make(client: &Client) {
    let api: Api<Deployment> = Api::default_namespaced(client.clone());
    until("the deployment to be made", async || {
        match api.create(&PostParams::default(), &deployment()).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            other => other.map(drop).map_err(|error| error.to_string()),
        }
    })
    .await;
}

async fn unmake(client: &Client) {
    let api: Api<Deployment> = Api::default_namespaced(client.clone());
    until("the deployment to be deleted", async || {
        match api.delete("web", &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop).map_err(|error| error.to_string()),
        }
    })
    .await;
}

async fn pods(client: &Client) -> Result<Vec<(String, bool)>, String> {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let pods = api
        .list(&ListParams::default())
        .await
        .map_err(|error| error.to_string())?;
    let of = |pod: Pod| {
        let ending = pod.metadata.deletion_timestamp.is_some();
        let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
        let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        (pod.metadata.name.unwrap_or_default(), ready && !ending)
    };
    Ok(pods.items.into_iter().map(of).collect())
}

async fn all_ready(client: &Client) {
    until("all replicas to be ready, and no pod more", async || {
        let pods = pods(client).await?;
        let fine = pods.len() == REPLICAS as usize && pods.iter().all(|(_, ready)| *ready);
        if fine { Ok(()) } else { Err(format!("{pods:?}")) }
    })
    .await;
}

async fn all_gone(client: &Client) {
    until("all pods to be gone", async || {
        let pods = pods(client).await?;
        if pods.is_empty() {
            Ok(())
        } else {
            Err(format!("{pods:?}"))
        }
    })
    .await;
}

/// Kills a process of a machine, if it runs; its supervisor starts it again.
fn kill(pool: &Pool, machine: usize, role: &str) {
    let sign = pool.data(machine).join("run").join(format!("{role}.pid"));
    let text = std::fs::read_to_string(sign).unwrap_or_default();
    let pid = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|sign| sign["pid"].as_i64());
    let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Something bad happens, perhaps several things.
fn disturb(pool: &Pool, dice: &mut Seed) -> String {
    let mut did = Vec::new();
    for _ in 0..=dice.below(2) {
        std::thread::sleep(Duration::from_millis(dice.below(400)));
        let machine = NODES[dice.below(2) as usize];
        match dice.below(4) {
            0 | 1 => {
                let link = pool.world().machine(machine).link();
                link.cut();
                let long = 200 + dice.below(4000);
                std::thread::sleep(Duration::from_millis(long));
                link.mend();
                did.push(format!("m{machine} cut off for {long} ms"));
            }
            2 => {
                kill(pool, machine, "node");
                did.push(format!("node of m{machine} killed"));
            }
            _ => {
                kill(pool, 0, "server");
                did.push("server killed".into());
            }
        }
    }
    did.join(", ")
}

/// What a machine has in the kernel, as numbers: slots that are made ahead have other names each time.
fn census(pool: &Pool, machine: usize, id: &str) -> BTreeMap<&'static str, usize> {
    let data = pool.data(machine);
    let data = data.to_string_lossy();
    let links = pool.world().machine(machine).namespace().run(|| {
        let all = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
        all.lines()
            .filter(|line| line.trim_start().starts_with(&format!("g{id}")))
            .count()
    });
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let processes = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let cgroup = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        cgroup.contains(&format!("gantry-{id}"))
    });
    let pods = std::fs::read_dir(pool.data(machine).join("node/pods"))
        .into_iter()
        .flatten();
    BTreeMap::from([
        ("links", links.unwrap()),
        ("mounts", mounts.lines().filter(|line| line.contains(&*data)).count()),
        ("processes", processes.count()),
        ("pods' directories", pods.count()),
        (
            "cgroups",
            cgroups(std::path::Path::new("/sys/fs/cgroup"), &format!("gantry-{id}"), 3),
        ),
    ])
}

fn cgroups(dir: &std::path::Path, name: &str, depth: u32) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name() == name {
            count += walk(&entry.path());
        } else if depth > 0 {
            count += cgroups(&entry.path(), name, depth - 1);
        }
    }
    count
}

fn walk(dir: &std::path::Path) -> usize {
    let below = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    1 + dirs.map(|entry| walk(&entry.path())).sum::<usize>()
}

/// The census when nothing changes any more for a while.
fn settled(pool: &Pool, ids: &[String; 2]) -> Vec<BTreeMap<&'static str, usize>> {
    let take = || {
        NODES
            .iter()
            .zip(ids)
            .map(|(machine, id)| census(pool, *machine, id))
            .collect::<Vec<_>>()
    };
    let (mut last, mut since) = (take(), Instant::now());
    let limit = Instant::now() + Duration::from_secs(60);
    while since.elapsed() < Duration::from_secs(3) && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(300));
        let now = take();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

#[test]
fn crashes_and_cuts_at_random_leave_nothing() {
    rounds(5, |_| Conditions::default());
}

/// As between sites, or over a bad radio link: up to 80 ms and one packet in twenty for each machine.
#[test]
fn crashes_and_cuts_on_bad_links_leave_nothing() {
    rounds(3, |dice| Conditions {
        delay: Duration::from_millis(10 + dice.below(71)),
        loss: (1 + dice.below(5)) as f64 / 100.0,
        ..Conditions::default()
    });
}

/// Rounds on links that are chosen anew for each; a cut comes on top of that.
fn rounds(usual: u64, conditions: impl Fn(&mut Seed) -> Conditions) {
    let mut dice = Seed::new("GANTRY_SEED");
    let rounds: u64 = std::env::var("GANTRY_ROUNDS").map_or(usual, |text| text.parse().expect("a number of rounds"));
    let pool = machines(3);
    pool.start_server(&["--no-node"]).unwrap();
    let ids = NODES.map(|machine| {
        pool.join(machine, &[]).unwrap();
        add_images(&pool, machine);
        pool.id(machine).unwrap()
    });
    let service = with_client(&pool, |client| async move { expose(&client).await });
    // One quiet round first: what the first pod of an image leaves on purpose is no leak.
    with_client(&pool, |client| async move {
        make(&client).await;
        all_ready(&client).await;
        unmake(&client).await;
        all_gone(&client).await;
    });
    let before = settled(&pool, &ids);
    for round in 0..rounds {
        let links = NODES.map(|machine| {
            let chosen = conditions(&mut dice);
            pool.world().machine(machine).link().set(chosen);
            format!("{:?} and {:.0}% on m{machine}", chosen.delay, chosen.loss * 100.0)
        });
        with_client(&pool, |client| async move { make(&client).await });
        let coming = disturb(&pool, &mut dice);
        with_client(&pool, |client| async move { all_ready(&client).await });
        everybody_answers(&pool, service);
        with_client(&pool, |client| async move { unmake(&client).await });
        let going = disturb(&pool, &mut dice);
        with_client(&pool, |client| async move { all_gone(&client).await });
        println!("round {round}: {}; {coming}; then {going}", links.join(", "));
    }
    let after = settled(&pool, &ids);
    assert_eq!(after, before);
}
