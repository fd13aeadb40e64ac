//! A seed, and the keys of values that are derived from it: HKDF-SHA256's second half from the seed and 32 random bytes,
//! which stand before the value; then AES-256-GCM. As each value has a key of its own, a seed doesn't wear out.

use aws_lc_rs::hkdf::{HKDF_SHA256, Prk};

use crate::encryption::TransformError;
use crate::encryption::cipher::{Cipher, random, split};

const LENGTH: usize = 32;

/// A seed in the clear.
pub(super) struct Seed(Prk);

impl Seed {
    /// A new one, with the bytes that are to be encrypted.
    pub(super) fn new() -> Result<(Seed, Vec<u8>), TransformError> {
        let bytes = random::<LENGTH>()?;
        Ok((Seed::of(&bytes)?, bytes.to_vec()))
    }

    /// One that was decrypted.
    pub(super) fn of(bytes: &[u8]) -> Result<Seed, TransformError> {
        if bytes.len() != LENGTH {
            let why = format!("invalid seed length {} used for key generation", bytes.len());
            return Err(TransformError::new(why));
        }
        Ok(Seed(Prk::new_less_safe(HKDF_SHA256, bytes)))
    }

    pub(super) fn seal(&self, value: &[u8], at: &[u8]) -> Result<Vec<u8>, TransformError> {
        let info = random::<LENGTH>()?;
        let sealed = self.cipher(&info)?.seal(value, at)?;
        Ok([&info[..], &sealed].concat())
    }

    pub(super) fn open(&self, stored: &[u8], at: &[u8]) -> Result<Vec<u8>, TransformError> {
        let (info, sealed) = split::<LENGTH>(stored)?;
        self.cipher(&info)?.open(sealed, at)
    }

    fn cipher(&self, info: &[u8; LENGTH]) -> Result<Cipher, TransformError> {
        let mut key = [0; LENGTH];
        let parts = [&info[..]];
        let derived = self.0.expand(&parts, HKDF_SHA256).and_then(|okm| okm.fill(&mut key));
        derived.map_err(|_| TransformError::new("failed to derive a key from the KDF"))?;
        Cipher::gcm(&key)
    }
}
