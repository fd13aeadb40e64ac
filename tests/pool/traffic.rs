//! Pods, Services, names and node ports between nodes: on one link, where the way to another node's pods is direct, and
//! through a router, where it is a tunnel.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use testkit::ask;
use testkit::pool::Pool;
use testkit::world::Shape;

use crate::stage::{HELLO, REPORT, add_images, eventually, machines_as, make, until, with_client};
use crate::view::View;

/// Two nodes, and a machine that is none: whoever calls from outside.
const NODES: [usize; 2] = [0, 1];
const OUTSIDE: usize = 2;
const WEB: u16 = 8080;
const ECHO: u16 = 5000;
/// More than fits into one packet of any link here.
const LARGE: usize = 4000;
/// Requests in a row that must all be answered.
const ROW: usize = 20;
/// How long an answer that must not come is waited for.
const SILENCE: Duration = Duration::from_secs(2);

/// What was deployed.
struct Deployed {
    web: [Ipv4Addr; 2],
    echo: [Ipv4Addr; 2],
    /// Service addresses.
    web_service: Ipv4Addr,
    echo_service: Ipv4Addr,
    /// Node ports: of all web servers, and of those on the second node with policy Local.
    cluster_port: u16,
    local_port: u16,
    /// The same for datagrams.
    echo_port: u16,
    local_echo_port: u16,
}

#[test]
fn pods_and_services_of_nodes_on_one_link() {
    let pool = machines_as(3, Shape::Together);
    all(&pool);
    for node in NODES {
        assert!(!tunnels(&pool, node), "there is a tunnel between neighbours");
    }
}

#[test]
fn pods_and_services_of_nodes_behind_a_router() {
    let pool = machines_as(3, Shape::Apart);
    all(&pool);
    for node in NODES {
        assert!(tunnels(&pool, node), "m{node} has no tunnel");
    }
}

fn all(pool: &Pool) {
    pool.start_server(&[]).unwrap();
    pool.join(1, &[]).unwrap();
    // On one of them only: the other pulls from the cluster.
    add_images(pool, 0);
    let deployed = with_client(pool, |client| async move { deploy(&client).await });
    let mut views: Vec<View> = NODES.map(|node| View::of_machine(pool, node)).into();
    views.extend(NODES.map(|node| View::of_pod(pool, node, &format!("web-m{node}"))));
    for view in &views {
        pods(view, &deployed);
        services(view, &deployed);
        names(view, &deployed);
    }
    sources(pool, &deployed);
    views.push(View::of_machine(pool, OUTSIDE));
    for view in &views {
        node_ports(pool, view, &deployed);
    }
    for node in NODES {
        own_node_ports(&View::of_machine(pool, node), &deployed);
    }
    local_node_ports(pool, &deployed);
}

/// Whether a machine has a tunnel's link.
fn tunnels(pool: &Pool, machine: usize) -> bool {
    let name = format!("g{}x:", pool.id(machine).unwrap());
    let read = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let links = pool.world().machine(machine).namespace().run(read).unwrap();
    links.lines().any(|line| line.trim_start().starts_with(&name))
}

// === What is deployed ===

async fn deploy(client: &Client) -> Deployed {
    for node in NODES {
        let _: Pod = make(client, pod("web", node, HELLO, &["/bin/hello"])).await;
        let _: Pod = make(client, pod("echo", node, REPORT, &["/bin/report", "udp", "5000"])).await;
    }
    let second = json!({"app": "web", "on": "m1"});
    let second_echo = json!({"app": "echo", "on": "m1"});
    let web = json!({"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": WEB}]});
    let echo = json!({"type": "NodePort", "selector": {"app": "echo"}, "ports": [{"port": ECHO, "protocol": "UDP"}]});
    let peers = json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": WEB}]});
    let local = json!({
        "type": "NodePort", "externalTrafficPolicy": "Local", "selector": second,
        "ports": [{"port": 80, "targetPort": WEB}],
    });
    let local_echo = json!({
        "type": "NodePort", "externalTrafficPolicy": "Local", "selector": second_echo,
        "ports": [{"port": ECHO, "protocol": "UDP"}],
    });
    let (web_service, cluster_port) = service(client, "web", web).await;
    let (echo_service, echo_port) = service(client, "echo", echo).await;
    service(client, "peers", peers).await;
    let (_, local_port) = service(client, "local", local).await;
    let (_, local_echo_port) = service(client, "local-echo", local_echo).await;
    let mut addresses = Vec::new();
    for (app, node) in ["web", "echo"]
        .into_iter()
        .flat_map(|app| NODES.map(|node| (app, node)))
    {
        addresses.push(address(client, &format!("{app}-m{node}")).await);
    }
    for (name, count) in [("web", 2), ("echo", 2), ("peers", 2), ("local", 1), ("local-echo", 1)] {
        endpoints(client, name, count).await;
    }
    Deployed {
        web: [addresses[0], addresses[1]],
        echo: [addresses[2], addresses[3]],
        web_service,
        echo_service,
        cluster_port,
        local_port,
        echo_port,
        local_echo_port,
    }
}

