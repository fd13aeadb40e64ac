//! From the name of a service, or a URL, to the address that is called now, and the way to it.

use meta::ObjectKey;
use rand::seq::IndexedRandom as _;
use serde_json::Value;
use watch::Scope;

use crate::core::Core;
use crate::object::text;
use crate::rest::sub::proxy::place::{Place, Way, places};

/// What is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum To {
    Service {
        namespace: String,
        name: String,
        port: u16,
    },
    Url {
        /// As it is written, the port included if there is one.
        authority: String,
        host: String,
        port: u16,
    },
}

impl To {
    /// Takes a URL apart: where, and the path.
    pub(super) fn parse(url: &str) -> Result<(To, String), String> {
        let uri: http::Uri = url.parse().map_err(|error| format!("Unparsable URL: {error}"))?;
        let authority = uri
            .authority()
            .filter(|_| uri.scheme().is_some())
            .ok_or("webhook configuration must have either service or URL")?;
        let to = To::Url {
            authority: authority.as_str().to_owned(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(443),
        };
        Ok((to, uri.path().to_owned()))
    }

    /// The name that the certificate must have.
    pub(super) fn server_name(&self) -> String {
        match self {
            To::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
            To::Url { host, .. } => host.clone(),
        }
    }

    /// What stands in the `Host` header.
    pub(super) fn host(&self) -> String {
        match self {
            To::Service { port, .. } => format!("{}:{port}", self.server_name()),
            To::Url { authority, .. } => authority.clone(),
        }
    }

    /// The address to connect to: of a service, that of one of its ready endpoints.
    pub(super) async fn resolve(&self, core: &Core) -> Result<Place, String> {
        let places = self.places(core).await?;
        let chosen = places.choose(&mut rand::rng()).cloned();
        chosen.ok_or_else(|| "there is no address".to_owned())
    }

    /// All addresses that could be connected to, at least one.
    pub(super) async fn places(&self, core: &Core) -> Result<Vec<Place>, String> {
        let (namespace, name, port) = match self {
            To::Service { namespace, name, port } => (namespace, name, *port),
            To::Url { host, port, .. } => return Ok(vec![direct(host, *port)]),
        };
        let key = ObjectKey::namespaced(namespace.as_str(), name.as_str());
        let service = match core.cached_tree("", "services", &key) {
            Some(service) => Some(service),
            None => core
                .fresh_tree("", "services", &key)
                .await
                .map_err(|status| status.message)?,
        };
        let service = service.ok_or_else(|| format!("service {name:?} not found"))?;
        if service["spec"]["type"] == "ExternalName" {
            return Ok(vec![direct(text(&service, &["spec", "externalName"]), port)]);
        }
        let port_name =
            port_name(&service, port).ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
        let mut ready = ready(core, namespace, name, &port_name)?;
        if ready.is_empty() {
            // They may have become ready a moment ago.
            core.hub.fresh().await.map_err(|error| error.to_string())?;
            ready = self::ready(core, namespace, name, &port_name)?;
        }
        if ready.is_empty() {
            return Err(format!("no endpoints available for service {name:?}"));
        }
        Ok(ready)
    }
}

fn direct(host: &str, port: u16) -> Place {
    Place {
        way: Way::Direct,
        https: false,
        host: host.to_owned(),
        port,
    }
}

fn port_name(service: &Value, port: u16) -> Option<String> {
    let mut ports = service["spec"]["ports"].as_array()?.iter();
    let found = ports.find(|one| one["port"] == port)?;
    Some(text(found, &["name"]).to_owned())
}

fn ready(core: &Core, namespace: &str, name: &str, port_name: &str) -> Result<Vec<Place>, String> {
    let slices = core
        .kinds
        .any("discovery.k8s.io", "endpointslices")
        .ok_or("endpoint slices aren't served")?;
    let cache = slices.cache().map_err(|status| status.message.clone())?;
    let mut ready = Vec::new();
    for version in cache.list(&Scope::namespace(namespace)).iter() {
        if version.projection().label("kubernetes.io/service-name") != Some(name) {
            continue;
        }
        let slice = slices.tree(version.bytes(), version.revision());
        ready.extend(places(&slice.map_err(|status| status.message)?, port_name, false));
    }
    Ok(ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let (to, path) = To::parse("https://hooks.example.com/a/b").unwrap();
        assert_eq!((to.host().as_str(), path.as_str()), ("hooks.example.com", "/a/b"));
        assert_eq!(to.server_name(), "hooks.example.com");
        let (to, path) = To::parse("https://[::1]:8443").unwrap();
        assert_eq!((to.host().as_str(), path.as_str()), ("[::1]:8443", "/"));
        assert_eq!(to.server_name(), "::1");
        assert!(To::parse("nothing").is_err());
    }
}
