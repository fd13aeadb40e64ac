//! What goes over the wire to a key management service's plug-in: `v2.KeyManagementService`, as `k8s.io/kms` v0.37 has it
//! (`apis/v2/api.proto`), and the envelope around an encrypted value.

use std::collections::BTreeMap;

/// Asks how the plug-in is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct StatusRequest {}

/// How the plug-in is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct StatusResponse {
    /// `v2`, or `v2beta1`.
    #[prost(string, tag = "1")]
    pub(crate) version: String,
    /// `ok`, or what is wrong.
    #[prost(string, tag = "2")]
    pub(crate) healthz: String,
    /// The key that encrypts now.
    #[prost(string, tag = "3")]
    pub(crate) key_id: String,
}

/// Has a seed decrypted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) ciphertext: Vec<u8>,
    /// Names the request in the plug-in's log.
    #[prost(string, tag = "2")]
    pub(crate) uid: String,
    /// What the plug-in said when it encrypted.
    #[prost(string, tag = "3")]
    pub(crate) key_id: String,
    /// What the plug-in said when it encrypted.
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub(crate) annotations: BTreeMap<String, Vec<u8>>,
}

/// A decrypted seed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) plaintext: Vec<u8>,
}

/// Has a seed encrypted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) plaintext: Vec<u8>,
    /// Names the request in the plug-in's log.
    #[prost(string, tag = "2")]
    pub(crate) uid: String,
}

/// An encrypted seed.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) ciphertext: Vec<u8>,
    /// The key that has encrypted it.
    #[prost(string, tag = "2")]
    pub(crate) key_id: String,
    /// What the plug-in wants to hear again when it decrypts.
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(crate) annotations: BTreeMap<String, Vec<u8>>,
}

/// An encrypted value as it is stored, behind its prefix: Kubernetes' `EncryptedObject`. It is a released format.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct EncryptedObject {
    /// 32 bytes from which, with the seed, the value's key is derived; a nonce; the value.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) encrypted_data: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(crate) key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) encrypted_seed: Vec<u8>,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub(crate) annotations: BTreeMap<String, Vec<u8>>,
    /// Always [`SEED`] here.
    #[prost(int32, tag = "5")]
    pub(crate) source: i32,
}

/// `HKDF_SHA256_XNONCE_AES_GCM_SEED`: keys of values are derived from a seed.
pub(crate) const SEED: i32 = 1;
