//! Which APIServices there should be for what this server serves itself, and what must be done about them. Pure.

use std::collections::HashMap;

use api::resource::Resource;
use serde_json::{Value, json};

/// The label of those that are kept without anybody's help: `onstart` for built-in versions, `true` for those of
/// definitions.
const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";
/// It serves what registers others, and isn't registered itself.
pub(super) const GROUP: &str = "apiregistration.k8s.io";

/// The priorities of built-in versions: of the group, and of the version in it.
const PRIORITIES: [(&str, &str, i32, i32); 25] = [
    ("", "v1", 18_000, 1),
    ("apps", "v1", 17_800, 15),
    ("events.k8s.io", "v1", 17_750, 15),
    ("authentication.k8s.io", "v1", 17_700, 15),
    ("authorization.k8s.io", "v1", 17_600, 15),
    ("autoscaling", "v1", 17_500, 15),
    ("autoscaling", "v2", 17_500, 30),
    ("batch", "v1", 17_400, 15),
    ("certificates.k8s.io", "v1", 17_300, 15),
    ("certificates.k8s.io", "v1beta1", 17_300, 9),
    ("networking.k8s.io", "v1", 17_200, 15),
    ("policy", "v1", 17_100, 15),
    ("rbac.authorization.k8s.io", "v1", 17_000, 15),
    ("storage.k8s.io", "v1", 16_800, 15),
    ("apiextensions.k8s.io", "v1", 16_700, 15),
    ("admissionregistration.k8s.io", "v1", 16_700, 15),
    ("scheduling.k8s.io", "v1", 16_600, 15),
    ("coordination.k8s.io", "v1", 16_500, 15),
    ("node.k8s.io", "v1", 16_300, 15),
    ("discovery.k8s.io", "v1", 16_200, 15),
    ("resource.k8s.io", "v1", 16_200, 21),
    ("flowcontrol.apiserver.k8s.io", "v1", 16_100, 21),
    ("storagemigration.k8s.io", "v1", 15_800, 15),
    ("storagemigration.k8s.io", "v1beta1", 15_800, 9),
    // Elsewhere another server has it, which is registered with these.
    ("metrics.k8s.io", "v1beta1", 100, 100),
];
/// Those of versions that definitions bring.
const CUSTOM: (i32, i32) = (1_000, 100);

/// Those of the group that registers others, which comes before all of them.
const FIRST: (i32, i32) = (20_001, 0);
/// What Kubernetes serves by another server. When somebody installs that one, it has the word.
const GIVES_WAY: &str = "metrics.k8s.io";

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Create(Value),
    /// The name, and what its spec should be.
    Change(String, Value),
    Delete(String),
}

/// The APIServices that there should be, by their names.
fn wanted<'a>(served: impl IntoIterator<Item = &'a Resource>) -> HashMap<String, Value> {
    let mut wanted = HashMap::new();
    for resource in served.into_iter().filter(|resource| resource.group != GROUP) {
        let name = format!("{}.{}", resource.version, resource.group);
        wanted.entry(name).or_insert_with_key(|name| service(name, resource));
    }
    wanted
}

fn service(name: &str, resource: &Resource) -> Value {
    let (group, version) = (&*resource.group, &*resource.version);
    let (of_group, of_version) = priorities(group, version);
    let managed = if resource.custom.is_some() { "true" } else { "onstart" };
    let mut spec = json!({
        "version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version,
    });
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": name, "labels": {LABEL: managed}}, "spec": spec,
    })
}

/// The priorities of a version that is served here: of its group, and of itself in it.
pub(crate) fn priorities(group: &str, version: &str) -> (i32, i32) {
    let known = PRIORITIES.iter().find(|known| (known.0, known.1) == (group, version));
    match known {
        Some(known) => (known.2, known.3),
        None if group == GROUP => FIRST,
        None => CUSTOM,
    }
}

