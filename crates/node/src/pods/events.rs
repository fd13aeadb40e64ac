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

/// A node, under its name as kubelet has it.
pub(crate) fn about_node(name: &str) -> Regarding {
    Regarding::new("v1", "Node", None, name, name)
}

/// One of its containers.
pub(crate) fn about_container(pod: &Pod, name: &str) -> Regarding {
    let spec = pod.spec.as_ref();
    let mut init = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let mut ephemeral = spec
        .into_iter()
        .flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    let list = match (init.any(|c| c.name == name), ephemeral.any(|c| c.name == name)) {
        (true, _) => "initContainers",
        (_, true) => "ephemeralContainers",
        _ => "containers",
    };
    about(pod).field(format!("spec.{list}{{{name}}}"))
}
