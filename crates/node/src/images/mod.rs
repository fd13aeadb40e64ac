//! Images for pods: whether one is here, whether it must be pulled, with whose credentials, and the pull itself.
//!
//! What is said in events and in a waiting container's reason is what kubelet says.

mod follow;
pub(crate) mod gc;
mod secrets;

use std::sync::Arc;
use std::time::{Duration, Instant};

use image::{Origin, Reference, TransferOptions};
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::pods::start::StartError;
use crate::pods::{Context, events};

pub(crate) use follow::follow;

/// What a container's image needs before the container can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    Pull,
}

/// Looks at a container's image by its pull policy.
pub(crate) async fn check(ctx: &Context, pod: &Pod, container: &Container) -> Result<Need, StartError> {
    let name = container.image.clone().unwrap_or_default();
    let reference = parse(&name)?;
    let here = find(ctx, &name).await?;
    let need = match (container.image_pull_policy.as_deref(), &here) {
        (Some("Never"), None) => return Err(StartError::NeverPull(name)),
        (_, None) => Need::Pull,
        // Made in this cluster: this machine's store is the registry that has it.
        (_, Some(image)) if image.origin == Origin::Local => Need::Nothing,
        (Some("Always"), Some(_)) => Need::Pull,
        (policy, Some(_)) => {
            let credentials = secrets::keyring(ctx, pod)
                .await
                .for_image(&reference)
                .unwrap_or_default();
            let store = ctx.images.clone();
            let may = blocking(move || store.may_use(&reference, &credentials)).await?;
            match (may, policy) {
                (true, _) => Need::Nothing,
                // It isn't told that the image is here.
                (false, Some("Never")) => return Err(StartError::NeverPull(name)),
                (false, _) => Need::Pull,
            }
        }
    };
    if need == Need::Nothing {
        let text = format!("Container image {name:?} already present on machine and can be accessed by the pod");
        ctx.events
            .normal(&events::about_container(pod, &container.name), "Pulled", text);
    }
    Ok(need)
}

/// Pulls a container's image, and tells how it went.
pub(crate) async fn pull(ctx: &Context, pod: &Pod, container: &Container) -> Result<(), StartError> {
    let name = container.image.clone().unwrap_or_default();
    let reference = parse(&name)?;
    let about = events::about_container(pod, &container.name);
    ctx.events.normal(&about, "Pulling", format!("Pulling image {name:?}"));
    let started = Instant::now();
    let options = TransferOptions {
        keyring: secrets::keyring(ctx, pod).await,
        ..TransferOptions::default()
    };
    let pulled = match Box::pin(ctx.transfer.pull(&reference, &options)).await {
        Ok(pulled) => pulled,
        Err(error) => {
            let why = meta::causes::chain(&error);
            ctx.events
                .warning(&about, "Failed", format!("Failed to pull image {name:?}: {why}"));
            return Err(StartError::Pull(why));
        }
    };
    let text = format!(
        "Successfully pulled image {name:?} in {} ({} including waiting). Image size: {} bytes.",
        told(pulled.took),
        told(started.elapsed()),
        pulled.size
    );
    ctx.events.normal(&about, "Pulled", text);
    // The container can start from memory while the disk catches up.
    tokio::task::spawn_blocking(move || {
        if let Err(error) = pulled.settle() {
            tracing::warn!(%error, "writing a pulled image to the disk");
        }
    });
    Ok(())
}

/// The image as it is on this node.
pub(crate) async fn find(ctx: &Context, name: &str) -> Result<Option<image::Image>, StartError> {
    let (store, wanted) = (ctx.images.clone(), name.to_string());
    blocking(move || store.resolve(&wanted)).await
}

/// Whether an image is on this node, for one who waits for it.
pub(crate) fn is_here(ctx: &Arc<Context>, name: &str) -> bool {
    ctx.images.resolve(name).is_ok_and(|found| found.is_some())
}

fn parse(name: &str) -> Result<Reference, StartError> {
    // An id is no name, but what is here is found under it.
    if name.starts_with("sha256:") {
        let digest = format!("localhost/image@{name}");
        return digest.parse().map_err(|_| bad_name(name, &"invalid reference format"));
    }
    name.parse()
        .map_err(|error: image::InvalidReference| bad_name(name, &error))
}

fn bad_name(name: &str, error: &dyn std::fmt::Display) -> StartError {
    StartError::BadName(format!(
        "Failed to apply default image tag {name:?}: couldn't parse image name {name:?}: {error}"
    ))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> image::Result<T> + Send + 'static,
) -> Result<T, StartError> {
    let done = tokio::task::spawn_blocking(work).await;
    match done.map_err(|error| StartError::Inspect(error.to_string()))? {
        Ok(value) => Ok(value),
        Err(image::Error::Reference(error)) => Err(StartError::BadName(error.to_string())),
        Err(error) => Err(StartError::Inspect(meta::causes::chain(&error))),
    }
}

/// To the millisecond, as the kubelet tells it.
fn told(time: Duration) -> String {
    meta::duration::format(Duration::from_millis(
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_anything_is_asked() {
        assert!(parse("nginx:1").is_ok());
        assert!(parse(&format!("sha256:{}", "a".repeat(64))).is_ok());
        let error = parse("INVALID/image name").unwrap_err();
        assert!(matches!(error, StartError::BadName(_)));
    }
}
