//! Which plug-ins run, and what they are told. It holds values, and reads them out of the document that Kubernetes'
//! `--admission-control-config-file` has.

use std::collections::BTreeMap;
use std::path::Path;

use api::pod_security::{self, Policy};
use serde_json::{Value, json};

/// Settings of admission.
#[derive(Clone, Debug, Default)]
pub struct AdmissionSettings {
    /// Plug-ins that run beside those that do by default.
    pub enable: Vec<String>,
    /// Plug-ins that don't run.
    pub disable: Vec<String>,
    /// What namespaces without labels of their own hold to, and who is exempt.
    pub pod_security: PodSecuritySettings,
    /// For `EventRateLimit`.
    pub event_limits: Vec<EventLimit>,
    /// For `PodNodeSelector`: by namespaces' names, and `clusterDefaultNodeSelector`.
    pub node_selectors: BTreeMap<String, String>,
    /// For `PodTolerationRestriction`: for pods of namespaces that say nothing.
    pub default_tolerations: Vec<Value>,
    /// For `PodTolerationRestriction`: what namespaces that say nothing allow; nothing allows everything.
    pub allowed_tolerations: Vec<Value>,
}

/// Settings of the Pod Security Standards.
#[derive(Clone, Debug, Default)]
pub struct PodSecuritySettings {
    /// What holds where no label says otherwise.
    pub defaults: Policy,
    /// Users whose pods are not looked at.
    pub exempt_users: Vec<String>,
    /// Namespaces whose pods are not looked at.
    pub exempt_namespaces: Vec<String>,
    /// Runtime classes whose pods are not looked at.
    pub exempt_runtime_classes: Vec<String>,
}

/// So many events a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLimit {
    /// What has a bucket of its own.
    pub by: EventLimitBy,
    /// How fast a bucket fills.
    pub per_second: u32,
    /// How much is in a full one.
    pub burst: u32,
    /// How many buckets are kept.
    pub cache: usize,
}

/// What has a bucket of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventLimitBy {
    /// All events together.
    Server,
    /// Each namespace.
    Namespace,
    /// Each user.
    User,
    /// Each source with each object.
    SourceAndObject,
}

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// A field has no such value.
    #[error("{field}: {why}")]
    Field {
        /// The field's path.
        field: String,
        /// What it must be.
        why: String,
    },
    /// Nobody knows the plug-in.
    #[error("{flag} plugin {name:?} is unknown")]
    Unknown {
        /// Where it is named.
        flag: &'static str,
        /// Its name.
        name: String,
    },
    /// It can't be both.
    #[error("{0} in enable-admission-plugins and disable-admission-plugins overlapped")]
    Overlap(String),
}

type Result<T> = std::result::Result<T, SettingsError>;

fn wrong<T>(field: impl Into<String>, why: impl Into<String>) -> Result<T> {
    Err(SettingsError::Field {
        field: field.into(),
        why: why.into(),
    })
}

impl AdmissionSettings {
    /// Takes the plug-ins' configurations out of a file with an `AdmissionConfiguration`, and out of those beside it that
    /// it names.
    ///
    /// # Errors
    /// When a file can't be read, or says what can't be.
    pub fn load(&mut self, file: &Path) -> Result<()> {
        let read = |path: &Path| -> std::result::Result<Value, String> {
            let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
            serde_saphyr::from_str(&text).map_err(|error| error.to_string())
        };
        let document = read(file).or_else(|why| wrong("file", why))?;
        let beside = file.parent().unwrap_or(Path::new("/"));
        self.configure(&document, &|path| read(&beside.join(path)))
    }

