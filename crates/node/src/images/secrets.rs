//! Whose credentials a pod pulls with: those of the secrets that it names, and this node's own.

use image::Keyring;
use k8s_openapi::api::core::v1::Pod;

use crate::pods::{Context, events};

/// The credentials for a pod's images. A secret that isn't there or can't be read is told in an event, and the pull is
/// tried without it. (A service account's secrets are in the pod already: admission puts them there.)
pub(crate) async fn keyring(ctx: &Context, pod: &Pod) -> Keyring {
    let mut keyring = Keyring::default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let named = pod
        .spec
        .iter()
        .flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    let mut missing = Vec::new();
    for name in named.map(|secret| secret.name.as_str()).filter(|name| !name.is_empty()) {
        let data = match ctx.objects.secret(namespace, name).await {
            Ok(Some(data)) => data,
            Ok(None) => {
                missing.push(name);
                continue;
            }
            Err(error) => {
                tracing::warn!(namespace, name, %error, "reading an image pull secret");
                missing.push(name);
                continue;
            }
        };
        let what = format!("secret {namespace}/{name}");
        let read = match (data.get(".dockerconfigjson"), data.get(".dockercfg")) {
            (Some(text), _) => Keyring::from_config(text, &what),
            (None, Some(text)) => Keyring::from_dockercfg(text, &what),
            (None, None) => continue,
        };
        match read {
            Ok(found) => keyring.extend(found),
            Err(error) => ctx.events.warning(
                &events::about(pod),
                "FailedToRetrieveImagePullSecret",
                error.to_string(),
            ),
        }
    }
    if !missing.is_empty() {
        let text = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            missing.join(", ")
        );
        ctx.events
            .warning(&events::about(pod), "FailedToRetrieveImagePullSecret", text);
    }
    // The node's own come last; programs aren't run here.
    match Keyring::from_file(&ctx.docker_config) {
        Ok(own) => keyring.extend(own),
        Err(error) => tracing::warn!(%error, "the node's own registry credentials"),
    }
    keyring
}
