//! AlwaysPullImages: every image is pulled with the pod's own credentials, so that nobody runs what others may have
//! pulled.

use async_trait::async_trait;
use meta::{FieldError, Status};
use serde_json::Value;

use super::{Operation, Plugin, Review};
use crate::object::text;

const ALWAYS: &str = "Always";
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

pub(crate) struct AlwaysPullImages;

#[async_trait]
impl Plugin for AlwaysPullImages {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.operation != Operation::Delete && review.is("", "pods", "")
    }

    async fn mutate(&self, review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        if has_no_new_image(review, pod) {
            return Ok(());
        }
        for list in LISTS {
            let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                container["imagePullPolicy"] = ALWAYS.into();
            }
        }
        let volumes = pod["spec"].get_mut("volumes").and_then(Value::as_array_mut);
        for image in volumes
            .into_iter()
            .flatten()
            .filter_map(|volume| volume.get_mut("image"))
        {
            image["pullPolicy"] = ALWAYS.into();
        }
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>, pod: Option<&Value>) -> Result<(), Status> {
        let Some(pod) = pod.filter(|pod| !has_no_new_image(review, pod)) else {
            return Ok(());
        };
        let check = |path: String, policy: &str| match policy {
            ALWAYS => Ok(()),
            other => Err(review.forbidden(FieldError::not_supported(path.as_str(), other, &[ALWAYS]))),
        };
        for list in LISTS {
            for (index, container) in pod["spec"][list].as_array().into_iter().flatten().enumerate() {
                let path = format!("spec.{list}[{index}].imagePullPolicy");
                check(path, text(container, &["imagePullPolicy"]))?;
            }
        }
        for (index, volume) in pod["spec"]["volumes"].as_array().into_iter().flatten().enumerate() {
            if let Some(image) = volume.get("image") {
                let path = format!("spec.volumes[{index}].image.pullPolicy");
                check(path, text(image, &["pullPolicy"]))?;
            }
        }
        Ok(())
    }
}

/// Whether an update only uses images that the pod used before.
fn has_no_new_image(review: &Review<'_>, pod: &Value) -> bool {
    let Some(old) = review.old else { return false };
    let images = |pod: &Value| -> Vec<String> {
        let lists = LISTS.iter().filter_map(|list| pod["spec"][list].as_array());
        let containers = lists.flatten();
        containers
            .map(|container| text(container, &["image"]).to_owned())
            .collect()
    };
    let before = images(old);
    images(pod).iter().all(|image| before.contains(image))
}
