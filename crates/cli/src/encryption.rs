//! What the command line says of encryption at rest, and what an instance keeps of that.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};

/// What is encrypted at rest, by the names that kube-apiserver has for it.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptionArgs {
    /// What is encrypted at rest, and by which keys: a file with an EncryptionConfiguration; an empty text for nothing.
    #[arg(long, value_name = "FILE")]
    pub encryption_provider_config: Option<OsString>,
    /// Whether that file is read again when it changes.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub encryption_provider_config_automatic_reload: Option<bool>,
}

/// The file of encryption at rest, as it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EncryptionFile {
    /// The file; none when nothing is encrypted.
    pub file: Option<PathBuf>,
    /// Whether it is read again when it changes.
    pub reload: bool,
}

impl EncryptionFile {
    /// What an instance has by now: what it had before, changed by what is given. The file is found again from any
    /// directory.
    ///
    /// # Errors
    /// When the file's place can't be made out.
    pub fn of(before: EncryptionFile, given: &EncryptionArgs) -> anyhow::Result<EncryptionFile> {
        let file = match &given.encryption_provider_config {
            None => before.file,
            Some(file) if file.is_empty() => None,
            Some(file) => {
                let file = Path::new(file);
                Some(std::path::absolute(file).with_context(|| format!("finding {}", file.display()))?)
            }
        };
        let reload = given.encryption_provider_config_automatic_reload;
        Ok(EncryptionFile {
            file,
            reload: reload.unwrap_or(before.reload),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_stays() {
        let given = |file: Option<&str>, reload| EncryptionArgs {
            encryption_provider_config: file.map(OsString::from),
            encryption_provider_config_automatic_reload: reload,
        };
        let first = EncryptionFile::of(EncryptionFile::default(), &given(Some("/keys.yaml"), Some(true))).unwrap();
        assert_eq!(first.file.as_deref(), Some(Path::new("/keys.yaml")));
        assert_eq!(EncryptionFile::of(first.clone(), &given(None, None)).unwrap(), first);
        let none = EncryptionFile::of(first, &given(Some(""), None)).unwrap();
        assert_eq!(
            none,
            EncryptionFile {
                file: None,
                reload: true
            }
        );
    }
}
