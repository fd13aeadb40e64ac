//! Opens the store: in the instance's directory, or on an etcd.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use cli::store::EtcdPlace;
use store::embedded::{self, Embedded};
use store::{Etcd, Store, etcd};

/// A store that is open.
pub(crate) enum Opened {
    /// In a directory; it has to be closed.
    Embedded(Arc<Embedded>),
    /// On an etcd.
    Etcd(Arc<Etcd>),
}

impl Opened {
    /// Opens the embedded store of a directory, or the one on an etcd.
    pub(crate) async fn open(dir: &Path, place: Option<&EtcdPlace>) -> anyhow::Result<Self> {
        if let Some(place) = place {
            let etcd = Etcd::connect(options(place)?).await;
            return etcd
                .map(Self::Etcd)
                .with_context(|| format!("--store etcd={}", place.endpoints.join(",")));
        }
        let path = dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || Embedded::open(&path, embedded::Options::default())).await?;
        opened
            .map(Self::Embedded)
            .with_context(|| format!("opening the store in {}", dir.display()))
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(store) => store.clone(),
            Self::Etcd(store) => store.clone(),
        }
    }

    /// Finishes what is under way.
    pub(crate) fn close(&self) {
        if let Self::Embedded(store) = self {
            store.close();
        }
    }
}

fn options(place: &EtcdPlace) -> anyhow::Result<etcd::Options> {
    let read =
        |flag: &str, file: &Path| std::fs::read_to_string(file).with_context(|| format!("{flag} {}", file.display()));
    let identity = match (&place.cert, &place.key) {
        (Some(cert), Some(key)) => Some((read("--store-cert", cert)?, read("--store-key", key)?)),
        _ => None,
    };
    Ok(etcd::Options {
        endpoints: place.endpoints.clone(),
        ca: place.ca.as_ref().map(|ca| read("--store-ca", ca)).transpose()?,
        identity,
        prefix: place.prefix.clone(),
        ..etcd::Options::default()
    })
}
