//! Writing a layer: entries with all their attributes, parents before children, bytes that depend on the content alone.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};
use tempfile::NamedTempFile;

use crate::blob::{Blobs, Hashing};
use crate::error::{At as _, Result, invalid};
use crate::spec::{Descriptor, LAYER_TAR};
use crate::store::Store;

use super::tree::{Node, Tree, xattrs};

/// A layer that is being written.
pub(super) struct Tarball<'a> {
    blobs: Blobs,
    tar: tar::Builder<Hashing<Holes>>,
    /// What lies below, where directories that are only passed get their attributes from.
    below: &'a Tree,
    times: Times,
    directories: HashSet<PathBuf>,
    links: HashMap<(u64, u64), PathBuf>,
}

/// Which times files get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// For what has none of its own, in seconds.
    pub(super) now: i64,
    /// No file is younger, as SOURCE_DATE_EPOCH wants it.
    pub(super) latest: Option<i64>,
}

/// A file's attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: i64,
    pub(super) xattrs: Vec<(OsString, Vec<u8>)>,
}

impl Attributes {
    /// As a file of the host has them.
    pub(super) fn of(path: &Path, metadata: &Metadata) -> Result<Self> {
        let xattrs = if metadata.is_symlink() {
            Vec::new()
        } else {
            xattrs(path)?
        };
        Ok(Self {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.mtime(),
            xattrs,
        })
    }
}

impl<'a> Tarball<'a> {
    /// Starts a layer on top of `below`.
    pub(super) fn new(store: &Store, below: &'a Tree, times: Times) -> Result<Self> {
        let file = store.blobs.temp_file()?;
        Ok(Self {
            blobs: store.blobs.clone(),
            tar: tar::Builder::new(Hashing::new(Holes { file, length: 0 })),
            below,
            times,
            directories: HashSet::new(),
            links: HashMap::new(),
        })
    }

    /// Whether this layer has a directory of that name.
    pub(super) fn has_directory(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || self.directories.contains(path)
    }

