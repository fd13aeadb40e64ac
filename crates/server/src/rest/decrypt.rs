//! Objects that could not be decrypted when they were read from the store: clients get what can be by now, or the reason.

use bytes::Bytes;
use meta::Status;
use store::Key;
use watch::Version;

use crate::core::Core;
use crate::encryption::is_encrypted;

/// The bytes of an object that is read alone.
pub(crate) async fn object(core: &Core, version: &Version) -> Result<Bytes, Status> {
    let stored = version.bytes();
    if !is_encrypted(stored) {
        return Ok(stored.clone());
    }
    core.at_rest.read(version.key(), stored).await.map_err(Status::internal)
}

/// The bytes of an object of a list: one that can't be read fails the whole list.
pub(crate) async fn item(core: &Core, key: &Key, stored: &Bytes) -> Result<Bytes, Status> {
    if !is_encrypted(stored) {
        return Ok(stored.clone());
    }
    let value = core.at_rest.read(key, stored).await;
    value.map_err(|why| Status::internal(format!("unable to transform key {:?}: {why}", key.as_str())))
}
