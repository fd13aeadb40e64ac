//! Findings, against the texts of Kubernetes.

use serde_json::{Value, json};

use super::*;

fn told(rule: &str, spec: Value) -> String {
    told_with(rule, json!({}), spec)
}

fn told_with(rule: &str, metadata: Value, spec: Value) -> String {
    let (level, version) = rule.split_once(':').unwrap();
    let labels = json!({
        "pod-security.kubernetes.io/enforce": level,
        "pod-security.kubernetes.io/enforce-version": version,
    });
    let (policy, errors) = of_labels(&labels, Policy::default());
    assert_eq!(errors, []);
    assert_eq!(policy.enforce.to_string(), rule);
    details(&policy.enforce.evaluate(&metadata, &spec))
}

fn hardened() -> Value {
    json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "a", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    })
}

#[test]
fn a_plain_pod_is_no_hardened_one() {
    let plain = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    assert_eq!(told("privileged:latest", plain.clone()), "");
    assert_eq!(told("baseline:latest", plain.clone()), "");
    assert_eq!(
        told("restricted:latest", plain.clone()),
        "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set \
         securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers \"a\", \"b\" must set \
         securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or containers \"a\", \"b\" must set \
         securityContext.runAsNonRoot=true), seccompProfile (pod or containers \"a\", \"b\" must set \
         securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    assert_eq!(
        told("restricted:v1.7", plain),
        "runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true)"
    );
    assert_eq!(told("restricted:latest", hardened()), "");
}

#[test]
fn baseline_forbids_the_host() {
    let check = |spec: Value, expected: &str| {
        assert_eq!(told("baseline:latest", spec.clone()), expected, "{spec}");
    };
    check(
        json!({"hostNetwork": true, "hostPID": true, "containers": []}),
        "host namespaces (hostNetwork=true, hostPID=true)",
    );
    check(
        json!({"containers": [{"name": "a", "securityContext": {"privileged": true}}]}),
        "privileged (container \"a\" must not set securityContext.privileged=true)",
    );
    check(
        json!({"containers": [{"name": "a", "securityContext": {"capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}}}]}),
        "non-default capabilities (container \"a\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add)",
    );
    check(
        json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 443}]}]}),
        "hostPort (container \"a\" uses hostPorts 443, 80)",
    );
    check(
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
        "hostPath volumes (volume \"v\")",
    );
    check(
        json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}}),
        "forbidden sysctls (kernel.msgmax)",
    );
    check(
        json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "10.0.0.1"}}}]}),
        "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"10.0.0.1\")",
    );
    check(
        json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}, "containers": [
            {"name": "a", "securityContext": {"seccompProfile": {"type": "Unconfined"}}}]}),
        "seccompProfile (pod and container \"a\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
    );
    check(
        json!({"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "u"}}}),
        "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)",
    );
    check(
        json!({"containers": [{"name": "a", "securityContext": {"procMount": "Unmasked"}}]}),
        "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
    );
    check(
        json!({"containers": [{"name": "a", "securityContext": {"windowsOptions": {"hostProcess": true}}}]}),
        "hostProcess (container \"a\" must not set securityContext.windowsOptions.hostProcess=true)",
    );
}

#[test]
fn profiles_in_annotations() {
    let annotations = json!({"annotations": {
        "container.apparmor.security.beta.kubernetes.io/a": "unconfined",
        "container.seccomp.security.alpha.kubernetes.io/a": "unconfined",
    }});
    let spec = json!({"containers": [{"name": "a"}]});
    let app_armor = "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
                     \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")";
    assert_eq!(
        told_with("baseline:latest", annotations.clone(), spec.clone()),
        app_armor
    );
    assert_eq!(
        told_with("baseline:v1.18", annotations, spec),
        format!(
            "{app_armor}, seccompProfile (forbidden annotation \
             container.seccomp.security.alpha.kubernetes.io/a=\"unconfined\")"
        )
    );
}

#[test]
fn the_restricted_level_is_stricter_than_the_baseline() {
    let mut spec = hardened();
    spec["volumes"] = json!([{"name": "h", "hostPath": {}}, {"name": "n", "nfs": {}}]);
    assert_eq!(
        told("restricted:latest", spec),
        "restricted volume types (volumes \"h\", \"n\" use restricted volume types \"hostPath\", \"nfs\")"
    );
    let mut root = hardened();
    root["securityContext"]["runAsUser"] = json!(0);
    root["securityContext"]["runAsNonRoot"] = json!(false);
    let both = "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false), runAsUser=0 (pod must not set \
                runAsUser=0)";
    assert_eq!(told("restricted:latest", root.clone()), both);
    root["hostUsers"] = json!(false);
    assert_eq!(told("restricted:latest", root.clone()), "", "root of its own users");
    assert_eq!(told("restricted:v1.34", root), both);
}

#[test]
fn labels_that_cannot_be_read() {
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "loose",
        "pod-security.kubernetes.io/warn-version": "1.2",
        "pod-security.kubernetes.io/audit": "baseline",
        "pod-security.kubernetes.io/audit-version": "v1.01",
    });
    let (policy, errors) = of_labels(&labels, Policy::default());
    assert_eq!(policy.enforce.to_string(), "restricted:latest");
    assert_eq!(policy.audit.to_string(), "baseline:latest");
    assert_eq!(policy.warn.to_string(), "privileged:latest");
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"loose\": must be one of privileged, \
             baseline, restricted",
            "metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: \"v1.01\": must be \"latest\" or \
             \"v1.x\"",
            "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1.2\": must be \"latest\" or \
             \"v1.x\"",
        ]
    );
}

#[test]
fn what_is_enforced_is_warned_of() {
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/enforce-version": "v1.30",
    });
    let (policy, _) = of_labels(&labels, Policy::default());
    assert_eq!(policy.warn, policy.enforce);
    assert_eq!(policy.audit, Rule::default());
}
