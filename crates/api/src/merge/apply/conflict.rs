//! What an apply that would take fields from other managers is told, word for word as Kubernetes tells it.

use super::managed::{Manager, Operation};
use crate::merge::fields::Path;

/// A field that the applier wants to change and that somebody else owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who owns it.
    pub manager: Manager,
    /// The field.
    pub path: Path,
}

impl Conflict {
    /// The message of the cause in the Status.
    pub fn message(&self) -> String {
        format!("conflict with {}", shown(&self.manager))
    }
}

/// The message of the whole Status. Conflicts are sorted by manager.
pub(in crate::merge) fn conflict_text(conflicts: &[Conflict]) -> String {
    if let [conflict] = conflicts {
        return format!(
            "Apply failed with 1 conflict: {}: {}",
            conflict.message(),
            conflict.path
        );
    }
    let mut lines = Vec::new();
    for of_one in conflicts.chunk_by(|a, b| a.manager == b.manager) {
        lines.push(format!("conflicts with {}:", shown(&of_one[0].manager)));
        lines.extend(of_one.iter().map(|conflict| format!("- {}", conflict.path)));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

/// Sorts conflicts by their managers as Kubernetes does: by the text of the identity. Paths keep their order.
pub(super) fn sort(conflicts: &mut [Conflict]) {
    conflicts.sort_by_cached_key(|conflict| identity(&conflict.manager));
}

/// The identity of a manager as Kubernetes spells it inside of the server.
fn identity(manager: &Manager) -> String {
    let mut map = Vec::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            map.push(format!("\"{name}\":{}", serde_json::Value::from(value)));
        }
    };
    field("manager", &manager.name);
    field("operation", manager.operation.name());
    if manager.operation == Operation::Update {
        field("apiVersion", &manager.api_version);
    }
    field("subresource", &manager.subresource);
    format!("{{{}}}", map.join(","))
}

fn shown(manager: &Manager) -> String {
    let mut text = meta::quote(&manager.name);
    if !manager.subresource.is_empty() {
        text += &format!(" with subresource {}", meta::quote(&manager.subresource));
    }
    if manager.operation == Operation::Update {
        text += &format!(" using {}", manager.api_version);
    }
    text
}
