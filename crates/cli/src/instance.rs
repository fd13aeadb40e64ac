//! An instance: a data directory, what is in it, and the settings that it was started with.
//!
//! ```text
//! DATA/admin.kubeconfig      the administrator's credentials
//! DATA/settings.json         how it was last started
//! DATA/join.kubeconfig       where a machine that has joined finds its server
//! DATA/server/               objects, keys
//! DATA/node/                 images, pods, containers
//! DATA/nodes/                further nodes on this machine
//! DATA/run/                  pids, logs and signs of life of the processes
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::args::SettingsArgs;
use crate::audit::AuditFiles;
use crate::authentication::Authentication;
use crate::encryption::EncryptionFile;
use crate::front_proxy::FrontProxies;
use crate::process::Role;
use crate::store::EtcdPlace;

/// Where all instances of this machine say that they are there, so that a clash can be named.
const DIRECTORY: &str = "/run/gantry";

/// A data directory.
#[derive(Clone, Debug)]
pub struct Instance {
    dir: PathBuf,
}

/// How an instance is run. Released format: fields are added, with defaults, and never change their meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Where the server listens.
    pub listen: SocketAddr,
    /// The address under which others reach it.
    pub advertise_address: IpAddr,
    /// Addresses for pods.
    pub pod_cidr: Ipv4Net,
    /// Addresses for Services.
    pub service_cidr: Ipv4Net,
    /// This machine's name in the cluster.
    pub node_name: String,
    /// The server that this machine has joined; none where the server is part of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Whether the server is alone, without a node.
    #[serde(default)]
    pub no_node: bool,
    /// The address by which other nodes reach this one, where it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_ip: Option<IpAddr>,
    /// Labels for the node besides the usual ones.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How many nodes there are on this machine: its own, and others in networks of their own.
    #[serde(default = "one")]
    pub nodes: u8,
    /// The domain of Services' names.
    #[serde(default = "cluster_domain")]
    pub cluster_domain: String,
    /// How long nodes' certificates hold.
    #[serde(default = "certificate_seconds")]
    pub certificate_seconds: u64,
    /// Admission plug-ins that run beside those that always do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enable_admission: Vec<String>,
    /// Admission plug-ins that don't run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disable_admission: Vec<String>,
    /// The file with the settings of admission plug-ins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission_file: Option<PathBuf>,
    /// What is written into the audit log, and where that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditFiles>,
    /// Who is believed beside the cluster's own tokens and certificates.
    #[serde(default, skip_serializing_if = "is_default")]
    pub authentication: Authentication,
    /// What is encrypted at rest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encryption: EncryptionFile,
    /// The file that says what is traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<PathBuf>,
    /// Which front proxies are believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front_proxies: Option<FrontProxies>,
    /// What is served beside the defaults, or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runtime_config: Vec<String>,
    /// The etcd that objects are kept in; none where they are in the instance's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdPlace>,
}

fn one() -> u8 {
    1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn cluster_domain() -> String {
    "cluster.local".to_string()
}

fn certificate_seconds() -> u64 {
    365 * 24 * 3600
}

/// What an instance says of itself to others on the machine.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Presence {
    data_dir: PathBuf,
    settings: Settings,
    /// In which network it is; instances in different ones are not in each other's way.
    #[serde(default)]
    network: Option<u64>,
}

/// The network namespace of this process.
fn own_network() -> Option<u64> {
    fs::metadata("/proc/self/ns/net").ok().map(|namespace| namespace.ino())
}

