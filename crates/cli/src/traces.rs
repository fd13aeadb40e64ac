//! What the command line says of traces, and what an instance keeps of that.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

/// What is traced, by the name that kube-apiserver has for it.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct TracingArgs {
    /// Which requests are traced, and where their traces go: a file with a TracingConfiguration; an empty text for none.
    #[arg(long, value_name = "FILE")]
    pub tracing_config_file: Option<OsString>,
}

/// The file that an instance has by now: what it had before, or what is given. It is found again from any directory.
///
/// # Errors
/// When the file's place can't be made out.
pub fn file(before: Option<PathBuf>, given: &TracingArgs) -> anyhow::Result<Option<PathBuf>> {
    match &given.tracing_config_file {
        None => Ok(before),
        Some(file) if file.is_empty() => Ok(None),
        Some(file) => {
            let file = Path::new(file);
            let found = std::path::absolute(file).with_context(|| format!("finding {}", file.display()))?;
            Ok(Some(found))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_stays() {
        let given = |file: Option<&str>| TracingArgs {
            tracing_config_file: file.map(OsString::from),
        };
        let first = file(None, &given(Some("/traces.yaml"))).unwrap();
        assert_eq!(first.as_deref(), Some(Path::new("/traces.yaml")));
        assert_eq!(file(first.clone(), &given(None)).unwrap(), first);
        assert_eq!(file(first, &given(Some(""))).unwrap(), None);
        assert!(file(None, &given(Some("traces.yaml"))).unwrap().unwrap().is_absolute());
    }
}
