//! hostPath: a place of the host, checked against the type that the pod expects.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use crate::bundle::ConfigError;

/// Checks it, and makes what `DirectoryOrCreate` and `FileOrCreate` ask for.
pub(super) fn check(source: &HostPathVolumeSource) -> Result<PathBuf, ConfigError> {
    let path = PathBuf::from(&source.path);
    let wrong = |what: &str| ConfigError(format!("hostPath type check failed: {} is not {what}", path.display()));
    let failed = |error: std::io::Error| ConfigError(format!("hostPath {}: {error}", path.display()));
    let kind = source.type_.as_deref().unwrap_or_default();
    match kind {
        "" | "DirectoryOrCreate" if !path.exists() => {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&path)
                .map_err(failed)?;
        }
        "FileOrCreate" if !path.exists() => {
            fs::File::options()
                .create(true)
                .append(true)
                .mode(0o644)
                .open(&path)
                .map_err(failed)?;
        }
        _ => {}
    }
    let metadata = fs::metadata(&path).map_err(|error| match kind {
        "" => failed(error),
        "Directory" | "DirectoryOrCreate" => wrong("a directory"),
        "File" | "FileOrCreate" => wrong("a file"),
        "Socket" => wrong("a socket file"),
        "CharDevice" => wrong("a character device"),
        "BlockDevice" => wrong("a block device"),
        _ => failed(error),
    })?;
    let found = metadata.file_type();
    match kind {
        "Directory" | "DirectoryOrCreate" if !found.is_dir() => Err(wrong("a directory")),
        "File" | "FileOrCreate" if !found.is_file() => Err(wrong("a file")),
        "Socket" if !found.is_socket() => Err(wrong("a socket file")),
        "CharDevice" if !found.is_char_device() => Err(wrong("a character device")),
        "BlockDevice" if !found.is_block_device() => Err(wrong("a block device")),
        _ => Ok(path),
    }
}