impl Instance {
    /// The instance in `dir`, which need not exist yet.
    pub fn new(dir: &Path) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir).with_context(|| format!("the data directory {}", dir.display()))?;
        // The same directory must have the same id, whatever links lead there.
        let dir = fs::canonicalize(&dir).unwrap_or(dir);
        Ok(Self { dir })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Six hexadecimal digits that tell this instance's names in the kernel from others'.
    pub fn id(&self) -> String {
        let digest = Sha256::digest(self.dir.as_os_str().as_encoded_bytes());
        hex::encode(&digest[..3])
    }

    /// Pids, logs and signs of life.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The administrator's credentials.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// With what this machine's node asks for its certificate.
    pub fn bootstrap_kubeconfig(&self) -> PathBuf {
        self.dir.join("server/bootstrap.kubeconfig")
    }

    /// Where a machine that has joined finds its server.
    pub fn join_kubeconfig(&self) -> PathBuf {
        self.dir.join("join.kubeconfig")
    }

    /// A node's own credentials.
    pub fn node_kubeconfig(&self) -> PathBuf {
        self.dir.join("node/pki/kubeconfig")
    }

    fn settings_file(&self) -> PathBuf {
        self.dir.join("settings.json")
    }

    /// How it was last started, if it was.
    pub fn stored_settings(&self) -> anyhow::Result<Option<Settings>> {
        let path = self.settings_file();
        match fs::read(&path) {
            Ok(bytes) => {
                let settings = serde_json::from_slice(&bytes).with_context(|| format!("reading {}", path.display()))?;
                Ok(Some(settings))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// The settings to run with: what is given, else what was stored, else the defaults.
    pub fn settings(&self, given: &SettingsArgs) -> anyhow::Result<Settings> {
        let stored = self.stored_settings()?;
        let mut settings = stored.clone().unwrap_or_else(Settings::defaults);
        if let Some(server) = settings.server.as_ref().filter(|_| *given != SettingsArgs::default()) {
            bail!(
                "{} is a node of {server}; its settings come from there",
                self.dir.display()
            );
        }
        if let Some(nodes) = given.nodes {
            settings.nodes = nodes.max(1);
        }
        if let Some(no_node) = given.no_node {
            settings.no_node = no_node;
        }
        if let Some(time) = given.cluster_signing_duration {
            settings.certificate_seconds = time.as_secs();
        }
        settings.take_admission(given)?;
        settings.audit = AuditFiles::of(settings.audit.take(), &given.audit)?;
        settings.authentication =
            Authentication::of(std::mem::take(&mut settings.authentication), &given.authentication)?;
        settings.encryption = EncryptionFile::of(std::mem::take(&mut settings.encryption), &given.encryption)?;
        settings.tracing = crate::traces::file(settings.tracing.take(), &given.tracing)?;
        settings.front_proxies = FrontProxies::of(settings.front_proxies.take(), &given.front_proxy)?;
        settings.etcd = EtcdPlace::of(settings.etcd.take(), &given.store, stored.is_some())?;
        if let Some(listen) = given.listen {
            settings.listen = listen;
            if given.advertise_address.is_none() && !listen.ip().is_unspecified() {
                settings.advertise_address = listen.ip();
            }
        }
        if let Some(address) = given.advertise_address {
            settings.advertise_address = address;
        }
        if let Some(name) = &given.node_name {
            settings.node_name = name.clone();
        }
        for (flag, new, old) in [
            ("--pod-cidr", given.pod_cidr, &mut settings.pod_cidr),
            ("--service-cidr", given.service_cidr, &mut settings.service_cidr),
        ] {
            let Some(new) = new.map(|net| net.trunc()) else {
                continue;
            };
            if stored.is_some() && new != *old {
                bail!(
                    "{flag} is {old} here and can't change while there are objects; `gantry down --purge` starts anew"
                );
            }
            *old = new;
        }
        Ok(settings)
    }

    /// Keeps the settings for the next start.
    pub fn store_settings(&self, settings: &Settings) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec_pretty(settings)?;
        write_whole(&self.settings_file(), &bytes)
    }

    /// Whether another instance of this machine is in the way; an error names it.
    pub fn check_others(&self, settings: &Settings) -> anyhow::Result<()> {
        others(&self.dir).iter().try_for_each(|other| other.check(settings))
    }

    /// Tells the other instances of this machine that this one is there.
    pub fn announce(&self, settings: &Settings) -> anyhow::Result<()> {
        self.check_others(settings)?;
        let presence = Presence {
            data_dir: self.dir.clone(),
            settings: settings.clone(),
            network: own_network(),
        };
        fs::create_dir_all(DIRECTORY).with_context(|| format!("making {DIRECTORY}"))?;
        write_whole(&self.presence_file(), &serde_json::to_vec_pretty(&presence)?)
    }

    /// Takes that back.
    pub fn withdraw(&self) {
        let _ = fs::remove_file(self.presence_file());
        // Goes only when no other instance is in it.
        let _ = fs::remove_dir(DIRECTORY);
    }

    fn presence_file(&self) -> PathBuf {
        Path::new(DIRECTORY).join(format!("{}.json", self.id()))
    }
}

/// The right to start an instance, which one process of this machine has at a time.
pub struct Turn {
    _lock: fs::File,
}

impl Turn {
    /// Waits until nobody else has it.
    pub fn take() -> anyhow::Result<Self> {
        fs::create_dir_all(DIRECTORY).with_context(|| format!("making {DIRECTORY}"))?;
        let lock = fs::File::open(DIRECTORY).with_context(|| format!("opening {DIRECTORY}"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .with_context(|| format!("waiting for others that start, at {DIRECTORY}"))?;
        Ok(Self { _lock: lock })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Goes only when no instance is in it.
        let _ = fs::remove_dir(DIRECTORY);
    }
}

/// The other instances that are there. Leftovers of directories that are gone don't count.
fn others(own: &Path) -> Vec<Presence> {
    let mut found = Vec::new();
    for entry in fs::read_dir(DIRECTORY).into_iter().flatten().flatten() {
        let presence = fs::read(entry.path())
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Presence>(&bytes).ok());
        found.extend(presence.filter(|presence| presence.data_dir != own && presence.data_dir.exists()));
    }
    found
}

impl Presence {
    fn check(&self, wanted: &Settings) -> anyhow::Result<()> {
        if self.network.is_some() && self.network != own_network() {
            return Ok(());
        }
        let other = self.data_dir.display();
        let theirs = &self.settings;
        let same_ip = theirs.listen.ip() == wanted.listen.ip()
            || theirs.listen.ip().is_unspecified()
            || wanted.listen.ip().is_unspecified();
        let both_listen = theirs.server.is_none() && wanted.server.is_none();
        if both_listen && theirs.listen.port() == wanted.listen.port() && same_ip {
            bail!(
                "the instance in {other} listens on {}; choose another --listen",
                theirs.listen
            );
        }
        for (flag, own) in [("--pod-cidr", wanted.pod_cidr), ("--service-cidr", wanted.service_cidr)] {
            for net in [theirs.pod_cidr, theirs.service_cidr] {
                if net.contains(&own) || own.contains(&net) {
                    bail!("{own} overlaps {net} of the instance in {other}; choose another {flag}");
                }
            }
        }
        Ok(())
    }
}

impl Settings {
    pub(crate) fn defaults() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 6443),
            advertise_address: host_address(),
            pod_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16),
            service_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16),
            node_name: node::default_name(),
            server: None,
            no_node: false,
            nodes: 1,
            node_ip: None,
            labels: BTreeMap::new(),
            cluster_domain: cluster_domain(),
            certificate_seconds: certificate_seconds(),
            enable_admission: Vec::new(),
            disable_admission: Vec::new(),
            admission_file: None,
            audit: None,
            authentication: Authentication::default(),
            encryption: EncryptionFile::default(),
            tracing: None,
            front_proxies: None,
            runtime_config: Vec::new(),
            etcd: None,
        }
    }

    /// What is given of admission and of what is served. The file is found again from any directory.
    fn take_admission(&mut self, given: &SettingsArgs) -> anyhow::Result<()> {
        let named = |names: &[String]| names.iter().filter(|name| !name.is_empty()).cloned().collect();
        if let Some(names) = &given.enable_admission_plugins {
            self.enable_admission = named(names);
        }
        if let Some(names) = &given.disable_admission_plugins {
            self.disable_admission = named(names);
        }
        if let Some(settings) = &given.runtime_config {
            self.runtime_config = named(settings);
        }
        if let Some(file) = &given.admission_control_config_file {
            let file = std::path::absolute(file).with_context(|| format!("finding {}", file.display()))?;
            self.admission_file = Some(file);
        }
        Ok(())
    }

    /// The processes that such an instance has.
    pub fn roles(&self) -> Vec<Role> {
        match (&self.server, self.no_node) {
            (Some(_), _) => vec![Role::Node],
            (None, true) => vec![Role::Server],
            (None, false) => vec![Role::Server, Role::Node],
        }
    }

    /// With what the node asks for its first certificate, and where it learns that the server has moved.
    pub fn bootstrap_kubeconfig(&self, instance: &Instance) -> PathBuf {
        match self.server {
            Some(_) => instance.join_kubeconfig(),
            None => instance.bootstrap_kubeconfig(),
        }
    }

    /// The node's address, where the node is not to find it itself.
    pub fn node_address(&self) -> Option<IpAddr> {
        let advertised = Some(self.advertise_address).filter(|_| self.server.is_none());
        // Others can't reach a loopback address; the node finds a better one itself.
        self.node_ip.or(advertised.filter(|address| !address.is_loopback()))
    }

    /// Where programs on this machine reach the server.
    pub fn local_endpoint(&self) -> String {
        let ip = if self.listen.ip().is_unspecified() {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            self.listen.ip()
        };
        format!("https://{}", SocketAddr::new(ip, self.listen.port()))
    }
}

