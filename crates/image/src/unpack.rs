//! From a layer's tar to a directory that overlayfs takes as a lower layer.
//!
//! Archives come from outside: every path is resolved by the kernel inside the layer's directory
//! (`openat2` with `RESOLVE_IN_ROOT`), so neither `..` nor a symbolic link leads out of it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self as rfs, AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags};
use tar::{Archive, Entry, EntryType};

use crate::blob::Hashing;
use crate::error::{At as _, Result, invalid};

/// Marks in a layer what it takes away from those below it (OCI image specification, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// An archive may grow to this without being asked how.
const FREE: u64 = 1 << 30;
/// The most that deflate makes of a byte; an archive that grows more is made to fill disks.
const GROWTH: u64 = 1_032;
/// No layer has more entries.
const MAX_ENTRIES: u64 = 5_000_000;
/// What stays free on the disk, whatever an archive wants.
const RESERVE: u64 = 256 << 20;
/// How often the disk is looked at.
const LOOK: u64 = 64 << 20;

/// When what was unpacked has to be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Before the call returns.
    Now,
    /// The caller sees to it.
    Later,
}

/// Unpacks a layer's tar, compressed or not, into the empty directory `root` and returns the digest of the tar.
pub(crate) fn unpack(input: impl Read, root: &Path, sync: Sync) -> Result<String> {
    let counted = Counted::default();
    let input = counted.reader(input);
    let mut archive = Archive::new(Hashing::new(decompress(input).at("reading a layer for", root)?));
    let mut layer = Layer::open(root, counted)?;
    for entry in archive.entries().at("reading a layer for", root)? {
        let mut entry = entry.at("reading a layer for", root)?;
        layer.add(&mut entry)?;
    }
    layer.finish(sync)?;
    let mut rest = archive.into_inner();
    // The digest is of the whole file, also of what follows the end mark.
    io::copy(&mut rest, &mut io::sink()).at("reading a layer for", root)?;
    Ok(rest.finish().1)
}

/// What went in and what came out, to tell an archive that is made to fill the disk.
#[derive(Clone, Default)]
struct Counted {
    read: std::rc::Rc<std::cell::Cell<u64>>,
    written: std::rc::Rc<std::cell::Cell<u64>>,
    entries: std::rc::Rc<std::cell::Cell<u64>>,
}

struct CountedReader<R> {
    inner: R,
    read: std::rc::Rc<std::cell::Cell<u64>>,
}

impl<R: Read> Read for CountedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

impl Counted {
    fn reader<R>(&self, inner: R) -> CountedReader<R> {
        CountedReader {
            inner,
            read: self.read.clone(),
        }
    }

    fn entry(&self) -> Result<(), String> {
        self.entries.set(self.entries.get() + 1);
        if self.entries.get() > MAX_ENTRIES {
            return Err(format!("a layer with more than {MAX_ENTRIES} entries is refused"));
        }
        Ok(())
    }

    /// Notes what was written; an error when the archive grows beyond reason or the disk is nearly full.
    fn wrote(&self, bytes: u64, root: &OwnedFd) -> Result<(), String> {
        let before = self.written.get();
        let now = before + bytes;
        self.written.set(now);
        if now > FREE && now / GROWTH > self.read.get() {
            return Err(format!(
                "{} bytes grow to more than {now}: it is made to fill the disk",
                self.read.get()
            ));
        }
        if before / LOOK != now / LOOK {
            let disk = rfs::fstatvfs(root).map_err(|error| error.to_string())?;
            if disk.f_bavail.saturating_mul(disk.f_frsize) < RESERVE {
                return Err("the disk is nearly full: remove images (`gantry image prune`) or make room".to_string());
            }
        }
        Ok(())
    }
}

/// Looks at the first bytes, because media types lie.
pub(crate) fn decompress<'a>(mut input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = [0; 4];
    let mut have = 0;
    while have < magic.len() {
        match input.read(&mut magic[have..])? {
            0 => break,
            n => have += n,
        }
    }
    let input = io::Cursor::new(magic).take(have as u64).chain(input);
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(
            64 << 10,
            input,
        ))),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(input)?),
        _ => Box::new(io::BufReader::with_capacity(64 << 10, input)),
    })
}

struct Layer {
    path: PathBuf,
    root: OwnedFd,
    /// Directories' times are set last, because filling a directory changes them.
    directory_times: HashMap<PathBuf, u64>,
    counted: Counted,
    /// The directory of the last entry, which is mostly that of the next one too.
    last_parent: Option<(PathBuf, std::sync::Arc<OwnedFd>)>,
    buffer: Vec<u8>,
}

