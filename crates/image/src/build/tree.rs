//! A file system looked at without mounting it: the layers of an image on top of each other, or a directory of the
//! host with what `.dockerignore` leaves out.
//!
//! Symbolic links are resolved here, inside of the tree, so none leads out of it. Nothing is written.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::error::{At as _, Result, invalid};

use super::pattern::Ignore;

/// As the kernel allows.
const MAX_LINKS: usize = 40;

/// A file system.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// Topmost first.
    layers: Vec<PathBuf>,
    ignore: Option<Arc<Ignore>>,
}

/// A directory of a tree: one on the host for each layer that has a part in it.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    /// From the tree's root.
    pub(super) path: PathBuf,
    parts: Vec<PathBuf>,
}

/// What has a name in a tree.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// A directory; what it is like is told by its topmost part.
    Directory(Directory, Metadata),
    /// Anything else: from the tree's root, on the host, what it is like.
    Other(PathBuf, PathBuf, Metadata),
}

impl Node {
    /// On the host; of a directory, its topmost part.
    pub(super) fn host(&self) -> &Path {
        match self {
            Self::Directory(directory, _) => directory.parts.first().map_or(Path::new(""), PathBuf::as_path),
            Self::Other(_, host, _) => host,
        }
    }

    /// What it is like.
    pub(super) fn metadata(&self) -> &Metadata {
        match self {
            Self::Directory(_, metadata) | Self::Other(_, _, metadata) => metadata,
        }
    }
}

impl Tree {
    /// Unpacked layers, topmost first.
    pub(super) fn of_layers(layers: Vec<PathBuf>) -> Self {
        Self { layers, ignore: None }
    }

    /// A directory of the host, without what `ignore` leaves out.
    pub(super) fn of_directory(dir: &Path, ignore: Ignore) -> Result<Self> {
        let dir = fs::canonicalize(dir).at("reading", dir)?;
        let ignore = (!ignore.is_empty()).then(|| Arc::new(ignore));
        Ok(Self {
            layers: vec![dir],
            ignore,
        })
    }

    /// Puts a layer on top.
    pub(super) fn push(&mut self, layer: PathBuf) {
        self.layers.insert(0, layer);
    }

    /// The layers, topmost first.
    pub(super) fn layers(&self) -> &[PathBuf] {
        &self.layers
    }

    /// The root directory; `None` of a tree without layers.
    pub(super) fn root(&self) -> Result<Option<Node>> {
        let Some(top) = self.layers.first() else {
            return Ok(None);
        };
        let metadata = fs::metadata(top).at("reading", top)?;
        let directory = Directory {
            path: PathBuf::new(),
            parts: self.layers.clone(),
        };
        Ok(Some(Node::Directory(directory, metadata)))
    }

    /// What is at a path, all symbolic links followed.
    pub(super) fn find(&self, path: &str) -> Result<Option<Node>> {
        let real = self.real_path(path)?;
        self.at(&real)
    }

    /// What is at a path without symbolic links in its parents; the last part is not followed.
    pub(super) fn at(&self, path: &Path) -> Result<Option<Node>> {
        let mut node = self.root()?;
        for part in path.components() {
            let Component::Normal(part) = part else { continue };
            node = match node {
                Some(Node::Directory(directory, _)) => self.child(&directory, part)?,
                _ => return Ok(None),
            };
        }
        Ok(node)
    }

    /// The path without symbolic links, relative to the root. What isn't there stays as it is.
    pub(super) fn real_path(&self, path: &str) -> Result<PathBuf> {
        let mut real = PathBuf::new();
        let mut pending: Vec<OsString> = parts(Path::new(path));
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part == ".." {
                real.pop();
                continue;
            }
            let next = real.join(&part);
            match self.at(&next)? {
                Some(Node::Other(_, host, metadata)) if metadata.is_symlink() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(invalid(path, "too many symbolic links"));
                    }
                    let target = fs::read_link(&host).at("reading", host)?;
                    if target.is_absolute() {
                        real = PathBuf::new();
                    }
                    pending.extend(parts(&target));
                }
                _ => real = next,
            }
        }
        Ok(real)
    }

    /// As [`Tree::real_path`], but a link that the path itself names stays.
    pub(super) fn real_parent(&self, path: &str) -> Result<PathBuf> {
        let path = Path::new(path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(PathBuf::new());
        };
        Ok(self.real_path(&parent.to_string_lossy())?.join(name))
    }

    /// A file's content; `None` when there is none.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self.find(path)? {
            Some(Node::Other(_, host, metadata)) if metadata.is_file() => fs::read(&host).at("reading", host).map(Some),
            _ => Ok(None),
        }
    }

    /// What is in a directory, by name.
    pub(super) fn list(&self, directory: &Directory) -> Result<BTreeMap<OsString, Node>> {
        let mut names = BTreeMap::new();
        for part in &directory.parts {
            for entry in fs::read_dir(part).at("reading", part)? {
                names.insert(entry.at("reading", part)?.file_name(), ());
            }
        }
        let mut nodes = BTreeMap::new();
        for (name, ()) in names {
            if let Some(node) = self.child(directory, &name)? {
                nodes.insert(name, node);
            }
        }
        Ok(nodes)
    }

    /// What a directory has under a name, with the kernel's rules: a whiteout and anything but a directory end the
    /// search, and so does a directory that is opaque.
    pub(super) fn child(&self, directory: &Directory, name: &OsStr) -> Result<Option<Node>> {
        let path = directory.path.join(name);
        let mut found: Option<Metadata> = None;
        let mut parts = Vec::new();
        for part in &directory.parts {
            let host = part.join(name);
            let metadata = match fs::symlink_metadata(&host) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.at("reading", &host)?,
            };
            if !metadata.is_dir() {
                let whiteout = metadata.file_type().is_char_device() && metadata.rdev() == 0;
                if found.is_none() && !whiteout {
                    return Ok(self.keeps(&path, None)?.then_some(Node::Other(path, host, metadata)));
                }
                break;
            }
            let opaque = is_opaque(&host);
            parts.push(host);
            found.get_or_insert(metadata);
            if opaque {
                break;
            }
        }
        let Some(metadata) = found else { return Ok(None) };
        let directory = Directory { path, parts };
        let kept = self.keeps(&directory.path, Some(&directory))?;
        Ok(kept.then_some(Node::Directory(directory, metadata)))
    }

    /// Whether a file isn't left out. A directory that is stays when something in it does.
    fn keeps(&self, path: &Path, directory: Option<&Directory>) -> Result<bool> {
        let Some(ignore) = &self.ignore else { return Ok(true) };
        if !ignore.excludes(&path.to_string_lossy()) {
            return Ok(true);
        }
        match directory {
            Some(directory) if ignore.has_exceptions() => Ok(!self.list(directory)?.is_empty()),
            _ => Ok(false),
        }
    }
}