/// What must be done so that those that are there become those that should be. What somebody made without the label
/// is theirs.
pub(super) fn steps<'a>(served: impl IntoIterator<Item = &'a Resource>, there: &[Value]) -> Vec<Step> {
    let mut wanted = wanted(served);
    let mut steps = Vec::new();
    for service in there {
        let name = service["metadata"]["name"].as_str().unwrap_or_default();
        let managed = service["metadata"]["labels"].get(LABEL).is_some();
        match wanted.remove(name) {
            Some(wanted) if managed && wanted["spec"] != service["spec"] && !is_given_away(service) => {
                let mut spec = wanted["spec"].clone();
                // A merge patch takes away what nobody wants only when it is told to.
                for field in ["service", "caBundle", "insecureSkipTLSVerify"] {
                    spec[field] = Value::Null;
                }
                steps.push(Step::Change(name.to_owned(), spec));
            }
            Some(_) => {}
            None if managed => steps.push(Step::Delete(name.to_owned())),
            None => {}
        }
    }
    steps.extend(wanted.into_values().map(Step::Create));
    steps
}

fn is_given_away(service: &Value) -> bool {
    service["spec"]["group"] == GIVES_WAY && service["spec"]["service"].is_object()
}

#[cfg(test)]
mod tests {
    use api::resource::Catalog;

    use super::*;

    fn served() -> impl Iterator<Item = &'static Resource> {
        let all = Catalog::builtin().resources().iter().map(|resource| &**resource);
        all.filter(|resource| !resource.off)
    }

    fn created(steps: &[Step]) -> Vec<Value> {
        let created = steps.iter().filter_map(|step| match step {
            Step::Create(service) => Some(service.clone()),
            _ => None,
        });
        created.collect()
    }

    #[test]
    fn each_version_is_registered_once_and_then_left_alone() {
        let first = steps(served(), &[]);
        let made = created(&first);
        assert_eq!(made.len(), first.len());
        let find = |name: &str| made.iter().find(|service| service["metadata"]["name"] == name);
        let core = find("v1.").unwrap();
        assert_eq!(
            core["spec"],
            json!({"version": "v1", "groupPriorityMinimum": 18_000, "versionPriority": 1})
        );
        assert_eq!(core["metadata"]["labels"][LABEL], "onstart");
        assert_eq!(find("v2.autoscaling").unwrap()["spec"]["versionPriority"], 30);
        assert!(find("v1.apiregistration.k8s.io").is_none());
        assert!(
            made.iter()
                .all(|service| service["spec"]["groupPriorityMinimum"] != 1_000)
        );
        assert_eq!(steps(served(), &made), []);
    }

    #[test]
    fn what_is_ours_is_put_right_and_what_is_not_is_left() {
        let mut made = created(&steps(served(), &[]));
        let at = made
            .iter()
            .position(|service| service["metadata"]["name"] == "v1.apps")
            .unwrap();
        made[at]["spec"]["versionPriority"] = json!(1);
        let own = json!({"metadata": {"name": "v1.mine.example"}, "spec": {}});
        let gone = json!({"metadata": {"name": "v1.gone.example", "labels": {LABEL: "true"}}, "spec": {}});
        made.extend([own, gone]);
        let steps = steps(served(), &made);
        assert!(matches!(&steps[0], Step::Change(name, spec) if name == "v1.apps" && spec["versionPriority"] == 15));
        assert_eq!(steps[1..], [Step::Delete("v1.gone.example".to_owned())]);
    }

    #[test]
    fn a_server_for_metrics_is_left_in_its_place() {
        let mut made = created(&steps(served(), &[]));
        let change = |made: &mut Vec<Value>, name: &str, service: Value| {
            let found = made.iter_mut().find(|service| service["metadata"]["name"] == name);
            found.unwrap()["spec"]["service"] = service;
        };
        let service = json!({"namespace": "kube-system", "name": "metrics-server", "port": 443});
        change(&mut made, "v1beta1.metrics.k8s.io", service.clone());
        assert_eq!(steps(served(), &made), []);
        change(&mut made, "v1.apps", service);
        assert!(matches!(&*steps(served(), &made), [Step::Change(name, _)] if name == "v1.apps"));
    }
}
