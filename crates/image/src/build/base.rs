//! The file system that the layers so far make, looked at without mounting it.
//!
//! COPY and WORKDIR need it: a destination may lead through a symbolic link of the base image (`/lib` to `/usr/lib`),
//! and a directory that is there keeps its mode.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use crate::error::{At as _, Result, invalid};

/// As the kernel allows.
const MAX_LINKS: usize = 40;

/// Unpacked layers, topmost first.
#[derive(Debug, Default)]
pub(super) struct Base {
    layers: Vec<PathBuf>,
}

enum Found {
    Nothing,
    Directory,
    Link(PathBuf),
    Other,
}

impl Base {
    pub(super) fn new(layers: Vec<PathBuf>) -> Self {
        Self { layers }
    }

    /// Puts a layer on top.
    pub(super) fn push(&mut self, layer: PathBuf) {
        self.layers.insert(0, layer);
    }

    /// Whether there is a directory, symbolic links followed.
    pub(super) fn is_directory(&self, path: &str) -> Result<bool> {
        let real = self.real_path(path)?;
        Ok(real.is_empty() || matches!(self.lookup(Path::new(&real))?, Found::Directory))
    }

    /// The path without symbolic links, relative to the root. What isn't there yet stays as it is.
    pub(super) fn real_path(&self, path: &str) -> Result<String> {
        let mut real = PathBuf::new();
        let mut pending: Vec<OsString> = parts(Path::new(path));
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part == ".." {
                real.pop();
                continue;
            }
            let next = real.join(&part);
            match self.lookup(&next)? {
                Found::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(invalid(path, "too many symbolic links"));
                    }
                    if target.is_absolute() {
                        real = PathBuf::new();
                    }
                    pending.extend(parts(&target));
                }
                _ => real = next,
            }
        }
        real.into_os_string()
            .into_string()
            .map_err(|_| invalid(path, "a symbolic link in it is not UTF-8"))
    }

    /// What is at a path whose parents have no symbolic links.
    fn lookup(&self, path: &Path) -> Result<Found> {
        for layer in &self.layers {
            let full = layer.join(path);
            match fs::symlink_metadata(&full) {
                Ok(metadata) if metadata.is_dir() => return Ok(Found::Directory),
                Ok(metadata) if metadata.is_symlink() => {
                    return Ok(Found::Link(fs::read_link(&full).at("reading", full)?));
                }
                // overlayfs' whiteout
                Ok(metadata) if metadata.file_type().is_char_device() && metadata.rdev() == 0 => {
                    return Ok(Found::Nothing);
                }
                Ok(_) => return Ok(Found::Other),
                Err(_) if self.hides(layer, path) => return Ok(Found::Nothing),
                Err(_) => {}
            }
        }
        Ok(Found::Nothing)
    }

    /// Whether a layer hides what is below at a path: a parent of it is opaque, or no directory there.
    fn hides(&self, layer: &Path, path: &Path) -> bool {
        path.ancestors().skip(1).any(|parent| {
            let full = layer.join(parent);
            let Ok(metadata) = fs::symlink_metadata(&full) else {
                return false;
            };
            let mut value = [0; 1];
            let opaque = rustix::fs::lgetxattr(&full, "trusted.overlay.opaque", &mut value[..]);
            !metadata.is_dir() || (opaque == Ok(1) && value == *b"y")
        })
    }
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
        let base = Base::new(vec![upper.path().to_path_buf(), lower.path().to_path_buf()]);
        assert_eq!(base.real_path("/lib/x/y").unwrap(), "usr/lib/x/y");
        assert_eq!(base.real_path("/alias/x").unwrap(), "usr/lib/x");
        assert_eq!(base.real_path("/../../new").unwrap(), "new");
        assert!(base.is_directory("/alias").unwrap());
        assert!(!base.is_directory("/lib/nothing").unwrap());
        symlink("loop", upper.path().join("loop")).unwrap();
        assert!(base.real_path("/loop").is_err());
    }
}
