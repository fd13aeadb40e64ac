//! Whether this node takes a pod that is bound to it: what the scheduler would have checked, and what only the node
//! knows. A pod that is turned away fails for good, and runs nothing; whoever made it makes another one.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use scheduler::{Refusal, Room};

use super::{Context, events};

/// Kernel parameters that pods may set as they like: each is the pod's own, and harms no neighbour (Kubernetes' "safe
/// sysctls"). The second is the namespace that makes it so.
const SAFE_SYSCTLS: [(&str, Namespace); 12] = [
    ("kernel.shm_rmid_forced", Namespace::Ipc),
    ("net.ipv4.ip_local_port_range", Namespace::Network),
    ("net.ipv4.tcp_syncookies", Namespace::Network),
    ("net.ipv4.ping_group_range", Namespace::Network),
    ("net.ipv4.ip_unprivileged_port_start", Namespace::Network),
    ("net.ipv4.ip_local_reserved_ports", Namespace::Network),
    ("net.ipv4.tcp_keepalive_time", Namespace::Network),
    ("net.ipv4.tcp_fin_timeout", Namespace::Network),
    ("net.ipv4.tcp_keepalive_intvl", Namespace::Network),
    ("net.ipv4.tcp_keepalive_probes", Namespace::Network),
    ("net.ipv4.tcp_rmem", Namespace::Network),
    ("net.ipv4.tcp_wmem", Namespace::Network),
];
/// How long the newest labels of the node are waited for.
const ASKING: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq)]
enum Namespace {
    Ipc,
    Network,
}

/// Judges a pod that this node sees for the first time. Who is turned away is told so by an event here, and by its status
/// then.
pub(crate) async fn admit(ctx: &Context, room: &mut Room, pod: &Pod) -> Option<Refusal> {
    let known = ctx.node.borrow().clone();
    let mut judge = |node: &Node| of_node(pod).and_then(|()| room.admit(pod, node));
    let mut refusal = judge(&known).err()?;
    if refusal.is_of_labels()
        && let Some(newest) = newest(ctx).await
    {
        refusal = judge(&newest).err()?;
    }
    tracing::info!(
        pod = pod.metadata.name,
        reason = refusal.reason,
        refusal.message,
        "turning a pod away"
    );
    ctx.events
        .warning(&events::about(pod), &refusal.reason, refusal.message.clone());
    Some(refusal)
}

/// The node as the API has it now: its labels may have changed a moment before the pod was made.
async fn newest(ctx: &Context) -> Option<Node> {
    let api: Api<Node> = Api::all(ctx.client.clone());
    tokio::time::timeout(ASKING, api.get(&ctx.node_name)).await.ok()?.ok()
}

/// What depends on no other pod: the operating system and the kernel's parameters.
fn of_node(pod: &Pod) -> Result<(), Refusal> {
    let refuse = |reason: &str, message: String| {
        Err(Refusal {
            reason: reason.to_owned(),
            message,
        })
    };
    let label = pod
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get("kubernetes.io/os"));
    if label.is_some_and(|os| os != "linux") {
        let text = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return refuse("PodOSSelectorNodeLabelDoesNotMatch", text.to_owned());
    }
    let Some(spec) = &pod.spec else { return Ok(()) };
    if spec.os.as_ref().is_some_and(|os| os.name != "linux") {
        let text = "Failed to admit pod as the OS field doesn't match node OS";
        return refuse("PodOSNotSupported", text.to_owned());
    }
    let sysctls = spec
        .security_context
        .iter()
        .flat_map(|security| security.sysctls.iter().flatten());
    for sysctl in sysctls {
        // The kernel's files may be named with slashes as well.
        let name = sysctl.name.replace('/', ".");
        let Some((_, namespace)) = SAFE_SYSCTLS.iter().find(|(safe, _)| *safe == name) else {
            return refuse("SysctlForbidden", format!("forbidden sysctl: {name:?} not allowlisted"));
        };
        let (shared, what) = match namespace {
            Namespace::Ipc => (spec.host_ipc, "ipc"),
            Namespace::Network => (spec.host_network, "net"),
        };
        if shared == Some(true) {
            let text = format!("forbidden sysctl: {name:?} not allowed with host {what} enabled");
            return refuse("SysctlForbidden", text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(labels: Value, spec: Value, expected: &str) {
        let pod = serde_json::from_value(json!({"metadata": {"name": "p", "labels": labels}, "spec": spec})).unwrap();
        let said = match of_node(&pod) {
            Ok(()) => "admitted".to_owned(),
            Err(refusal) => format!("{}: {}", refusal.reason, refusal.message),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn systems_and_sysctls() {
        let spec = |name: &str, host: bool| {
            json!({"hostNetwork": host, "containers": [],
                "securityContext": {"sysctls": [{"name": name, "value": "1"}]}})
        };
        let none = || json!({});
        check(none(), spec("net/ipv4/tcp_syncookies", false), "admitted");
        check(none(), spec("kernel.shm_rmid_forced", true), "admitted");
        check(
            none(),
            spec("net.ipv4.tcp_syncookies", true),
            "SysctlForbidden: forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled",
        );
        check(
            none(),
            spec("kernel.msgmax", false),
            "SysctlForbidden: forbidden sysctl: \"kernel.msgmax\" not allowlisted",
        );
        check(
            none(),
            json!({"os": {"name": "windows"}, "containers": []}),
            "PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS",
        );
        check(
            json!({"kubernetes.io/os": "windows"}),
            json!({"containers": []}),
            "PodOSSelectorNodeLabelDoesNotMatch: Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        );
    }
}
