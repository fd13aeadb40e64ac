//! What projected volumes show of ClusterTrustBundles: each certificate once, in PEM without anything around it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ClusterTrustBundleProjection;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::pem;
use crate::bundle::ConfigError;
use crate::objects::Objects;

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
        let read = pem::read(bundle).map_err(|error| ConfigError(format!("a trust bundle is no PEM: {error}")))?;
        certificates.extend(read.iter().map(|certificate| certificate.to_vec()));
    }
    Ok(pem::write(certificates).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_is_shown_once_and_plainly() {
        let certificate = |text: &str| format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        let (one, two) = (certificate("QUFB"), certificate("QkJC"));
        let bundles = [format!("# a remark\n{two}{one}"), one.clone()];
        let shown = normalized(&bundles).unwrap();
        assert_eq!(String::from_utf8(shown).unwrap(), format!("{one}{two}"));
        assert_eq!(normalized(&[]).unwrap(), b"");
    }
}
