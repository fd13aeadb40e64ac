//! A node's identity: a key of its own and a client certificate that the cluster signed on request.
//!
//! The first request is made with the bootstrap credentials, later ones with the certificate that is about to expire.
//! It is the same on the server's machine as on any other.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use client::Backoff;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{ObjectMeta, PostParams};
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Config};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use secrecy::ExposeSecret as _;
use x509_parser::certificate::X509Certificate;

use crate::Error;

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const ANSWER: Duration = Duration::from_secs(30);

/// Where the server is, how it proves itself, and how this node does.
pub(crate) struct Credentials {
    server: http::Uri,
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// A node's credentials on the disk.
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) bootstrap: PathBuf,
    pub(crate) node: String,
}

impl Place {
    /// The credentials there are, or new ones when they are missing or about to expire.
    pub(crate) async fn obtain(&self) -> Result<Credentials, Error> {
        match self.read() {
            Ok(Some(own)) if !own.is_due() && own.is_of(&self.node) => self.follow_server(own),
            Ok(_) => self.request().await,
            Err(error) => {
                tracing::warn!(%error, "the node's credentials can't be used; asking for new ones");
                self.request().await
            }
        }
    }

    /// The server may have moved since the certificate was written; the bootstrap file tells where it is.
    fn follow_server(&self, credentials: Credentials) -> Result<Credentials, Error> {
        let Ok(bootstrap) = Kubeconfig::read_from(&self.bootstrap) else {
            return Ok(credentials);
        };
        let Some(cluster) = bootstrap.clusters.first().and_then(|named| named.cluster.clone()) else {
            return Ok(credentials);
        };
        if cluster.server.as_deref().and_then(|server| server.parse().ok()) == Some(credentials.server.clone()) {
            return Ok(credentials);
        }
        self.write(&cluster, &credentials.certificate, &credentials.key)?;
        self.read()?
            .ok_or_else(|| Error::credentials("reading", &self.file(), "it vanished"))
    }

    fn file(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    fn read(&self) -> Result<Option<Credentials>, Error> {
        if !self.file().exists() {
            return Ok(None);
        }
        let own =
            Kubeconfig::read_from(self.file()).map_err(|error| Error::credentials("reading", &self.file(), error))?;
        let auth = own
            .auth_infos
            .first()
            .and_then(|named| named.auth_info.clone())
            .unwrap_or_default();
        let cluster = own
            .clusters
            .first()
            .and_then(|named| named.cluster.clone())
            .unwrap_or_default();
        let text = |what: &'static str, value: Option<String>| {
            value.ok_or_else(|| Error::credentials("reading", &self.file(), format!("it has no {what}")))
        };
        let data = |what: &'static str, value: Option<String>| -> Result<Vec<u8>, Error> {
            let bytes = BASE64_STANDARD.decode(text(what, value)?);
            bytes.map_err(|error| Error::credentials("reading", &self.file(), format!("{what}: {error}")))
        };
        let key = auth.client_key_data.map(|key| key.expose_secret().to_string());
        Ok(Some(Credentials {
            server: parse(&text("server", cluster.server)?)?,
            ca: data("certificate-authority-data", cluster.certificate_authority_data)?,
            certificate: data("client-certificate-data", auth.client_certificate_data)?,
            key: data("client-key-data", key)?,
        }))
    }

    /// Makes a key, asks for a certificate, waits for it, and writes both.
    async fn request(&self) -> Result<Credentials, Error> {
        let key = KeyPair::generate().map_err(|error| Error::credentials("making a key for", &self.dir, error))?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params
            .distinguished_name
            .push(DnType::CommonName, format!("system:node:{}", self.node));
        let request = params
            .serialize_request(&key)
            .and_then(|request| request.pem())
            .map_err(|error| Error::credentials("making a request for", &self.dir, error))?;
        let (config, cluster) = self.requester()?;
        let unusable = |error: &dyn std::fmt::Display| Error::credentials("using", &self.bootstrap, error);
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
        let client = client::from_config(&config.map_err(|error| unusable(&error))?);
        let client = client.map_err(|error| unusable(&error))?;
        let certificate = sign(&client, &self.node, &request).await?;
        let key = key.serialize_pem().into_bytes();
        self.write(&cluster, &certificate, &key)?;
        self.read()?
            .ok_or_else(|| Error::credentials("reading", &self.file(), "it vanished"))
    }

    /// With what the request is made: the old certificate while it is valid, else the bootstrap credentials.
    fn requester(&self) -> Result<(Kubeconfig, Cluster), Error> {
        let own = self.read().ok().flatten();
        let valid = own.is_some_and(|own| own.is_valid() && own.is_of(&self.node));
        let path = if valid { self.file() } else { self.bootstrap.clone() };
        let config = Kubeconfig::read_from(&path).map_err(|error| Error::credentials("reading", &path, error))?;
        let auth = config.auth_infos.first().and_then(|named| named.auth_info.as_ref());
        if auth.is_none_or(|auth| auth.token.is_none() && auth.client_certificate_data.is_none()) {
            return Err(Error::Expired(self.node.clone()));
        }
        let cluster = config
            .clusters
            .first()
            .and_then(|named| named.cluster.clone())
            .unwrap_or_default();
        Ok((config, cluster))
    }

    fn write(&self, cluster: &Cluster, certificate: &[u8], key: &[u8]) -> Result<(), Error> {
        let auth = AuthInfo {
            client_certificate_data: Some(BASE64_STANDARD.encode(certificate)),
            client_key_data: Some(BASE64_STANDARD.encode(key).into()),
            ..AuthInfo::default()
        };
        let context = Context {
            cluster: "gantry".to_string(),
            user: Some("node".to_string()),
            ..Context::default()
        };
        let config = Kubeconfig {
            clusters: vec![NamedCluster {
                name: "gantry".to_string(),
                cluster: Some(cluster.clone()),
                ..NamedCluster::default()
            }],
            auth_infos: vec![NamedAuthInfo {
                name: "node".to_string(),
                auth_info: Some(auth),
                ..NamedAuthInfo::default()
            }],
            contexts: vec![NamedContext {
                name: "node".to_string(),
                context: Some(context),
                ..NamedContext::default()
            }],
            current_context: Some("node".to_string()),
            ..Kubeconfig::default()
        };
        let bytes =
            serde_json::to_vec_pretty(&config).map_err(|error| Error::credentials("writing", &self.file(), error))?;
        write_secret(&self.dir, &self.file(), &bytes)
            .map_err(|error| Error::credentials("writing", &self.file(), error))
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.file()
    }
}

