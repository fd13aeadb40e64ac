//! Who refers to a manifest: signatures, bills of materials and the like, each a manifest with a subject.

use serde_json::{Value, json};

use super::{Repository, names_in};
use crate::error::Result;
use crate::spec::INDEX;

impl Repository {
    /// The index of the manifests whose subject is `digest`, those of one kind if asked for.
    pub fn referrers(&self, digest: &str, artifact_type: Option<&str>) -> Result<Value> {
        crate::blob::parts_of(digest)?;
        let mut manifests = Vec::new();
        for name in names_in(&self.dir.join("manifests"))? {
            let referrer = name.replacen('-', ":", 1);
            let Some(entry) = self.entry(&referrer)? else { continue };
            let kind_fits = artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted));
            if entry.subject.as_deref() != Some(digest) || !kind_fits {
                continue;
            }
            let mut descriptor = json!({"mediaType": entry.media_type, "digest": referrer, "size": entry.size});
            if let Some(kind) = entry.artifact_type {
                descriptor["artifactType"] = Value::String(kind);
            }
            if let Some(annotations) = entry.annotations {
                descriptor["annotations"] = annotations;
            }
            manifests.push(descriptor);
        }
        Ok(json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))
    }
}
