//! What the command line says of where objects are kept, and what an instance keeps of that.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

/// Where all objects are kept.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreArgs {
    /// Where objects are kept: embedded, or etcd=URL,... for an etcd of your own [default: embedded].
    #[arg(long, value_name = "STORE", value_parser = place)]
    pub store: Option<Place>,
    /// The authority that etcd's certificates are checked with, as PEM [default: those that the system trusts].
    #[arg(long, value_name = "FILE")]
    pub store_ca: Option<PathBuf>,
    /// The certificate to show to etcd, as PEM.
    #[arg(long, value_name = "FILE", requires = "store_key")]
    pub store_cert: Option<PathBuf>,
    /// Its key, as PEM.
    #[arg(long, value_name = "FILE", requires = "store_cert")]
    pub store_key: Option<PathBuf>,
    /// What all keys in etcd begin with [default: /gantry].
    #[arg(long, value_name = "PREFIX")]
    pub store_prefix: Option<String>,
    /// The secret that the cluster's keys are encrypted with in etcd, so that other servers with this secret can have them.
    #[arg(long, value_name = "FILE")]
    pub store_secret: Option<PathBuf>,
}

/// What can be given to `--store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the instance's directory.
    Embedded,
    /// In an etcd whose members have these URLs.
    Etcd(Vec<String>),
}

/// An etcd, as an instance uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdPlace {
    /// The members' URLs.
    pub endpoints: Vec<String>,
    /// What all keys begin with.
    pub prefix: String,
    /// The authority of the members' certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The certificate to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// What the cluster's keys are encrypted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<PathBuf>,
}

impl EtcdPlace {
    /// What an instance has by now: what it had before, changed by what is given. Members and certificates may change;
    /// whether it is an etcd, and its part of it, stay for as long as the instance does (`known`), because the objects
    /// stay there. Files are found again from any directory.
    ///
    /// # Errors
    /// When that would change, or what is given makes no sense without an etcd.
    pub fn of(before: Option<EtcdPlace>, given: &StoreArgs, known: bool) -> anyhow::Result<Option<EtcdPlace>> {
        let mut etcd = match (&given.store, before) {
            (None | Some(Place::Embedded), None) => {
                if *given != StoreArgs::of(given.store.clone()) {
                    bail!("--store-ca and the like are for --store etcd=URL,...");
                }
                return Ok(None);
            }
            (Some(Place::Etcd(_)), None) if known => bail!("{}", stays("embedded")),
            (Some(Place::Embedded), Some(_)) if known => bail!("{}", stays("an etcd")),
            (Some(Place::Embedded), Some(_)) => return Ok(None),
            (Some(Place::Etcd(_)) | None, Some(etcd)) => etcd,
            (Some(Place::Etcd(_)), None) => EtcdPlace {
                endpoints: Vec::new(),
                prefix: given.store_prefix.clone().unwrap_or_else(|| "/gantry".to_owned()),
                ca: None,
                cert: None,
                key: None,
                secret: None,
            },
        };
        if let Some(Place::Etcd(endpoints)) = &given.store {
            etcd.endpoints.clone_from(endpoints);
        }
        if let Some(prefix) = &given.store_prefix
            && *prefix != etcd.prefix
        {
            if known {
                bail!(
                    "--store-prefix is {} here and can't change while there are objects",
                    etcd.prefix
                );
            }
            etcd.prefix.clone_from(prefix);
        }
        for (given, kept) in [
            (&given.store_ca, &mut etcd.ca),
            (&given.store_cert, &mut etcd.cert),
            (&given.store_key, &mut etcd.key),
            (&given.store_secret, &mut etcd.secret),
        ] {
            if let Some(file) = given {
                *kept = Some(absolute(file)?);
            }
        }
        Ok(Some(etcd))
    }
}

impl StoreArgs {
    fn of(store: Option<Place>) -> Self {
        Self {
            store,
            ..Self::default()
        }
    }
}

fn stays(what: &str) -> String {
    format!("--store is {what} here and can't change while there are objects; `gantry down --purge` starts anew")
}

fn absolute(file: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(file).with_context(|| format!("finding {}", file.display()))
}

fn place(text: &str) -> Result<Place, String> {
    if text == "embedded" {
        return Ok(Place::Embedded);
    }
    let urls = text
        .strip_prefix("etcd=")
        .ok_or("neither embedded nor etcd=URL,... such as etcd=https://10.0.0.1:2379")?;
    let urls = urls.split(',').map(|url| {
        let url = url.trim().trim_end_matches('/');
        let good = url.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.port().is_some() && matches!(uri.path(), "" | "/")
        });
        if good {
            Ok(url.to_owned())
        } else {
            Err(format!("{url:?} is no URL of an etcd, such as https://10.0.0.1:2379"))
        }
    });
    urls.collect::<Result<_, _>>().map(Place::Etcd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(store: &str) -> StoreArgs {
        StoreArgs::of(Some(place(store).unwrap()))
    }

    #[test]
    fn a_store_is_embedded_or_urls() {
        assert_eq!(place("embedded"), Ok(Place::Embedded));
        let two = place("etcd=https://a:2379/,http://[::1]:2379").unwrap();
        assert_eq!(
            two,
            Place::Etcd(vec!["https://a:2379".into(), "http://[::1]:2379".into()])
        );
        for wrong in [
            "",
            "etcd",
            "etcd=",
            "etcd=a:2379",
            "etcd=https://a",
            "etcd=https://a:1/x",
            "redis=http://a:1",
        ] {
            assert!(place(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn members_may_change_and_the_place_may_not() {
        let none = StoreArgs::default();
        assert_eq!(EtcdPlace::of(None, &none, true).unwrap(), None);
        assert!(EtcdPlace::of(None, &given("etcd=http://a:1"), true).is_err());
        let first = EtcdPlace::of(None, &given("etcd=http://a:1"), false).unwrap().unwrap();
        assert_eq!(first.prefix, "/gantry");
        assert_eq!(
            EtcdPlace::of(Some(first.clone()), &none, true).unwrap().as_ref(),
            Some(&first)
        );
        let more = given("etcd=http://a:1,http://b:1");
        let second = EtcdPlace::of(Some(first.clone()), &more, true).unwrap().unwrap();
        assert_eq!(second.endpoints.len(), 2);
        assert!(EtcdPlace::of(Some(first.clone()), &given("embedded"), true).is_err());
        let prefix = StoreArgs {
            store_prefix: Some("/other".into()),
            ..StoreArgs::default()
        };
        assert!(EtcdPlace::of(Some(first.clone()), &prefix, true).is_err());
        assert!(EtcdPlace::of(None, &prefix, false).is_err(), "a prefix of nothing");
        let with_ca = StoreArgs {
            store_ca: Some("ca.pem".into()),
            ..StoreArgs::default()
        };
        let found = EtcdPlace::of(Some(first), &with_ca, true).unwrap().unwrap();
        assert!(found.ca.unwrap().is_absolute());
    }
}
