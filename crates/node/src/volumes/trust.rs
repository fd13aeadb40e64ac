//! What projected volumes show of ClusterTrustBundles: each certificate once, in PEM without anything around it.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::ClusterTrustBundleProjection;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::bundle::ConfigError;
use crate::objects::Objects;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
const END: &str = "-----END CERTIFICATE-----\n";

/// The trust anchors that a source names: those of one bundle, or of all of a signer that its labels select.
pub(super) async fn anchors(objects: &Objects, source: &ClusterTrustBundleProjection) -> Result<Vec<u8>, ConfigError> {
    let optional = source.optional.unwrap_or(false);
    let (bundles, missing) = match (&source.name, &source.signer_name) {
        (Some(name), _) => {
            let bundle = objects.trust_bundle(name).await?;
            (Vec::from_iter(bundle), format!("clustertrustbundle {name:?} not found"))
        }
        (None, Some(signer)) => {
            // No selector selects nothing, an empty one everything.
            let bundles = match &source.label_selector {
                None => Vec::new(),
                Some(labels) => objects.trust_bundles(signer, &written(labels)?).await?,
            };
            let missing = "combination of signerName and labelSelector matched zero ClusterTrustBundles";
            (bundles, missing.to_owned())
        }
        (None, None) => {
            let why = "ClusterTrustBundle projection requires either name or signerName to be set";
            return Err(ConfigError(why.to_owned()));
        }
    };
    if bundles.is_empty() && !optional {
        return Err(ConfigError(missing));
    }
    normalized(&bundles)
}

/// A selector as queries have it.
fn written(labels: &LabelSelector) -> Result<String, ConfigError> {
    let unusable = |why: &dyn std::fmt::Display| ConfigError(format!("labelSelector: {why}"));
    let value = serde_json::to_value(labels).map_err(|error| unusable(&error))?;
    let selector = meta::labels::Selector::from_label_selector(Some(&value)).map_err(|error| unusable(&error))?;
    Ok(selector.to_string())
}

fn normalized(bundles: &[String]) -> Result<Vec<u8>, ConfigError> {
    let mut certificates = BTreeSet::new();
    for bundle in bundles {
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            let certificate = certificate.map_err(|error| ConfigError(format!("a trust bundle is no PEM: {error}")))?;
            certificates.insert(certificate.as_ref().to_vec());
        }
    }
    let mut out = String::new();
    for certificate in certificates {
        out.push_str(BEGIN);
        let encoded = STANDARD.encode(certificate);
        for line in encoded.as_bytes().chunks(64) {
            out.extend(line.iter().map(|byte| char::from(*byte)));
            out.push('\n');
        }
        out.push_str(END);
    }
    Ok(out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_is_shown_once_and_plainly() {
        let certificate = |text: &str| format!("{BEGIN}{text}\n{END}");
        let (one, two) = (certificate("QUFB"), certificate("QkJC"));
        let bundles = [format!("# a remark\n{two}{one}"), one.clone()];
        let shown = normalized(&bundles).unwrap();
        assert_eq!(String::from_utf8(shown).unwrap(), format!("{one}{two}"));
        assert_eq!(normalized(&[]).unwrap(), b"");
    }
}
