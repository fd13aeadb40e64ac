//! The key that signs service accounts' tokens (ES256), and its public half as JWKS.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Error, files, malformed};

/// An uncompressed P-256 point: the mark 4, then x and y.
const POINT: usize = 65;

/// The signing key of service account tokens.
pub(crate) struct TokenKey {
    id: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
    point: [u8; POINT],
}

impl TokenKey {
    pub(super) fn open(dir: &Path) -> Result<TokenKey, Error> {
        let path = dir.join("sa.key");
        let key = match files::read(&path)? {
            Some(pem) => KeyPair::from_pem(&pem).map_err(|error| malformed(&path, error))?,
            None => {
                let key = KeyPair::generate()?;
                files::write(&path, &key.serialize_pem(), 0o600)?;
                files::write(&dir.join("sa.pub"), &key.public_key_pem(), 0o644)?;
                key
            }
        };
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(key.subject_public_key_info()));
        let point: [u8; POINT] = key
            .public_key_raw()
            .try_into()
            .map_err(|_| malformed(&path, "not a P-256 key"))?;
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..]),
        );
        let decoding = DecodingKey::from_ec_components(&x, &y).map_err(|error| malformed(&path, error))?;
        Ok(TokenKey {
            id,
            encoding: EncodingKey::from_ec_der(key.serialized_der()),
            decoding,
            point,
        })
    }

    /// The header of the tokens that this key signs.
    pub(crate) fn header(&self) -> Header {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(self.id.clone());
        header
    }

    pub(crate) fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }

    pub(crate) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    /// The public key as a JSON Web Key Set.
    pub(crate) fn jwks(&self) -> Value {
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(&self.point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&self.point[33..]),
        }]})
    }
}