    /// Takes the plug-ins' configurations out of an `AdmissionConfiguration`. `open` gives the document at a path that it
    /// names.
    pub fn configure(
        &mut self,
        document: &Value,
        open: &dyn Fn(&str) -> std::result::Result<Value, String>,
    ) -> Result<()> {
        if document["kind"] != "AdmissionConfiguration" {
            return wrong("kind", "must be AdmissionConfiguration");
        }
        let version = document["apiVersion"].as_str().unwrap_or_default();
        if !version.starts_with("apiserver.config.k8s.io/") {
            return wrong("apiVersion", "must be apiserver.config.k8s.io/v1");
        }
        for (index, plugin) in document["plugins"].as_array().into_iter().flatten().enumerate() {
            let at = format!("plugins[{index}]");
            let configuration = match (plugin.get("configuration"), plugin["path"].as_str()) {
                (Some(inline), _) if !inline.is_null() => inline.clone(),
                (_, Some(path)) if !path.is_empty() => match open(path) {
                    Ok(document) => document,
                    Err(why) => return wrong(format!("{at}.path"), why),
                },
                _ => continue,
            };
            let at = format!("{at}.configuration");
            match plugin["name"].as_str().unwrap_or_default() {
                "PodSecurity" => self.pod_security = pod_security(&configuration, &at)?,
                "EventRateLimit" => self.event_limits = event_limits(&configuration, &at)?,
                "PodNodeSelector" => self.node_selectors = node_selectors(&configuration),
                "PodTolerationRestriction" => {
                    let list = |name: &str| configuration[name].as_array().cloned().unwrap_or_default();
                    self.default_tolerations = list("default");
                    self.allowed_tolerations = list("whitelist");
                }
                // Others have nothing to set; those that are added later must not break an older server.
                other => tracing::warn!(
                    plugin = other,
                    "a configuration of a plug-in that takes none is left alone"
                ),
            }
        }
        Ok(())
    }
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn pod_security(configuration: &Value, at: &str) -> Result<PodSecuritySettings> {
    if configuration["kind"] != "PodSecurityConfiguration" {
        return wrong(format!("{at}.kind"), "must be PodSecurityConfiguration");
    }
    let mut labels = json!({});
    for (name, value) in configuration["defaults"].as_object().into_iter().flatten() {
        // Every mode that isn't said is privileged, and not what is enforced.
        labels[format!("pod-security.kubernetes.io/{name}")] = value.clone();
    }
    if labels.get("pod-security.kubernetes.io/warn").is_none() {
        labels["pod-security.kubernetes.io/warn"] = "privileged".into();
    }
    let (defaults, errors) = pod_security::of_labels(&labels, Policy::default());
    if let Some(error) = errors.first() {
        return wrong(format!("{at}.defaults"), error.to_string());
    }
    let exemptions = &configuration["exemptions"];
    Ok(PodSecuritySettings {
        defaults,
        exempt_users: strings(&exemptions["usernames"]),
        exempt_namespaces: strings(&exemptions["namespaces"]),
        exempt_runtime_classes: strings(&exemptions["runtimeClasses"]),
    })
}

fn event_limits(configuration: &Value, at: &str) -> Result<Vec<EventLimit>> {
    let limits = configuration["limits"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if limits.is_empty() {
        return wrong(format!("{at}.limits"), "must not be empty");
    }
    let limit = |(index, limit): (usize, &Value)| {
        let at = format!("{at}.limits[{index}]");
        let by = match limit["type"].as_str().unwrap_or_default() {
            "Server" => EventLimitBy::Server,
            "Namespace" => EventLimitBy::Namespace,
            "User" => EventLimitBy::User,
            "SourceAndObject" => EventLimitBy::SourceAndObject,
            _ => {
                return wrong(
                    format!("{at}.type"),
                    "must be Server, Namespace, User or SourceAndObject",
                );
            }
        };
        let positive = |name: &str| {
            let number = limit[name].as_u64().and_then(|number| u32::try_from(number).ok());
            match number.filter(|number| *number > 0) {
                Some(number) => Ok(number),
                None => wrong(format!("{at}.{name}"), "must be positive"),
            }
        };
        let cache = limit["cacheSize"].as_u64().filter(|size| *size > 0).unwrap_or(4096);
        Ok(EventLimit {
            by,
            per_second: positive("qps")?,
            burst: positive("burst")?,
            cache: usize::try_from(cache).unwrap_or(usize::MAX),
        })
    };
    limits.iter().enumerate().map(limit).collect()
}

fn node_selectors(configuration: &Value) -> BTreeMap<String, String> {
    let all = configuration["podNodeSelectorPluginConfig"].as_object();
    let texts = all.into_iter().flatten();
    texts
        .filter_map(|(name, selector)| Some((name.clone(), selector.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_configures_plugins() {
        let document = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
            "plugins": [
                {"name": "PodSecurity", "path": "ps.yaml"},
                {"name": "EventRateLimit", "configuration": {"limits": [{"type": "User", "qps": 5, "burst": 10}]}},
                {"name": "PodNodeSelector", "configuration": {
                    "podNodeSelectorPluginConfig": {"clusterDefaultNodeSelector": "a=b"}}},
            ],
        });
        let open = |path: &str| {
            assert_eq!(path, "ps.yaml");
            Ok(
                json!({"kind": "PodSecurityConfiguration", "defaults": {"enforce": "baseline", "audit": "restricted"},
                "exemptions": {"namespaces": ["kube-system"]}}),
            )
        };
        let mut settings = AdmissionSettings::default();
        settings.configure(&document, &open).unwrap();
        let security = &settings.pod_security;
        assert_eq!(security.defaults.enforce.to_string(), "baseline:latest");
        assert_eq!(security.defaults.warn.to_string(), "privileged:latest");
        assert_eq!(security.exempt_namespaces, ["kube-system"]);
        assert_eq!(settings.event_limits[0].burst, 10);
        assert_eq!(settings.node_selectors["clusterDefaultNodeSelector"], "a=b");
    }

    #[test]
    fn a_wrong_one_names_the_field() {
        let check = |plugin: Value, expected: &str| {
            let document = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
                "plugins": [plugin]});
            let error = AdmissionSettings::default()
                .configure(&document, &|_| Err("no such file".to_owned()))
                .unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(json!({"name": "X", "path": "p"}), "plugins[0].path: no such file");
        check(
            json!({"name": "EventRateLimit", "configuration": {"limits": [{"type": "User", "qps": 0}]}}),
            "plugins[0].configuration.limits[0].qps: must be positive",
        );
        check(
            json!({"name": "PodSecurity", "configuration": {"kind": "PodSecurityConfiguration",
                "defaults": {"enforce": "loose"}}}),
            "plugins[0].configuration.defaults: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \
             \"loose\": must be one of privileged, baseline, restricted",
        );
    }
}
