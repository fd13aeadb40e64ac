//! Telling the API a pod's status: the newest one wins, and no one waits for the answer but who must.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;

use client::Backoff;

/// Writes one pod's status in the background.
pub(crate) struct Publisher {
    newest: watch::Sender<Option<PodStatus>>,
    written: watch::Receiver<Option<PodStatus>>,
}

struct Writer {
    api: Api<Pod>,
    name: String,
    uid: String,
    newest: watch::Receiver<Option<PodStatus>>,
    written: watch::Sender<Option<PodStatus>>,
}

impl Publisher {
    pub(crate) fn start(client: Client, pod: &Pod) -> Self {
        let (newest, receiver) = watch::channel(None);
        let (sender, written) = watch::channel(pod.status.clone());
        let writer = Writer {
            api: Api::namespaced(client, pod.metadata.namespace.as_deref().unwrap_or("default")),
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            newest: receiver,
            written: sender,
        };
        tokio::spawn(writer.run());
        Self { newest, written }
    }

    /// Hands over a status; nothing happens when it is the one handed over before.
    pub(crate) fn publish(&self, status: PodStatus) {
        self.newest.send_if_modified(|newest| {
            let changed = newest.as_ref() != Some(&status);
            *newest = Some(status);
            changed
        });
    }

    /// Waits until the newest status is in the API, or has been refused for good.
    pub(crate) async fn flushed(&mut self) {
        let wanted = self.newest.borrow().clone();
        let _ = self
            .written
            .wait_for(|written| wanted.is_none() || *written == wanted)
            .await;
    }
}

impl Writer {
    async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
        while self.newest.changed().await.is_ok() {
            loop {
                let Some(status) = self.newest.borrow_and_update().clone() else {
                    break;
                };
                if *self.written.borrow() == Some(status.clone()) {
                    break;
                }
                match self.write(&status).await {
                    Err(error) if client::is_transient(&error) => {
                        tracing::debug!(pod = self.name, %error, "the status will be written again");
                        tokio::time::sleep(backoff.next_delay()).await;
                    }
                    result => {
                        if let Err(error) = result
                            && !client::is_not_found(&error)
                            && !client::is_conflict(&error)
                        {
                            tracing::warn!(pod = self.name, %error, "the status was refused");
                        }
                        backoff.reset();
                        self.written.send_replace(Some(status));
                        break;
                    }
                }
            }
        }
    }

    /// A strategic merge, so that conditions of others stay; the uid keeps it off a successor of the same name.
    async fn write(&self, status: &PodStatus) -> Result<(), kube::Error> {
        let mut body = json!({"metadata": {"uid": self.uid}, "status": status});
        // Lists that a strategic merge would add to: what isn't so any more must go.
        for list in ["podIPs", "hostIPs"] {
            if let Some(entries) = body["status"].get_mut(list).and_then(serde_json::Value::as_array_mut) {
                entries.insert(0, json!({"$patch": "replace"}));
            }
        }
        // A merge takes no condition away by itself.
        let has = |status: &PodStatus, kind: &str| status.conditions.iter().flatten().any(|c| c.type_ == kind);
        for kind in ["PodResizePending", "PodResizeInProgress"] {
            let was = self.written.borrow().as_ref().is_some_and(|written| has(written, kind));
            if let Some(list) = body["status"]["conditions"].as_array_mut()
                && was
                && !has(status, kind)
            {
                list.push(json!({"type": kind, "$patch": "delete"}));
            }
        }
        for field in ["reason", "message"] {
            if body["status"].get(field).is_none() {
                body["status"][field] = serde_json::Value::Null;
            }
        }
        self.api
            .patch_status(&self.name, &PatchParams::default(), &Patch::Strategic(body))
            .await
            .map(drop)
    }
}
