//! Export: images as one tar that is both an OCI layout and a docker-save archive.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};

use serde_json::{Value, json};
use tar::{EntryType, Header};

use crate::blob::parts_of;
use crate::error::{At as _, Error, Result};
use crate::reference::Reference;
use crate::spec::MANIFEST;
use crate::store::Store;

impl Store {
    /// Writes images with their names. The bytes depend on the images alone.
    pub fn export(&self, names: &[Reference], output: impl Write) -> Result<()> {
        let _lock = self.lock(false)?;
        let mut blobs = BTreeSet::new();
        let mut index = Vec::new();
        let mut saved: Vec<Value> = Vec::new();
        for name in names {
            let record = self.record_of(name)?.ok_or_else(|| Error::NotFound(name.to_string()))?;
            let manifest = self
                .manifest(&record)?
                .ok_or_else(|| Error::NotFound(name.to_string()))?;
            let size = self.blobs.size(&record.manifest)?.unwrap_or(0);
            let media_type = manifest.media_type.as_deref().unwrap_or(MANIFEST);
            index.push(
                json!({"mediaType": media_type, "digest": record.manifest, "size": size, "annotations": {
                    "io.containerd.image.name": name.to_string(),
                    "org.opencontainers.image.ref.name": name.tag().unwrap_or_default(),
                }}),
            );
            let layers: Vec<String> = manifest
                .layers
                .iter()
                .map(|l| blob_path(&l.digest))
                .collect::<Result<_>>()?;
            saved.push(json!({"Config": blob_path(&manifest.config.digest)?, "Layers": layers,
                "RepoTags": name.tag().map(|_| name.familiar()).into_iter().collect::<Vec<_>>()}));
            blobs.extend(manifest.layers.iter().map(|layer| layer.digest.clone()));
            blobs.extend([manifest.config.digest.clone(), record.manifest]);
        }
        let mut tar = tar::Builder::new(io::BufWriter::with_capacity(256 << 10, output));
        for digest in &blobs {
            let file = self.blobs.open_blob(digest)?;
            let size = file.metadata().at("reading", digest)?.len();
            add(&mut tar, &blob_path(digest)?, size, file)?;
        }
        let text = |value: &Value| value.to_string().into_bytes();
        let index =
            json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": index});
        for (path, bytes) in [
            ("oci-layout", text(&json!({"imageLayoutVersion": "1.0.0"}))),
            ("index.json", text(&index)),
            ("manifest.json", text(&Value::Array(saved))),
        ] {
            add(&mut tar, path, bytes.len() as u64, bytes.as_slice())?;
        }
        let mut output = tar.into_inner().at("writing", "the archive")?;
        output.flush().at("writing", "the archive")
    }

    /// As [`Store::export`], into a file that is whole or not there.
    pub fn export_to(&self, names: &[Reference], path: &std::path::Path) -> Result<()> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or(std::path::Path::new("."));
        let file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(dir)
            .at("making a file in", dir)?;
        self.export(names, File::try_clone(file.as_file()).at("writing", path)?)?;
        file.persist(path).at("renaming to", path)?;
        Ok(())
    }
}

fn blob_path(digest: &str) -> Result<String> {
    let (algorithm, hex) = parts_of(digest)?;
    Ok(format!("blobs/{algorithm}/{hex}"))
}

fn add(tar: &mut tar::Builder<impl Write>, path: &str, size: u64, content: impl Read) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(0);
    tar.append_data(&mut header, path, content).at("writing", path)
}
