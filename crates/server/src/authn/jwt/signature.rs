//! Signatures of tokens (JWS in its compact form) and the keys that check them (JWK): RFC 7515, 7517 and 7518, as far as
//! kube-apiserver takes them.

use aws_lc_rs::signature::{
    self, EcdsaVerificationAlgorithm, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// How a token may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::authn) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
    Es512,
    Ps256,
    Ps384,
    Ps512,
}

impl Algorithm {
    pub(in crate::authn) const ALL: [Algorithm; 9] = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Es512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
    ];

    /// By the name that it has in tokens.
    pub(in crate::authn) fn named(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Es512 => "ES512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
        }
    }

    fn check(self) -> Check {
        match self {
            Algorithm::Rs256 => Check::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => Check::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => Check::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::Ps256 => Check::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => Check::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => Check::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
            Algorithm::Es256 => Check::Ec("P-256", 32, &signature::ECDSA_P256_SHA256_FIXED),
            Algorithm::Es384 => Check::Ec("P-384", 48, &signature::ECDSA_P384_SHA384_FIXED),
            Algorithm::Es512 => Check::Ec("P-521", 66, &signature::ECDSA_P521_SHA512_FIXED),
        }
    }
}

enum Check {
    Rsa(&'static RsaParameters),
    /// The curve, the size of a coordinate, and the algorithm.
    Ec(&'static str, usize, &'static EcdsaVerificationAlgorithm),
}

/// A key as an issuer publishes it. Of other sorts nothing is known here but that they are others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Key {
    kty: String,
    #[serde(rename = "use")]
    purpose: String,
    pub(super) kid: String,
    alg: String,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
}

/// A token in its parts. Nothing in it is to be believed yet.
pub(super) struct Token<'a> {
    pub(super) kid: String,
    algorithm: Algorithm,
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Header {
    alg: String,
    kid: String,
    crit: Option<serde_json::Value>,
}

