//! Kubeconfig files with client certificates: the administrator's, and what a node bootstraps with.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::pki::{ClientCert, Error, files};

/// The text of a kubeconfig with one cluster, one user and one context of the given name.
pub fn text(name: &str, server: &str, ca_pem: &str, client: &ClientCert) -> String {
    let ca = STANDARD.encode(ca_pem);
    let cert = STANDARD.encode(&client.cert_pem);
    let key = STANDARD.encode(&client.key_pem);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: {name}
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: {name}
  user:
    client-certificate-data: {cert}
    client-key-data: {key}
contexts:
- name: {name}
  context:
    cluster: {name}
    user: {name}
current-context: {name}
"
    )
}

/// Writes a kubeconfig atomically, readable by its owner only.
pub fn write(path: &Path, text: &str) -> Result<(), Error> {
    files::write(path, text, 0o600)
}