/// Whether overlayfs shows nothing from below in a directory.
pub(super) fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::lgetxattr(directory, "trusted.overlay.opaque", &mut value[..]) == Ok(1) && value == *b"y"
}

/// A path's parts, last first.
fn parts(path: &Path) -> Vec<OsString> {
    let keep = |c: Component<'_>| match c {
        Component::Normal(part) => Some(part.to_os_string()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    let mut parts: Vec<OsString> = path.components().filter_map(keep).collect();
    parts.reverse();
    parts
}

/// The extended attributes of a file that go into a layer: those of programs and users, none of the host's own.
pub(super) fn xattrs(path: &Path) -> Result<Vec<(OsString, Vec<u8>)>> {
    let mut names = vec![0u8; 4096];
    let length = loop {
        match rustix::fs::llistxattr(path, &mut names[..]) {
            Ok(length) => break length,
            Err(rustix::io::Errno::RANGE) => names.resize(names.len() * 4, 0),
            Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(error).at("reading attributes of", path),
        }
    };
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let ours =
            name == b"security.capability" || name.starts_with(b"user.") || name.starts_with(b"system.posix_acl");
        if !ours {
            continue;
        }
        let name = OsStr::from_bytes(name);
        let mut value = vec![0u8; 64 << 10];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).at("reading attributes of", path)?;
        value.truncate(length);
        found.push((name.to_os_string(), value));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_of_lower_layers_are_followed() {
        let lower = tempfile::tempdir().unwrap();
        let upper = tempfile::tempdir().unwrap();
        fs::create_dir_all(lower.path().join("usr/lib")).unwrap();
        symlink("usr/lib", lower.path().join("lib")).unwrap();
        symlink("/lib/../lib", upper.path().join("alias")).unwrap();
        let tree = Tree::of_layers(vec![upper.path().to_path_buf(), lower.path().to_path_buf()]);
        assert_eq!(tree.real_path("/lib/x/y").unwrap(), Path::new("usr/lib/x/y"));
        assert_eq!(tree.real_path("/alias/x").unwrap(), Path::new("usr/lib/x"));
        assert_eq!(tree.real_path("/../../new").unwrap(), Path::new("new"));
        assert!(matches!(tree.find("/alias").unwrap(), Some(Node::Directory(..))));
        assert!(tree.find("/lib/nothing").unwrap().is_none());
        symlink("loop", upper.path().join("loop")).unwrap();
        assert!(tree.real_path("/loop").is_err());
    }

    #[test]
    fn a_directory_over_a_link_hides_what_the_link_leads_to() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        let (lower, upper) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), lower.path().join("a")).unwrap();
        fs::create_dir(upper.path().join("a")).unwrap();
        let tree = Tree::of_layers(vec![upper.path().to_path_buf(), lower.path().to_path_buf()]);
        assert!(tree.find("/a/secret").unwrap().is_none());
        let tree = Tree::of_layers(vec![lower.path().to_path_buf()]);
        assert!(
            tree.find("/a/secret").unwrap().is_none(),
            "an absolute link stays inside"
        );
    }

    #[test]
    fn what_is_ignored_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        for file in ["a/b/keep", "a/b/drop", "a/other", "top"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let tree = Tree::of_directory(dir.path(), Ignore::parse("*\n!a/b/keep").unwrap()).unwrap();
        assert!(tree.find("a/b/keep").unwrap().is_some());
        assert!(tree.find("a/b/drop").unwrap().is_none());
        assert!(tree.find("top").unwrap().is_none());
        let Some(Node::Directory(root, _)) = tree.root().unwrap() else {
            panic!()
        };
        assert_eq!(tree.list(&root).unwrap().keys().collect::<Vec<_>>(), ["a"]);
        let tree = Tree::of_directory(dir.path(), Ignore::parse("*").unwrap()).unwrap();
        let Some(Node::Directory(root, _)) = tree.root().unwrap() else {
            panic!()
        };
        assert!(tree.list(&root).unwrap().is_empty());
    }
}
