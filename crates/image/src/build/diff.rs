//! What a command changed: from the upper directory of its overlay to a layer.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{At as _, Result, invalid};

use super::tarball::{Attributes, Tarball, has_xattr, is_whiteout};
use super::tree::{Node, Tree, is_opaque};

/// Writes all that is in `upper` over `below` into a layer.
pub(super) fn write(upper: &Path, below: &Tree, layer: &mut Tarball<'_>) -> Result<()> {
    directory(upper, Path::new(""), below, layer)
}

fn directory(upper: &Path, inside: &Path, below: &Tree, layer: &mut Tarball<'_>) -> Result<()> {
    let dir = upper.join(inside);
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).at("reading", &dir)? {
        names.push(entry.at("reading", &dir)?.file_name());
    }
    names.sort();
    for name in names {
        let (path, host) = (inside.join(&name), dir.join(&name));
        let metadata = fs::symlink_metadata(&host).at("reading", &host)?;
        if metadata.is_dir() {
            check(&path, &host)?;
            let opaque = is_opaque(&host) && below.at(&path)?.is_some();
            if opaque || changed(&path, &host, &metadata, below)? {
                layer.directory(&path, &Attributes::of(&host, &metadata)?, opaque)?;
            }
            directory(upper, &path, below, layer)?;
        } else if is_whiteout(&metadata) {
            // A file that came and went within the command leaves a mark that hides nothing.
            if below.at(&path)?.is_some() {
                layer.whiteout(&path)?;
            }
        } else {
            check(&path, &host)?;
            layer.file(&path, &host, &metadata, &Attributes::of(&host, &metadata)?)?;
        }
    }
    Ok(())
}

/// Whether a directory is more than the way to what is in it.
fn changed(path: &Path, host: &Path, metadata: &Metadata, below: &Tree) -> Result<bool> {
    let Some(node @ Node::Directory(..)) = below.at(path)? else {
        return Ok(true);
    };
    Ok(Attributes::of(host, metadata)? != Attributes::of(node.host(), node.metadata())?)
}

/// Overlayfs can be told to note a rename or a change of mode instead of copying; a layer can't say that.
fn check(path: &Path, host: &Path) -> Result<()> {
    for mark in ["trusted.overlay.redirect", "trusted.overlay.metacopy"] {
        if has_xattr(host, mark) {
            return Err(invalid(
                path.display().to_string(),
                "overlayfs only noted what changed; switch its parameters redirect_dir and metacopy off",
            ));
        }
    }
    Ok(())
}

/// Files and directories that are made so that something can be mounted on them, and times that this changes.
pub(super) struct Stubs {
    /// Those that aren't there before, outermost first.
    missing: Vec<PathBuf>,
}

impl Stubs {
    /// Looks at a tree before mounts are made in it.
    pub(super) fn before(tree: &Tree, targets: &[String]) -> Result<Self> {
        let mut missing = Vec::new();
        for target in targets {
            let real = tree.real_path(target)?;
            let mut ancestors: Vec<&Path> = real.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
            ancestors.reverse();
            for path in ancestors {
                if !missing.iter().any(|known| known == path) && tree.at(path)?.is_none() {
                    missing.push(path.to_path_buf());
                }
            }
        }
        Ok(Self { missing })
    }

    /// Takes away those that nothing was put into, and gives the directories that they were made in their times back.
    pub(super) fn clear(&self, upper: &Path, tree: &Tree) -> Result<()> {
        for path in self.missing.iter().rev() {
            let host = upper.join(path);
            let Ok(metadata) = fs::symlink_metadata(&host) else {
                continue;
            };
            let gone = if metadata.is_dir() {
                fs::remove_dir(&host).is_ok()
            } else {
                metadata.is_file() && metadata.len() == 0 && fs::remove_file(&host).is_ok()
            };
            if gone && let Some(parent) = path.parent() {
                restore_time(upper, parent, tree)?;
            }
        }
        Ok(())
    }
}

