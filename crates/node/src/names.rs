//! How pods find names: their `/etc/hosts` and `/etc/resolv.conf`, by the rules of the API's `dnsPolicy`.

use std::fmt::Write as _;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::pods::Facts;
use crate::pods::start::hostname;

/// The limits that resolvers have.
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;

/// What the cluster's names look like.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) cluster_domain: String,
    pub(crate) cluster_dns: Option<IpAddr>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Resolver {
    nameservers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

impl Names {
    /// `/etc/hosts` of a pod.
    pub(crate) fn hosts(&self, pod: &Pod, spec: &PodSpec, facts: &Facts) -> String {
        let mut text = String::new();
        if spec.host_network == Some(true) {
            text.push_str("# Kubernetes-managed hosts file (host network).\n");
            text.push_str(&std::fs::read_to_string("/etc/hosts").unwrap_or_default());
        } else {
            text.push_str("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n");
            text.push_str(
                "::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\n",
            );
            text.push_str("fe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
            let name = hostname(pod, spec);
            for ip in &facts.pod_ips {
                let _ = match self.fully_qualified(pod, spec, &name) {
                    Some(full) => writeln!(text, "{ip}\t{full}\t{name}"),
                    None => writeln!(text, "{ip}\t{name}"),
                };
            }
        }
        let aliases = spec.host_aliases.as_deref().unwrap_or_default();
        if !aliases.is_empty() {
            text.push_str("\n# Entries added by HostAliases.\n");
        }
        for alias in aliases {
            let _ = writeln!(
                text,
                "{}\t{}",
                alias.ip,
                alias.hostnames.as_deref().unwrap_or_default().join("\t")
            );
        }
        text
    }

    fn fully_qualified(&self, pod: &Pod, spec: &PodSpec, name: &str) -> Option<String> {
        let subdomain = spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty())?;
        let namespace = pod.metadata.namespace.as_deref()?;
        Some(format!("{name}.{subdomain}.{namespace}.svc.{}", self.cluster_domain))
    }

    /// `/etc/resolv.conf` of a pod.
    pub(crate) fn resolv_conf(&self, pod: &Pod, spec: &PodSpec) -> String {
        let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        self.resolver(pod, spec, &host).print()
    }

    fn resolver(&self, pod: &Pod, spec: &PodSpec, host: &str) -> Resolver {
        let host = Resolver::parse(host);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let cluster = match (spec.dns_policy.as_deref(), spec.host_network == Some(true)) {
            (Some("None"), _) => return Resolver::default().with(spec),
            (Some("Default"), _) | (Some("ClusterFirst") | None, true) => false,
            _ => true,
        };
        let resolver = match self.cluster_dns.filter(|_| cluster) {
            Some(dns) => {
                let domain = &self.cluster_domain;
                let mut searches = vec![
                    format!("{namespace}.svc.{domain}"),
                    format!("svc.{domain}"),
                    domain.clone(),
                ];
                searches.extend(host.searches);
                Resolver {
                    nameservers: vec![dns.to_string()],
                    searches,
                    options: vec!["ndots:5".to_string()],
                }
            }
            None => host,
        };
        resolver.with(spec)
    }
}

impl Resolver {
    fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => resolver.nameservers.extend(words.next().map(str::to_string)),
                Some("search" | "domain") => resolver.searches = words.map(str::to_string).collect(),
                Some("options") => resolver.options.extend(words.map(str::to_string)),
                _ => {}
            }
        }
        resolver
    }

    /// Adds the pod's own `dnsConfig`.
    fn with(mut self, spec: &PodSpec) -> Self {
        let Some(config) = &spec.dns_config else {
            return self.limited();
        };
        self.nameservers.extend(config.nameservers.iter().flatten().cloned());
        self.searches.extend(config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            self.options.retain(|old| old.split(':').next() != Some(name));
            self.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            });
        }
        self.limited()
    }

    fn limited(mut self) -> Self {
        let unique = |list: &mut Vec<String>, limit: usize| {
            let mut seen = Vec::new();
            list.retain(|entry| {
                !seen.contains(entry) && {
                    seen.push(entry.clone());
                    true
                }
            });
            list.truncate(limit);
        };
        unique(&mut self.nameservers, MAX_NAMESERVERS);
        unique(&mut self.searches, MAX_SEARCHES);
        self
    }

    fn print(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            let _ = writeln!(text, "search {}", self.searches.join(" "));
        }
        for server in &self.nameservers {
            let _ = writeln!(text, "nameserver {server}");
        }
        if !self.options.is_empty() {
            let _ = writeln!(text, "options {}", self.options.join(" "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{PodDNSConfig, PodDNSConfigOption};

    const HOST: &str = "# comment\nnameserver 9.9.9.9\nsearch corp.example\noptions timeout:2\n";

    fn print(policy: &str, host_network: bool, config: Option<PodDNSConfig>) -> String {
        let names = Names {
            cluster_domain: "cluster.local".to_string(),
            cluster_dns: Some([10, 96, 0, 10].into()),
        };
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("ns".to_string());
        let spec = PodSpec {
            dns_policy: Some(policy.to_string()),
            host_network: Some(host_network),
            dns_config: config,
            ..PodSpec::default()
        };
        names.resolver(&pod, &spec, HOST).print()
    }

    #[test]
    fn policies() {
        let cluster = "search ns.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.96.0.10\noptions ndots:5\n";
        let host = "search corp.example\nnameserver 9.9.9.9\noptions timeout:2\n";
        assert_eq!(print("ClusterFirst", false, None), cluster);
        assert_eq!(print("ClusterFirst", true, None), host);
        assert_eq!(print("ClusterFirstWithHostNet", true, None), cluster);
        assert_eq!(print("Default", false, None), host);
        let option = PodDNSConfigOption {
            name: Some("ndots".to_string()),
            value: Some("2".to_string()),
        };
        let own = PodDNSConfig {
            nameservers: Some(vec!["1.1.1.1".to_string()]),
            searches: Some(vec!["x".to_string()]),
            options: Some(vec![option]),
        };
        assert_eq!(
            print("None", false, Some(own.clone())),
            "search x\nnameserver 1.1.1.1\noptions ndots:2\n"
        );
        assert!(print("ClusterFirst", false, Some(own)).ends_with("nameserver 1.1.1.1\noptions ndots:2\n"));
    }
}