/// Asks the cluster for a certificate, again after failures that may pass.
async fn sign(client: &Client, node: &str, request: &str) -> Result<Vec<u8>, Error> {
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let object = CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some("node-csr-".to_string()),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.as_bytes().to_vec()),
            signer_name: SIGNER.to_string(),
            usages: Some(vec!["digital signature".to_string(), "client auth".to_string()]),
            ..CertificateSigningRequestSpec::default()
        },
        ..CertificateSigningRequest::default()
    };
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
    meta::failpoint::hit("node.certificate.wanted");
    let made = loop {
        match api.create(&PostParams::default(), &object).await {
            Ok(made) => break made,
            Err(error) if client::is_transient(&error) => {
                tracing::warn!(%error, "asking for a certificate; it is tried again");
                tokio::time::sleep(backoff.next_delay()).await;
            }
            Err(error) => {
                return Err(Error::Api {
                    doing: "asking for a certificate",
                    source: error,
                });
            }
        }
    };
    let name = made.metadata.name.unwrap_or_default();
    let decided = |csr: Option<&CertificateSigningRequest>| {
        csr.and_then(|csr| csr.status.as_ref()).is_some_and(|status| {
            status.certificate.is_some()
                || status
                    .conditions
                    .iter()
                    .flatten()
                    .any(|c| c.type_ == "Denied" || c.type_ == "Failed")
        })
    };
    let answer = tokio::time::timeout(ANSWER, await_condition(api, &name, decided)).await;
    let csr = answer
        .map_err(|_| Error::NoCertificate {
            node: node.to_string(),
            reason: "nobody answered the request".to_string(),
        })?
        .map_err(|error| Error::NoCertificate {
            node: node.to_string(),
            reason: error.to_string(),
        })?;
    let status = csr.and_then(|csr| csr.status).unwrap_or_default();
    status.certificate.map(|certificate| certificate.0).ok_or_else(|| {
        let denied = status
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == "Denied" || c.type_ == "Failed");
        let reason = denied
            .and_then(|c| c.message.clone())
            .unwrap_or_else(|| "the request was denied".to_string());
        Error::NoCertificate {
            node: node.to_string(),
            reason,
        }
    })
}

impl Credentials {
    /// What a look into the certificate gives.
    fn look<T>(&self, at: impl FnOnce(&X509Certificate<'_>) -> Option<T>) -> Option<T> {
        let der = CertificateDer::from_pem_slice(&self.certificate).ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
        at(&certificate)
    }

    /// From when until when it holds, in seconds.
    fn validity(&self) -> (i64, i64) {
        let of = |certificate: &X509Certificate<'_>| {
            let validity = certificate.validity();
            Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
        };
        self.look(of).unwrap_or_default()
    }

