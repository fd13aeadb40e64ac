//! The ciphers whose keys stand in the configuration: AES-GCM, AES-CBC and secretbox, with the same bytes as
//! kube-apiserver has behind its prefixes. Nonces are random, so that a key should be rotated long before 2^32 writes.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    self, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand;
use crypto_secretbox::XSalsa20Poly1305;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};

use super::TransformError;

const GCM_NONCE: usize = 12;
const CBC_BLOCK: usize = 16;
const BOX_NONCE: usize = 24;
const BOX_TAG: usize = 16;

const TOO_SHORT: &str = "the stored data was shorter than the required size";

/// A cipher with its key.
pub(super) enum Cipher {
    /// Authenticates the value and where it lies.
    Gcm(LessSafeKey),
    /// Authenticates nothing; kept for what was written by it.
    Cbc(Box<(PaddedBlockEncryptingKey, PaddedBlockDecryptingKey)>),
    /// Authenticates the value.
    Secretbox(Box<XSalsa20Poly1305>),
}

impl Cipher {
    /// AES-GCM with a key of 16, 24 or 32 bytes.
    pub(super) fn gcm(key: &[u8]) -> Result<Cipher, TransformError> {
        let algorithm = match key.len() {
            16 => &aead::AES_128_GCM,
            24 => &aead::AES_192_GCM,
            _ => &aead::AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| wrong("crypto/aes: invalid key size"))?;
        Ok(Cipher::Gcm(LessSafeKey::new(key)))
    }

    /// AES-CBC with a key of 16, 24 or 32 bytes.
    pub(super) fn cbc(key: &[u8]) -> Result<Cipher, TransformError> {
        let algorithm = match key.len() {
            16 => &cipher::AES_128,
            24 => &cipher::AES_192,
            _ => &cipher::AES_256,
        };
        let key = || UnboundCipherKey::new(algorithm, key);
        let pair = || {
            Ok::<_, aws_lc_rs::error::Unspecified>((
                PaddedBlockEncryptingKey::cbc_pkcs7(key()?)?,
                PaddedBlockDecryptingKey::cbc_pkcs7(key()?)?,
            ))
        };
        let pair = pair().map_err(|_| wrong("crypto/aes: invalid key size"))?;
        Ok(Cipher::Cbc(Box::new(pair)))
    }

    /// XSalsa20 and Poly1305 with a key of 32 bytes.
    pub(super) fn secretbox(key: &[u8]) -> Result<Cipher, TransformError> {
        let cipher = XSalsa20Poly1305::new_from_slice(key);
        let cipher = cipher.map_err(|_| wrong("a key for secretbox has 32 bytes"))?;
        Ok(Cipher::Secretbox(Box::new(cipher)))
    }

    /// A value as it is stored. `at` is where it lies, and what it is bound to as far as the cipher can.
    pub(super) fn seal(&self, value: &[u8], at: &[u8]) -> Result<Vec<u8>, TransformError> {
        match self {
            Cipher::Gcm(key) => {
                let nonce: [u8; GCM_NONCE] = random()?;
                let mut data = value.to_vec();
                key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(at), &mut data)
                    .map_err(|_| wrong("AES-GCM failed"))?;
                Ok([&nonce[..], &data].concat())
            }
            Cipher::Cbc(keys) => {
                let iv: [u8; CBC_BLOCK] = random()?;
                let mut data = value.to_vec();
                keys.0
                    .less_safe_encrypt(&mut data, EncryptionContext::Iv128(FixedLength::from(iv)))
                    .map_err(|_| wrong("AES-CBC failed"))?;
                Ok([&iv[..], &data].concat())
            }
            Cipher::Secretbox(cipher) => {
                let nonce: [u8; BOX_NONCE] = random()?;
                let data = cipher.encrypt(&nonce.into(), value);
                Ok([&nonce[..], &data.map_err(|_| wrong("secretbox failed"))?].concat())
            }
        }
    }

    /// The value behind stored bytes.
    pub(super) fn open(&self, stored: &[u8], at: &[u8]) -> Result<Vec<u8>, TransformError> {
        match self {
            Cipher::Gcm(key) => {
                let (nonce, data) = split::<GCM_NONCE>(stored)?;
                let mut data = data.to_vec();
                let opened = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(at), &mut data);
                let len = opened
                    .map_err(|_| wrong("cipher: message authentication failed"))?
                    .len();
                data.truncate(len);
                Ok(data)
            }
            Cipher::Cbc(keys) => {
                let (iv, data) = split::<CBC_BLOCK>(stored)?;
                if data.len() % CBC_BLOCK != 0 {
                    return Err(wrong("the stored data is not a multiple of the block size"));
                }
                let mut data = data.to_vec();
                let context = DecryptionContext::Iv128(FixedLength::from(iv));
                let opened = keys.1.decrypt(&mut data, context);
                let len = opened.map_err(|_| wrong("invalid padding on input"))?.len();
                data.truncate(len);
                Ok(data)
            }
            Cipher::Secretbox(cipher) => {
                let (nonce, data) = split::<BOX_NONCE>(stored)?;
                if data.len() < BOX_TAG {
                    return Err(wrong(TOO_SHORT));
                }
                let opened = cipher.decrypt(&nonce.into(), data);
                opened.map_err(|_| wrong("output array was not large enough for encryption"))
            }
        }
    }
}

