//! A container's environment: the image's, the services', then `envFrom` and `env` in the order that the API states.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};

use super::expand::expand;
use super::field;
use super::resources;
use crate::objects::{Data, Objects};

/// Why a container can't be configured; the text is what users see as `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(pub(crate) String);

/// What the environment depends on besides the container.
pub(crate) struct Surroundings<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) host_ip: &'a str,
    pub(crate) pod_ips: &'a [String],
    /// `NAME_SERVICE_HOST` and the like, of the services in the pod's namespace.
    pub(crate) services: &'a BTreeMap<String, String>,
}

/// The variables that the pod's specification gives, later ones winning; the image's are not in here.
pub(crate) async fn resolve(
    objects: &Objects,
    around: &Surroundings<'_>,
    container: &Container,
) -> Result<Vec<(String, String)>, ConfigError> {
    let namespace = around.pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut vars = Vars::default();
    for (name, value) in around.services {
        vars.set(name, value.clone());
    }
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(map) = &source.config_map_ref {
            let data = objects.config_map(namespace, &map.name).await?;
            vars.add_all(prefix, data, map.optional, || {
                format!("configmap \"{}\" not found", map.name)
            })?;
        }
        if let Some(secret) = &source.secret_ref {
            let data = objects.secret(namespace, &secret.name).await?;
            vars.add_all(prefix, data, secret.optional, || {
                format!("secret \"{}\" not found", secret.name)
            })?;
        }
    }
    for var in container.env.iter().flatten() {
        if let Some(source) = &var.value_from {
            if let Some(value) = from_source(objects, around, container, namespace, source).await? {
                vars.set(&var.name, value);
            }
            continue;
        }
        let value = expand(var.value.as_deref().unwrap_or_default(), |name| vars.get(name));
        vars.set(&var.name, value);
    }
    Ok(vars.list)
}

async fn from_source(
    objects: &Objects,
    around: &Surroundings<'_>,
    container: &Container,
    namespace: &str,
    source: &EnvVarSource,
) -> Result<Option<String>, ConfigError> {
    if let Some(field) = &source.field_ref {
        let value = field::of_pod(around.pod, &field.field_path, Some((around.host_ip, around.pod_ips)));
        return value
            .map(Some)
            .ok_or_else(|| ConfigError(format!("unsupported fieldPath: {}", field.field_path)));
    }
    if let Some(resource) = &source.resource_field_ref {
        return resources::field(around.pod, container, resource)
            .map(Some)
            .map_err(ConfigError);
    }
    if let Some(key) = &source.config_map_key_ref {
        let data = objects.config_map(namespace, &key.name).await?;
        return one_key(data, "configmap", namespace, &key.name, &key.key, key.optional);
    }
    if let Some(key) = &source.secret_key_ref {
        let data = objects.secret(namespace, &key.name).await?;
        return one_key(data, "secret", namespace, &key.name, &key.key, key.optional);
    }
    Ok(None)
}

fn one_key(
    data: Option<Data>,
    kind: &str,
    namespace: &str,
    name: &str,
    key: &str,
    optional: Option<bool>,
) -> Result<Option<String>, ConfigError> {
    let optional = optional.unwrap_or(false);
    let Some(data) = data else {
        return if optional {
            Ok(None)
        } else {
            Err(ConfigError(format!("{kind} \"{name}\" not found")))
        };
    };
    match data.get(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        None if optional => Ok(None),
        None if kind == "secret" => Err(ConfigError(format!(
            "couldn't find key {key} in Secret {namespace}/{name}"
        ))),
        None => Err(ConfigError(format!(
            "couldn't find key {key} in ConfigMap {namespace}/{name}"
        ))),
    }
}

/// Variables in their order, each name once.
#[derive(Default)]
struct Vars {
    list: Vec<(String, String)>,
    index: BTreeMap<String, usize>,
}

impl Vars {
    fn get(&self, name: &str) -> Option<&str> {
        self.index.get(name).map(|&i| self.list[i].1.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        match self.index.get(name) {
            Some(&i) => self.list[i].1 = value,
            None => {
                self.index.insert(name.to_string(), self.list.len());
                self.list.push((name.to_string(), value));
            }
        }
    }

    fn add_all(
        &mut self,
        prefix: &str,
        data: Option<Data>,
        optional: Option<bool>,
        missing: impl Fn() -> String,
    ) -> Result<(), ConfigError> {
        let Some(data) = data else {
            return if optional == Some(true) {
                Ok(())
            } else {
                Err(ConfigError(missing()))
            };
        };
        for (key, value) in data.iter() {
            // Keys that can't be variables are left out, as documented.
            if !key.is_empty() && !key.contains('=') {
                self.set(&format!("{prefix}{key}"), String::from_utf8_lossy(value).into_owned());
            }
        }
        Ok(())
    }
}

/// What `enableServiceLinks` gives for one service: the Docker-links style variables of the API documentation.
pub(crate) fn service_variables(
    vars: &mut BTreeMap<String, String>,
    name: &str,
    cluster_ip: &str,
    ports: &[(Option<String>, i32, String)],
) {
    let upper = |text: &str| text.to_ascii_uppercase().replace(['-', '.'], "_");
    let prefix = upper(name);
    let Some((_, first, _)) = ports.first() else { return };
    vars.insert(format!("{prefix}_SERVICE_HOST"), cluster_ip.to_string());
    vars.insert(format!("{prefix}_SERVICE_PORT"), first.to_string());
    for (i, (port_name, port, protocol)) in ports.iter().enumerate() {
        if let Some(port_name) = port_name.as_deref().filter(|name| !name.is_empty()) {
            vars.insert(format!("{prefix}_SERVICE_PORT_{}", upper(port_name)), port.to_string());
        }
        let lower = protocol.to_ascii_lowercase();
        let url = format!("{lower}://{cluster_ip}:{port}");
        if i == 0 {
            vars.insert(format!("{prefix}_PORT"), url.clone());
        }
        let base = format!("{prefix}_PORT_{port}_{}", protocol.to_ascii_uppercase());
        vars.insert(base.clone(), url);
        vars.insert(format!("{base}_PROTO"), lower);
        vars.insert(format!("{base}_PORT"), port.to_string());
        vars.insert(format!("{base}_ADDR"), cluster_ip.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_gives_the_variables_that_programs_know() {
        let mut vars = BTreeMap::new();
        let ports = [
            (Some("http-web".to_string()), 80, "TCP".to_string()),
            (None, 53, "UDP".to_string()),
        ];
        service_variables(&mut vars, "my-svc", "10.0.0.1", &ports);
        for (name, value) in [
            ("MY_SVC_SERVICE_HOST", "10.0.0.1"),
            ("MY_SVC_SERVICE_PORT", "80"),
            ("MY_SVC_SERVICE_PORT_HTTP_WEB", "80"),
            ("MY_SVC_PORT", "tcp://10.0.0.1:80"),
            ("MY_SVC_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("MY_SVC_PORT_80_TCP_PROTO", "tcp"),
            ("MY_SVC_PORT_53_UDP_ADDR", "10.0.0.1"),
        ] {
            assert_eq!(vars.get(name).map(String::as_str), Some(value), "{name}");
        }
    }
}
