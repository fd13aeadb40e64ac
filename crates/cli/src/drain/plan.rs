//! Which pods must go from a node that is drained, and which forbid it, as kubectl decides it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::args::DrainOptions;

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Namespace and name of the pods to move.
    pub(crate) go: Vec<(String, String)>,
    /// What is to be told of pods that stay, or that go for good.
    pub(crate) warnings: Vec<String>,
}

/// Pods by what is wrong with moving them.
type Problems = BTreeMap<&'static str, Vec<String>>;

const MIRROR: &str = "kubernetes.io/config.mirror";
const DAEMON: &str = "DaemonSet-managed Pods";
const LOCAL: &str = "Pods with local storage";
const UNMANAGED: &str = "Pods that declare no controller";

/// Decides; the error names all pods that are in the way, and the flag that overrides each.
pub(crate) fn plan(pods: &[Pod], how: &DrainOptions) -> Result<Plan, String> {
    let mut plan = Plan::default();
    let (mut refused, mut told) = (Problems::new(), Problems::new());
    for pod in pods {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        let shown = format!("{namespace}/{name}");
        let annotations = pod.metadata.annotations.as_ref();
        if annotations.is_some_and(|annotations| annotations.contains_key(MIRROR)) {
            continue;
        }
        if !has_ended(pod) {
            let problems = problems(pod);
            if problems.contains(&DAEMON) {
                let list = if how.ignore_daemonsets { &mut told } else { &mut refused };
                list.entry(DAEMON).or_default().push(shown);
                continue;
            }
            let overridden = |problem: &str| match problem {
                LOCAL => how.delete_emptydir_data,
                _ => how.force,
            };
            let (fine, wrong): (Vec<&str>, Vec<&str>) = problems.into_iter().partition(|problem| overridden(problem));
            for problem in &wrong {
                refused.entry(problem).or_default().push(shown.clone());
            }
            for problem in fine.into_iter().filter(|problem| *problem == UNMANAGED) {
                told.entry(problem).or_default().push(shown.clone());
            }
            if !wrong.is_empty() {
                continue;
            }
        }
        plan.go.push((namespace, name));
    }
    if !refused.is_empty() {
        let all = refused.iter().map(|(what, pods)| {
            let flag = match *what {
                DAEMON => "use --ignore-daemonsets to ignore",
                LOCAL => "use --delete-emptydir-data to override",
                _ => "use --force to override",
            };
            format!("cannot delete {what} ({flag}): {}", pods.join(", "))
        });
        return Err(all.collect::<Vec<_>>().join("; "));
    }
    plan.warnings = told
        .iter()
        .map(|(what, pods)| {
            let verb = if *what == DAEMON { "ignoring" } else { "deleting" };
            format!("{verb} {what}: {}", pods.join(", "))
        })
        .collect();
    Ok(plan)
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn problems(pod: &Pod) -> Vec<&'static str> {
    let owners = pod.metadata.owner_references.iter().flatten();
    let controller = owners.into_iter().find(|owner| owner.controller == Some(true));
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let local = volumes.into_iter().any(|volume| volume.empty_dir.is_some());
    let mut found = Vec::new();
    match controller {
        Some(owner) if owner.kind == "DaemonSet" => found.push(DAEMON),
        Some(_) => {}
        None => found.push(UNMANAGED),
    }
    if local {
        found.push(LOCAL);
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, owner: Option<&str>) -> Pod {
        let mut pod = json!({
            "metadata": {"namespace": "default", "name": name},
            "spec": {"containers": []},
        });
        if let Some(kind) = owner {
            pod["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u", "controller": true}]);
        }
        serde_json::from_value(pod).unwrap()
    }

    fn with_empty_dir(name: &str) -> Pod {
        let mut pod = pod(name, Some("ReplicaSet"));
        let volume = serde_json::from_value(json!({"name": "v", "emptyDir": {}})).unwrap();
        pod.spec.as_mut().unwrap().volumes = Some(vec![volume]);
        pod
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.go.iter().map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn managed_pods_go_and_mirrors_are_not_seen() {
        let mut mirror = pod("mirror", None);
        mirror.metadata.annotations = Some([(MIRROR.to_owned(), String::new())].into());
        let pods = [pod("web", Some("ReplicaSet")), mirror];
        assert_eq!(names(&plan(&pods, &DrainOptions::default()).unwrap()), ["web"]);
    }

    #[test]
    fn what_is_in_the_way_is_named_with_its_flag() {
        let pods = [
            pod("bare", None),
            pod("log", Some("DaemonSet")),
            with_empty_dir("cache"),
        ];
        let refusal = plan(&pods, &DrainOptions::default()).unwrap_err();
        for part in [
            "--force to override): default/bare",
            "--ignore-daemonsets to ignore): default/log",
            "--delete-emptydir-data to override): default/cache",
        ] {
            assert!(refusal.contains(part), "{refusal}");
        }
        let all = DrainOptions {
            force: true,
            ignore_daemonsets: true,
            delete_emptydir_data: true,
            ..DrainOptions::default()
        };
        let plan = plan(&pods, &all).unwrap();
        assert_eq!(names(&plan), ["bare", "cache"]);
        assert_eq!(plan.warnings.len(), 2, "{:?}", plan.warnings);
    }

    #[test]
    fn what_has_ended_goes_without_asking() {
        let mut ended = pod("job", None);
        ended.status = serde_json::from_value(json!({"phase": "Succeeded"})).ok();
        assert_eq!(names(&plan(&[ended], &DrainOptions::default()).unwrap()), ["job"]);
    }
}
