//! The server's keys and certificates, made on the first start and found again on every later one.
//!
//! Everything lies below `server/pki` of the data directory, keys readable by their owner only. ECDSA P-256 throughout.
//! Which certificate may do what is authentication's and authorization's to say.

mod ca;
pub(crate) mod files;
mod front_proxy;
mod serving;
mod shared;
mod token_key;

use std::path::{Path, PathBuf};

pub use ca::{Ca, ClientCert};
pub(crate) use front_proxy::{FrontProxy, NAME as FRONT_PROXY_NAME};
pub(crate) use serving::Serving;
pub(crate) use shared::share;
pub(crate) use token_key::TokenKey;

use crate::Config;

/// Why keys or certificates can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}")]
    File {
        /// Which one.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate could not be made.
    #[error("making a certificate")]
    Make(#[from] rcgen::Error),
    /// What lies in a file is not what must be there.
    #[error("{path}: {why}")]
    Malformed {
        /// Which file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store, which other servers have too, does not tell the cluster's keys.
    #[error("the cluster's keys in the store")]
    Store(#[source] store::Error),
    /// What the store has in place of the keys is of another program.
    #[error("the cluster's keys in the store can't be read: {0}")]
    Unreadable(String),
    /// This server has keys of another cluster than its store.
    #[error("the keys in {} are not those of the cluster in the store: begin with an empty directory, or with the right keys", .0.display())]
    Foreign(PathBuf),
    /// The cluster in the store has keys that this server has no way to get.
    #[error("the cluster in the store has keys already: give every server the same --store-secret, or copy them into {}", .0.display())]
    Elsewhere(PathBuf),
    /// The keys in the store are encrypted with another secret.
    #[error("the secret does not open the cluster's keys in the store")]
    WrongSecret,
    /// A secret that can be guessed.
    #[error("the secret for the cluster's keys has less than {} characters", shared::SHORTEST)]
    ShortSecret,
    /// rustls does not accept the certificates.
    #[error("setting up TLS")]
    Tls(#[from] rustls::Error),
}

/// All key material of one server.
pub struct Pki {
    pub(crate) ca: Ca,
    pub(crate) front_proxy: FrontProxy,
    pub(crate) serving: Serving,
    pub(crate) token_key: TokenKey,
}

impl Pki {
    /// Reads what is there and makes what is missing, or what no longer covers the server's addresses.
    pub fn open(config: &Config) -> Result<Pki, Error> {
        let dir = config.pki_dir();
        files::make_dir(&dir)?;
        let ca = Ca::open(&dir)?;
        let front_proxy = FrontProxy::open(&dir)?;
        let serving = Serving::open(&dir, &ca, config)?;
        let token_key = TokenKey::open(&dir)?;
        Ok(Pki {
            ca,
            front_proxy,
            serving,
            token_key,
        })
    }

    /// The certificate authority, also for signing nodes' requests.
    pub fn ca(&self) -> &Ca {
        &self.ca
    }
}

fn malformed(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Malformed {
        path: path.display().to_string(),
        why: why.to_string(),
    }
}