    /// Adds a directory, or changes one that is there. `opaque` hides what is in it below.
    pub(super) fn directory(&mut self, path: &Path, attributes: &Attributes, opaque: bool) -> Result<()> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        self.parents(path)?;
        self.directories.insert(path.to_path_buf());
        let mut name = path.as_os_str().to_os_string();
        name.push("/");
        self.entry(EntryType::Directory, Path::new(&name), attributes, 0, io::empty())?;
        if opaque {
            self.mark(&path.join(".wh..wh..opq"))?;
        }
        Ok(())
    }

    /// Adds a file of the host under a name: anything but a directory. A socket is left out.
    pub(super) fn file(
        &mut self,
        path: &Path,
        host: &Path,
        metadata: &Metadata,
        attributes: &Attributes,
    ) -> Result<()> {
        let kind = metadata.file_type();
        if kind.is_socket() {
            return Ok(());
        }
        self.parents(path)?;
        if metadata.nlink() > 1 {
            let first = self
                .links
                .entry((metadata.dev(), metadata.ino()))
                .or_insert_with(|| path.to_path_buf());
            if first != path {
                let first = first.clone();
                return self.link(EntryType::Link, path, &first, attributes);
            }
        }
        if kind.is_symlink() {
            let target = fs::read_link(host).at("reading", host)?;
            return self.link(EntryType::Symlink, path, &target, attributes);
        }
        if kind.is_file() {
            let file = File::open(host).at("opening", host)?;
            // A file that grows while it is read must not break the archive.
            let content = file.take(metadata.len());
            return self.entry(EntryType::Regular, path, attributes, metadata.len(), content);
        }
        let entry = match (kind.is_fifo(), kind.is_block_device()) {
            (true, _) => EntryType::Fifo,
            (_, true) => EntryType::Block,
            _ => EntryType::Char,
        };
        let mut header = self.header(entry, attributes, 0);
        let device = metadata.rdev();
        let numbers = (rustix::fs::major(device), rustix::fs::minor(device));
        header.set_device_major(numbers.0).at("writing a layer for", path)?;
        header.set_device_minor(numbers.1).at("writing a layer for", path)?;
        self.xattrs(&attributes.xattrs)?;
        self.tar
            .append_data(&mut header, path, io::empty())
            .at("writing a layer for", path)
    }

    /// Adds a file with a content.
    pub(super) fn content(&mut self, path: &Path, bytes: &[u8], attributes: &Attributes) -> Result<()> {
        self.parents(path)?;
        self.entry(EntryType::Regular, path, attributes, bytes.len() as u64, bytes)
    }

    /// Takes away what lies below under a name.
    pub(super) fn whiteout(&mut self, path: &Path) -> Result<()> {
        self.parents(path)?;
        let mut name = OsString::from(".wh.");
        name.push(path.file_name().unwrap_or_default());
        self.mark(&path.with_file_name(name))
    }

    /// Ends the layer: its blob. Its digest is also that of its tar, which is not compressed.
    pub(super) fn finish(self) -> Result<Descriptor> {
        let blobs = self.blobs;
        let output = self.tar.into_inner().at("writing a layer in", blobs.temp_dir())?;
        let size = output.length();
        let (holes, digest) = output.finish();
        let file = holes.file;
        file.as_file()
            .set_len(holes.length)
            .at("writing a layer in", blobs.temp_dir())?;
        if !blobs.has(&digest) {
            blobs.publish(file, &digest)?;
        }
        Ok(Descriptor {
            media_type: LAYER_TAR.to_string(),
            digest,
            size,
            platform: None,
            annotations: Default::default(),
        })
    }

    /// Ends the layer without putting it into the store: its file, from the beginning.
    pub(super) fn into_file(self) -> Result<File> {
        let temp = self.blobs.temp_dir().to_path_buf();
        let (holes, _) = self.tar.into_inner().at("writing an archive in", &temp)?.finish();
        let mut file = holes.file.into_file();
        file.set_len(holes.length)
            .and_then(|()| file.rewind())
            .at("writing an archive in", temp)?;
        Ok(file)
    }

    /// The directories above come first. A layer is unpacked by itself, so they bring their attributes along.
    fn parents(&mut self, path: &Path) -> Result<()> {
        let Some(parent) = path.parent().filter(|parent| !self.has_directory(parent)) else {
            return Ok(());
        };
        let parent = parent.to_path_buf();
        let attributes = match self.below.at(&parent)? {
            Some(node @ Node::Directory(..)) => Attributes::of(node.host(), node.metadata())?,
            _ => Attributes {
                mode: 0o755,
                mtime: self.times.now,
                ..Attributes::default()
            },
        };
        self.directory(&parent, &attributes, false)
    }

    fn link(&mut self, kind: EntryType, path: &Path, target: &Path, attributes: &Attributes) -> Result<()> {
        let mut header = self.header(kind, attributes, 0);
        self.tar
            .append_link(&mut header, path, target)
            .at("writing a layer for", path)
    }

    fn mark(&mut self, path: &Path) -> Result<()> {
        let attributes = Attributes {
            mode: 0o600,
            ..Attributes::default()
        };
        self.entry(EntryType::Regular, path, &attributes, 0, io::empty())
    }

    fn entry(
        &mut self,
        kind: EntryType,
        path: &Path,
        attributes: &Attributes,
        size: u64,
        content: impl Read,
    ) -> Result<()> {
        self.xattrs(&attributes.xattrs)?;
        let mut header = self.header(kind, attributes, size);
        let mut content = Exactly {
            inner: content,
            left: size,
        };
        self.tar
            .append_data(&mut header, path, &mut content)
            .at("writing a layer for", path)?;
        match content.left {
            0 => Ok(()),
            _ => Err(invalid(
                path.display().to_string(),
                "it became shorter while it was read",
            )),
        }
    }

    fn xattrs(&mut self, xattrs: &[(OsString, Vec<u8>)]) -> Result<()> {
        if xattrs.is_empty() {
            return Ok(());
        }
        let mut named = Vec::new();
        for (name, value) in xattrs {
            named.push((format!("SCHILY.xattr.{}", name.to_string_lossy()), value.as_slice()));
        }
        let records = named.iter().map(|(name, value)| (name.as_str(), *value));
        self.tar
            .append_pax_extensions(records)
            .at("writing a layer in", self.blobs.temp_dir())
    }

    fn header(&self, kind: EntryType, attributes: &Attributes, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Symlink {
            0o777
        } else {
            attributes.mode
        });
        header.set_uid(attributes.uid.into());
        header.set_gid(attributes.gid.into());
        let mtime = self
            .times
            .latest
            .map_or(attributes.mtime, |latest| attributes.mtime.min(latest));
        header.set_mtime(u64::try_from(mtime).unwrap_or(0));
        header.set_size(size);
        header
    }
}

/// Counts what is still to come.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

/// A file in which long runs of zeros take no room, as files that have holes would else fill the disk.
struct Holes {
    file: NamedTempFile,
    length: u64,
}

impl Write for Holes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() >= 4096 && bytes.iter().all(|byte| *byte == 0) {
            self.file.as_file_mut().seek(SeekFrom::Current(bytes.len() as i64))?;
        } else {
            self.file.as_file_mut().write_all(bytes)?;
        }
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A whiteout of overlayfs: a device node with the number 0.
pub(super) fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// Whether a file has an extended attribute.
pub(super) fn has_xattr(path: &Path, name: &str) -> bool {
    rustix::fs::lgetxattr(path, OsStr::new(name), &mut [0u8; 0][..]).is_ok_and(|length| length > 0)
}
