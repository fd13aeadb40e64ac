//! The server's keys and certificates, made on the first start and found again on every later one.
//!
//! Everything lies below `server/pki` of the data directory, keys readable by their owner only. ECDSA P-256 throughout.
//! Which certificate may do what is authentication's and authorization's to say.

mod ca;
pub(crate) mod files;
mod front_proxy;
mod serving;
mod token_key;

use std::path::Path;

pub use ca::{Ca, ClientCert};
pub(crate) use front_proxy::{FrontProxy, NAME as FRONT_PROXY_NAME};
pub(crate) use serving::Serving;
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