impl<'a> Token<'a> {
    /// Takes a token apart. It must be signed in one of these ways.
    pub(super) fn parse(token: &'a str, allowed: &[Algorithm]) -> Result<Token<'a>, String> {
        let malformed = |what: &str| format!("malformed jwt: {what}");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| malformed("no signature"))?;
        let (header, payload) = signed.split_once('.').ok_or_else(|| malformed("no payload"))?;
        let decode = |part: &str, what: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed(what));
        let header: Header =
            serde_json::from_slice(&decode(header, "the header")?).map_err(|_| malformed("the header"))?;
        if header.crit.is_some() {
            return Err(malformed("a critical header that is not known"));
        }
        let algorithm = Algorithm::named(&header.alg).filter(|algorithm| allowed.contains(algorithm));
        let algorithm = algorithm.ok_or_else(|| {
            let names: Vec<&str> = allowed.iter().map(|algorithm| algorithm.name()).collect();
            format!(
                "oidc: id token signed with unsupported algorithm, expected {names:?} got {:?}",
                header.alg
            )
        })?;
        Ok(Token {
            kid: header.kid,
            algorithm,
            signed,
            payload,
            signature: decode(signature, "the signature")?,
        })
    }

    /// Whether a key has signed it.
    pub(super) fn is_signed_by(&self, key: &Key) -> bool {
        if !matches!(key.purpose.as_str(), "" | "sig") || !(key.alg.is_empty() || key.alg == self.algorithm.name()) {
            return false;
        }
        let field = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        match self.algorithm.check() {
            Check::Rsa(parameters) => {
                let (Some(n), Some(e)) = (field(&key.n), field(&key.e)) else {
                    return false;
                };
                let n = &n[n.iter().position(|byte| *byte != 0).unwrap_or(n.len())..];
                let public = RsaPublicKeyComponents { n, e: &e[..] };
                key.kty == "RSA"
                    && public
                        .verify(parameters, self.signed.as_bytes(), &self.signature)
                        .is_ok()
            }
            Check::Ec(curve, size, algorithm) => {
                let (Some(x), Some(y)) = (field(&key.x), field(&key.y)) else {
                    return false;
                };
                if key.kty != "EC" || key.crv != curve || x.len() > size || y.len() > size {
                    return false;
                }
                let mut point = vec![4];
                for coordinate in [x, y] {
                    point.resize(point.len() + size - coordinate.len(), 0);
                    point.extend(coordinate);
                }
                let public = UnparsedPublicKey::new(algorithm, point);
                public.verify(self.signed.as_bytes(), &self.signature).is_ok()
            }
        }
    }

    /// What it says.
    pub(super) fn claims(&self) -> Result<super::Claims, String> {
        let bytes = URL_SAFE_NO_PAD
            .decode(self.payload)
            .map_err(|_| "malformed jwt: the payload")?;
        serde_json::from_slice(&bytes).map_err(|error| format!("oidc: failed to unmarshal claims: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
    use aws_lc_rs::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RsaEncoding, RsaKeyPair};
    use serde_json::json;

    use super::*;

    fn head(algorithm: Algorithm) -> String {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": algorithm.name(), "kid": "k"}).to_string());
        format!("{header}.{}", URL_SAFE_NO_PAD.encode("{\"sub\":\"me\"}"))
    }

    fn key(value: serde_json::Value) -> Key {
        serde_json::from_value(value).unwrap()
    }

    fn check(token: &str, key: &Key, algorithm: Algorithm) {
        let parsed = Token::parse(token, &[algorithm]).unwrap();
        assert!(parsed.is_signed_by(key), "{algorithm:?}");
        assert_eq!(parsed.claims().unwrap()["sub"], "me");
        let changed = token.replacen("iOiJt", "iOiJn", 1);
        assert_ne!(changed, token);
        assert!(!Token::parse(&changed, &[algorithm]).unwrap().is_signed_by(key));
        let others: Vec<Algorithm> = Algorithm::ALL.into_iter().filter(|other| *other != algorithm).collect();
        assert!(Token::parse(token, &others).is_err());
    }

    #[test]
    fn signatures_of_rsa_are_checked() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let (n, e) = (URL_SAFE_NO_PAD.encode(public.n), URL_SAFE_NO_PAD.encode(public.e));
        let key = key(json!({"kty": "RSA", "n": n, "e": e, "use": "sig"}));
        let all: [(Algorithm, &'static dyn RsaEncoding); 6] = [
            (Algorithm::Rs256, &signature::RSA_PKCS1_SHA256),
            (Algorithm::Rs384, &signature::RSA_PKCS1_SHA384),
            (Algorithm::Rs512, &signature::RSA_PKCS1_SHA512),
            (Algorithm::Ps256, &signature::RSA_PSS_SHA256),
            (Algorithm::Ps384, &signature::RSA_PSS_SHA384),
            (Algorithm::Ps512, &signature::RSA_PSS_SHA512),
        ];
        for (algorithm, encoding) in all {
            let head = head(algorithm);
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &SystemRandom::new(), head.as_bytes(), &mut signature)
                .unwrap();
            check(
                &format!("{head}.{}", URL_SAFE_NO_PAD.encode(signature)),
                &key,
                algorithm,
            );
        }
    }

    #[test]
    fn signatures_of_curves_are_checked() {
        let all: [(Algorithm, &str, &'static EcdsaSigningAlgorithm); 3] = [
            (Algorithm::Es256, "P-256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            (Algorithm::Es384, "P-384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            (Algorithm::Es512, "P-521", &signature::ECDSA_P521_SHA512_FIXED_SIGNING),
        ];
        for (algorithm, curve, signing) in all {
            let pair = EcdsaKeyPair::generate(signing).unwrap();
            let point = pair.public_key().as_ref();
            let (x, y) = point[1..].split_at((point.len() - 1) / 2);
            let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
            let key = key(json!({"kty": "EC", "crv": curve, "x": x, "y": y, "alg": algorithm.name()}));
            let head = head(algorithm);
            let signature = pair.sign(&SystemRandom::new(), head.as_bytes()).unwrap();
            check(
                &format!("{head}.{}", URL_SAFE_NO_PAD.encode(signature)),
                &key,
                algorithm,
            );
        }
    }

    /// The example of RFC 7515, A.3.
    #[test]
    fn the_rfcs_example_holds() {
        let key = key(
            json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
        );
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let token = Token::parse(token, &Algorithm::ALL).unwrap();
        assert!(token.is_signed_by(&key));
        assert_eq!(token.claims().unwrap()["iss"], "joe");
    }

    #[test]
    fn tokens_without_a_signature_are_none() {
        for name in ["none", "HS256", ""] {
            let header = URL_SAFE_NO_PAD.encode(json!({"alg": name}).to_string());
            let error = Token::parse(&format!("{header}.e30."), &Algorithm::ALL).err().unwrap();
            assert!(error.contains("unsupported algorithm"), "{error}");
        }
        assert!(Token::parse("a.b", &Algorithm::ALL).is_err());
    }
}
