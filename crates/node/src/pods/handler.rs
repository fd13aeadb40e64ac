//! Which runtime a pod's RuntimeClass asks for, and whether this node has it.

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::{Api, Client};

/// What runs a pod here: all these are names of the embedded engine, the empty one of pods without a class among them.
pub(crate) const HANDLERS: [&str; 3] = ["", "gantry", "runc"];

/// Why a pod's runtime can't run it here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandlerError {
    #[error("runtimeclass.node.k8s.io {0:?} not found")]
    NoClass(String),
    #[error("failed to lookup RuntimeClass {0}: {1}")]
    Lookup(String, #[source] kube::Error),
    #[error("no runtime for {0:?} is configured: a node of Gantry has \"gantry\" and \"runc\"")]
    Unknown(String),
}

/// Refuses a pod whose class names a runtime that isn't here.
pub(crate) async fn check(client: &Client, spec: &PodSpec) -> Result<(), HandlerError> {
    let Some(name) = spec.runtime_class_name.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(());
    };
    let api: Api<RuntimeClass> = Api::all(client.clone());
    let class = api.get_opt(name).await;
    let class = class.map_err(|error| HandlerError::Lookup(name.to_owned(), error))?;
    let class = class.ok_or_else(|| HandlerError::NoClass(name.to_owned()))?;
    if HANDLERS.contains(&class.handler.as_str()) {
        Ok(())
    } else {
        Err(HandlerError::Unknown(class.handler))
    }
}
