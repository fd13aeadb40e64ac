//! The zone: services by namespace and name, and the questions that they answer. It does no input or output.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::records::{Endpoint, Kind, Port, Service};

/// The version of the schema that the records follow.
pub(crate) const SCHEMA: &str = "1.1.0";

/// All names of a cluster. A clone shares its services, so that a change costs little.
#[derive(Clone, Debug)]
pub struct Zone {
    domain: Vec<String>,
    services: HashMap<(String, String), Arc<Service>>,
    /// Names by address, for PTR: services and endpoints of headless ones.
    names: HashMap<IpAddr, Vec<Vec<String>>>,
    /// How many services a namespace has: its name exists as long as there is one.
    namespaces: HashMap<String, usize>,
    /// Names outside of the domain that are answered here and never asked for elsewhere.
    hosts: HashMap<Vec<String>, Vec<IpAddr>>,
    serial: u32,
}

/// What a question finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Addresses.
    Addresses(Vec<IpAddr>),
    /// Another name stands for this one.
    Alias(String),
    /// Where to connect: port, name, and its addresses.
    Targets(Vec<Target>),
    /// The version of the schema.
    Version,
    /// Something is there, but not of a kind that is kept here.
    Empty,
    /// No such name.
    Nothing,
}

/// What an SRV record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) labels: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Zone {
    /// An empty zone for a cluster domain such as `cluster.local`.
    pub fn new(domain: &str) -> Zone {
        Zone {
            domain: labels_of(domain),
            services: HashMap::new(),
            names: HashMap::new(),
            namespaces: HashMap::new(),
            hosts: HashMap::new(),
            serial: 1,
        }
    }

    /// Puts a service, in the place of the one of that name.
    pub fn put(&mut self, namespace: &str, name: &str, service: Service) {
        self.remove(namespace, name);
        let (namespace, name) = (namespace.to_ascii_lowercase(), name.to_ascii_lowercase());
        for (address, labels) in reverse(&namespace, &name, &service) {
            self.names.entry(address).or_default().push(labels);
        }
        *self.namespaces.entry(namespace.clone()).or_default() += 1;
        self.services.insert((namespace, name), Arc::new(service));
        self.serial = self.serial.wrapping_add(1);
    }

    /// Removes a service; one that isn't there is no error.
    pub fn remove(&mut self, namespace: &str, name: &str) {
        let (namespace, name) = (namespace.to_ascii_lowercase(), name.to_ascii_lowercase());
        let Some(service) = self.services.remove(&(namespace.clone(), name.clone())) else {
            return;
        };
        for (address, labels) in reverse(&namespace, &name, &service) {
            if let Some(names) = self.names.get_mut(&address) {
                if let Some(index) = names.iter().position(|known| *known == labels) {
                    names.remove(index);
                }
                if names.is_empty() {
                    self.names.remove(&address);
                }
            }
        }
        if let Some(count) = self.namespaces.get_mut(&namespace) {
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(&namespace);
            }
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// Puts a name that is not of the cluster's domain, such as that of its registry. Names below it are others'.
    pub fn put_host(&mut self, name: &str, addresses: Vec<IpAddr>) {
        self.hosts.insert(labels_of(name), addresses);
        self.serial = self.serial.wrapping_add(1);
    }

    /// The number of services.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether there is no service.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// The cluster domain's labels.
    pub(crate) fn domain(&self) -> &[String] {
        &self.domain
    }

    /// Changes with every change of the zone.
    pub(crate) fn serial(&self) -> u32 {
        self.serial
    }

    /// The labels of a name below the cluster domain; `None` for a name that is not of this zone.
    pub(crate) fn below<'a>(&self, labels: &'a [String]) -> Option<&'a [String]> {
        labels.strip_suffix(self.domain.as_slice())
    }

    /// The addresses of a name outside of the domain. Labels are lower case.
    pub(crate) fn host(&self, labels: &[String]) -> Option<&[IpAddr]> {
        self.hosts.get(labels).map(Vec::as_slice)
    }

    /// Full names of an address, as labels.
    pub(crate) fn names_of(&self, address: IpAddr) -> Vec<Vec<String>> {
        let names = self.names.get(&address).into_iter().flatten();
        names.map(|labels| self.full(labels)).collect()
    }

    /// What a name below the cluster domain is. Labels are lower case.
    pub(crate) fn find(&self, below: &[String]) -> Found {
        let labels: Vec<&str> = below.iter().map(String::as_str).collect();
        match labels.as_slice() {
            [] => Found::Empty,
            ["dns-version"] => Found::Version,
            ["svc" | "pod"] => Found::Empty,
            [namespace, "svc"] if self.namespaces.contains_key(*namespace) => Found::Empty,
            [name, namespace, "svc"] => self.service(namespace, name, |service| self.by_name(service)),
            [rest @ .., name, namespace, "svc"] => self.service(namespace, name, |service| {
                self.below_service(service, rest, &[name, namespace, "svc"])
            }),
            [namespace, "pod"] if self.namespaces.contains_key(*namespace) => Found::Empty,
            [address, _, "pod"] => {
                pod_address(address).map_or(Found::Nothing, |address| Found::Addresses(vec![address]))
            }
            _ => Found::Nothing,
        }
    }

    fn service(&self, namespace: &str, name: &str, find: impl Fn(&Service) -> Found) -> Found {
        let found = self.services.get(&(namespace.to_owned(), name.to_owned()));
        found.map_or(Found::Nothing, |service| find(service))
    }

    fn by_name(&self, service: &Service) -> Found {
        match &service.kind {
            Kind::Cluster(addresses) => Found::Addresses(addresses.clone()),
            Kind::External(name) => Found::Alias(name.clone()),
            // The specification wants no such name when nobody is there.
            Kind::Headless(endpoints) if endpoints.iter().all(|endpoint| endpoint.addresses.is_empty()) => {
                Found::Nothing
            }
            Kind::Headless(endpoints) => Found::Addresses(
                endpoints
                    .iter()
                    .flat_map(|endpoint| endpoint.addresses.iter().copied())
                    .collect(),
            ),
        }
    }

    fn below_service(&self, service: &Service, rest: &[&str], of: &[&str]) -> Found {
        match rest {
            [port, protocol] if port.starts_with('_') && protocol.starts_with('_') => {
                let targets = self.targets(service, &port[1..], protocol, of);
                if targets.is_empty() {
                    Found::Nothing
                } else {
                    Found::Targets(targets)
                }
            }
            // `_tcp` has no record itself, but names below it.
            [protocol]
                if service
                    .ports
                    .iter()
                    .any(|port| port.name.is_some() && port.protocol.label() == *protocol) =>
            {
                Found::Empty
            }
            [hostname] => {
                let Kind::Headless(endpoints) = &service.kind else {
                    return Found::Nothing;
                };
                let named = endpoints.iter().filter(|endpoint| endpoint.label() == *hostname);
                let addresses: Vec<IpAddr> = named.flat_map(|endpoint| endpoint.addresses.iter().copied()).collect();
                if addresses.is_empty() {
                    Found::Nothing
                } else {
                    Found::Addresses(addresses)
                }
            }
            _ => Found::Nothing,
        }
    }

    fn targets(&self, service: &Service, name: &str, protocol: &str, of: &[&str]) -> Vec<Target> {
        let wanted = |port: &&Port| {
            let named = port
                .name
                .as_deref()
                .is_some_and(|known| known.eq_ignore_ascii_case(name));
            named && port.protocol.label() == protocol
        };
        let Some(port) = service.ports.iter().find(wanted) else {
            return Vec::new();
        };
        let own: Vec<String> = of.iter().map(|label| (*label).to_owned()).collect();
        match &service.kind {
            Kind::Cluster(addresses) => {
                vec![Target {
                    port: port.port,
                    labels: self.full(&own),
                    addresses: addresses.clone(),
                }]
            }
            Kind::Headless(endpoints) => {
                let target = |endpoint: &Endpoint| {
                    let mut labels = vec![endpoint.label()];
                    labels.extend_from_slice(&own);
                    let port = endpoint.ports.iter().find(wanted).unwrap_or(port).port;
                    Target {
                        port,
                        labels: self.full(&labels),
                        addresses: endpoint.addresses.clone(),
                    }
                };
                endpoints
                    .iter()
                    .filter(|endpoint| !endpoint.addresses.is_empty())
                    .map(target)
                    .collect()
            }
            Kind::External(_) => Vec::new(),
        }
    }

    fn full(&self, below: &[String]) -> Vec<String> {
        below.iter().chain(&self.domain).cloned().collect()
    }
}

/// A name's labels in lower case.
fn labels_of(name: &str) -> Vec<String> {
    let labels = name.trim_end_matches('.').split('.').filter(|label| !label.is_empty());
    labels.map(str::to_ascii_lowercase).collect()
}

/// The addresses of a service with the names, below the cluster domain, that they lead back to.
fn reverse(namespace: &str, name: &str, service: &Service) -> Vec<(IpAddr, Vec<String>)> {
    let own = [name, namespace, "svc"].map(str::to_owned).to_vec();
    match &service.kind {
        Kind::Cluster(addresses) => addresses.iter().map(|address| (*address, own.clone())).collect(),
        Kind::External(_) => Vec::new(),
        Kind::Headless(endpoints) => {
            let named = endpoints.iter().flat_map(|endpoint| {
                let labels: Vec<String> = std::iter::once(endpoint.label()).chain(own.iter().cloned()).collect();
                endpoint.addresses.iter().map(move |address| (*address, labels.clone()))
            });
            named.collect()
        }
    }
}

/// The address in a pod's label: `10-42-0-7`, or with the colons of IPv6 as dashes.
fn pod_address(label: &str) -> Option<IpAddr> {
    if let Ok(address) = label.replace('-', ".").parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(address));
    }
    label.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}
