//! Client certificates: the common name is the user, the organizations are the groups. The TLS layer has verified the
//! chain already.

use sha2::{Digest as _, Sha256};

use crate::user::{AUTHENTICATED, User};

/// The user of a certificate; none when it has no common name.
pub(crate) fn user(der: &[u8]) -> Option<User> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    if name.is_empty() {
        return None;
    }
    let mut groups: Vec<String> = subject
        .iter_organization()
        .filter_map(|group| group.as_str().ok())
        .map(str::to_owned)
        .collect();
    groups.push(AUTHENTICATED.to_owned());
    let id = format!("X509SHA256={}", hex::encode(Sha256::digest(der)));
    let extra = [("authentication.kubernetes.io/credential-id".to_owned(), vec![id])].into();
    Some(User {
        name,
        groups,
        extra,
        ..User::default()
    })
}