    /// Whether the server still takes it.
    pub(crate) fn is_valid(&self) -> bool {
        self.validity().1 > Timestamp::now().as_second()
    }

    /// Whether it is this node's, which may have got another name.
    fn is_of(&self, node: &str) -> bool {
        let name = self.look(|certificate| {
            let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
            Some(name.to_owned())
        });
        name.is_some_and(|name| name.strip_prefix("system:node:") == Some(node))
    }

    /// Whether it is time for the next one.
    pub(crate) fn is_due(&self) -> bool {
        self.renew_in().is_zero()
    }

    /// When to ask for the next certificate.
    pub(crate) fn renew_in(&self) -> Duration {
        let (from, until) = self.validity();
        let at = renewal(
            from,
            until,
            self.certificate.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)),
        );
        let left = SignedDuration::from_secs(at - Timestamp::now().as_second());
        Duration::try_from(left).unwrap_or_default()
    }

    /// `host:port` of the server.
    pub(crate) fn authority(&self) -> String {
        let host = self.server.host().unwrap_or("127.0.0.1");
        format!("{host}:{}", self.server.port_u16().unwrap_or(443))
    }

    /// The server's address, when nobody but this host reaches it.
    pub(crate) fn loopback(&self) -> Option<std::net::SocketAddr> {
        let address: std::net::SocketAddr = self.authority().parse().ok()?;
        address.ip().is_loopback().then_some(address)
    }

    pub(crate) fn address(&self) -> String {
        self.authority()
    }

    pub(crate) fn server_name(&self) -> Result<ServerName<'static>, Error> {
        let host = self
            .server
            .host()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_string();
        ServerName::try_from(host).map_err(|error| Error::Server(error.to_string()))
    }

    /// TLS that trusts the cluster's CA alone and shows the node's certificate.
    pub(crate) fn tls(&self) -> Result<Arc<rustls::ClientConfig>, Error> {
        let bad = |error: &dyn std::fmt::Display| Error::Server(error.to_string());
        let mut roots = rustls::RootCertStore::empty();
        for der in CertificateDer::pem_slice_iter(&self.ca) {
            roots
                .add(der.map_err(|error| bad(&error))?)
                .map_err(|error| bad(&error))?;
        }
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| bad(&e))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| bad(&error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| bad(&error))?;
        Ok(Arc::new(config))
    }
}

/// As kubelets do it: when 70 to 90 percent of its time is over, so that the nodes of a cluster that began together don't
/// ask together. Where in between follows from the certificate, so that a restart doesn't change it.
fn renewal(from: i64, until: i64, seed: u8) -> i64 {
    let percent = 70 + i64::from(seed) * 20 / i64::from(u8::MAX);
    from + (until - from).max(0) * percent / 100
}

fn parse(server: &str) -> Result<http::Uri, Error> {
    server
        .parse()
        .map_err(|error| Error::Server(format!("{server:?}: {error}")))
}

/// A file for root alone, whole or not at all.
fn write_secret(dir: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    let temp = path.with_extension("new");
    let _ = fs::remove_file(&temp);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temp)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(temp, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str, from: i64, until: i64) -> Credentials {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let time = |seconds: i64| std::time::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs());
        params.not_before = time(from).into();
        params.not_after = time(until).into();
        let key = KeyPair::generate().unwrap();
        Credentials {
            server: parse("https://127.0.0.1:6443").unwrap(),
            ca: Vec::new(),
            certificate: params.self_signed(&key).unwrap().pem().into_bytes(),
            key: Vec::new(),
        }
    }

    #[test]
    fn a_certificate_is_renewed_long_before_its_end() {
        assert_eq!(renewal(0, 1000, 0), 700);
        assert_eq!(renewal(0, 1000, u8::MAX), 900);
        let now = Timestamp::now().as_second();
        let fresh = certificate("system:node:n1", now - 10, now + 90);
        assert!(fresh.is_valid() && !fresh.is_due());
        let left = fresh.renew_in().as_secs();
        assert!((55..=85).contains(&left), "{left}");
        let old = certificate("system:node:n1", now - 95, now + 5);
        assert!(old.is_valid() && old.is_due());
        let over = certificate("system:node:n1", now - 95, now - 5);
        assert!(!over.is_valid() && over.is_due());
    }

    #[test]
    fn a_certificate_belongs_to_one_node() {
        let own = certificate("system:node:n1", 0, 10);
        assert!(own.is_of("n1") && !own.is_of("n2") && !own.is_of("system:node:n1"));
    }
}
