//! Making a layer: a tar whose bytes depend on its content alone, not on when or where it was made.

use std::io::{self, Read, Write as _};

use tar::{EntryType, Header};
use tempfile::NamedTempFile;

use crate::blob::{Blobs, Hashing};
use crate::error::{At as _, Result};
use crate::spec::{Descriptor, LAYER_TAR};
use crate::store::Store;

/// A layer that is being written into a store.
pub struct Layer {
    blobs: Blobs,
    tar: tar::Builder<Hashing<NamedTempFile>>,
}

impl Store {
    /// Starts a layer.
    pub fn new_layer(&self) -> Result<Layer> {
        let file = self.blobs.temp_file()?;
        Ok(Layer {
            blobs: self.blobs.clone(),
            tar: tar::Builder::new(Hashing::new(file)),
        })
    }
}

impl Layer {
    /// Adds a directory, owned by root.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<()> {
        let mut header = header(EntryType::Directory, mode, 0);
        self.append(&mut header, &format!("{}/", path.trim_matches('/')), io::empty())
    }

    /// Adds a file, owned by root.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = header(EntryType::Regular, mode, content.len() as u64);
        self.append(&mut header, path.trim_matches('/'), content)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        self.tar
            .append_link(&mut header, path.trim_matches('/'), target)
            .at("writing a layer for", path)
    }

    /// Ends the layer: its blob, and the digest of its tar, which is the same here.
    pub fn finish(self) -> Result<Descriptor> {
        let blobs = self.blobs;
        let mut output = self.tar.into_inner().at("writing a layer in", blobs.temp_dir())?;
        output.flush().at("writing a layer in", blobs.temp_dir())?;
        let size = output.length();
        let (file, digest) = output.finish();
        if !blobs.has(&digest) {
            blobs.publish(file, &digest)?;
        }
        let media_type = LAYER_TAR.to_string();
        Ok(Descriptor {
            media_type,
            digest,
            size,
            platform: None,
            annotations: Default::default(),
        })
    }

    fn append(&mut self, header: &mut Header, path: &str, content: impl Read) -> Result<()> {
        self.tar
            .append_data(header, path, content)
            .at("writing a layer for", path)
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}
