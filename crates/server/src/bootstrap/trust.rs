//! What extension servers must know to believe their clients, and this server when it passes a request on: the config map
//! `extension-apiserver-authentication`. Several servers on one store have a front proxy's authority each, so that one adds
//! to what is there and takes away only what nobody can use any more.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};

use super::ensure;
use crate::Error;
use crate::authz::bootstrap::Made;
use crate::changes::Changes;
use crate::core::Core;
use crate::pki::{FRONT_PROXY_NAME, Pki};

const NAME: &str = "extension-apiserver-authentication";
const NAMESPACE: &str = "kube-system";
/// Bundles of certificates.
const BUNDLES: [&str; 2] = ["client-ca-file", "requestheader-client-ca-file"];

/// Puts the config map right.
pub(super) async fn put_right(core: &Arc<Core>) -> Result<(), Error> {
    let key = meta::ObjectKey::namespaced(NAMESPACE, NAME);
    let there = core.cached_tree("", "configmaps", &key).unwrap_or_default();
    let now = jiff::Timestamp::now().as_second();
    let made = Made {
        group: String::new(),
        plural: "configmaps",
        object: json!({
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "data": merged(&there["data"], &own(&core.pki), now),
        }),
    };
    ensure(core, &made).await
}

/// Keeps it right until the server stops.
pub(crate) async fn keep(core: Arc<Core>) {
    let Some(mut changes) = Changes::of(&core, "", &["configmaps"]) else {
        return;
    };
    loop {
        if let Err(error) = put_right(&core).await {
            tracing::warn!(%error, "what extension servers trust could not be put right");
        }
        if !changes.next(&core).await {
            return;
        }
    }
}

/// What this server has to say. Lists are JSON in a text.
fn own(pki: &Pki) -> [(&'static str, String); 7] {
    let list = |text: &str| json!([text]).to_string();
    [
        (BUNDLES[0], pki.ca.pem().to_owned()),
        (BUNDLES[1], pki.front_proxy.ca_pem().to_owned()),
        ("requestheader-allowed-names", list(FRONT_PROXY_NAME)),
        ("requestheader-username-headers", list("X-Remote-User")),
        ("requestheader-uid-headers", list("X-Remote-Uid")),
        ("requestheader-group-headers", list("X-Remote-Group")),
        ("requestheader-extra-headers-prefix", list("X-Remote-Extra-")),
    ]
}

/// What is there with what this server has to say.
fn merged(there: &Value, own: &[(&'static str, String)], now: i64) -> Map<String, Value> {
    let merge = |(key, own): &(&'static str, String)| {
        let there = there[*key].as_str().unwrap_or_default();
        let text = match BUNDLES.contains(key) {
            true => bundle(there, own, now),
            false => list(there, own),
        };
        ((*key).to_owned(), Value::from(text))
    };
    own.iter().map(merge).collect()
}

/// The certificates of both, without those that have ended. What can't be read is nothing.
fn bundle(there: &str, own: &str, now: i64) -> String {
    let certificates = |text: &str| {
        let read = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
        read.unwrap_or_default()
    };
    let (before, ours) = (certificates(there), certificates(own));
    let lasts = |certificate: &CertificateDer<'_>| {
        let read = x509_parser::parse_x509_certificate(certificate);
        read.is_ok_and(|(_, certificate)| certificate.validity().not_after.timestamp() > now)
    };
    if !before.is_empty() && before.iter().all(lasts) && ours.iter().all(|one| before.contains(one)) {
        return there.to_owned();
    }
    let mut text = own.to_owned();
    for certificate in before.iter().filter(|one| lasts(one) && !ours.contains(one)) {
        text.push_str(&pem(certificate));
    }
    text
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

/// The texts of both lists.
fn list(there: &str, own: &str) -> String {
    let read = |text: &str| serde_json::from_str::<Vec<String>>(text).unwrap_or_default();
    let (mut all, ours) = (read(there), read(own));
    if !all.is_empty() && ours.iter().all(|one| all.contains(one)) {
        return there.to_owned();
    }
    for one in ours {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    json!(all).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(name: &str) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn others_stay_and_what_is_wrong_goes() {
        let (mine, other) = (authority("mine"), authority("other"));
        let count = |text: &str| text.matches("BEGIN CERTIFICATE").count();
        assert_eq!(bundle("", &mine, 0), mine);
        assert_eq!(bundle("rubbish", &mine, 0), mine);
        assert_eq!(bundle(&mine, &mine, 0), mine);
        let both = bundle(&other, &mine, 0);
        assert!(both.starts_with(&mine) && count(&both) == 2);
        assert_eq!(bundle(&both, &mine, 0), both);
        assert_eq!(bundle(&both, &other, 0), both);
        let later = 5_000_000_000;
        assert_eq!(count(&bundle(&both, &mine, later)), 1, "the other one has ended");
        assert_eq!(list("", "[\"a\"]"), "[\"a\"]");
        assert_eq!(list("[\"b\"]", "[\"a\"]"), "[\"b\",\"a\"]");
        assert_eq!(list("[\"b\", \"a\"]", "[\"a\"]"), "[\"b\", \"a\"]");
    }
}
