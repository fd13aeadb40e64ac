//! Connections as admission sees them: their options, which a query says, as an object.

use meta::Status;
use serde_json::{Value, json};

use super::Call;
use crate::admission::{Operation, Review};

/// Asks admission about a connection. What it changes in the options has no effect, as in Kubernetes.
pub(super) async fn admit(call: &Call) -> Result<(), Status> {
    let Some(subresource) = call.kind.row.subresource(call.subresource()) else {
        return Ok(());
    };
    let mut options = json!({
        "kind": subresource.kind.kind,
        "apiVersion": subresource.kind.api_version(),
    });
    for key in ["stdin", "stdout", "stderr", "tty"] {
        if call.query.flag(key) {
            options[key] = true.into();
        }
    }
    if let Some(container) = call.query.get("container") {
        options["container"] = container.into();
    }
    let command: Vec<&str> = call.query.all("command").collect();
    if !command.is_empty() {
        options["command"] = json!(command);
    }
    let ports = call.query.all("ports").flat_map(|list| list.split(','));
    let ports: Vec<i64> = ports.filter_map(|port| port.parse().ok()).collect();
    if !ports.is_empty() {
        options["ports"] = json!(ports);
    }
    if call.subresource() == "proxy" {
        options["path"] = Value::from(super::proxy::below(call));
    }
    let review = Review::of_subresource(call, call.name()?, Operation::Connect);
    call.core.admission.pass(&review, &mut options).await
}
