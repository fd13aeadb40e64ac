//! PodSecurity: what pods may ask for, by the labels of their namespace. Pods are refused; templates of pods are warned
//! of; a namespace that becomes stricter is told which of its pods wouldn't be let in any more.

use std::collections::{BTreeMap, HashSet};

use api::pod_security::{self, Level, Policy, Rule};
use async_trait::async_trait;
use meta::{FieldError, ObjectKey, Status};
use serde_json::Value;
use watch::Scope;

use super::{Operation, Plugin, PodSecuritySettings, Review};
use crate::object::{self, text};

/// Endpoints of a pod through which nothing that matters here can change.
const IGNORED: [&str; 8] = [
    "exec",
    "attach",
    "binding",
    "eviction",
    "log",
    "portforward",
    "proxy",
    "status",
];
/// How many pods of a namespace are looked at when its labels change.
const MOST_PODS: usize = 3000;

pub(crate) struct PodSecurity;

#[async_trait]
impl Plugin for PodSecurity {
    fn concerns(&self, review: &Review<'_>) -> bool {
        if review.operation == Operation::Delete {
            return false;
        }
        let resource = &review.kind.resource;
        match (resource.group.as_str(), resource.resource.as_str(), review.subresource) {
            ("", "pods", subresource) => !IGNORED.contains(&subresource),
            ("", "namespaces", "") => true,
            (group, resource, "") => pod_security::has_template(group, resource),
            _ => false,
        }
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        if review.kind.resource.resource == "namespaces" {
            return namespace(review, object);
        }
        let settings = &review.core.config.admission.pod_security;
        let exempt = settings.exempt_namespaces.iter().any(|name| name == review.namespace)
            || settings.exempt_users.contains(&review.user.name);
        if exempt {
            return Ok(());
        }
        let is_pod = review.kind.resource.resource == "pods";
        let key = ObjectKey::cluster(review.namespace);
        let Some(namespace) = review.core.cached_tree("", "namespaces", &key) else {
            let why = format!("failed to lookup namespace {:?}", review.namespace);
            return if is_pod { Err(Status::internal(why)) } else { Ok(()) };
        };
        let (policy, _) = policy(settings, &namespace);
        if policy.is_privileged() || !is_pod && policy.warn.level == Level::Privileged {
            return Ok(());
        }
        if is_pod && review.old.is_some_and(|old| !is_significant(object, old)) {
            return Ok(());
        }
        evaluate(review, settings, &policy, object, is_pod)
    }
}

/// The policy by a namespace's labels, and what is wrong with them.
fn policy(settings: &PodSecuritySettings, namespace: &Value) -> (Policy, Vec<FieldError>) {
    pod_security::of_labels(&namespace["metadata"]["labels"], settings.defaults)
}

fn evaluate(
    review: &Review<'_>,
    settings: &PodSecuritySettings,
    policy: &Policy,
    object: &Value,
    enforce: bool,
) -> Result<(), Status> {
    let resource = &review.kind.resource;
    let Some((metadata, spec)) = pod_security::pod_of(&resource.group, &resource.resource, object) else {
        return Ok(());
    };
    if is_exempt(settings, spec) {
        return Ok(());
    }
    if enforce {
        let findings = policy.enforce.evaluate(metadata, spec);
        if !findings.is_empty() {
            let (rule, what) = (policy.enforce.to_string(), pod_security::details(&findings));
            return Err(review.forbidden(format!("violates PodSecurity {rule:?}: {what}")));
        }
    }
    let findings = policy.warn.evaluate(metadata, spec);
    if !findings.is_empty() {
        let (rule, what) = (policy.warn.to_string(), pod_security::details(&findings));
        review.warn(format!("would violate PodSecurity {rule:?}: {what}"));
    }
    Ok(())
}

fn is_exempt(settings: &PodSecuritySettings, spec: &Value) -> bool {
    let class = text(spec, &["runtimeClassName"]);
    settings.exempt_runtime_classes.iter().any(|exempt| exempt == class)
}

/// Whether an update of a pod changes what could be forbidden: its containers, or their images.
fn is_significant(pod: &Value, old: &Value) -> bool {
    let list = |pod: &Value, list: &str| pod["spec"][list].as_array().cloned().unwrap_or_default();
    let plain = ["containers", "initContainers"].iter().any(|name| {
        let (new, old) = (list(pod, name), list(old, name));
        new.len() != old.len() || new.iter().zip(&old).any(|(new, old)| new["image"] != old["image"])
    });
    let before = list(old, "ephemeralContainers");
    let known = |new: &Value| before.iter().find(|old| old["name"] == new["name"]);
    plain
        || list(pod, "ephemeralContainers")
            .iter()
            .any(|new| known(new).is_none_or(|old| old["image"] != new["image"]))
}