fn restore_time(upper: &Path, path: &Path, tree: &Tree) -> Result<()> {
    let host = upper.join(path);
    let (Some(node), true) = (tree.at(path)?, host.is_dir()) else {
        return Ok(());
    };
    // Something else may have been changed in it too.
    if fs::read_dir(&host).at("reading", &host)?.next().is_some() {
        return Ok(());
    }
    let time = rustix::fs::Timespec {
        tv_sec: node.metadata().mtime(),
        tv_nsec: node.metadata().mtime_nsec() as _,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(rustix::fs::CWD, &host, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .at("setting the time of", host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::tarball::Times;
    use crate::store::Store;
    use rustix::fs::{CWD, FileType, Mode, XattrFlags};
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

    /// An upper directory as a command leaves it, made a layer, unpacked again.
    #[test]
    fn everything_survives_the_way_through_a_layer() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("images")).unwrap();
        let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
        fs::create_dir_all(lower.join("etc/keep")).unwrap();
        fs::create_dir_all(lower.join("opt/old")).unwrap();
        fs::set_permissions(lower.join("etc"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::write(lower.join("etc/gone"), "x").unwrap();
        fs::create_dir_all(upper.join("etc/new")).unwrap();
        fs::create_dir_all(upper.join("opt")).unwrap();
        fs::set_permissions(upper.join("etc"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::write(upper.join("etc/new/a"), "content").unwrap();
        fs::hard_link(upper.join("etc/new/a"), upper.join("etc/new/b")).unwrap();
        rustix::fs::mknodat(CWD, upper.join("etc/gone"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        rustix::fs::mknodat(
            CWD,
            upper.join("etc/never"),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        )
        .unwrap();
        rustix::fs::mknodat(CWD, upper.join("etc/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        rustix::fs::setxattr(upper.join("opt"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
        // cap_net_bind_service=ep, version 2
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        rustix::fs::setxattr(
            upper.join("etc/new/a"),
            "security.capability",
            &capability,
            XattrFlags::empty(),
        )
        .unwrap();
        let sparse = fs::File::create(upper.join("etc/sparse")).unwrap();
        sparse.set_len(64 << 20).unwrap();

        let below = Tree::of_layers(vec![lower.clone()]);
        let times = Times { now: 7, latest: None };
        let mut layer = Tarball::new(&store, &below, times).unwrap();
        write(&upper, &below, &mut layer).unwrap();
        let layer = layer.finish().unwrap();
        let blocks = fs::metadata(store.blobs.path(&layer.digest).unwrap()).unwrap().blocks();
        assert!(blocks * 512 < 1 << 20, "a hole takes room: {blocks} blocks");
        let root = store.unpack_one(&layer).unwrap();
        let a = fs::metadata(root.join("etc/new/a")).unwrap();
        assert_eq!((a.nlink(), a.len()), (2, 7));
        assert_eq!(fs::metadata(root.join("etc")).unwrap().mode() & 0o7777, 0o1777);
        assert!(is_whiteout(&fs::symlink_metadata(root.join("etc/gone")).unwrap()));
        assert!(!root.join("etc/never").exists() && !root.join("etc/keep").exists());
        assert!(
            fs::symlink_metadata(root.join("etc/pipe"))
                .unwrap()
                .file_type()
                .is_fifo()
        );
        assert!(is_opaque(&root.join("opt")));
        let mut value = [0; 20];
        assert_eq!(
            rustix::fs::getxattr(root.join("etc/new/a"), "security.capability", &mut value[..]),
            Ok(20)
        );
        assert_eq!(value, capability);
        assert_eq!(fs::metadata(root.join("etc/sparse")).unwrap().len(), 64 << 20);
    }

    #[test]
    fn what_was_only_mounted_on_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
        fs::create_dir_all(lower.join("etc")).unwrap();
        fs::create_dir_all(&upper).unwrap();
        let tree = Tree::of_layers(vec![lower]);
        let targets = ["/etc/resolv.conf", "/run/secrets/a", "/cache/x"].map(str::to_string);
        let stubs = Stubs::before(&tree, &targets).unwrap();
        for dir in ["etc", "run/secrets", "cache/x"] {
            fs::create_dir_all(upper.join(dir)).unwrap();
        }
        for file in ["etc/resolv.conf", "run/secrets/a", "cache/made"] {
            fs::write(upper.join(file), "").unwrap();
        }
        stubs.clear(&upper, &tree).unwrap();
        let left = |path: &str| upper.join(path).exists();
        assert!(!left("etc/resolv.conf") && !left("run") && !left("cache/x"));
        assert!(left("cache/made"), "what the command made stays");
        let etc = fs::metadata(upper.join("etc")).unwrap();
        assert!(!changed(Path::new("etc"), &upper.join("etc"), &etc, &tree).unwrap());
    }
}
