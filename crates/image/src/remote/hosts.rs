//! Which hosts are asked for a name: the registry itself, and before it the mirrors of a hosts file.
//!
//! The files are those of containerd: `DIR/HOST[:PORT]/hosts.toml`, or `DIR/_default/hosts.toml` for all others; and
//! those of Docker: `*.crt` in the same directory are CAs, `*.cert` and `*.key` a client's certificate.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde::Deserialize;

use super::url;
use crate::error::{At as _, Result, configuration};

/// What a host is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Pull,
    Push,
}

/// The cluster's own registry, as a node reaches it.
#[derive(Clone)]
pub struct Cluster {
    /// Its name in images: `registry.gantry.local`.
    pub name: String,
    /// Where it is, `https://ADDRESS:PORT`.
    pub url: String,
    /// CA and client certificate.
    pub tls: Arc<rustls::ClientConfig>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({} at {})", self.name, self.url)
    }
}

/// The configuration of registries' hosts.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// Where the hosts files are.
    pub dir: Option<PathBuf>,
    /// The cluster's own registry: asked first for names that it may know.
    pub cluster: Option<Cluster>,
}

/// How TLS is done with a host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    pub(crate) authorities: Vec<PathBuf>,
    pub(crate) identities: Vec<(PathBuf, PathBuf)>,
    pub(crate) skip_verify: bool,
    pub(crate) given: Option<Arc<rustls::ClientConfig>>,
}

/// A host that may have what a name means.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Up to and without the repository: `https://host/v2`.
    pub(crate) base: Uri,
    /// For messages.
    pub(crate) host: String,
    /// The registry that a mirror stands for; nobody but a mirror is told.
    pub(crate) namespace: Option<String>,
    pub(crate) tls: Tls,
    pub(crate) headers: HeaderMap,
    /// Plain HTTP is tried when there is no TLS.
    pub(crate) insecure: bool,
    /// The cluster's own.
    pub(crate) cluster: bool,
}

/// `hosts.toml`, as far as containerd documents it.
#[derive(Debug, Deserialize)]
struct HostsFile {
    server: Option<String>,
    #[serde(default)]
    host: toml::Table,
    #[serde(flatten)]
    own: HostEntry,
}

#[derive(Debug, Default, Clone, Deserialize)]
struct HostEntry {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<toml::Value>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: std::collections::BTreeMap<String, OneOrMany>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn all(&self) -> Vec<&str> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many.iter().map(String::as_str).collect(),
        }
    }
}

impl Hosts {
    /// The hosts to ask for images of `registry`, in order.
    pub(crate) fn endpoints(&self, registry: &str, purpose: Purpose, insecure: bool) -> Result<Vec<Endpoint>> {
        let mut found = Vec::new();
        if let Some(cluster) = &self.cluster {
            let own = cluster.name == registry;
            if own || purpose == Purpose::Pull {
                found.push(Endpoint {
                    base: base(&cluster.url, false, registry)?,
                    host: cluster.name.clone(),
                    namespace: (!own).then(|| registry.to_string()),
                    tls: Tls {
                        given: Some(cluster.tls.clone()),
                        ..Tls::default()
                    },
                    headers: HeaderMap::new(),
                    insecure: false,
                    cluster: true,
                });
            }
            if own {
                return Ok(found);
            }
        }
        match self.file(registry)? {
            Some((dir, file)) => configured(&dir, &file, registry, purpose, insecure, &mut found)?,
            None => found.push(self.plain(registry, insecure)?),
        }
        Ok(found)
    }

