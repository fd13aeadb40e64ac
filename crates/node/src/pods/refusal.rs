//! How a pod fails that this node doesn't take, and that what has failed once stays so.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use scheduler::Refusal;

use super::plan::Phase;
use super::worker::Worker;

/// Whoever made a pod that is turned away makes the next one as soon as it knows: this long it waits for the answer, so
/// that the two of them don't turn over pods in a frenzy.
const REFUSED_AFTER: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);

impl Worker {
    /// This node doesn't take the pod: it fails before anything of it is made.
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.refused = Some((refusal, Timestamp::now() + REFUSED_AFTER));
    }

    /// Fails a pod that was turned away; or says when.
    pub(super) fn turn_away(&mut self, now: Timestamp) -> Option<Timestamp> {
        let (refusal, at) = self.refused.take()?;
        if now < at {
            self.refused = Some((refusal, at));
            return Some(at);
        }
        self.facts.failure = Some((refusal.reason, format!("Pod was rejected: {}", refusal.message)));
        self.facts.refused = true;
        None
    }

    /// Takes over why the pod failed as a whole in an earlier life of this node; what has failed once doesn't run again.
    pub(super) fn recall_failure(&mut self) {
        self.facts.failure = failure_of(&self.pod);
        self.facts.refused = self.facts.failure.is_some() && !has_containers(&self.pod);
    }
}

fn failure_of(pod: &Pod) -> Option<(String, String)> {
    let status = pod.status.as_ref()?;
    let failed = status.phase.as_deref() == Some(Phase::Failed.as_str());
    let reason = status.reason.clone().filter(|_| failed)?;
    Some((reason, status.message.clone().unwrap_or_default()))
}

fn has_containers(pod: &Pod) -> bool {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses.is_some_and(|statuses| !statuses.is_empty())
}