fn namespace(review: &Review<'_>, namespace: &Value) -> Result<(), Status> {
    let settings = &review.core.config.admission.pod_security;
    let (wanted, errors) = policy(settings, namespace);
    let invalid = || Err(Status::invalid(&review.kind.group_kind, review.name, &errors));
    let exempt = settings.exempt_namespaces.iter().any(|name| name == review.name);
    let Some(old) = review.old else {
        if !errors.is_empty() {
            return invalid();
        }
        if exempt {
            ignored(review, settings, &wanted, namespace);
        }
        return Ok(());
    };
    let (before, old_errors) = policy(settings, old);
    if !errors.is_empty() && errors != old_errors {
        return invalid();
    }
    let (enforce, enforced) = (wanted.enforce, before.enforce);
    let relaxed = enforce.version == enforced.version && enforce.level <= enforced.level;
    if enforce == enforced || enforce.level == Level::Privileged || relaxed {
        return Ok(());
    }
    if exempt {
        ignored(review, settings, &wanted, namespace);
        return Ok(());
    }
    for warning in existing(review, settings, enforce)? {
        review.warn(warning);
    }
    Ok(())
}

/// Tells that the labels of a namespace mean nothing, since it is exempt.
fn ignored(review: &Review<'_>, settings: &PodSecuritySettings, policy: &Policy, namespace: &Value) {
    let same = |a: Rule, b: Rule| a == b || a.level == Level::Privileged && b.level == Level::Privileged;
    let defaults = &settings.defaults;
    let modes = [
        ("enforce", policy.enforce, defaults.enforce),
        ("audit", policy.audit, defaults.audit),
        ("warn", policy.warn, defaults.warn),
    ];
    if policy.is_privileged() || modes.iter().all(|(_, rule, default)| same(*rule, *default)) {
        return;
    }
    let labels = &namespace["metadata"]["labels"];
    let is_said = |mode: &str| {
        let label = format!("pod-security.kubernetes.io/{mode}");
        labels.get(&label).is_some() || labels.get(format!("{label}-version")).is_some()
    };
    let said = modes
        .iter()
        .filter(|(mode, rule, _)| rule.level != Level::Privileged && is_said(mode));
    let said: Vec<String> = said.map(|(mode, rule, _)| format!("{mode}={rule}")).collect();
    review.warn(format!(
        "namespace {:?} is exempt from Pod Security, and the policy ({}) will be ignored",
        review.name,
        said.join(", ")
    ));
}

/// What is to be told of the pods that are there, when this rule will be enforced.
fn existing(review: &Review<'_>, settings: &PodSecuritySettings, rule: Rule) -> Result<Vec<String>, Status> {
    let pods = review.core.cached_trees("", "pods", &Scope::namespace(review.name))?;
    let mut pods = first_of_each(pods, settings);
    let all = pods.len();
    pods.truncate(MOST_PODS);
    let mut told: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in &pods {
        let findings = rule.evaluate(&pod["metadata"], &pod["spec"]);
        if findings.is_empty() {
            continue;
        }
        let name = object::name(pod).to_owned();
        let entry = told
            .entry(pod_security::reasons(&findings))
            .or_insert_with(|| (name.clone(), 0));
        if name < entry.0 {
            entry.0 = name;
        }
        entry.1 += 1;
    }
    let mut warnings = Vec::new();
    if pods.len() < all {
        let seen = pods.len();
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {seen} of {all} existing pods"
        ));
    }
    if !told.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {:?} violate the new PodSecurity enforce level {:?}",
            review.name,
            rule.to_string()
        ));
    }
    let mut lines: Vec<String> = told
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            more => format!("{name} (and {} other pods): {reasons}", more - 1),
        })
        .collect();
    lines.sort();
    warnings.extend(lines);
    Ok(warnings)
}

/// One pod of each controller before further ones of the same.
fn first_of_each(pods: Vec<Value>, settings: &PodSecuritySettings) -> Vec<Value> {
    let mut controllers = HashSet::new();
    let (mut first, more): (Vec<Value>, Vec<Value>) = pods
        .into_iter()
        .filter(|pod| !is_exempt(settings, &pod["spec"]))
        .partition(|pod| {
            let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            let controller = owners.into_iter().find(|owner| owner["controller"] == true);
            controller.is_none_or(|owner| controllers.insert(object::text(owner, &["uid"]).to_owned()))
        });
    first.extend(more);
    first
}
