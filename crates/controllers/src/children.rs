//! The pods that a controller owns: which they are, how they are made and deleted, and whose queue a change of one
//! belongs into. What pods there should be is decided elsewhere.

use std::sync::Arc;

use client::{Change, Informer, ObjectKey};
use meta::labels::Selector;
use reconcile::Queue;
use serde_json::{Value, json};

use crate::expect::{Expectations, random_name};
use crate::owner::{self, Claim};
use crate::world::{BY_NAMESPACE, Pod};
use crate::write::{Kind, Patch, Writer};

/// What owns pods.
pub(crate) trait Parent: Send + Sync + 'static {
    /// Its key.
    fn key(&self) -> &ObjectKey;
    /// Its uid.
    fn uid(&self) -> &str;
    /// Whether it is being deleted.
    fn deleting(&self) -> bool;
    /// What its pods look like; none: no pod is its own.
    fn selector(&self) -> Option<&Selector>;
    /// Whether a pod that the selector matches can be one of its own.
    fn may_own(&self, _pod: &Pod) -> bool {
        true
    }
}

/// A controller's hands for the pods of its kind.
pub(crate) struct Children {
    /// The kind of the owner.
    pub(crate) kind: Kind,
    /// What has been done and isn't seen yet.
    pub(crate) expected: Arc<Expectations>,
    pod: Kind,
    pods: Informer<Pod>,
    writer: Writer,
}

impl Children {
    pub(crate) fn new(kind: Kind, pods: &Informer<Pod>, writer: &Writer) -> Self {
        Self {
            kind,
            expected: Arc::default(),
            pod: Kind::new("v1", "Pod", "pods"),
            pods: pods.clone(),
            writer: writer.clone(),
        }
    }

    /// Puts the owner into the queue when one of its pods changes, and whoever might adopt an orphan.
    pub(crate) fn follow<P: Parent>(&self, parents: &Informer<P>, queue: &Queue<ObjectKey>) {
        let (keys, seen, all, kind) = (
            queue.clone(),
            self.expected.clone(),
            parents.clone(),
            self.kind.kind.clone(),
        );
        self.pods
            .subscribe(move |change| changed(change, &kind, &all, &seen, &keys));
    }

    /// The pods of an owner, after adoption and release. With `finalizer`, those that are adopted get it.
    pub(crate) async fn of<P: Parent>(
        &self,
        parent: &P,
        finalizer: Option<&str>,
    ) -> Result<Vec<Arc<Pod>>, kube::Error> {
        let Some(selector) = parent.selector() else {
            return Ok(Vec::new());
        };
        let mut own = Vec::new();
        let namespace = parent.key().namespace.as_deref().unwrap_or_default();
        for pod in self.pods.by(BY_NAMESPACE, namespace) {
            let gone = pod.deleting || pod.has_ended() && pod.owner.is_none();
            let matches = selector.matches(&pod.labels) && parent.may_own(&pod);
            match owner::claim(pod.owner.as_ref(), parent.uid(), matches, gone, parent.deleting()) {
                Claim::Ours => own.push(pod),
                Claim::Adopt => {
                    let reference = owner::reference(&self.kind, &parent.key().name, parent.uid());
                    owner::adopt(&self.writer, &self.pod, &pod.key, &pod.uid, reference, finalizer).await?;
                    own.push(pod);
                }
                Claim::Release => owner::release(&self.writer, &self.pod, &pod.key, &pod.uid, parent.uid()).await?,
                Claim::Leave => {}
            }
        }
        Ok(own)
    }

