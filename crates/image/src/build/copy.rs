//! COPY and ADD: which files come where. The answer is a list, from which come the cache's key and the layer.
//!
//! Nothing is written here. The rules are those of the Dockerfile reference and of how BuildKit reads it: a directory
//! gives its content, a directory that is made for the destination has mode 755, one that a source brings along
//! replaces the attributes of one that is there.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::error::{At as _, Result};

use super::chmod::Chmod;
use super::pattern::{Ignore, glob, is_pattern};
use super::tarball::{Attributes, Tarball, Times};
use super::tree::{Directory, Node, Tree};
use super::users::User;
use super::{fault, words};

/// What one COPY or ADD puts into a layer.
#[derive(Default)]
pub(super) struct Copies {
    entries: Vec<Entry>,
}

struct Entry {
    path: PathBuf,
    origin: Origin,
    attributes: Attributes,
}

enum Origin {
    Directory,
    File(PathBuf, Metadata),
    Bytes(Bytes),
    /// An archive that is unpacked only when the layer is made; by the digest of its bytes.
    Sealed(Vec<u8>),
}

/// How files are taken over.
pub(super) struct Rules {
    /// The destination, absolute.
    pub(super) target: String,
    /// Whether the destination is a directory whatever is there.
    pub(super) into_directory: bool,
    /// The owner of all; `None` keeps each file's own.
    pub(super) owner: Option<User>,
    pub(super) chmod: Option<Chmod>,
    /// Whether the path of a source is kept below the destination.
    pub(super) parents: bool,
    pub(super) exclude: Ignore,
    pub(super) times: Times,
}