    fn file(&self, registry: &str) -> Result<Option<(PathBuf, HostsFile)>> {
        let Some(dir) = &self.dir else { return Ok(None) };
        for name in [registry, "_default"] {
            let dir = dir.join(name);
            let path = dir.join("hosts.toml");
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    let file = toml::from_str(&text)
                        .map_err(|error| configuration(path.display().to_string(), error.message()))?;
                    return Ok(Some((dir, file)));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).at("reading", path),
            }
        }
        Ok(None)
    }

    /// The registry itself, with what Docker's directory says of it.
    fn plain(&self, registry: &str, insecure: bool) -> Result<Endpoint> {
        let mut tls = Tls::default();
        if let Some(dir) = self.dir.as_ref().map(|dir| dir.join(registry)) {
            let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|e| e.path())
                .collect();
            paths.sort();
            for path in paths {
                match path.extension().and_then(|e| e.to_str()) {
                    Some("crt") => tls.authorities.push(path),
                    Some("cert") => tls.identities.push((path.clone(), path.with_extension("key"))),
                    _ => {}
                }
            }
        }
        itself(registry, tls, insecure)
    }
}

/// The registry under its own name. One on this machine may do without TLS, as Docker has it.
fn itself(registry: &str, mut tls: Tls, insecure: bool) -> Result<Endpoint> {
    let address = if registry == "docker.io" {
        "registry-1.docker.io"
    } else {
        registry
    };
    let insecure = insecure || is_local(registry);
    tls.skip_verify |= insecure;
    Ok(Endpoint {
        base: base(&format!("https://{address}"), false, registry)?,
        host: registry.to_string(),
        namespace: None,
        tls,
        headers: HeaderMap::new(),
        insecure,
        cluster: false,
    })
}

fn is_local(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn configured(
    dir: &Path,
    file: &HostsFile,
    registry: &str,
    purpose: Purpose,
    insecure: bool,
    found: &mut Vec<Endpoint>,
) -> Result<()> {
    let path = dir.join("hosts.toml");
    for (address, entry) in &file.host {
        let entry: HostEntry = entry
            .clone()
            .try_into()
            .map_err(|error: toml::de::Error| configuration(path.display().to_string(), error.message()))?;
        if entry.can(purpose) {
            found.push(entry.endpoint(dir, address, registry, insecure)?);
        }
    }
    match &file.server {
        Some(server) if file.own.can(purpose) => {
            let mut endpoint = file.own.endpoint(dir, server, registry, insecure)?;
            // The server is what the registry is, not a mirror of it.
            endpoint.namespace = None;
            found.push(endpoint);
        }
        Some(_) => {}
        None => found.push(itself(registry, file.own.tls(dir)?, insecure)?),
    }
    Ok(())
}

impl HostEntry {
    fn can(&self, purpose: Purpose) -> bool {
        let wanted = match purpose {
            Purpose::Pull => "pull",
            Purpose::Push => "push",
        };
        self.capabilities
            .as_ref()
            .is_none_or(|all| all.iter().any(|one| one == wanted))
    }

    fn endpoint(&self, dir: &Path, address: &str, registry: &str, insecure: bool) -> Result<Endpoint> {
        let base = base(address, self.override_path, registry)?;
        let host = base.authority().map(ToString::to_string).unwrap_or_default();
        let mut headers = HeaderMap::new();
        for (name, values) in &self.header {
            for value in values.all() {
                let bad = |_| {
                    configuration(
                        dir.join("hosts.toml").display().to_string(),
                        format!("header {name:?} is invalid"),
                    )
                };
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| bad(e.to_string()))?;
                headers.append(name, HeaderValue::from_str(value).map_err(|e| bad(e.to_string()))?);
            }
        }
        Ok(Endpoint {
            namespace: Some(registry.to_string()),
            insecure: insecure || is_local(&host),
            host,
            tls: self.tls(dir)?,
            headers,
            base,
            cluster: false,
        })
    }

    fn tls(&self, dir: &Path) -> Result<Tls> {
        let bad = |reason: &str| configuration(dir.join("hosts.toml").display().to_string(), reason);
        let authorities = self.ca.iter().flat_map(OneOrMany::all).map(|ca| dir.join(ca)).collect();
        let mut identities = Vec::new();
        let pair = |value: &toml::Value| -> Option<(PathBuf, PathBuf)> {
            match value {
                toml::Value::String(both) => Some((dir.join(both), dir.join(both))),
                toml::Value::Array(two) => match two.as_slice() {
                    [cert, key] => Some((dir.join(cert.as_str()?), dir.join(key.as_str()?))),
                    [both] => Some((dir.join(both.as_str()?), dir.join(both.as_str()?))),
                    _ => None,
                },
                _ => None,
            }
        };
        match &self.client {
            None => {}
            Some(toml::Value::Array(all)) if all.iter().all(|one| one.is_array()) => {
                for one in all {
                    identities.push(pair(one).ok_or_else(|| bad("client wants [certificate, key] pairs"))?);
                }
            }
            Some(value @ toml::Value::String(_)) => identities.extend(pair(value)),
            Some(toml::Value::Array(all)) => {
                for one in all {
                    identities.push(pair(one).ok_or_else(|| bad("client wants files, or [certificate, key] pairs"))?);
                }
            }
            Some(_) => return Err(bad("client wants files, or [certificate, key] pairs")),
        }
        Ok(Tls {
            authorities,
            identities,
            skip_verify: self.skip_verify,
            given: None,
        })
    }
}

