//! When the watch told what about which pod. A pod is watched from before it exists, so no moment is missed, and each is
//! stamped as its event arrives, not when somebody waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A state that a pod reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// It has a node.
    Scheduled,
    /// Its condition Ready is true.
    Ready,
    /// It will not become ready.
    Broken,
    /// It is no more.
    Gone,
}

struct Seen {
    name: String,
    moment: Moment,
    at: Instant,
    why: String,
}

/// The pods of a namespace, watched in the background.
pub(crate) struct Events {
    seen: mpsc::UnboundedReceiver<Seen>,
    // Ends with this.
    _watch: JoinSet<()>,
}

/// The first time of each moment of each pod.
#[derive(Default)]
pub(crate) struct Moments(BTreeMap<(String, Moment), Instant>);

impl Events {
    /// Answers once the watch stands.
    pub(crate) async fn start(api: Api<Pod>) -> anyhow::Result<Self> {
        let (sender, mut seen) = mpsc::unbounded_channel();
        let (ready, stands) = tokio::sync::oneshot::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(watch(api, sender, ready));
        stands.await.context("the pods cannot be watched")?;
        while seen.try_recv().is_ok() {}
        Ok(Self { seen, _watch: tasks })
    }

    /// Waits until all these pods came to the moment.
    pub(crate) async fn until<'n>(
        &mut self,
        names: impl Iterator<Item = &'n String>,
        moment: Moment,
        limit: Duration,
    ) -> anyhow::Result<Moments> {
        let mut missing: BTreeSet<String> = names.cloned().collect();
        let mut moments = Moments::default();
        let mut why = String::new();
        let deadline = tokio::time::Instant::now() + limit;
        while !missing.is_empty() {
            let Ok(seen) = tokio::time::timeout_at(deadline, self.seen.recv()).await else {
                bail!(
                    "{} pods are not {moment:?} after {} s; last said: {why}",
                    missing.len(),
                    limit.as_secs()
                );
            };
            let seen = seen.context("the watch ended")?;
            if seen.moment == Moment::Broken && moment == Moment::Ready {
                bail!("the pod {} will not become ready: {}", seen.name, seen.why);
            }
            if seen.moment == moment {
                missing.remove(&seen.name);
            }
            if !seen.why.is_empty() {
                why = seen.why;
            }
            moments.0.entry((seen.name, seen.moment)).or_insert(seen.at);
        }
        Ok(moments)
    }
}

impl Moments {
    pub(crate) fn of(&self, name: &str, moment: Moment) -> Option<Instant> {
        self.0.get(&(name.to_owned(), moment)).copied()
    }

    pub(crate) fn last(&self, moment: Moment) -> Option<Instant> {
        self.0
            .iter()
            .filter(|((_, of), _)| *of == moment)
            .map(|(_, at)| *at)
            .max()
    }
}

async fn watch(api: Api<Pod>, sender: mpsc::UnboundedSender<Seen>, ready: tokio::sync::oneshot::Sender<()>) {
    let mut ready = Some(ready);
    let mut stream = pin!(watcher::watcher(api, watcher::Config::default()));
    while let Some(event) = stream.next().await {
        let at = Instant::now();
        let (pod, moments) = match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                let moments = moments(&pod);
                (pod, moments)
            }
            Ok(Event::Delete(pod)) => (pod, vec![(Moment::Gone, String::new())]),
            Ok(Event::Init) => continue,
            Ok(Event::InitDone) => {
                if let Some(ready) = ready.take() {
                    // Whoever started it may have gone.
                    let _ = ready.send(());
                }
                continue;
            }
            Err(error) => {
                crate::report::progress(format!("the watch of pods broke, again: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let name = pod.metadata.name.unwrap_or_default();
        for (moment, why) in moments {
            if sender
                .send(Seen {
                    name: name.clone(),
                    moment,
                    at,
                    why,
                })
                .is_err()
            {
                return;
            }
        }
    }
}

/// What a pod's state shows.
fn moments(pod: &Pod) -> Vec<(Moment, String)> {
    let mut moments = Vec::new();
    if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
        moments.push((Moment::Scheduled, String::new()));
    }
    let Some(status) = &pod.status else { return moments };
    let conditions = status.conditions.iter().flatten();
    if conditions
        .clone()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    {
        moments.push((Moment::Ready, String::new()));
    }
    let ended = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
    let containers = status.container_statuses.iter().flatten();
    let waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    for waiting in waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        if reason.contains("Image") || reason.ends_with("Error") || reason == "CrashLoopBackOff" {
            let why = format!("{reason}: {}", waiting.message.as_deref().unwrap_or_default());
            moments.push((Moment::Broken, why));
        }
    }
    // A pod that is being deleted ends as well.
    if ended && pod.metadata.deletion_timestamp.is_none() {
        moments.push((
            Moment::Broken,
            format!("it is {}", status.phase.as_deref().unwrap_or_default()),
        ));
    }
    moments
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(pod: Value) -> Vec<Moment> {
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        moments(&pod).into_iter().map(|(moment, _)| moment).collect()
    }

    #[test]
    fn a_pod_shows_how_far_it_is() {
        assert_eq!(shown(json!({"metadata": {}, "spec": {"containers": []}})), []);
        let status = json!({"conditions": [{"type": "Ready", "status": "False"}]});
        assert_eq!(
            shown(json!({"metadata": {}, "spec": {"containers": [], "nodeName": "a"}, "status": status})),
            [Moment::Scheduled]
        );
        let status = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        let ready = shown(json!({"metadata": {}, "spec": {"containers": [], "nodeName": "a"}, "status": status}));
        assert_eq!(ready, [Moment::Scheduled, Moment::Ready]);
    }

    #[test]
    fn a_pod_without_its_image_is_broken_but_one_that_starts_is_not() {
        let with = |reason: &str| {
            let status = json!({"containerStatuses": [{"name": "main", "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"waiting": {"reason": reason}}}]});
            shown(json!({"metadata": {}, "status": status}))
        };
        assert_eq!(with("ErrImagePull"), [Moment::Broken]);
        assert_eq!(with("ErrImageNeverPull"), [Moment::Broken]);
        assert_eq!(with("CreateContainerError"), [Moment::Broken]);
        assert_eq!(with("ContainerCreating"), []);
    }

    #[test]
    fn the_last_moment_counts_for_a_group() {
        let now = Instant::now();
        let mut moments = Moments::default();
        moments.0.insert(("a".to_owned(), Moment::Ready), now);
        moments
            .0
            .insert(("b".to_owned(), Moment::Ready), now + Duration::from_secs(1));
        moments
            .0
            .insert(("b".to_owned(), Moment::Gone), now + Duration::from_secs(2));
        assert_eq!(moments.last(Moment::Ready), Some(now + Duration::from_secs(1)));
        assert_eq!(moments.of("a", Moment::Gone), None);
    }
}