fn pod(app: &str, node: usize, image: &str, command: &[&str]) -> Value {
    let name = format!("{app}-m{node}");
    json!({
        "metadata": {"name": name, "labels": {"app": app, "on": format!("m{node}")}},
        "spec": {
            "hostname": name, "subdomain": "peers",
            "nodeSelector": {"kubernetes.io/hostname": format!("m{node}")},
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": image, "command": command}],
        },
    })
}

/// Makes a Service; its address and its node port, where it has them.
async fn service(client: &Client, name: &str, spec: Value) -> (Ipv4Addr, u16) {
    let made: Service = make(client, json!({"metadata": {"name": name}, "spec": spec})).await;
    let spec = made.spec.unwrap();
    let port = spec.ports.unwrap()[0].node_port.unwrap_or_default();
    let address = spec.cluster_ip.unwrap().parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
    (address, u16::try_from(port).unwrap())
}

/// A pod's address, once it is ready.
async fn address(client: &Client, name: &str) -> Ipv4Addr {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    until("a pod to be ready", async || {
        let status = api.get(name).await.map_err(|error| error.to_string())?.status;
        let status = status.unwrap_or_default();
        let ready = status.conditions.iter().flatten();
        let ready = ready.into_iter().any(|c| c.type_ == "Ready" && c.status == "True");
        let address = status.pod_ip.as_ref().and_then(|ip| ip.parse().ok());
        address.filter(|_| ready).ok_or(format!("{name}: {status:?}"))
    })
    .await
}

async fn endpoints(client: &Client, service: &str, count: usize) {
    let api: Api<EndpointSlice> = Api::default_namespaced(client.clone());
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    until("the Service's endpoints", async || {
        let slices = api.list(&of_service).await.map_err(|error| error.to_string())?;
        let all = slices.items.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        let ready = all.filter(|endpoint| endpoint.conditions.as_ref().is_some_and(|c| c.ready == Some(true)));
        let found = ready.count();
        (found == count).then_some(()).ok_or(format!("{service} has {found}"))
    })
    .await;
}

// === What is asked ===

/// Each pod is reached by its own address.
fn pods(view: &View, deployed: &Deployed) {
    for node in NODES {
        let page = eventually("a pod's page", || {
            view.ask(|| ask::http((deployed.web[node], WEB).into()))
        });
        assert_eq!(page, format!("Hello from web-m{node}!\n"));
        let to = SocketAddr::from((deployed.echo[node], ECHO));
        let echo = view.ask(|| ask::udp(to, LARGE)).unwrap();
        assert_eq!(
            (echo.host, echo.length),
            (format!("echo-m{node}"), LARGE),
            "from {}",
            view.name
        );
    }
}

/// A Service's address leads to the pods of both nodes.
fn services(view: &View, deployed: &Deployed) {
    let web = SocketAddr::from((deployed.web_service, 80));
    both(view, "the web Service", "web", || ask::http(web));
    let echo = SocketAddr::from((deployed.echo_service, ECHO));
    both(view, "the echo Service", "echo", || {
        ask::udp(echo, 1).map(|echo| echo.host)
    });
}

/// The answers name the pods of both nodes, sooner or later; from then on every question is answered.
fn both(view: &View, what: &str, app: &str, question: impl Fn() -> Result<String, String> + Sync) {
    let mut missing: BTreeSet<String> = NODES.map(|node| format!("{app}-m{node}")).into();
    eventually(what, || {
        let answer = view.ask(&question)?;
        missing.retain(|name| !answer.contains(name.as_str()));
        missing
            .is_empty()
            .then_some(())
            .ok_or(format!("from {}: no {missing:?}", view.name))
    });
    for number in 0..ROW {
        let answered = view.ask(&question);
        assert!(answered.is_ok(), "{what}, question {number}: {answered:?}");
    }
}

