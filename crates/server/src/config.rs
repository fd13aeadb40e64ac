//! What a server is started with. It holds values only; nothing here reads the environment or a file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};

use crate::admission::AdmissionSettings;
use crate::audit::AuditSettings;
use crate::authn::{AuthenticationSettings, RequestHeaderSettings};
use crate::encryption::EncryptionSettings;
use crate::runtime::RuntimeConfig;
use crate::traces::TracingSettings;

/// A server's settings. [`Config::new`] has the defaults; change what differs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory; the server keeps its own things below `server/` in it.
    pub data_dir: PathBuf,
    /// Where it will be listened on. The listener itself is opened by the caller.
    pub listen: SocketAddr,
    /// The address that others reach the server by: published as the endpoint of the `kubernetes` Service.
    pub advertise_address: IpAddr,
    /// More names and addresses that the serving certificate must cover.
    pub names: Vec<String>,
    /// Where the addresses of Services come from.
    pub service_cidr: IpNet,
    /// Where the addresses of pods come from; published for nodes that join.
    pub pod_cidr: Option<IpNet>,
    /// First and last port of NodePort Services.
    pub node_ports: (u16, u16),
    /// The DNS domain of Services.
    pub cluster_domain: String,
    /// How long Events are kept.
    pub event_ttl: Duration,
    /// Which admission plug-ins run, and what they are told.
    pub admission: AdmissionSettings,
    /// What is written into the audit log.
    pub audit: AuditSettings,
    /// Who is believed beside the server's own credentials.
    pub authentication: Option<AuthenticationSettings>,
    /// How what is stored is encrypted; nothing is when there is none.
    pub encryption: Option<EncryptionSettings>,
    /// Which versions and resources are served beside, or instead of, those that are by default.
    pub runtime: RuntimeConfig,
    /// The proxies that may say in headers who asks; none when there is none.
    pub request_header: Option<RequestHeaderSettings>,
    /// Which requests are traced, and where their traces go; none is when there is none.
    pub tracing: Option<TracingSettings>,
    /// Whether other servers may have the same store.
    pub shared_store: bool,
    /// What the cluster's keys are encrypted with in a shared store; without it they aren't there.
    pub keys_secret: Option<SecretString>,
}

impl Config {
    /// Listening on loopback, everything else as Kubernetes has it by default.
    pub fn new(data_dir: impl Into<PathBuf>) -> Config {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Config {
            data_dir: data_dir.into(),
            listen: SocketAddr::new(loopback, 6443),
            advertise_address: loopback,
            names: Vec::new(),
            service_cidr: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16)),
            pod_cidr: None,
            node_ports: (30000, 32767),
            cluster_domain: "cluster.local".to_owned(),
            event_ttl: Duration::from_secs(3600),
            admission: AdmissionSettings::default(),
            audit: AuditSettings::default(),
            authentication: None,
            encryption: None,
            runtime: RuntimeConfig::default(),
            request_header: None,
            tracing: None,
            shared_store: false,
            keys_secret: None,
        }
    }

    /// The address of the `kubernetes` Service: the first of the range.
    pub fn kubernetes_service_ip(&self) -> Option<IpAddr> {
        nth_address(self.service_cidr, 1)
    }

    /// The address of the `kube-dns` Service: the tenth of the range.
    pub fn dns_service_ip(&self) -> Option<IpAddr> {
        nth_address(self.service_cidr, 10)
    }

    /// The URL under which clients on this machine reach the server.
    pub fn local_url(&self) -> String {
        let ip = match self.listen.ip() {
            ip if ip.is_unspecified() && ip.is_ipv6() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        format!("https://{}", SocketAddr::new(ip, self.listen.port()))
    }

    /// What tells this server from all others, also from one on the same machine: `apiserver-` and a hash, as kube-apiserver
    /// has it.
    pub(crate) fn server_id(&self) -> String {
        let host = rustix::system::uname();
        let mut hash = Sha256::new();
        hash.update(host.nodename().to_bytes());
        hash.update([0]);
        hash.update(self.data_dir.as_os_str().as_encoded_bytes());
        let hash = hex::encode(hash.finalize());
        format!("apiserver-{}", &hash[..26])
    }

    pub(crate) fn pki_dir(&self) -> PathBuf {
        self.data_dir.join("server").join("pki")
    }
}

/// The n-th address of a network, when it has one.
pub(crate) fn nth_address(net: IpNet, n: u32) -> Option<IpAddr> {
    let address = match net.network() {
        IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from(u32::from(first).checked_add(n)?)),
        IpAddr::V6(first) => IpAddr::V6(std::net::Ipv6Addr::from(u128::from(first).checked_add(u128::from(n))?)),
    };
    net.contains(&address).then_some(address)
}
