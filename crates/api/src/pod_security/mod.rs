//! The Pod Security Standards: what a pod may ask for at each level, by the rules of each version. Pure; who asks, and
//! what follows from an answer, is decided elsewhere.

mod checks;
mod policy;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::Value;

pub use policy::{Policy, of_labels};

use crate::rules::view::View as _;

/// How much is allowed; more is stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    #[default]
    Privileged,
    /// Nothing by which privileges are known to grow.
    Baseline,
    /// What hardened pods need.
    Restricted,
}

/// Whose rules: those of a minor version, or the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// The newest.
    #[default]
    Latest,
    /// Of `v1.N`.
    Minor(u32),
}

/// A level by the rules of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// How much.
    pub level: Level,
    /// By which rules.
    pub version: Version,
}

/// What a pod asks for and may not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In a few words.
    pub reason: &'static str,
    /// Which containers, which values; may be empty.
    pub detail: String,
}

impl Rule {
    /// What a pod, or a template of pods, asks for beyond the rule.
    pub fn evaluate(&self, metadata: &Value, spec: &Value) -> Vec<Finding> {
        if self.level == Level::Privileged {
            return Vec::new();
        }
        let minor = match self.version {
            Version::Latest => u32::MAX,
            Version::Minor(minor) => minor,
        };
        let pod = checks::Pod { metadata, spec };
        checks::all(self.level, minor)
            .into_iter()
            .filter_map(|check| check(&pod, minor))
            .collect()
    }
}

/// Metadata and specification of the pods that an object of this resource makes, or is.
pub fn pod_of<'a>(group: &str, resource: &str, object: &'a Value) -> Option<(&'a Value, &'a Value)> {
    let pod = match (group, resource) {
        ("", "pods") => object,
        ("", "podtemplates") => object.at("template"),
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => object.at("spec").at("template"),
        ("batch", "cronjobs") => object.at("spec").at("jobTemplate").at("spec").at("template"),
        _ => return None,
    };
    (!pod.is_null()).then(|| (pod.at("metadata"), pod.at("spec")))
}

/// Whether objects of this resource make pods by a template.
pub fn has_template(group: &str, resource: &str) -> bool {
    matches!(
        (group, resource),
        ("", "podtemplates" | "replicationcontrollers")
            | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
            | ("batch", "jobs" | "cronjobs")
    )
}

/// The reasons alone.
pub fn reasons(findings: &[Finding]) -> String {
    let all: Vec<&str> = findings.iter().map(|finding| finding.reason).collect();
    all.join(", ")
}

/// The reasons with their details.
pub fn details(findings: &[Finding]) -> String {
    let one = |finding: &Finding| match finding.detail.is_empty() {
        true => finding.reason.to_owned(),
        false => format!("{} ({})", finding.reason, finding.detail),
    };
    findings.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Latest => f.write_str("latest"),
            Version::Minor(minor) => write!(f, "v1.{minor}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level, self.version)
    }
}
