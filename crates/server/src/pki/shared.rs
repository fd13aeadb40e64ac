//! The cluster's keys in a store that several servers have: who comes first puts them there, the others take them.
//!
//! Certificates are public and lie there openly, so that a server with other keys is told from one that belongs here. The
//! keys are encrypted (AES-256-GCM) with one that is derived from a secret (PBKDF2 with SHA-256), or they are not there
//! and must be copied by hand.

use std::num::NonZeroU32;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use meta::Revision;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use store::{Outcome, Store, Txn};

use super::{Ca, Error, TokenKey, files};
use crate::Config;

const KEY: &str = "/gantry/keys";
/// What must be there for the keys to be known, and in which order it is written: what comes last makes it whole.
const FILES: [(&str, u32); 4] = [
    ("sa.key", 0o600),
    ("sa.pub", 0o644),
    ("ca.key", 0o600),
    ("ca.crt", 0o644),
];
/// A secret has at least so many characters.
pub(super) const SHORTEST: usize = 16;
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();
const SALT: usize = 16;
const ATTEMPTS: usize = 5;

/// The record in the store. Released format: fields are added and never change their meaning.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    /// The authority's certificate.
    authority: String,
    /// The public half of the tokens' key.
    tokens: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<Sealed>,
}

/// Both private keys, encrypted; all in base64.
#[derive(Serialize, Deserialize)]
struct Sealed {
    salt: String,
    nonce: String,
    text: String,
}

#[derive(Serialize, Deserialize)]
struct Private {
    authority: String,
    tokens: String,
}

/// The keys of a directory.
struct Own {
    authority: String,
    tokens: String,
    private: Private,
}

/// Sees to it that this server has the keys of the cluster in the store, before they are opened.
pub(crate) async fn share(config: &Config, store: &dyn Store) -> Result<(), Error> {
    let dir = config.pki_dir();
    files::make_dir(&dir)?;
    let secret = config.keys_secret.as_ref();
    if secret.is_some_and(|secret| secret.expose_secret().len() < SHORTEST) {
        return Err(Error::ShortSecret);
    }
    for _ in 0..ATTEMPTS {
        let found = store.get(KEY, None).await.map_err(Error::Store)?.record;
        let Some(found) = found else {
            if first(&dir, store, secret).await? {
                return Ok(());
            }
            continue;
        };
        let record: Record =
            serde_json::from_slice(&found.value).map_err(|error| Error::Unreadable(error.to_string()))?;
        let Some(own) = Own::read(&dir)? else {
            return take(&dir, &record, secret);
        };
        if own.authority != record.authority || own.tokens != record.tokens {
            return Err(Error::Foreign(dir));
        }
        if record.keys.is_some() || secret.is_none() {
            return Ok(());
        }
        if put(store, &own, secret, found.revision).await? {
            return Ok(());
        }
    }
    Err(Error::Unreadable("they change all the time".to_owned()))
}

/// Puts the keys of a directory into a store that has none, made now if need be; false when somebody was faster.
async fn first(dir: &Path, store: &dyn Store, secret: Option<&SecretString>) -> Result<bool, Error> {
    let made = FILES.iter().all(|(name, _)| !dir.join(name).exists());
    let own = match Own::read(dir)? {
        Some(own) => own,
        None => {
            Ca::open(dir)?;
            TokenKey::open(dir)?;
            Own::read(dir)?.ok_or_else(|| Error::Elsewhere(dir.to_owned()))?
        }
    };
    let done = put(store, &own, secret, Revision(0)).await?;
    if made && !done {
        // These were for nobody yet.
        for (name, _) in FILES.iter().rev() {
            let path = dir.join(name);
            std::fs::remove_file(&path).map_err(|source| Error::File {
                path: path.display().to_string(),
                source,
            })?;
        }
    }
    Ok(done)
}

async fn put(store: &dyn Store, own: &Own, secret: Option<&SecretString>, expected: Revision) -> Result<bool, Error> {
    let record = Record {
        authority: own.authority.clone(),
        tokens: own.tokens.clone(),
        keys: secret.map(|secret| seal(own, secret)).transpose()?,
    };
    let value = serde_json::to_vec(&record).map_err(|error| Error::Unreadable(error.to_string()))?;
    let txn = Txn::new().expect(KEY, expected).put(KEY, Bytes::from(value));
    let outcome = store.commit(txn).await.map_err(Error::Store)?;
    Ok(matches!(outcome, Outcome::Done { .. }))
}

/// Writes the keys of the store into a directory that has none.
fn take(dir: &Path, record: &Record, secret: Option<&SecretString>) -> Result<(), Error> {
    let (Some(sealed), Some(secret)) = (&record.keys, secret) else {
        return Err(Error::Elsewhere(dir.to_owned()));
    };
    let private = open(record, sealed, secret)?;
    let contents = [&private.tokens, &record.tokens, &private.authority, &record.authority];
    for ((name, mode), text) in FILES.iter().zip(contents) {
        files::write(&dir.join(name), text, *mode)?;
    }
    Ok(())
}

impl Own {
    /// None when the directory has no whole set.
    fn read(dir: &Path) -> Result<Option<Own>, Error> {
        let mut found = Vec::new();
        for (name, _) in FILES {
            found.extend(files::read(&dir.join(name))?);
        }
        let Ok([private_tokens, tokens, private, authority]) = <[String; 4]>::try_from(found) else {
            return Ok(None);
        };
        Ok(Some(Own {
            authority,
            tokens,
            private: Private {
                authority: private,
                tokens: private_tokens,
            },
        }))
    }
}

