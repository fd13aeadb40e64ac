//! Where a proxied request goes: from `[SCHEME:]NAME[:PORT]` and the objects of that name to an address and a way to it.

use meta::Status;
use rand::seq::IndexedRandom as _;
use serde_json::Value;
use watch::Scope;

use super::Call;
use crate::object::{self, text};
use crate::rest::update;

/// How the place is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The node answers itself, as a kubelet.
    Kubelet(String),
    /// The node of this name connects to the address.
    Node(String),
    /// The server connects to the address.
    Direct,
}

/// A server that is proxied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) way: Way,
    pub(crate) https: bool,
    /// An IP address; empty for a kubelet.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The kubelet's port, as everyone knows it.
const KUBELET_PORT: u16 = 10250;

/// `[SCHEME:]NAME[:PORT]`, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Id<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

impl<'a> Id<'a> {
    fn parse(id: &'a str) -> Option<Id<'a>> {
        let parts: Vec<&str> = id.split(':').collect();
        let (scheme, name, port) = match *parts.as_slice() {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => return None,
        };
        (matches!(scheme, "" | "http" | "https") && !name.is_empty()).then_some(Id { scheme, name, port })
    }
}

impl Place {
    /// The place that a request names.
    pub(super) async fn find(call: &Call) -> Result<Place, Status> {
        let whole = call.name()?;
        let plural = call.kind.resource.resource.as_str();
        let Some(id) = Id::parse(whole) else {
            let what = plural.trim_end_matches('s');
            return Err(Status::bad_request(format!("invalid {what} request {whole:?}")));
        };
        match plural {
            "pods" => of_pod(&current(call, id.name).await?, &id),
            "nodes" => of_node(&current(call, id.name).await?, &id),
            _ => of_service(call, &current(call, id.name).await?, &id),
        }
    }
}

async fn current(call: &Call, name: &str) -> Result<Value, Status> {
    let found = update::current(&call.core, &call.kind, call.namespace(), name).await?;
    Ok(found.ok_or_else(|| call.kind.not_found(name))?.tree)
}

fn of_pod(pod: &Value, id: &Id<'_>) -> Result<Place, Status> {
    let node = text(pod, &["spec", "nodeName"]);
    let host = text(pod, &["status", "podIP"]);
    if node.is_empty() || host.is_empty() {
        return Err(Status::bad_request("address not allowed"));
    }
    let https = id.scheme == "https";
    let first = || {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let mut ports = containers.filter_map(|container| container["ports"][0]["containerPort"].as_u64());
        ports.next().and_then(|port| u16::try_from(port).ok())
    };
    let port = match id.port {
        "" => first().unwrap_or(if https { 443 } else { 80 }),
        port => number(port)?,
    };
    Ok(Place {
        way: Way::Node(node.to_owned()),
        https,
        host: host.to_owned(),
        port,
    })
}

fn of_node(node: &Value, id: &Id<'_>) -> Result<Place, Status> {
    let name = object::name(node).to_owned();
    let port = match id.port {
        "" => KUBELET_PORT,
        port => number(port)?,
    };
    if port == KUBELET_PORT {
        return Ok(Place {
            way: Way::Kubelet(name),
            https: false,
            host: String::new(),
            port,
        });
    }
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let mut internal = addresses.filter(|address| address["type"] == "InternalIP");
    let host = internal
        .next()
        .map(|address| text(address, &["address"]))
        .unwrap_or_default();
    if host.is_empty() {
        return Err(Status::bad_request("address not allowed"));
    }
    Ok(Place {
        way: Way::Node(name),
        https: id.scheme == "https",
        host: host.to_owned(),
        port,
    })
}

fn number(port: &str) -> Result<u16, Status> {
    let number = port.parse::<u16>().ok().filter(|port| *port > 0);
    number.ok_or_else(|| Status::bad_request(format!("invalid port {port:?}")))
}

fn of_service(call: &Call, service: &Value, id: &Id<'_>) -> Result<Place, Status> {
    let port_name = port_name(service, id)?;
    let mut ready = Vec::new();
    let slices = call.core.kinds.find("discovery.k8s.io", "v1", "endpointslices");
    let slices = slices.ok_or_else(Status::no_such_resource)?;
    let namespace = object::namespace(service);
    for version in slices.cache()?.list(&Scope::namespace(namespace)).iter() {
        let slice = slices.tree(version.bytes(), version.revision())?;
        if slice["metadata"]["labels"]["kubernetes.io/service-name"] == id.name {
            ready.extend(places(&slice, &port_name, id.scheme == "https"));
        }
    }
    let chosen = ready.choose(&mut rand::rng()).cloned();
    chosen.ok_or_else(|| Status::service_unavailable(format!("no endpoints available for service {:?}", id.name)))
}

/// Endpoints know a service's ports by name.
fn port_name(service: &Value, id: &Id<'_>) -> Result<String, Status> {
    let Ok(wanted) = id.port.parse::<u64>() else {
        return Ok(id.port.to_owned());
    };
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let found = ports.find(|port| port["port"].as_u64() == Some(wanted));
    let found = found.map(|port| text(port, &["name"]).to_owned());
    found
        .ok_or_else(|| Status::service_unavailable(format!("no service port {wanted} found for service {:?}", id.name)))
}

/// The endpoints of a slice that take connections on the port.
pub(crate) fn places(slice: &Value, port_name: &str, https: bool) -> Vec<Place> {
    let ports = slice["ports"].as_array().into_iter().flatten();
    let mut named = ports.filter(|port| text(port, &["name"]) == port_name);
    let port = named.next().and_then(|port| u16::try_from(port["port"].as_u64()?).ok());
    let Some(port) = port else { return Vec::new() };
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false);
    ready
        .filter_map(|endpoint| {
            let host = endpoint["addresses"][0].as_str()?.to_owned();
            let way = match text(endpoint, &["nodeName"]) {
                "" => Way::Direct,
                node => Way::Node(node.to_owned()),
            };
            Some(Place { way, https, host, port })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_with_schemes_and_ports() {
        let id = |scheme, name, port| Some(Id { scheme, name, port });
        assert_eq!(Id::parse("web"), id("", "web", ""));
        assert_eq!(Id::parse("web:http"), id("", "web", "http"));
        assert_eq!(Id::parse("https:web:443"), id("https", "web", "443"));
        assert_eq!(Id::parse("http:web:"), id("http", "web", ""));
        assert_eq!(Id::parse("ftp:web:21"), None);
        assert_eq!(Id::parse("a:b:c:d"), None);
        assert_eq!(Id::parse(""), None);
    }

    #[test]
    fn a_services_endpoints() {
        let service = json!({"spec": {"ports": [{"name": "web", "port": 80}]}});
        let named = |port| {
            port_name(
                &service,
                &Id {
                    scheme: "",
                    name: "s",
                    port,
                },
            )
        };
        assert_eq!(named("80").unwrap(), "web");
        assert_eq!(named("web").unwrap(), "web");
        assert_eq!(named("81").unwrap_err().code, 503);
        let slice = json!({
            "ports": [{"name": "web", "port": 8080}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "nodeName": "n", "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"]},
            ],
        });
        let found = places(&slice, "web", false);
        let of = |way, host: &str| Place {
            way,
            https: false,
            host: host.into(),
            port: 8080,
        };
        assert_eq!(
            found,
            [of(Way::Node("n".into()), "10.0.0.1"), of(Way::Direct, "10.0.0.3")]
        );
        assert!(places(&slice, "", false).is_empty());
    }

    #[test]
    fn a_pods_first_port() {
        let pod = json!({
            "spec": {"nodeName": "n", "containers": [{}, {"ports": [{"containerPort": 9376}]}]},
            "status": {"podIP": "10.0.0.9"},
        });
        let port = |id: &str| of_pod(&pod, &Id::parse(id).unwrap()).map(|place| place.port);
        assert_eq!(port("p").unwrap(), 9376);
        assert_eq!(port("p:80").unwrap(), 80);
        assert!(port("p:http").is_err());
    }
}