/// The cluster's names are answered by each node.
fn names(view: &View, deployed: &Deployed) {
    // The tenth address of the range is the cluster's DNS, the first its API.
    let dns = SocketAddr::from(([10, 124, 0, 10], 53));
    let mut peers = deployed.web;
    peers.sort();
    let expected = [
        ("web.default.svc.cluster.local", vec![deployed.web_service]),
        ("peers.default.svc.cluster.local", peers.to_vec()),
        ("web-m0.peers.default.svc.cluster.local", vec![deployed.web[0]]),
        ("web-m1.peers.default.svc.cluster.local", vec![deployed.web[1]]),
        ("kubernetes.default.svc.cluster.local", vec![[10, 124, 0, 1].into()]),
        ("registry.gantry.local", vec![[10, 124, 0, 1].into()]),
        ("nobody.default.svc.cluster.local", vec![]),
    ];
    for (name, addresses) in expected {
        let found = eventually("a name", || {
            let found = view.ask(|| ask::name(dns, name))?;
            (found == addresses)
                .then_some(found)
                .ok_or(format!("{name} is not {addresses:?}"))
        });
        assert_eq!(found, addresses);
    }
}

/// A pod sees who asks: pods by their own addresses, on either node, also through a Service.
fn sources(pool: &Pool, deployed: &Deployed) {
    for from in NODES {
        let view = View::of_pod(pool, from, &format!("web-m{from}"));
        let targets = [deployed.echo[0], deployed.echo[1], deployed.echo_service];
        for target in targets {
            let echo = view.ask(|| ask::udp((target, ECHO).into(), 1)).unwrap();
            assert_eq!(echo.source, deployed.web[from], "web-m{from} asked {target}");
        }
    }
}

/// With policy Cluster a node port leads to the pods of both nodes, on each node's address, for everybody.
fn node_ports(pool: &Pool, view: &View, deployed: &Deployed) {
    for node in NODES {
        let address = pool.world().machine(node).address();
        let web = SocketAddr::from((address, deployed.cluster_port));
        both(view, "the web Service's node port", "web", || ask::http(web));
        let echo = SocketAddr::from((address, deployed.echo_port));
        let question = || ask::udp(echo, 1).map(|echo| echo.host);
        both(view, "the echo Service's node port", "echo", question);
    }
}

/// A node's own processes find the pods of both nodes at 127.0.0.1 too.
fn own_node_ports(view: &View, deployed: &Deployed) {
    let own = Ipv4Addr::LOCALHOST;
    let web = SocketAddr::from((own, deployed.cluster_port));
    both(view, "the web Service's port of 127.0.0.1", "web", || ask::http(web));
    let echo = SocketAddr::from((own, deployed.echo_port));
    both(view, "the echo Service's port of 127.0.0.1", "echo", || {
        ask::udp(echo, 1).map(|echo| echo.host)
    });
}

/// With policy Local a node port leads to the pods of its own node, which see who asks; on a node without any, those
/// from outside get nothing.
fn local_node_ports(pool: &Pool, deployed: &Deployed) {
    let outside = View::of_machine(pool, OUTSIDE);
    let machine = |node: usize| pool.world().machine(node).address();
    let web = |node: usize| SocketAddr::from((machine(node), deployed.local_port));
    let echo = |node: usize| SocketAddr::from((machine(node), deployed.local_echo_port));
    eventually("the node port", || outside.ask(|| ask::http(web(1))));
    for _ in 0..ROW {
        assert_eq!(outside.ask(|| ask::http(web(1))).unwrap(), "Hello from web-m1!\n");
        let answer = outside.ask(|| ask::udp(echo(1), 1)).unwrap();
        assert_eq!((answer.host.as_str(), answer.source), ("echo-m1", machine(OUTSIDE)));
    }
    let page = outside.ask(|| ask::http_within(web(0), SILENCE));
    assert!(page.is_err(), "{page:?} from a node without a pod");
    let answer = outside.ask(|| ask::udp_within(echo(0), 1, SILENCE));
    assert!(answer.is_err(), "{answer:?} from a node without a pod");
    // What comes from inside of the cluster is led to whoever there is.
    let inside = View::of_pod(pool, 0, "web-m0");
    assert_eq!(inside.ask(|| ask::http(web(0))).unwrap(), "Hello from web-m1!\n");
}
