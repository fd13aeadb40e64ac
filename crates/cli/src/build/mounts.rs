//! What a build's command has mounted: from what the image crate asks for to bind mounts of a bundle.
//!
//! Mounts are made in this process's own mount namespace; the caller takes them away when the command has ended.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use image::{Job, Source};
use oci_spec::runtime::Mount;
use rustix::mount::{MountFlags, UnmountFlags};

/// As much as the kernel takes of a mount's options.
const PAGE: usize = 4000;

/// Mounts that were made for one command.
#[derive(Default)]
pub(super) struct Mounts {
    /// For the bundle, parents first.
    pub(super) list: Vec<Mount>,
    made: Vec<PathBuf>,
    secrets: Vec<PathBuf>,
}

impl Mounts {
    /// Makes them, with `dir` for what must be somewhere meanwhile.
    pub(super) fn make(job: &Job, dir: &Path) -> anyhow::Result<Self> {
        let mut mounts = Self::default();
        let made = job.mounts.iter().enumerate().try_for_each(|(number, mount)| {
            let source = mounts.one(&mount.source, &dir.join(number.to_string()))?;
            let (kind, source, options) = source;
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let source = source.to_str().context("a path that is not UTF-8")?.to_string();
            mounts
                .list
                .push(engine::bundle::mount(&mount.target, kind, &source, &options));
            anyhow::Ok(())
        });
        match made {
            Ok(()) => Ok(mounts),
            Err(error) => {
                mounts.undo();
                Err(error)
            }
        }
    }

    /// Takes them away; what is left goes with the process.
    pub(super) fn undo(&mut self) {
        for path in self.made.drain(..).rev() {
            if let Err(error) = rustix::mount::unmount(&path, UnmountFlags::DETACH) {
                tracing::warn!(%error, path = %path.display(), "cannot unmount");
            }
        }
        for path in self.secrets.drain(..) {
            let _ = fs::remove_file(path);
        }
    }

    fn one(&mut self, source: &Source, dir: &Path) -> anyhow::Result<(&'static str, PathBuf, Vec<String>)> {
        let bind = |read_only: bool| {
            let access = if read_only { "ro" } else { "rw" };
            vec!["rbind".to_string(), "rprivate".to_string(), access.to_string()]
        };
        match source {
            Source::Host { path, read_only } => {
                let path = fs::canonicalize(path).with_context(|| format!("reading {}", path.display()))?;
                Ok(("bind", path, bind(*read_only)))
            }
            Source::Tmpfs { size } => {
                let mut options: Vec<String> = ["nosuid", "nodev", "mode=1777"].map(str::to_string).into();
                options.extend(size.map(|size| format!("size={size}")));
                Ok(("tmpfs", PathBuf::from("tmpfs"), options))
            }
            Source::Layers { layers, path, scratch } => {
                fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
                overlay(layers, scratch.as_deref(), dir)?;
                self.made.push(dir.to_path_buf());
                Ok(("bind", dir.join(path), bind(scratch.is_none())))
            }
            Source::Secret {
                content,
                mode,
                uid,
                gid,
            } => {
                let path = self.secret(content, dir)?;
                chown(&path, Some(*uid), Some(*gid)).context("giving a secret to its user")?;
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).context("giving a secret its mode")?;
                Ok(("bind", path, bind(true)))
            }
        }
    }

    /// A file in memory: it is on no disk.
    fn secret(&mut self, content: &[u8], dir: &Path) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("tmpfs", dir, "tmpfs", flags, c"mode=0700").context("mounting memory for a secret")?;
        self.made.push(dir.to_path_buf());
        let path = dir.join("secret");
        fs::write(&path, content).context("writing a secret to memory")?;
        self.secrets.push(path.clone());
        Ok(path)
    }
}

/// Shows layers as one directory.
fn overlay(layers: &[PathBuf], scratch: Option<&Path>, at: &Path) -> anyhow::Result<()> {
    let escaped = |path: &Path| -> anyhow::Result<String> {
        let text = path.to_str().context("a path that is not UTF-8")?;
        Ok(text.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,"))
    };
    let mut lowers = layers
        .iter()
        .map(|layer| escaped(layer))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut options = String::new();
    if let Some(scratch) = scratch {
        let (upper, work) = (scratch.join("upper"), scratch.join("work"));
        for dir in [&upper, &work] {
            fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        }
        options = format!(",upperdir={},workdir={}", escaped(&upper)?, escaped(&work)?);
    } else if lowers.len() == 1 {
        // Without an upper directory there must be two.
        let empty = at.with_extension("empty");
        fs::create_dir_all(&empty).with_context(|| format!("making {}", empty.display()))?;
        lowers.push(escaped(&empty)?);
    }
    let data = format!("lowerdir={}{options}", lowers.join(":"));
    if data.len() > PAGE {
        bail!("an image of {} layers is too much to mount here", layers.len());
    }
    let data = std::ffi::CString::new(data).context("a path with a zero byte")?;
    rustix::mount::mount("overlay", at, "overlay", MountFlags::empty(), data.as_c_str())
        .with_context(|| format!("mounting layers on {}", at.display()))
}
