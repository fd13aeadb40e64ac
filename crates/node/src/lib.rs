//! The node: it makes what the API wants of this machine true, and tells the API what is.
//!
//! It is a client of the server like any other, by an identity of its own, and the only one that translates between
//! Kubernetes' kinds and the engine, the images, the network and DNS, which know none. When it ends, pods go on; the
//! next start finds them again.

mod address;
mod bundle;
mod credentials;
mod error;
mod images;
mod machine;
mod names;
mod objects;
mod peers;
mod pod_certificates;
mod pods;
mod probes;
mod register;
mod services;
mod slots;
mod stats;
mod stream;
mod volumes;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use engine::Engine;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use network::{InstanceId, Network};
use tokio_util::sync::CancellationToken;

pub use error::Error;

use credentials::{Credentials, Place};
use names::Names;
use objects::Objects;
use pods::Context;
use register::Reporter;
use services::Services;
use slots::Slots;
use volumes::Paths;

/// What a node is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name in the cluster.
    pub name: String,
    /// Where it keeps everything; its own part is `node/` below it.
    pub data_dir: PathBuf,
    /// Six hexadecimal digits that tell this instance's names in the kernel from others'.
    pub instance: String,
    /// The kubeconfig with which it asks for its certificate the first time.
    pub bootstrap: PathBuf,
    /// Its address, if it isn't the one that leads to the world.
    pub node_ip: Option<IpAddr>,
    /// Addresses of the pods of all nodes.
    pub cluster_cidr: Ipv4Net,
    /// Addresses of Services.
    pub service_cidr: Ipv4Net,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// Labels for the Node besides the usual ones.
    pub labels: BTreeMap<String, String>,
}

impl Config {
    /// The node's own directory.
    pub fn dir(&self) -> PathBuf {
        self.data_dir.join("node")
    }

    fn paths(&self) -> Paths {
        let dir = self.dir();
        Paths {
            pods: dir.join("pods"),
            memory: dir.join("memory"),
            shm: dir.join("shm"),
        }
    }

    fn service_ip(&self, n: u32) -> Option<IpAddr> {
        let address = Ipv4Addr::from(u32::from(self.service_cidr.network()).checked_add(n)?);
        self.service_cidr.contains(&address).then_some(IpAddr::V4(address))
    }
}

/// Where a data directory's images are.
pub fn image_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("node/images")
}

/// Where a data directory says how registries are reached: `HOST/hosts.toml`.
pub fn hosts_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("certs.d")
}

/// A node's own credentials for the server.
pub fn kubeconfig(data_dir: &Path) -> PathBuf {
    data_dir.join("node/pki/kubeconfig")
}

/// The cluster's own registry in images' names.
pub const REGISTRY: &str = "registry.gantry.local";

/// How registries are reached from here: the cluster's own as the node, the others by their files.
fn hosts(config: &Config, credentials: &Credentials) -> Result<image::Hosts, Error> {
    Ok(image::Hosts {
        dir: Some(hosts_dir(&config.data_dir)),
        cluster: Some(image::Cluster {
            name: REGISTRY.to_string(),
            url: format!("https://{}", credentials.authority()),
            tls: credentials.tls()?,
        }),
    })
}

/// Runs the node until cancelled. Pods stay. `ready` is called once, when the cluster has been told that it is ready.
pub async fn run(config: Config, cancel: CancellationToken, ready: impl FnOnce() + Send) -> Result<(), Error> {
    tokio::select! {
        result = start_and_serve(&config, ready) => result,
        () = cancel.cancelled() => Ok(()),
    }
}

