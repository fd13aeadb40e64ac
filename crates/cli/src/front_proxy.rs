//! What the command line says of front proxies, and what an instance keeps of that.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

/// Which proxies are believed, by the names that kube-apiserver has for it.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontProxyArgs {
    /// The authority of proxies that may say in headers who asks: a file with PEM certificates.
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// The names that such a proxy's certificate may have [default: any].
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub requestheader_allowed_names: Option<Vec<String>>,
    /// The headers with the user's name, the first that is there counts [default: X-Remote-User].
    #[arg(long, value_name = "HEADER,...", value_delimiter = ',')]
    pub requestheader_username_headers: Option<Vec<String>>,
    /// The headers with the user's unique id [default: X-Remote-Uid].
    #[arg(long, value_name = "HEADER,...", value_delimiter = ',')]
    pub requestheader_uid_headers: Option<Vec<String>>,
    /// The headers with the user's groups [default: X-Remote-Group].
    #[arg(long, value_name = "HEADER,...", value_delimiter = ',')]
    pub requestheader_group_headers: Option<Vec<String>>,
    /// What headers begin with that say something else of the user [default: X-Remote-Extra-].
    #[arg(long, value_name = "PREFIX,...", value_delimiter = ',')]
    pub requestheader_extra_headers_prefix: Option<Vec<String>>,
}

/// The front proxies, as they were given; empty lists are the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FrontProxies {
    /// The file of the authority.
    pub ca: PathBuf,
    /// Names of certificates.
    pub allowed_names: Vec<String>,
    /// Headers with the name.
    pub username_headers: Vec<String>,
    /// Headers with the unique id.
    pub uid_headers: Vec<String>,
    /// Headers with groups.
    pub group_headers: Vec<String>,
    /// Beginnings of headers with anything else.
    pub extra_prefixes: Vec<String>,
}

impl FrontProxies {
    /// What an instance has by now: what it had before, changed by what is given. The file is found again from any
    /// directory; an empty name takes all of it away.
    ///
    /// # Errors
    /// When the file's place can't be made out, or no authority is named.
    pub fn of(before: Option<FrontProxies>, given: &FrontProxyArgs) -> anyhow::Result<Option<FrontProxies>> {
        if *given == FrontProxyArgs::default() {
            return Ok(before);
        }
        let mut proxies = before.unwrap_or_default();
        match &given.requestheader_client_ca_file {
            Some(file) if file.as_os_str().is_empty() => return Ok(None),
            Some(file) => {
                proxies.ca = std::path::absolute(file).with_context(|| format!("finding {}", file.display()))?;
            }
            None => {}
        }
        for (given, kept) in [
            (&given.requestheader_allowed_names, &mut proxies.allowed_names),
            (&given.requestheader_username_headers, &mut proxies.username_headers),
            (&given.requestheader_uid_headers, &mut proxies.uid_headers),
            (&given.requestheader_group_headers, &mut proxies.group_headers),
            (&given.requestheader_extra_headers_prefix, &mut proxies.extra_prefixes),
        ] {
            if let Some(names) = given {
                *kept = names
                    .iter()
                    .map(|name| name.trim().to_owned())
                    .filter(|name| !name.is_empty())
                    .collect();
            }
        }
        if proxies.ca.as_os_str().is_empty() {
            bail!("nothing says which proxies are believed: give --requestheader-client-ca-file, too");
        }
        Ok(Some(proxies))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_changes_what_was_kept() {
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let given = FrontProxyArgs {
            requestheader_allowed_names: names(&["a"]),
            ..FrontProxyArgs::default()
        };
        assert!(FrontProxies::of(None, &given).is_err());
        let with_ca = FrontProxyArgs {
            requestheader_client_ca_file: Some("/ca.crt".into()),
            ..given.clone()
        };
        let kept = FrontProxies::of(None, &with_ca).unwrap().unwrap();
        assert_eq!(kept.allowed_names, ["a"]);
        let other = FrontProxyArgs {
            requestheader_allowed_names: names(&["b", ""]),
            ..FrontProxyArgs::default()
        };
        let kept = FrontProxies::of(Some(kept), &other).unwrap().unwrap();
        assert_eq!(
            (kept.allowed_names[..].join(","), kept.ca),
            ("b".to_owned(), "/ca.crt".into())
        );
        let none = FrontProxyArgs {
            requestheader_client_ca_file: Some(PathBuf::new()),
            ..FrontProxyArgs::default()
        };
        assert_eq!(FrontProxies::of(None, &none).unwrap(), None);
    }
}
