//! What an event of a pod is about.

use client::Regarding;
use k8s_openapi::api::core::v1::Pod;

/// The pod itself.
pub(crate) fn about(pod: &Pod) -> Regarding {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let meta = &pod.metadata;
    Regarding::new(
        "v1",
        "Pod",
        meta.namespace.as_deref(),
        &text(&meta.name),
        &text(&meta.uid),
    )
}

/// One of its containers.
pub(crate) fn about_container(pod: &Pod, name: &str) -> Regarding {
    let init = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .any(|c| c.name == name);
    let list = if init { "initContainers" } else { "containers" };
    about(pod).field(format!("spec.{list}{{{name}}}"))
}