/// Removes what a node made in the kernel and on the disk, when no process of it runs any more. It goes on after an
/// error and returns all of them.
pub async fn purge(data_dir: &Path, instance: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let dir = data_dir.join("node");
    match Engine::open(engine_config(&dir, instance)).await {
        Ok(engine) => {
            let sandboxes = engine.sandboxes();
            let removals =
                futures::future::join_all(sandboxes.iter().map(|sandbox| engine.sandbox_remove(&sandbox.id)));
            errors.extend(
                removals
                    .await
                    .into_iter()
                    .filter_map(|done| done.err().map(|error| error.to_string())),
            );
            errors.extend(engine.retire().await.err().map(|error| error.to_string()));
        }
        Err(error) => errors.push(error.to_string()),
    }
    if let Some(id) = InstanceId::new(instance) {
        errors.extend(
            network::purge(&id, &dir.join("network"))
                .err()
                .map(|error| error.to_string()),
        );
    }
    let paths = Paths {
        pods: dir.join("pods"),
        memory: dir.join("memory"),
        shm: dir.join("shm"),
    };
    for uid in volumes::owners(&paths) {
        errors.extend(
            volumes::tear_down(&paths, &uid)
                .into_iter()
                .map(|error| error.to_string()),
        );
    }
    paths.release();
    errors
}

fn engine_config(dir: &Path, instance: &str) -> engine::Config {
    engine::Config {
        state_dir: dir.join("engine"),
        cgroup_parent: format!("gantry-{instance}"),
    }
}

async fn start_and_serve(config: &Config, ready: impl FnOnce() + Send) -> Result<(), Error> {
    let dir = config.dir();
    let paths = config.paths();
    paths.prepare().map_err(|source| Error::File {
        path: dir.clone(),
        source,
    })?;
    let images = image::Store::open(image_dir(&config.data_dir))?;
    let opening = tokio::spawn(Engine::open(engine_config(&dir, &config.instance)));
    let place = Place {
        dir: dir.join("pki"),
        bootstrap: config.bootstrap.clone(),
        node: config.name.clone(),
    };
    let credentials = Arc::new(ArcSwap::from_pointee(place.obtain().await?));
    let (client, reload) = client::reloadable(client::from_kubeconfig(&place.kubeconfig(), None).await?);
    let node = register::register(&client, config).await?;
    let engine = Arc::new(opening.await.map_err(|error| Error::Server(error.to_string()))??);
    let network = Arc::new(open_network(config, &client).await?);
    let (follower, host_ip) = address::Follower::new(config.node_ip);
    peers::start(&client, &config.name, host_ip.watch(), network.clone()).await?;
    let dns = Arc::new(start_dns(config, &network).await?);
    let local = local_services(config, &credentials.load(), &network);
    let (services, slots) = tokio::join!(
        Services::start(&client, &config.name, network.clone(), dns, local),
        Slots::start(engine.clone(), network.clone()),
    );
    let events = client::Recorder::new(client.clone(), "kubelet", Some(&config.name));
    let uid = node.metadata.uid.clone().unwrap_or_default();
    let (own, node) = tokio::sync::watch::channel(Arc::new(node));
    let ctx = Arc::new(Context {
        client: client.clone(),
        node_name: config.name.clone(),
        node,
        host_ip: host_ip.clone(),
        engine,
        transfer: image::Transfer::new(images.clone(), hosts(config, &credentials.load())?),
        registry: registry::Registry::read_only(images.clone(), REGISTRY),
        docker_config: dir.join("docker/config.json"),
        images: images.clone(),
        slots,
        objects: Objects::new(client.clone(), &config.name, &uid),
        services: Arc::new(services),
        names: Names {
            cluster_domain: config.cluster_domain.clone(),
            cluster_dns: config.service_ip(10),
        },
        events,
        paths,
        seccomp_profiles: dir.join("seccomp"),
        pods: pods::Directory::default(),
        samples: stats::Samples::default(),
    });
    let reporter = Reporter {
        client,
        name: config.name.clone(),
        host_ip: host_ip.clone(),
        data_dir: config.data_dir.clone(),
        images,
        own,
    };
    tell_ready(&reporter).await?;
    tracing::info!(node = config.name, "ready");
    ready();
    let image_changes = images::follow(&image_dir(&config.data_dir))?;
    tokio::select! {
        () = pods::run(ctx.clone(), image_changes) => {}
        () = stream::serve(ctx.clone(), credentials.clone(), host_ip.clone()) => {}
        () = stats::run(ctx.clone()) => {}
        () = reporter.keep_alive(uid) => {}
        () = images::gc::run(ctx.clone()) => {}
        () = follower.run() => {}
        () = reconnect(&place, host_ip, &reload) => {}
        result = renew(config, &place, &credentials, &reload, &ctx) => result?,
    }
    Ok(())
}