    /// Makes a pod from a template, under a name that begins with `prefix`.
    pub(crate) async fn create<P: Parent>(
        &self,
        parent: &P,
        prefix: &str,
        template: &Value,
    ) -> Result<(), kube::Error> {
        let key = ObjectKey {
            namespace: parent.key().namespace.clone(),
            name: random_name(prefix),
        };
        let metadata = &template["metadata"];
        let body = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": key.name, "generateName": prefix, "namespace": key.namespace,
                "labels": metadata["labels"], "annotations": metadata["annotations"],
                "finalizers": metadata["finalizers"],
                "ownerReferences": [owner::reference(&self.kind, &parent.key().name, parent.uid())],
            },
            "spec": template["spec"],
        });
        self.create_as(parent, &key, &body).await
    }

    /// Makes the pod that `body` is.
    pub(crate) async fn create_as<P: Parent>(
        &self,
        parent: &P,
        key: &ObjectKey,
        body: &Value,
    ) -> Result<(), kube::Error> {
        let about = self.kind.regarding(parent.key(), parent.uid());
        self.expected.will_create(parent.key(), key);
        match self.writer.create(&self.pod, key.namespace.as_deref(), body).await {
            Ok(_) => {
                self.writer
                    .recorder
                    .normal(&about, "SuccessfulCreate", format!("Created pod: {}", key.name));
                Ok(())
            }
            Err(error) => {
                self.expected.not_created(parent.key(), key);
                if !is_namespace_going(&error) {
                    self.writer
                        .recorder
                        .warning(&about, "FailedCreate", format!("Error creating: {}", tell(&error)));
                }
                Err(error)
            }
        }
    }

    /// Deletes a pod that was seen.
    pub(crate) async fn delete<P: Parent>(&self, parent: &P, pod: &Pod) -> Result<(), kube::Error> {
        let about = self.kind.regarding(parent.key(), parent.uid());
        self.expected.will_delete(parent.key(), &pod.uid);
        let deleted = self.writer.delete(&self.pod, &pod.key, &pod.uid, json!({})).await;
        match &deleted {
            Ok(()) => {
                let message = format!("Deleted pod: {}", pod.key.name);
                self.writer.recorder.normal(&about, "SuccessfulDelete", message);
            }
            Err(error) => {
                self.expected.not_deleted(parent.key(), &pod.uid);
                self.writer
                    .recorder
                    .warning(&about, "FailedDelete", format!("Error deleting: {}", tell(error)));
            }
        }
        deleted
    }

    /// Takes a finalizer off a pod; one that is gone is no error.
    pub(crate) async fn take_finalizer(&self, pod: &Pod, finalizer: &str) -> Result<(), kube::Error> {
        let body = json!({ "metadata": { "uid": pod.uid, "$deleteFromPrimitiveList/finalizers": [finalizer] } });
        match self.writer.patch(&self.pod, &pod.key, Patch::Strategic, &body).await {
            Err(error) if !client::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

fn changed<P: Parent>(
    change: &Change<Pod>,
    kind: &str,
    parents: &Informer<P>,
    seen: &Expectations,
    queue: &Queue<ObjectKey>,
) {
    let owner_key = |pod: &Pod| {
        let owner = pod.owner.as_ref().filter(|owner| owner.kind == kind)?;
        Some(ObjectKey {
            namespace: pod.key.namespace.clone(),
            name: owner.name.clone(),
        })
    };
    let before = change.before.as_deref().and_then(owner_key);
    let after = change.after.as_deref().and_then(owner_key);
    for key in before
        .iter()
        .chain(after.iter().filter(|after| before.as_ref() != Some(after)))
    {
        seen.seen(key, change);
        queue.add(key.clone());
    }
    // An orphan may belong to any parent that matches it.
    if let Some(pod) = change.after.as_deref().filter(|pod| pod.owner.is_none()) {
        for parent in parents.by(BY_NAMESPACE, pod.key.namespace.as_deref().unwrap_or_default()) {
            if parent.selector().is_some_and(|selector| selector.matches(&pod.labels)) {
                queue.add(parent.key().clone());
            }
        }
    }
}

/// Whether a creation was refused because its namespace is being deleted: nothing is to be said of that.
pub(crate) fn is_namespace_going(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.as_slice())
        .unwrap_or_default();
    status.code == 403 && causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// What users are told of a refusal: the API's own words.
pub(crate) fn tell(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