/// `https://host/v2`; a path in the address goes before `/v2` unless it overrides it.
fn base(address: &str, override_path: bool, registry: &str) -> Result<Uri> {
    let address = if address.contains("://") {
        address.to_string()
    } else {
        format!("https://{address}")
    };
    let address = address.trim_end_matches('/');
    let text = if override_path || address.ends_with("/v2") {
        address.to_string()
    } else {
        format!("{address}/v2")
    };
    url::parse(&text, registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(hosts: &Hosts, registry: &str, purpose: Purpose) -> Vec<(String, Option<String>)> {
        let found = hosts.endpoints(registry, purpose, false).unwrap();
        found.into_iter().map(|e| (e.base.to_string(), e.namespace)).collect()
    }

    #[test]
    fn mirrors_come_first_in_the_order_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("docker.io");
        std::fs::create_dir(&place).unwrap();
        let text = r#"
            server = "https://registry-1.docker.io"
            [host."https://z.example"]
            capabilities = ["pull", "resolve"]
            ca = "z.pem"
            [host."http://a.example:5000/prefix"]
            capabilities = ["pull", "resolve", "push"]
            skip_verify = true
            [host."https://b.example/api/oci"]
            override_path = true
        "#;
        std::fs::write(place.join("hosts.toml"), text).unwrap();
        let hosts = Hosts {
            dir: Some(dir.path().to_path_buf()),
            cluster: None,
        };
        let mirror = Some("docker.io".to_string());
        assert_eq!(
            bases(&hosts, "docker.io", Purpose::Pull),
            [
                ("https://z.example/v2".to_string(), mirror.clone()),
                ("http://a.example:5000/prefix/v2".to_string(), mirror.clone()),
                ("https://b.example/api/oci".to_string(), mirror),
                ("https://registry-1.docker.io/v2".to_string(), None),
            ]
        );
        assert_eq!(bases(&hosts, "docker.io", Purpose::Push).len(), 3);
        assert_eq!(
            bases(&hosts, "quay.example", Purpose::Pull),
            [("https://quay.example/v2".to_string(), None)]
        );
        let ca = &hosts.endpoints("docker.io", Purpose::Pull, false).unwrap()[0]
            .tls
            .authorities;
        assert_eq!(ca, &[place.join("z.pem")]);
    }

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("_default")).unwrap();
        std::fs::write(dir.path().join("_default/hosts.toml"), "server = [").unwrap();
        let hosts = Hosts {
            dir: Some(dir.path().to_path_buf()),
            cluster: None,
        };
        let error = hosts.endpoints("x.example", Purpose::Pull, false).unwrap_err();
        assert!(error.to_string().contains("_default/hosts.toml"), "{error}");
    }

    #[test]
    fn registries_of_this_machine_may_do_without_tls() {
        for (registry, local) in [("localhost:5000", true), ("127.0.0.1:5000", true), ("r.example", false)] {
            assert_eq!(is_local(registry), local, "{registry}");
        }
    }
}