/// The key that a secret stands for.
fn derived(secret: &SecretString, salt: &[u8]) -> Result<RandomizedNonceKey, Error> {
    let mut key = [0; 32];
    let secret = secret.expose_secret().as_bytes();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, secret, &mut key);
    RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| Error::WrongSecret)
}

fn seal(own: &Own, secret: &SecretString) -> Result<Sealed, Error> {
    let broken = |_| Error::Unreadable("they could not be encrypted".to_owned());
    let mut salt = [0; SALT];
    rand::fill(&mut salt).map_err(broken)?;
    let mut text = serde_json::to_vec(&own.private).map_err(|error| Error::Unreadable(error.to_string()))?;
    let nonce = derived(secret, &salt)?
        .seal_in_place_append_tag(Aad::from(own.authority.as_bytes()), &mut text)
        .map_err(broken)?;
    Ok(Sealed {
        salt: BASE64.encode(salt),
        nonce: BASE64.encode(nonce.as_ref()),
        text: BASE64.encode(text),
    })
}

fn open(record: &Record, sealed: &Sealed, secret: &SecretString) -> Result<Private, Error> {
    let bytes = |text: &str| {
        BASE64
            .decode(text)
            .map_err(|error| Error::Unreadable(error.to_string()))
    };
    let (salt, nonce, mut text) = (bytes(&sealed.salt)?, bytes(&sealed.nonce)?, bytes(&sealed.text)?);
    let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| Error::Unreadable("a nonce".to_owned()))?;
    let plain = derived(secret, &salt)?
        .open_in_place(nonce, Aad::from(record.authority.as_bytes()), &mut text)
        .map_err(|_| Error::WrongSecret)?;
    serde_json::from_slice(plain).map_err(|error| Error::Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use store::Embedded;

    use super::*;

    struct Place {
        _dir: tempfile::TempDir,
        store: Arc<Embedded>,
    }

    impl Place {
        fn new() -> Place {
            let dir = tempfile::tempdir().unwrap();
            let store = Embedded::open(dir.path(), Default::default()).unwrap();
            Place { _dir: dir, store }
        }

        /// The files of a server in a directory, or why it can't have them.
        async fn share(&self, dir: &Path, secret: Option<&str>) -> Result<Vec<String>, Error> {
            let mut config = Config::new(dir);
            config.keys_secret = secret.map(Into::into);
            share(&config, &*self.store).await?;
            let read = |(name, _): (&str, u32)| std::fs::read_to_string(config.pki_dir().join(name)).unwrap();
            Ok(FILES.map(read).into())
        }
    }

    const SECRET: Option<&str> = Some("sixteen letters!");

    #[tokio::test]
    async fn the_second_server_has_the_keys_of_the_first() {
        let place = Place::new();
        let dirs = [(); 4].map(|()| tempfile::tempdir().unwrap());
        let first = place.share(dirs[0].path(), SECRET).await.unwrap();
        assert_eq!(place.share(dirs[1].path(), SECRET).await.unwrap(), first);
        assert_eq!(place.share(dirs[0].path(), SECRET).await.unwrap(), first, "again");
        assert_eq!(place.share(dirs[0].path(), None).await.unwrap(), first, "it has them");
        let record = place.store.get(KEY, None).await.unwrap().record.unwrap();
        let text = String::from_utf8(record.value.to_vec()).unwrap();
        assert!(!text.contains("PRIVATE"), "{text}");

        let wrong = place.share(dirs[2].path(), Some("another sixteen ")).await;
        assert!(matches!(wrong, Err(Error::WrongSecret)));
        assert!(matches!(
            place.share(dirs[2].path(), None).await,
            Err(Error::Elsewhere(_))
        ));
        assert!(matches!(
            place.share(dirs[2].path(), Some("short")).await,
            Err(Error::ShortSecret)
        ));
        let other = Place::new();
        other.share(dirs[3].path(), None).await.unwrap();
        assert!(matches!(
            place.share(dirs[3].path(), SECRET).await,
            Err(Error::Foreign(_))
        ));
    }

    #[tokio::test]
    async fn a_secret_can_be_given_later() {
        let place = Place::new();
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let first = place.share(dirs[0].path(), None).await.unwrap();
        assert!(matches!(
            place.share(dirs[1].path(), SECRET).await,
            Err(Error::Elsewhere(_))
        ));
        place.share(dirs[0].path(), SECRET).await.unwrap();
        assert_eq!(place.share(dirs[1].path(), SECRET).await.unwrap(), first);
    }

    #[tokio::test]
    async fn servers_that_start_together_have_the_same_keys() {
        let place = Place::new();
        let dirs = [(); 4].map(|()| tempfile::tempdir().unwrap());
        let all = futures::future::join_all(dirs.iter().map(|dir| place.share(dir.path(), SECRET))).await;
        let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
        assert!(all.iter().all(|keys| *keys == all[0]));
    }

    /// As version 0.1.0 wrote it.
    #[test]
    fn what_was_released_stays_readable() {
        let record: Record = serde_json::from_str(include_str!("testdata/keys.json")).unwrap();
        let private = open(&record, record.keys.as_ref().unwrap(), &SECRET.unwrap().into()).unwrap();
        assert_eq!((private.authority.as_str(), private.tokens.as_str()), ("one", "two"));
    }
}
