//! `gantry up --nodes 3`: three nodes on one machine that behave as three machines would, are stopped and started
//! together, and leave nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use serde_json::{Value, json};
use testkit::ask;
use testkit::leaks::Snapshot;
use testkit::pool::Pool;
use testkit::tables;

use crate::stage::{HELLO, add_images, eventually, machines, make, with_client};
use crate::view::View;

const NODES: [&str; 3] = ["m0", "m0-2", "m0-3"];
/// Two for each node.
const REPLICAS: usize = 6;

#[test]
fn three_nodes_on_one_machine() {
    let pool = machines(1);
    let before = network(&pool);
    pool.start_server(&["--nodes", "3"]).unwrap();
    add_images(&pool, 0);
    let (service, node_port) = with_client(&pool, |client| async move { deploy(&client).await });
    let nodes = settled(&pool);
    everybody_answers(&pool, service, node_port, &nodes);
    let text = pool.run(0, &["status"]).unwrap();
    for name in NODES {
        assert!(
            text.lines().any(|line| line.starts_with(&format!("{name}  Ready"))),
            "{text}"
        );
    }
    let ids = ids(&pool);
    pool.run(0, &["down"]).unwrap();
    assert_eq!(network(&pool), before, "stopped");
    nothing_in_the_kernel(&ids);
    // All of it comes back, with what it had.
    pool.run(0, &["up", "--no-kubeconfig"]).unwrap();
    let nodes = settled(&pool);
    everybody_answers(&pool, service, node_port, &nodes);
    pool.run(0, &["down", "--purge"]).unwrap();
    assert_eq!(network(&pool), before, "purged");
    nothing_in_the_kernel(&ids);
    let data = pool.data(0);
    let left = Snapshot::take(&[data.to_str().unwrap()]);
    assert!(left.is_empty() && !data.exists(), "{left:?}");
}

/// Web servers that must be spread evenly, and a Service; its address and node port.
async fn deploy(client: &Client) -> (SocketAddr, u16) {
    let labels = json!({"app": "web"});
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "topologySpreadConstraints": [{
                        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
                        "labelSelector": {"matchLabels": labels},
                    }],
                    "containers": [{
                        "name": "main", "image": HELLO,
                        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                    }],
                },
            },
        },
    });
    let _: Deployment = make(client, deployment).await;
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    let service: Service = make(client, service).await;
    let spec = service.spec.unwrap();
    let port = spec.ports.unwrap()[0].node_port.unwrap();
    let address = format!("{}:80", spec.cluster_ip.unwrap()).parse().unwrap();
    (address, u16::try_from(port).unwrap())
}

/// Waits until the status shows all nodes ready, each with two web servers; their addresses.
fn settled(pool: &Pool) -> Vec<IpAddr> {
    eventually("three nodes with two web servers each", || {
        let status = pool.status(0)?;
        let list = |field: &str| status[field].as_array().cloned().unwrap_or_default();
        let ready = |thing: &&Value| thing["ready"] == json!(true);
        let mut servers: BTreeMap<String, usize> = BTreeMap::new();
        for pod in list("pods").iter().filter(ready) {
            *servers
                .entry(pod["node"].as_str().unwrap_or_default().to_owned())
                .or_default() += 1;
        }
        let nodes = list("nodes");
        let names: BTreeSet<&str> = nodes
            .iter()
            .filter(ready)
            .filter_map(|node| node["name"].as_str())
            .collect();
        if names != NODES.into() || NODES.iter().any(|node| servers.get(*node) != Some(&2)) {
            return Err(status.to_string());
        }
        let address = |node: &Value| node["address"].as_str()?.parse().ok();
        Ok(nodes.iter().filter_map(address).collect())
    })
}

/// All web servers answer, from the machine and from a pod of each node, by the Service and by each node's port.
fn everybody_answers(pool: &Pool, service: SocketAddr, node_port: u16, nodes: &[IpAddr]) {
    assert_eq!(nodes.len(), NODES.len());
    let host = View::of_machine(pool, 0);
    let all_of = |view: &View, to: SocketAddr| {
        let mut pages = BTreeSet::new();
        eventually("all pages", || {
            pages.insert(view.ask(|| ask::http(to))?);
            (pages.len() == REPLICAS)
                .then_some(())
                .ok_or(format!("{to} gives {pages:?}"))
        });
    };
    all_of(&host, service);
    // As a person on the machine types it.
    all_of(&host, SocketAddr::from(([127, 0, 0, 1], node_port)));
    for node in nodes {
        all_of(&host, SocketAddr::new(*node, node_port));
    }
    for id in ids(pool) {
        all_of(&View::of_any_pod(&id), service);
    }
}

/// The names in the kernel of the instance and of those in it.
fn ids(pool: &Pool) -> Vec<String> {
    let mut ids = vec![pool.id(0).unwrap()];
    for name in &NODES[1..] {
        let dir = pool.data(0).join("nodes").join(name);
        let mut command = pool.command_at(&dir, &["status", "-o", "json"]);
        let output = pool.world().machine(0).namespace().output(&mut command).unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        ids.push(status["instance"].as_str().unwrap().to_owned());
    }
    ids
}

fn nothing_in_the_kernel(ids: &[String]) {
    let marks: Vec<String> = ids.iter().map(|id| format!("gantry-{id}")).collect();
    let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
    let left = Snapshot::take(&marks);
    assert!(left.is_empty(), "{left:?}");
}

/// The machine's network: links, routes, tables, forwarding.
fn network(pool: &Pool) -> BTreeSet<String> {
    let look = || {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let mut all: BTreeSet<String> = read("/proc/thread-self/net/route").lines().map(str::to_owned).collect();
        let links = read("/proc/thread-self/net/dev");
        all.extend(
            links
                .lines()
                .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())),
        );
        // Leaves are addresses; how the tree branches to them depends on its history.
        let addresses = read("/proc/thread-self/net/fib_trie");
        all.extend(
            addresses
                .lines()
                .map(str::trim)
                .filter(|line| line.starts_with("|--"))
                .map(str::to_owned),
        );
        all.extend(tables::names().unwrap());
        for setting in ["ip_forward", "conf/all/route_localnet"] {
            all.insert(format!("{setting} {}", read(&format!("/proc/sys/net/ipv4/{setting}"))));
        }
        all
    };
    pool.world().machine(0).namespace().run(look).unwrap()
}
