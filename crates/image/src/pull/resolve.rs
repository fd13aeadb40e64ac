//! From a name to one manifest: through an index to the variant for a platform.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result, invalid};
use crate::reference::Reference;
use crate::remote::{Found, Registry};
use crate::spec::{Descriptor, Index, Manifest, Platform};
use crate::store::Store;

/// A name, followed to its end.
pub(super) struct Resolved {
    /// What the name means at the registry: an index or the manifest itself.
    pub(super) target: String,
    target_bytes: Bytes,
    /// The manifest's digest.
    pub(super) digest: String,
    bytes: Bytes,
    pub(super) manifest: Manifest,
}

impl Resolved {
    /// The documents by their digests.
    pub(super) fn documents(&self) -> Vec<(String, Bytes)> {
        let mut all = vec![(self.digest.clone(), self.bytes.clone())];
        if self.target != self.digest {
            all.push((self.target.clone(), self.target_bytes.clone()));
        }
        all
    }
}

/// What tells the kinds of documents apart; media types lie.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u32,
    manifests: Option<Value>,
    layers: Option<Value>,
}

/// Asks the registry for the name's manifest.
pub(super) async fn resolve(
    store: &Store,
    registry: &Registry,
    name: &Reference,
    platform: &Platform,
) -> Result<Resolved> {
    let reference = name.digest().or(name.tag()).unwrap_or("latest");
    let top = registry.manifest(reference).await?;
    let mut found = top.clone();
    // An index may list another one; two levels are more than is seen.
    for _ in 0..3 {
        let shape: Shape = read(&found)?;
        if shape.manifests.is_none() {
            if shape.schema_version != 2 || shape.layers.is_none() {
                let reason = "it is neither an OCI nor a Docker (schema 2) manifest";
                return Err(invalid(format!("{} ({})", found.digest, found.media_type), reason));
            }
            return Ok(Resolved {
                target: top.digest,
                target_bytes: top.bytes,
                digest: found.digest.clone(),
                manifest: read(&found)?,
                bytes: found.bytes,
            });
        }
        let index: Index = read(&found)?;
        let chosen = choose(&index, platform)?;
        found = match store.blobs.path(&chosen.digest).and_then(|path| {
            // Documents are kept by their digests, so one that is here is the right one.
            std::fs::read(&path).map_err(|error| invalid(path.display().to_string(), error))
        }) {
            Ok(bytes) => Found {
                bytes: bytes.into(),
                media_type: chosen.media_type.clone(),
                digest: chosen.digest.clone(),
            },
            Err(_) => registry.manifest(&chosen.digest).await?,
        };
    }
    Err(invalid(&top.digest, "its indexes lead to indexes without end"))
}

/// The first variant that the platform runs.
fn choose<'a>(index: &'a Index, platform: &Platform) -> Result<&'a Descriptor> {
    let fits = |d: &&Descriptor| d.platform.as_ref().is_some_and(|p| platform.runs(p));
    let unnamed = |d: &&Descriptor| d.platform.is_none();
    let mut manifests = index.manifests.iter();
    let chosen = manifests.clone().find(fits).or_else(|| manifests.find(unnamed));
    chosen.ok_or_else(|| {
        let mut found: Vec<String> = index
            .manifests
            .iter()
            .filter_map(|d| d.platform.as_ref())
            .filter(|p| p.os != "unknown")
            .map(ToString::to_string)
            .collect();
        found.dedup();
        Error::Platform {
            wanted: platform.to_string(),
            found: found.join(", "),
        }
    })
}

fn read<T: for<'de> Deserialize<'de>>(found: &Found) -> Result<T> {
    serde_json::from_slice(&found.bytes).map_err(|error| invalid(&found.digest, error))
}
