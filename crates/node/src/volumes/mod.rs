//! A pod's volumes: made before its containers, kept up to date, removed after them.
//!
//! What comes from the API is in memory only (the node's own tmpfs); an emptyDir is on the disk unless it asks for
//! memory.

mod host_path;
mod payload;
pub(crate) mod pem;
mod sub_path;
mod trust;
mod writer;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, Pod, Volume};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::bundle::{Bind, ConfigError, resources};
use crate::objects::{Key, Objects};

pub(crate) use payload::references;

/// Where a node keeps pods' files.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// On the disk: `POD-UID/...`.
    pub(crate) pods: PathBuf,
    /// In memory, for what the API gave: `POD-UID/VOLUME`.
    pub(crate) memory: PathBuf,
    /// In memory: `/dev/shm` of each pod.
    pub(crate) shm: PathBuf,
}

impl Paths {
    pub(crate) fn pod(&self, uid: &str) -> PathBuf {
        self.pods.join(uid)
    }

    /// The directories that are in memory are one tmpfs each for all pods, so that a pod costs no mount.
    pub(crate) fn prepare(&self) -> std::io::Result<()> {
        fs::create_dir_all(&self.pods)?;
        fs::set_permissions(&self.pods, fs::Permissions::from_mode(0o750))?;
        for (path, mode) in [(&self.memory, c"mode=0755"), (&self.shm, c"mode=0755")] {
            fs::create_dir_all(path)?;
            if !is_mount(path) {
                let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
                rustix::mount::mount("tmpfs", path, "tmpfs", flags, mode)?;
            }
        }
        Ok(())
    }

    /// Takes the mounts away again.
    pub(crate) fn release(&self) {
        for path in [&self.memory, &self.shm] {
            if is_mount(path) {
                let _ = rustix::mount::unmount(path, UnmountFlags::DETACH);
            }
        }
    }
}

/// A pod's volumes as they are on this node.
pub(crate) struct Volumes {
    paths: Paths,
    uid: String,
    dirs: HashMap<String, PathBuf>,
    /// When the first token needs to be renewed.
    pub(crate) refresh_at: Option<Timestamp>,
}

impl Volumes {
    /// Makes every volume of the pod. Can be repeated: what is there is brought up to date.
    pub(crate) async fn set_up(
        paths: &Paths,
        objects: &Objects,
        pod: &Pod,
        around: Around<'_>,
    ) -> Result<Self, ConfigError> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut volumes = Self {
            paths: paths.clone(),
            uid,
            dirs: HashMap::new(),
            refresh_at: None,
        };
        let shm = volumes.paths.shm.join(&volumes.uid);
        make_dir(&shm, 0o1777)?;
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let dir = volumes.one(objects, pod, volume, around).await?;
            volumes.dirs.insert(volume.name.clone(), dir);
            meta::failpoint::hit("node.volume.made");
        }
        Ok(volumes)
    }

    async fn one(
        &mut self,
        objects: &Objects,
        pod: &Pod,
        volume: &Volume,
        around: Around<'_>,
    ) -> Result<PathBuf, ConfigError> {
        let fs_group = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.security_context.as_ref()?.fs_group);
        if let Some(source) = &volume.host_path {
            return host_path::check(source);
        }
        if let Some(source) = &volume.empty_dir {
            let dir = self.paths.pod(&self.uid).join("volumes/empty-dir").join(&volume.name);
            empty_dir(&dir, source, fs_group)?;
            return Ok(dir);
        }
        if let Some(payload) = payload::of(objects, pod, volume, around).await? {
            let dir = self.paths.memory.join(&self.uid).join(&volume.name);
            writer::write(&dir, &payload.files, fs_group)
                .map_err(|error| ConfigError(format!("writing volume \"{}\": {error}", volume.name)))?;
            self.refresh_at = [self.refresh_at, payload.refresh_at].into_iter().flatten().min();
            return Ok(dir);
        }
        Err(ConfigError(format!(
            "volume \"{}\" is of a kind that this node does not support",
            volume.name
        )))
    }

    /// The mounts that a container asks for, and the pod's shared memory.
    pub(crate) fn binds(&self, container: &Container, env: &[(String, String)]) -> Result<Vec<Bind>, ConfigError> {
        let mut binds = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            let Some(dir) = self.dirs.get(&mount.name) else {
                return Err(ConfigError(format!(
                    "volume \"{}\" of container \"{}\" not found",
                    mount.name, container.name
                )));
            };
            let lookup = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            let sub_path = match &mount.sub_path_expr {
                Some(text) => Some(crate::bundle::expand::expand(text, lookup)),
                None => mount.sub_path.clone(),
            };
            let source = match sub_path.filter(|path| !path.is_empty()) {
                Some(path) => sub_path::resolve(dir, &path)?,
                None => dir.clone(),
            };
            binds.push(Bind {
                source,
                target: mount.mount_path.clone(),
                read_only: mount.read_only.unwrap_or(false),
                propagation: mount.mount_propagation.clone(),
            });
        }
        if !binds.iter().any(|bind| bind.target == "/dev/shm") {
            let source = self.paths.shm.join(&self.uid);
            binds.push(Bind {
                source,
                target: "/dev/shm".to_string(),
                read_only: false,
                propagation: None,
            });
        }
        Ok(binds)
    }
}

