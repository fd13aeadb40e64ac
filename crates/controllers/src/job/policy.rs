//! What a pod's failure means for its job, and when enough indexes have succeeded. Pure.

use super::indexes::Indexes;
use crate::world::{Action, FailureMatch, Job, JobPod, Phase, Pod};

/// What is made of a failed pod.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Why the whole job fails.
    pub(super) fails_job: Option<String>,
    /// It counts as one of the job's failures.
    pub(super) counts: bool,
    pub(super) action: Option<Action>,
}

/// Whether a pod counts as failed: it failed, or it is being deleted and won't succeed.
pub(super) fn has_failed(job: &Job, pod: &Pod) -> bool {
    match pod.phase {
        Phase::Failed => true,
        Phase::Succeeded => false,
        _ => pod.deleting && !job.replaces_failed_only,
    }
}

/// Looks a failed pod up in the job's policy.
pub(super) fn judge(job: &Job, pod: &Pod, about: &JobPod) -> Verdict {
    let counted = Verdict {
        counts: true,
        ..Verdict::default()
    };
    for (number, rule) in job.failure_policy.iter().flatten().enumerate() {
        let Some(what) = matched(&rule.on, about) else { continue };
        let name = &pod.key.name;
        let namespace = pod.key.namespace.as_deref().unwrap_or_default();
        let fails_job = || match what {
            Matched::Exit(container, code) => format!(
                "Container {container} for pod {namespace}/{name} failed with exit code {code} matching FailJob rule at index {number}"
            ),
            Matched::Condition(kind) => {
                format!("Pod {namespace}/{name} has condition {kind} matching FailJob rule at index {number}")
            }
        };
        return Verdict {
            fails_job: (rule.action == Action::FailJob).then(fails_job),
            counts: rule.action != Action::Ignore,
            action: Some(rule.action),
        };
    }
    counted
}

enum Matched<'a> {
    Exit(&'a str, i32),
    Condition(&'a str),
}

fn matched<'a>(on: &FailureMatch, pod: &'a JobPod) -> Option<Matched<'a>> {
    match on {
        FailureMatch::ExitCodes {
            container,
            within,
            codes,
        } => {
            let fits = |(name, code): &&(String, i32)| {
                container.as_ref().is_none_or(|wanted| wanted == name) && codes.contains(code) == *within
            };
            pod.exits
                .iter()
                .find(fits)
                .map(|(name, code)| Matched::Exit(name, *code))
        }
        FailureMatch::Conditions(patterns) => {
            let found = pod.conditions.iter().find(|condition| patterns.contains(condition));
            found.map(|(kind, _)| Matched::Condition(kind))
        }
    }
}

/// The number of the success rule that holds.
pub(super) fn success(job: &Job, succeeded: &Indexes, completions: i32) -> Option<usize> {
    if succeeded.total() == 0 {
        return None;
    }
    job.success_policy.iter().position(|rule| match &rule.indexes {
        Some(text) => {
            let wanted = Indexes::parse(text, completions);
            let common = wanted.common(succeeded);
            wanted.total() > 0 && (common == wanted.total() || rule.count.is_some_and(|count| common >= count))
        }
        None => rule.count.is_some_and(|count| succeeded.total() >= count),
    })
}
