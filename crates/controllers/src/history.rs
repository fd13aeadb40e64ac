//! Revisions of templates: the one that is current, made where it is missing, and old ones, of which some are kept so
//! that one can go back to them.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::{Informer, ObjectKey};
use serde_json::{Value, json};

use crate::children::Parent;
use crate::deployment::template;
use crate::owner::{self, Claim};
use crate::world::{BY_NAMESPACE, Labels, Revision};
use crate::write::{Kind, Patch, Writer};

/// A controller's hands for the revisions of its kind.
pub(crate) struct Histories {
    owner: Kind,
    /// The label of a revision that has the hash of its template.
    label: &'static str,
    revision: Kind,
    revisions: Informer<Revision>,
    writer: Writer,
}

/// What a controller is to do with its template's revisions.
pub(crate) enum Current {
    /// The revision that the template is.
    Known(Found),
    /// Another template has the name; the owner must count that, so that the next name is another one.
    Collision,
}

/// A revision that is there.
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) hash: String,
    /// Those of other templates, the oldest first.
    pub(crate) old: Vec<Arc<Revision>>,
}

/// What the current revision is made from.
pub(crate) struct Source<'a> {
    pub(crate) template: &'a str,
    pub(crate) annotations: &'a Labels,
    pub(crate) collisions: i32,
}

impl Histories {
    pub(crate) fn new(owner: Kind, label: &'static str, revisions: &Informer<Revision>, writer: &Writer) -> Self {
        Self {
            owner,
            label,
            revision: Kind::new("apps/v1", "ControllerRevision", "controllerrevisions"),
            revisions: revisions.clone(),
            writer: writer.clone(),
        }
    }

    /// Finds the current revision, or makes it; of several that are the same, the newest counts.
    pub(crate) async fn current<P: Parent>(&self, parent: &P, source: &Source<'_>) -> Result<Current, kube::Error> {
        let mut all = self.of(parent).await?;
        all.sort_by(|a, b| (a.number, a.created, &a.key.name).cmp(&(b.number, b.created, &b.key.name)));
        let data = data(source.template);
        let text = data.to_string();
        let (same, old): (Vec<_>, Vec<_>) = all.into_iter().partition(|revision| *revision.data == *text);
        let next = old.last().map_or(0, |last| last.number) + 1;
        let Some(current) = same.last() else {
            return self.make(parent, source, &data, next, old).await;
        };
        if current.number < next {
            let body = json!({ "metadata": { "uid": current.uid }, "revision": next });
            self.writer
                .patch(&self.revision, &current.key, Patch::Merge, &body)
                .await?;
        }
        Ok(Current::Known(Found {
            name: current.key.name.clone(),
            hash: self.hash_of(&current.labels, &current.key.name),
            old,
        }))
    }

    /// The revisions of an owner, after adoption and release.
    async fn of<P: Parent>(&self, parent: &P) -> Result<Vec<Arc<Revision>>, kube::Error> {
        let Some(selector) = parent.selector() else {
            return Ok(Vec::new());
        };
        let mut own = Vec::new();
        for found in self
            .revisions
            .by(BY_NAMESPACE, parent.key().namespace.as_deref().unwrap_or_default())
        {
            let matches = selector.matches(&found.labels);
            match owner::claim(
                found.owner.as_ref(),
                parent.uid(),
                matches,
                found.deleting,
                parent.deleting(),
            ) {
                Claim::Ours => own.push(found),
                Claim::Adopt => {
                    let reference = owner::reference(&self.owner, &parent.key().name, parent.uid());
                    owner::adopt(&self.writer, &self.revision, &found.key, &found.uid, reference, None).await?;
                    own.push(found);
                }
                Claim::Release => {
                    owner::release(&self.writer, &self.revision, &found.key, &found.uid, parent.uid()).await?;
                }
                Claim::Leave => {}
            }
        }
        Ok(own)
    }

    async fn make<P: Parent>(
        &self,
        parent: &P,
        source: &Source<'_>,
        data: &Value,
        number: i64,
        old: Vec<Arc<Revision>>,
    ) -> Result<Current, kube::Error> {
        let hash = template::hash(&template::canonical(source.template), source.collisions);
        let key = ObjectKey {
            namespace: parent.key().namespace.clone(),
            name: format!("{}-{hash}", parent.key().name),
        };
        let template: Value = serde_json::from_str(source.template).map_err(kube::Error::SerdeError)?;
        let mut labels = template["metadata"]["labels"].clone();
        labels[self.label] = hash.as_str().into();
        let body = json!({
            "apiVersion": self.revision.api_version,
            "kind": self.revision.kind,
            "metadata": {
                "name": key.name, "namespace": key.namespace, "labels": labels, "annotations": source.annotations,
                "ownerReferences": [owner::reference(&self.owner, &parent.key().name, parent.uid())],
            },
            "data": data,
            "revision": number,
        });
        let known = Current::Known(Found {
            name: key.name.clone(),
            hash,
            old,
        });
        match self
            .writer
            .create(&self.revision, key.namespace.as_deref(), &body)
            .await
        {
            Ok(_) => Ok(known),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                // Mostly it is ours, made a moment ago and not seen yet.
                let path = format!("{}/{}", self.revision.path(key.namespace.as_deref()), key.name);
                let there = self.writer.get(&path).await?;
                Ok(if there["data"] == *data {
                    known
                } else {
                    Current::Collision
                })
            }
            Err(error) => Err(error),
        }
    }

    fn hash_of(&self, labels: &Labels, name: &str) -> String {
        labels.get(self.label).cloned().unwrap_or_else(|| name.to_owned())
    }

    /// Deletes the oldest revisions beyond a limit, unless a pod is of one; `live` has the pods' words for theirs.
    pub(crate) async fn clean_up(
        &self,
        old: &[Arc<Revision>],
        limit: i32,
        live: &BTreeSet<String>,
    ) -> Result<(), kube::Error> {
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        let is_live = |revision: &Revision| {
            live.contains(&revision.key.name) || live.contains(&self.hash_of(&revision.labels, &revision.key.name))
        };
        for revision in old.iter().filter(|revision| !is_live(revision)).take(surplus) {
            self.writer
                .delete(&self.revision, &revision.key, &revision.uid, json!({}))
                .await?;
        }
        Ok(())
    }
}

/// What a revision holds: a patch by which its owner has the template again.
pub(crate) fn data(template: &str) -> Value {
    let mut template = template::canonical(template);
    template["$patch"] = "replace".into();
    json!({ "spec": { "template": template } })
}