/// What stands before the data, and the data.
pub(super) fn split<const N: usize>(stored: &[u8]) -> Result<([u8; N], &[u8]), TransformError> {
    let (head, data) = stored.split_first_chunk::<N>().ok_or_else(|| wrong(TOO_SHORT))?;
    Ok((*head, data))
}

/// Random bytes of the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], TransformError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| wrong("unable to read sufficient random bytes"))?;
    Ok(bytes)
}

fn wrong(why: &str) -> TransformError {
    TransformError::new(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(key: &[u8]) -> Vec<Cipher> {
        let mut all = vec![Cipher::gcm(key).unwrap(), Cipher::cbc(key).unwrap()];
        if key.len() == 32 {
            all.push(Cipher::secretbox(key).unwrap());
        }
        all
    }

    #[test]
    fn what_is_sealed_opens_and_no_two_seals_are_alike() {
        for len in [16, 24, 32] {
            for cipher in all(&vec![7; len]) {
                for value in [&b""[..], b"{}", &[1; 16], &[2; 1000]] {
                    let (one, other) = (cipher.seal(value, b"/a").unwrap(), cipher.seal(value, b"/a").unwrap());
                    assert_ne!(one, other);
                    assert_eq!(cipher.open(&one, b"/a").unwrap(), value);
                    assert_eq!(cipher.open(&other, b"/a").unwrap(), value);
                }
            }
        }
    }

    #[test]
    fn another_key_does_not_open_it() {
        for (mine, other) in all(&[7; 32]).iter().zip(all(&[8; 32])) {
            let sealed = mine.seal(b"0123456789abcdef", b"/a").unwrap();
            // CBC authenticates nothing: what comes out is garbage, seldom with a padding that looks right.
            if let Ok(opened) = other.open(&sealed, b"/a") {
                assert!(matches!(other, Cipher::Cbc(_)));
                assert_ne!(opened, b"0123456789abcdef");
            }
        }
    }

    #[test]
    fn gcm_binds_a_value_to_its_place() {
        let cipher = Cipher::gcm(&[7; 32]).unwrap();
        let sealed = cipher.seal(b"x", b"/a").unwrap();
        let error = cipher.open(&sealed, b"/b").unwrap_err();
        assert_eq!(error.to_string(), "cipher: message authentication failed");
    }

    #[test]
    fn what_is_too_short_is_told() {
        for cipher in all(&[7; 32]) {
            assert_eq!(cipher.open(b"abc", b"").unwrap_err().to_string(), TOO_SHORT);
        }
    }

    /// The vector of NaCl's own tests (`secretbox.c`): nonce, then the box.
    #[test]
    fn secretbox_is_nacls() {
        let key = hex::decode("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389").unwrap();
        let sealed = "69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37\
                      f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac\
                      0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90\
                      224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5";
        let opened = Cipher::secretbox(&key)
            .unwrap()
            .open(&hex::decode(sealed).unwrap(), b"")
            .unwrap();
        assert_eq!(hex::encode(&opened[..8]), "be075fc53c81f2d5");
        assert_eq!(opened.len(), 131);
    }
}
