//! Making a layer: a tar whose bytes depend on its content alone, not on when or where it was made.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use tar::{EntryType, Header};
use tempfile::NamedTempFile;

use crate::blob::{Blobs, Hashing};
use crate::error::{At as _, Result, invalid};
use crate::spec::{Descriptor, LAYER_TAR};
use crate::store::Store;

/// A layer that is being written into a store.
pub struct Layer {
    blobs: Blobs,
    tar: tar::Builder<Hashing<NamedTempFile>>,
}

/// Who owns what a layer brings.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owner {
    pub(crate) uid: u64,
    pub(crate) gid: u64,
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
        let mut header = header(EntryType::Directory, mode, 0, Owner::default(), 0);
        self.append(&mut header, &format!("{}/", path.trim_matches('/')), io::empty())
    }

    /// Adds a file, owned by root.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = header(EntryType::Regular, mode, content.len() as u64, Owner::default(), 0);
        self.append(&mut header, path.trim_matches('/'), content)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0, Owner::default(), 0);
        self.tar
            .append_link(&mut header, path.trim_matches('/'), target)
            .at("writing a layer for", path)
    }

    /// Adds a file of the host, or a directory with all that is in it, as `path`. Modes and times are kept.
    pub(crate) fn copy(&mut self, source: &Path, path: &str, owner: Owner, skip: &dyn Fn(&Path) -> bool) -> Result<()> {
        let metadata = fs::symlink_metadata(source).at("reading", source)?;
        let mode = metadata.mode() & 0o7777;
        let mtime = u64::try_from(metadata.mtime()).unwrap_or(0);
        let kind = metadata.file_type();
        if kind.is_dir() {
            if !path.is_empty() {
                let mut header = header(EntryType::Directory, mode, 0, owner, mtime);
                self.append(&mut header, &format!("{path}/"), io::empty())?;
            }
            for name in sorted_names(source)? {
                let child = source.join(&name);
                if !skip(&child) {
                    let name = name
                        .to_str()
                        .ok_or_else(|| invalid(child.display().to_string(), "its name is not UTF-8"))?;
                    let inside = if path.is_empty() {
                        name.to_string()
                    } else {
                        format!("{path}/{name}")
                    };
                    self.copy(&child, &inside, owner, skip)?;
                }
            }
            Ok(())
        } else if kind.is_symlink() {
            let target = fs::read_link(source).at("reading", source)?;
            let mut header = header(EntryType::Symlink, 0o777, 0, owner, mtime);
            self.tar
                .append_link(&mut header, path, target)
                .at("writing a layer for", path)
        } else if kind.is_file() {
            let file = File::open(source).at("opening", source)?;
            let mut header = header(EntryType::Regular, mode, metadata.len(), owner, mtime);
            // A file that grows while it is read must not break the archive.
            self.append(&mut header, path, file.take(metadata.len()))
        } else if kind.is_socket() {
            Ok(())
        } else {
            Err(invalid(
                source.display().to_string(),
                "only files, directories and symbolic links can be copied",
            ))
        }
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

fn header(kind: EntryType, mode: u32, size: u64, owner: Owner, mtime: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.uid);
    header.set_gid(owner.gid);
    header.set_mtime(mtime);
    header.set_size(size);
    header
}

fn sorted_names(dir: &Path) -> Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).at("reading", dir)? {
        names.push(entry.at("reading", dir)?.file_name());
    }
    names.sort();
    Ok(names)
}