impl Layer {
    fn open(path: &Path, counted: Counted) -> Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rfs::open(path, flags, Mode::empty()).at("opening", path)?;
        Ok(Self {
            path: path.to_path_buf(),
            root,
            directory_times: HashMap::new(),
            counted,
            last_parent: None,
            buffer: vec![0; 256 << 10],
        })
    }

    fn add(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        self.counted
            .entry()
            .map_err(|reason| invalid(self.path.display().to_string(), reason))?;
        let raw = entry.path().at("reading a layer for", &self.path)?.into_owned();
        let Some(path) = relative(&raw) else { return Ok(()) };
        let name = path.file_name().map(OsStr::to_os_string).unwrap_or_default();
        let parent_path = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let parent = self.parent(parent_path)?;
        if name.as_bytes() == OPAQUE {
            return self.at(
                &path,
                rfs::fsetxattr(&*parent, "trusted.overlay.opaque", b"y", XattrFlags::empty()),
            );
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            let hidden = OsString::from(OsStr::from_bytes(hidden));
            if matches!(hidden.as_bytes(), b"" | b"." | b"..") {
                return Err(invalid(path.display().to_string(), "a whiteout that hides no name"));
            }
            self.clear(&parent, &hidden, false)?;
            return self.at(
                &path,
                rfs::mknodat(&*parent, &hidden, FileType::CharacterDevice, Mode::empty(), 0),
            );
        }
        self.place(entry, &path, &parent, &name)
    }

    /// Puts one entry in place with all its attributes.
    fn place(&mut self, entry: &mut Entry<'_, impl Read>, path: &Path, parent: &OwnedFd, name: &OsStr) -> Result<()> {
        let header = entry.header().clone();
        let kind = header.entry_type();
        self.clear(parent, name, kind == EntryType::Directory)?;
        let mode = Mode::from_raw_mode(header.mode().map_err(|e| invalid(path.display().to_string(), e))? & 0o7777);
        match kind {
            EntryType::Directory => self.make_directory(parent, name, path)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = self.at(path, rfs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR))?;
                self.fill(entry, File::from(file), path)?;
            }
            EntryType::Symlink => {
                let target = link_name(entry, path)?;
                self.at(path, rfs::symlinkat(&target, parent, name))?;
            }
            EntryType::Link => {
                let target = link_name(entry, path)?;
                return self.hard_link(&target, parent, name, path);
            }
            EntryType::Fifo => self.at(
                path,
                rfs::mknodat(parent, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0),
            )?,
            // A container gets its own /dev; nodes that an archive brings would be a way to the host's disks.
            EntryType::Char | EntryType::Block if path.starts_with("dev") => return Ok(()),
            EntryType::Char | EntryType::Block => {
                return Err(invalid(
                    path.display().to_string(),
                    "device nodes outside /dev are refused",
                ));
            }
            EntryType::XGlobalHeader => return Ok(()),
            other => {
                return Err(invalid(
                    path.display().to_string(),
                    format!("an entry of type {other:?} is unknown"),
                ));
            }
        }
        self.attributes(entry, &header, mode, path, parent, name)
    }

    /// The content of a file, counted.
    fn fill(&mut self, entry: &mut Entry<'_, impl Read>, mut file: File, path: &Path) -> Result<()> {
        loop {
            let read = match entry.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).at("reading a layer for", self.path.join(path)),
            };
            io::Write::write_all(&mut file, &self.buffer[..read]).at("writing", self.path.join(path))?;
            self.counted
                .wrote(read as u64, &self.root)
                .map_err(|reason| invalid(path.display().to_string(), reason))?;
        }
    }

    /// The directory of an entry. It is remembered for entries that follow in the same directory: what would change
    /// the way that led to it is an entry of another directory.
    fn parent(&mut self, path: PathBuf) -> Result<std::sync::Arc<OwnedFd>> {
        if let Some((last, fd)) = &self.last_parent
            && *last == path
        {
            return Ok(fd.clone());
        }
        let fd = std::sync::Arc::new(self.directory(&path)?);
        self.last_parent = Some((path, fd.clone()));
        Ok(fd)
    }

    fn make_directory(&self, parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<()> {
        match rfs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
            Err(rustix::io::Errno::EXIST) => Ok(()),
            other => self.at(path, other),
        }
    }

    fn hard_link(&self, target: &Path, parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<()> {
        let Some(target) = relative(target) else {
            return Err(invalid(path.display().to_string(), "a hard link to the root"));
        };
        let target_parent = self.existing(target.parent().unwrap_or(Path::new("")))?;
        let target_name = target.file_name().unwrap_or_default();
        self.at(
            path,
            rfs::linkat(&target_parent, target_name, parent, name, AtFlags::empty()),
        )
    }

    fn attributes(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        header: &tar::Header,
        mode: Mode,
        path: &Path,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> Result<()> {
        let bad = |error: io::Error| invalid(path.display().to_string(), error);
        let uid = u32::try_from(header.uid().map_err(bad)?).map_err(|e| bad(io::Error::other(e)))?;
        let gid = u32::try_from(header.gid().map_err(bad)?).map_err(|e| bad(io::Error::other(e)))?;
        let owner = (Some(rfs::Uid::from_raw(uid)), Some(rfs::Gid::from_raw(gid)));
        self.at(
            path,
            rfs::chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW),
        )?;
        let seconds = header.mtime().map_err(bad)?;
        if header.entry_type() == EntryType::Symlink {
            return self.set_time(parent, name, seconds, path);
        }
        // After chown, which clears the set-user-id bits and capabilities.
        self.at(path, rfs::chmodat(parent, name, mode, AtFlags::empty()))?;
        self.xattrs(entry, path, parent, name)?;
        if header.entry_type() == EntryType::Directory {
            self.directory_times.insert(path.to_path_buf(), seconds);
            return Ok(());
        }
        self.set_time(parent, name, seconds, path)
    }

    /// Extended attributes come as PAX records `SCHILY.xattr.NAME`. Those of overlayfs itself are not for archives.
    fn xattrs(&self, entry: &mut Entry<'_, impl Read>, path: &Path, parent: &OwnedFd, name: &OsStr) -> Result<()> {
        let Some(records) = entry.pax_extensions().at("reading attributes of", path)? else {
            return Ok(());
        };
        for record in records {
            let record = record.at("reading attributes of", path)?;
            let Some(key) = record.key_bytes().strip_prefix(b"SCHILY.xattr.") else {
                continue;
            };
            if key.starts_with(b"trusted.") {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = self.at(path, rfs::openat(parent, name, flags, Mode::empty()))?;
            match rfs::fsetxattr(&file, OsStr::from_bytes(key), record.value_bytes(), XattrFlags::empty()) {
                // As elsewhere: a file system or a host that has no such attributes does without them.
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM) => {}
                other => self.at(path, other)?,
            }
        }
        Ok(())
    }

    fn set_time(&self, parent: &OwnedFd, name: &OsStr, seconds: u64, path: &Path) -> Result<()> {
        let time = Timespec {
            tv_sec: i64::try_from(seconds).unwrap_or(0),
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        self.at(path, rfs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW))
    }

    /// A later entry replaces an earlier one of the same name; a directory stays.
    fn clear(&self, parent: &OwnedFd, name: &OsStr, keep_directory: bool) -> Result<()> {
        let path = Path::new(name);
        match rfs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => self.at(path, Err(error)),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                if keep_directory {
                    return Ok(());
                }
                Err(invalid(
                    path.display().to_string(),
                    "a file replaces a directory of the same layer",
                ))
            }
            Ok(_) => self.at(path, rfs::unlinkat(parent, name, AtFlags::empty())),
        }
    }

    /// Opens a directory inside the layer; makes it, and those above it, when the archive didn't.
    fn directory(&self, path: &Path) -> Result<OwnedFd> {
        match self.open_inside(path) {
            Err(rustix::io::Errno::NOENT) => {}
            other => return self.at(path, other),
        }
        let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
        self.make_directory(&parent, path.file_name().unwrap_or_default(), path)?;
        self.existing(path)
    }

    fn existing(&self, path: &Path) -> Result<OwnedFd> {
        self.at(path, self.open_inside(path))
    }

    fn open_inside(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rfs::openat2(
            &self.root,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    fn finish(self, sync: Sync) -> Result<()> {
        for (path, seconds) in &self.directory_times {
            let parent = self.existing(path.parent().unwrap_or(Path::new("")))?;
            self.set_time(&parent, path.file_name().unwrap_or_default(), *seconds, path)?;
        }
        if sync == Sync::Later {
            return Ok(());
        }
        // One call for all files; a directory gets its final name only after this.
        self.at(Path::new(""), rfs::syncfs(&self.root))
    }

    fn at<T>(&self, path: &Path, result: rustix::io::Result<T>) -> Result<T> {
        result.at("unpacking", self.path.join(path))
    }
}

/// The path inside the layer: without a leading `/` and `.`; `..` goes no higher than the root. `None` is the root.
fn relative(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    (!clean.as_os_str().is_empty()).then_some(clean)
}

fn link_name(entry: &Entry<'_, impl Read>, path: &Path) -> Result<PathBuf> {
    let name = entry.link_name().at("reading a link of", path)?;
    name.map(|name| name.into_owned())
        .ok_or_else(|| invalid(path.display().to_string(), "a link without a target"))
}