/// Addresses that downward volumes may show.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) host_ip: &'a str,
    pub(crate) pod_ips: &'a [String],
}

/// The pods that have files here, whether or not anybody knows them.
pub(crate) fn owners(paths: &Paths) -> Vec<String> {
    let entries = [&paths.pods, &paths.memory, &paths.shm].map(fs::read_dir);
    let entries = entries.into_iter().flatten().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Removes all files of a pod, whatever of them is there; goes on after errors and returns them.
pub(crate) fn tear_down(paths: &Paths, uid: &str) -> Vec<std::io::Error> {
    let mut errors = Vec::new();
    let pod = paths.pod(uid);
    for entry in fs::read_dir(pod.join("volumes/empty-dir"))
        .into_iter()
        .flatten()
        .flatten()
    {
        if is_mount(&entry.path()) {
            errors.extend(
                rustix::mount::unmount(entry.path(), UnmountFlags::DETACH)
                    .err()
                    .map(Into::into),
            );
            meta::failpoint::hit("node.volume.unmounted");
        }
    }
    for dir in [pod, paths.memory.join(uid), paths.shm.join(uid)] {
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => errors.push(error),
            _ => {}
        }
        meta::failpoint::hit("node.volume.directory-removed");
    }
    errors
}

fn empty_dir(dir: &Path, source: &EmptyDirVolumeSource, fs_group: Option<i64>) -> Result<(), ConfigError> {
    let fail = |error: &dyn std::fmt::Display| ConfigError(format!("making {}: {error}", dir.display()));
    make_dir(dir, 0o777)?;
    if source.medium.as_deref() == Some("Memory") && !is_mount(dir) {
        let size = source
            .size_limit
            .as_ref()
            .map(resources::value)
            .filter(|size| *size > 0);
        let options = size.map_or_else(|| "mode=0777".to_string(), |size| format!("mode=0777,size={size}"));
        let options = std::ffi::CString::new(options).map_err(|error| fail(&error))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount("tmpfs", dir, "tmpfs", flags, options.as_c_str()).map_err(|error| fail(&error))?;
    }
    if let Some(group) = fs_group.and_then(|group| u32::try_from(group).ok()) {
        chown(dir, None, Some(group)).map_err(|error| fail(&error))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o2777)).map_err(|error| fail(&error))?;
    }
    Ok(())
}

fn make_dir(dir: &Path, mode: u32) -> Result<(), ConfigError> {
    let fail = |error: std::io::Error| ConfigError(format!("making {}: {error}", dir.display()));
    let new = !dir.exists();
    fs::create_dir_all(dir).map_err(fail)?;
    if new {
        fs::set_permissions(dir, fs::Permissions::from_mode(mode)).map_err(fail)
    } else {
        Ok(())
    }
}

/// Whether a directory is on another file system than its parent.
pub(crate) fn is_mount(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let parent = path.parent().unwrap_or(Path::new("/"));
    match (fs::symlink_metadata(path), fs::symlink_metadata(parent)) {
        (Ok(own), Ok(parent)) => own.dev() != parent.dev(),
        _ => false,
    }
}

/// What a pod's volumes show of the API, to be followed.
pub(crate) fn followed(pod: &Pod) -> Vec<Key> {
    references(pod)
}