impl Copies {
    /// Adds what a source names in a tree.
    pub(super) fn add(&mut self, from: &Tree, source: &str, base: &Tree, rules: &Rules) -> Result<()> {
        if rules.parents {
            return self.add_with_parents(from, source, base, rules);
        }
        let found = matches(from, &words::join("/", source))?;
        if found.is_empty() && !is_pattern(source) {
            return Err(fault(format!(
                "{source:?} is not there, or .dockerignore leaves it out"
            )));
        }
        for path in found {
            let Some(node) = from.find(&format!("/{path}"))? else {
                return Err(fault(format!("{path:?} is a link that leads nowhere")));
            };
            match &node {
                Node::Directory(directory, _) => {
                    let target = self.directory_target(base, rules)?;
                    self.add_content(from, directory, &target, Path::new(""), base, rules)?;
                }
                Node::Other(_, host, metadata) => {
                    let name = Path::new(&path).file_name().unwrap_or_default().to_os_string();
                    if !rules.exclude.excludes(&name.to_string_lossy()) {
                        let target = self.file_target(&name, base, rules)?;
                        self.put_file(target, host, metadata, base, rules)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a file with a content, as here-documents and downloads are.
    pub(super) fn add_bytes(
        &mut self,
        name: &str,
        bytes: Bytes,
        mode: u32,
        mtime: Option<i64>,
        base: &Tree,
        rules: &Rules,
    ) -> Result<()> {
        let path = self.file_target(&OsString::from(name), base, rules)?;
        let attributes = Attributes {
            mode,
            mtime: mtime.unwrap_or(rules.times.now),
            ..Attributes::default()
        };
        let attributes = rules.change(attributes, false);
        self.entries.push(Entry {
            path,
            origin: Origin::Bytes(bytes),
            attributes,
        });
        Ok(())
    }

    /// Adds an archive that is to be unpacked, as far as it takes to know it again.
    pub(super) fn add_sealed(&mut self, digest: Vec<u8>, base: &Tree, rules: &Rules) -> Result<()> {
        let how = format!("{:?} {:?} {:?}", rules.owner, rules.chmod, rules.exclude);
        let mut hash = Sha256::new_with_prefix(digest);
        hash.update(how);
        self.entries.push(Entry {
            path: base.real_path(&rules.target)?,
            origin: Origin::Sealed(hash.finalize().to_vec()),
            attributes: Attributes::default(),
        });
        Ok(())
    }

    /// Adds all that is in a directory of the host, which an archive was unpacked into.
    pub(super) fn add_unpacked(&mut self, dir: &Path, base: &Tree, rules: &Rules) -> Result<()> {
        let tree = Tree::of_layers(vec![dir.to_path_buf()]);
        let target = self.directory_target(base, rules)?;
        if let Some(Node::Directory(root, _)) = tree.root()? {
            self.add_content(&tree, &root, &target, Path::new(""), base, rules)?;
        }
        Ok(())
    }

    /// A digest of all that is copied, without times; of archives, of their bytes.
    pub(super) fn digest(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for entry in &self.entries {
            entry.hash(&mut hash)?;
        }
        Ok(hex::encode(hash.finalize()))
    }

    /// Writes it all into a layer.
    pub(super) fn write(&self, layer: &mut Tarball<'_>) -> Result<()> {
        for entry in &self.entries {
            match &entry.origin {
                Origin::Directory => layer.directory(&entry.path, &entry.attributes, false)?,
                Origin::File(host, metadata) => layer.file(&entry.path, host, metadata, &entry.attributes)?,
                Origin::Bytes(bytes) => layer.content(&entry.path, bytes, &entry.attributes)?,
                // Its files stand here instead when it was unpacked.
                Origin::Sealed(_) => {}
            }
        }
        Ok(())
    }

    /// The directory that a directory's content goes to, made if it isn't there.
    fn directory_target(&mut self, base: &Tree, rules: &Rules) -> Result<PathBuf> {
        let real = base.real_path(&rules.target)?;
        match base.at(&real)? {
            Some(Node::Other(..)) => return Err(not_a_directory(&real)),
            Some(Node::Directory(..)) => {}
            None => self.make_all(&real, base, rules)?,
        }
        Ok(real)
    }

    fn file_target(&mut self, name: &OsString, base: &Tree, rules: &Rules) -> Result<PathBuf> {
        let real = base.real_path(&rules.target)?;
        let there = matches!(base.at(&real)?, Some(Node::Directory(..)));
        if there || rules.into_directory {
            let directory = self.directory_target(base, rules)?;
            return Ok(directory.join(name));
        }
        let real = base.real_parent(&rules.target)?;
        if real.as_os_str().is_empty() {
            return Ok(PathBuf::from(name));
        }
        if let Some(parent) = real.parent() {
            self.make_all(parent, base, rules)?;
        }
        Ok(real)
    }

    /// Makes directories that are there neither below nor in this list.
    fn make_all(&mut self, path: &Path, base: &Tree, rules: &Rules) -> Result<()> {
        if path.as_os_str().is_empty() || self.entries.iter().any(|entry| entry.path == path) {
            return Ok(());
        }
        match base.at(path)? {
            Some(Node::Directory(..)) => return Ok(()),
            Some(Node::Other(..)) => return Err(not_a_directory(path)),
            None => {}
        }
        if let Some(parent) = path.parent() {
            self.make_all(parent, base, rules)?;
        }
        let owner = rules.owner.clone().unwrap_or_default();
        let attributes = Attributes {
            mode: 0o755,
            uid: owner.uid,
            gid: owner.gid,
            mtime: rules.times.now,
            ..Attributes::default()
        };
        self.entries.push(Entry {
            path: path.to_path_buf(),
            origin: Origin::Directory,
            attributes,
        });
        Ok(())
    }

    /// Adds what is in a directory. `inside` is the way from the source to it, which patterns are held against.
    fn add_content(
        &mut self,
        from: &Tree,
        directory: &Directory,
        target: &Path,
        inside: &Path,
        base: &Tree,
        rules: &Rules,
    ) -> Result<()> {
        for (name, node) in from.list(directory)? {
            let (inside, target) = (inside.join(&name), target.join(&name));
            let excluded = rules.exclude.excludes(&inside.to_string_lossy());
            match &node {
                Node::Directory(directory, metadata) => {
                    if !excluded {
                        self.put_directory(target.clone(), node.host(), metadata, base, rules)?;
                    } else if !rules.exclude.has_exceptions() {
                        continue;
                    }
                    self.add_content(from, directory, &target, &inside, base, rules)?;
                }
                Node::Other(_, host, metadata) if !excluded => self.put_file(target, host, metadata, base, rules)?,
                Node::Other(..) => {}
            }
        }
        Ok(())
    }

    /// `--parents`: a source keeps its path, from `/./` on where it has that.
    fn add_with_parents(&mut self, from: &Tree, source: &str, base: &Tree, rules: &Rules) -> Result<()> {
        let (pivot, rest) = source.split_once("/./").unwrap_or(("", source));
        let pivot = words::join("/", pivot);
        let found = matches(from, &words::join(&pivot, rest))?;
        if found.is_empty() && !is_pattern(source) {
            return Err(fault(format!(
                "{source:?} is not there, or .dockerignore leaves it out"
            )));
        }
        let root = self.directory_target(base, rules)?;
        for path in found {
            let kept = Path::new(&path)
                .strip_prefix(pivot.trim_start_matches('/'))
                .unwrap_or(Path::new(&path));
            for parent in kept.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
                let place = root.join(parent);
                let known = parent.as_os_str().is_empty() || self.entries.iter().any(|entry| entry.path == place);
                let original = Path::new(pivot.trim_start_matches('/')).join(parent);
                if let (false, Some(node @ Node::Directory(..))) = (known, from.at(&original)?) {
                    self.put_directory(place, node.host(), node.metadata(), base, rules)?;
                }
            }
            let target = root.join(kept);
            match from.at(Path::new(&path))? {
                Some(Node::Directory(directory, metadata)) => {
                    let node = Node::Directory(directory.clone(), metadata.clone());
                    self.put_directory(target.clone(), node.host(), &metadata, base, rules)?;
                    self.add_content(from, &directory, &target, kept, base, rules)?;
                }
                Some(Node::Other(_, host, metadata)) if !rules.exclude.excludes(&kept.to_string_lossy()) => {
                    self.put_file(target, &host, &metadata, base, rules)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn put_directory(
        &mut self,
        path: PathBuf,
        host: &Path,
        metadata: &Metadata,
        base: &Tree,
        rules: &Rules,
    ) -> Result<()> {
        if let Some(Node::Other(..)) = base.at(&path)? {
            return Err(not_a_directory(&path));
        }
        let attributes = rules.change(Attributes::of(host, metadata)?, true);
        self.entries.push(Entry {
            path,
            origin: Origin::Directory,
            attributes,
        });
        Ok(())
    }

    fn put_file(&mut self, path: PathBuf, host: &Path, metadata: &Metadata, base: &Tree, rules: &Rules) -> Result<()> {
        if let Some(Node::Directory(..)) = base.at(&path)? {
            return Err(fault(format!("a file can't replace the directory /{}", path.display())));
        }
        let mut attributes = Attributes::of(host, metadata)?;
        if metadata.is_symlink() {
            attributes = rules.own(attributes);
        } else {
            attributes = rules.change(attributes, false);
        }
        self.entries.push(Entry {
            path,
            origin: Origin::File(host.to_path_buf(), metadata.clone()),
            attributes,
        });
        Ok(())
    }
}

impl Rules {
    fn own(&self, mut attributes: Attributes) -> Attributes {
        if let Some(owner) = &self.owner {
            (attributes.uid, attributes.gid) = (owner.uid, owner.gid);
        }
        attributes
    }

    fn change(&self, attributes: Attributes, directory: bool) -> Attributes {
        let mut attributes = self.own(attributes);
        if let Some(chmod) = &self.chmod {
            attributes.mode = chmod.apply(attributes.mode, directory);
        }
        attributes
    }
}

impl Entry {
    fn hash(&self, hash: &mut Sha256) -> Result<()> {
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        let attributes = &self.attributes;
        field(self.path.as_os_str().as_bytes());
        field(format!("{:o} {}:{}", attributes.mode, attributes.uid, attributes.gid).as_bytes());
        for (name, value) in &attributes.xattrs {
            field(name.as_bytes());
            field(value);
        }
        match &self.origin {
            Origin::Directory => field(b"directory"),
            Origin::Sealed(digest) => {
                field(b"archive");
                field(digest);
            }
            Origin::Bytes(bytes) => {
                field(b"file");
                field(bytes);
            }
            Origin::File(host, metadata) if metadata.is_symlink() => {
                field(b"link");
                field(fs::read_link(host).at("reading", host)?.as_os_str().as_bytes());
            }
            Origin::File(host, metadata) if metadata.is_file() => {
                field(b"file");
                field(&digest_of_file(host)?);
            }
            Origin::File(_, metadata) => {
                let kind = metadata.file_type();
                let kind = (kind.is_fifo(), kind.is_block_device(), kind.is_socket());
                field(format!("{kind:?} {}", metadata.rdev()).as_bytes());
            }
        }
        Ok(())
    }
}

/// The digest of a file's bytes.
pub(super) fn digest_of_file(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path).at("opening", path)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer).at("reading", path)? {
            0 => return Ok(hash.finalize().to_vec()),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn not_a_directory(path: &Path) -> crate::Error {
    fault(format!(
        "a directory can't be copied over /{}, which is none",
        path.display()
    ))
}

/// The files of a tree that an absolute pattern names, relative to the root, sorted. `**` stands for any number of
/// directories.
fn matches(tree: &Tree, pattern: &str) -> Result<Vec<String>> {
    if !is_pattern(pattern) {
        let path = pattern.trim_start_matches('/').to_string();
        let there = path.is_empty() || tree.find(pattern)?.is_some() || tree.at(&tree.real_parent(pattern)?)?.is_some();
        return Ok(if there && tree.root()?.is_some() {
            vec![path]
        } else {
            Vec::new()
        });
    }
    let parts: Vec<Vec<char>> = pattern
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| part.chars().collect())
        .collect();
    let mut found = Vec::new();
    if let Some(Node::Directory(root, _)) = tree.root()? {
        descend(tree, &root, "", &parts, &mut found)?;
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn descend(tree: &Tree, dir: &Directory, path: &str, parts: &[Vec<char>], found: &mut Vec<String>) -> Result<()> {
    let Some((part, rest)) = parts.split_first() else {
        return Ok(());
    };
    let any = part[..] == ['*', '*'];
    if any {
        descend(tree, dir, path, rest, found)?;
    }
    for (name, node) in tree.list(dir)? {
        let name = name.to_string_lossy().into_owned();
        let chars: Vec<char> = name.chars().collect();
        if !any && !glob(part, &chars) {
            continue;
        }
        let full = if path.is_empty() {
            name
        } else {
            format!("{path}/{name}")
        };
        let rest = if any { parts } else { rest };
        match &node {
            _ if rest.is_empty() || (any && parts.len() == 1) => found.push(full),
            Node::Directory(directory, _) => descend(tree, directory, &full, rest, found)?,
            Node::Other(..) => {
                // A link to a directory is gone through, as a path without patterns would.
                if let Some(Node::Directory(directory, _)) = tree.find(&format!("/{full}"))?
                    && !any
                {
                    descend(tree, &directory, &full, rest, found)?;
                }
            }
        }
    }
    Ok(())
}