/// Exchanges the certificate long before it expires, and tries again until it has.
async fn renew(
    config: &Config,
    place: &Place,
    credentials: &ArcSwap<Credentials>,
    reload: &client::Reload,
    ctx: &Context,
) -> Result<(), Error> {
    let mut backoff = client::Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        let current = credentials.load_full();
        // In pieces, because the time that a machine sleeps doesn't count.
        tokio::time::sleep(current.renew_in().min(Duration::from_secs(3600))).await;
        if !current.is_due() {
            continue;
        }
        match place.obtain().await {
            Ok(new) => {
                reload.replace(client::from_kubeconfig(&place.kubeconfig(), None).await?);
                ctx.transfer.set_hosts(hosts(config, &new)?);
                credentials.store(Arc::new(new));
                backoff.reset();
                tracing::info!("the node has a new certificate");
            }
            Err(error) if current.is_valid() => {
                tracing::warn!(%error, "the node's certificate could not be renewed yet");
                tokio::time::sleep(backoff.next_delay()).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Connections from an address that the machine no longer has lead nowhere.
async fn reconnect(place: &Place, mut host_ip: address::HostIp, reload: &client::Reload) {
    loop {
        host_ip.changed().await;
        tracing::info!(address = %host_ip.get(), "this machine has another address");
        match client::from_kubeconfig(&place.kubeconfig(), None).await {
            Ok(client) => reload.replace(client),
            Err(error) => tracing::warn!(%error, "connecting anew"),
        }
    }
}

async fn tell_ready(reporter: &Reporter) -> Result<(), Error> {
    let mut backoff = client::Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    loop {
        match reporter.report(Ok(())).await {
            Ok(()) => return Ok(()),
            Err(error) if client::is_transient(&error) || client::is_conflict(&error) => {
                tokio::time::sleep(backoff.next_delay()).await;
            }
            Err(source) => {
                return Err(Error::Api {
                    doing: "reporting the node's status",
                    source,
                });
            }
        }
    }
}

async fn open_network(config: &Config, client: &Client) -> Result<Network, Error> {
    let instance = InstanceId::new(&config.instance).ok_or_else(|| Error::Instance(config.instance.clone()))?;
    let settings = network::Config {
        instance,
        state_dir: config.dir().join("network"),
        pod_cidr: register::pod_cidr(client, &config.name).await?,
        cluster_cidr: config.cluster_cidr,
        service_cidr: config.service_cidr,
        mtu: None,
    };
    let opened = tokio::task::spawn_blocking(move || Network::open(settings)).await;
    Ok(opened.map_err(|error| Error::Server(error.to_string()))??)
}

/// The DNS server listens on the node's own address among its pods; rules lead the service address there. The registry
/// is where the API is, so pods find it under its name at the API's service.
async fn start_dns(config: &Config, network: &Network) -> Result<dns::Dns, Error> {
    let listen = SocketAddr::new(network.node_address(), 53);
    let vip = config.service_ip(10).map(|vip| SocketAddr::new(vip, 53));
    let settings = dns::Config {
        listen: vec![listen],
        own: vip.into_iter().collect(),
        resolv_conf: PathBuf::from("/etc/resolv.conf"),
    };
    let mut zone = dns::Zone::new(&config.cluster_domain);
    zone.put_host(REGISTRY, config.service_ip(1).into_iter().collect());
    Ok(dns::Dns::start(settings, zone).await?)
}

/// The API under its service address, where the server listens on loopback only and no other node can be.
fn local_services(config: &Config, credentials: &Credentials, network: &Network) -> Vec<network::LocalService> {
    let api = credentials
        .loopback()
        .and_then(|target| Some((SocketAddr::new(config.service_ip(1)?, 443), target)));
    services::local_services(config.service_ip(10), SocketAddr::new(network.node_address(), 53), api)
}

/// A node's name when none is given: the host's, as DNS has it.
pub fn default_name() -> String {
    let name = machine::line_of("/proc/sys/kernel/hostname").to_ascii_lowercase();
    let clean: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    let clean = clean.trim_matches(['-', '.']);
    if clean.is_empty() {
        "node".to_string()
    } else {
        clean.to_string()
    }
}

/// Whether a Node says that it is ready.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