/// The address that this host has towards the world; nothing is sent to find out.
fn host_address() -> IpAddr {
    let towards = |target: &str| {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    towards("192.0.2.255:9")
        .or_else(|| towards("10.255.255.255:9"))
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// How the name of a file ends that isn't written to its end.
pub(crate) const UNFINISHED: &str = ".new";

/// Writes a file so that a reader sees the old content or the new one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    // Named after the file, so that one that a kill left behind is known as ours.
    let prefix = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut file = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(UNFINISHED)
        .tempfile_in(dir)
        .with_context(|| format!("writing {}", path.display()))?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_data())
        .with_context(|| format!("writing {}", path.display()))?;
    file.persist(path)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(listen: &str, pods: &str, services: &str) -> Settings {
        Settings {
            listen: listen.parse().unwrap(),
            pod_cidr: pods.parse().unwrap(),
            service_cidr: services.parse().unwrap(),
            ..Settings::defaults()
        }
    }

    #[test]
    fn a_clash_names_the_other_instance() {
        let theirs = settings("0.0.0.0:6443", "10.244.0.0/16", "10.96.0.0/16");
        let other = Presence {
            data_dir: "/srv/first".into(),
            settings: theirs,
            network: None,
        };
        let check = |listen, pods, services| {
            other
                .check(&settings(listen, pods, services))
                .map_err(|error| error.to_string())
        };
        assert_eq!(check("127.0.0.1:7443", "10.245.0.0/16", "10.97.0.0/16"), Ok(()));
        for (listen, pods, services, flag) in [
            ("127.0.0.1:6443", "10.245.0.0/16", "10.97.0.0/16", "--listen"),
            ("127.0.0.1:7443", "10.244.8.0/24", "10.97.0.0/16", "--pod-cidr"),
            ("127.0.0.1:7443", "10.245.0.0/16", "10.244.0.0/15", "--service-cidr"),
        ] {
            let error = check(listen, pods, services).unwrap_err();
            assert!(error.contains("/srv/first") && error.contains(flag), "{error}");
        }
    }

    #[test]
    fn given_settings_win_and_ranges_stay() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::new(dir.path()).unwrap();
        let given = SettingsArgs {
            pod_cidr: "10.1.0.0/16".parse().ok(),
            listen: "127.0.0.1:1".parse().ok(),
            ..Default::default()
        };
        let first = instance.settings(&given).unwrap();
        assert_eq!(
            (
                first.pod_cidr.to_string().as_str(),
                first.advertise_address.to_string().as_str()
            ),
            ("10.1.0.0/16", "127.0.0.1")
        );
        instance.store_settings(&first).unwrap();
        assert_eq!(instance.settings(&SettingsArgs::default()).unwrap(), first);
        let other = SettingsArgs {
            pod_cidr: "10.2.0.0/16".parse().ok(),
            ..Default::default()
        };
        assert!(
            instance
                .settings(&other)
                .unwrap_err()
                .to_string()
                .contains("--pod-cidr")
        );
        assert_eq!(instance.id().len(), 6);
    }
}
