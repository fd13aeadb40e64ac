//! What is said of ValidatingAdmissionPolicies whose expressions can't be right, as Kubernetes' own suite asks for it.

use serde_json::{Value, json};

use crate::harness::Plane;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const MANAGER: &str = "validatingadmissionpolicy-status";

fn policy(name: &str, group: &str, resource: &str, validations: &Value) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": {"validations": validations, "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"unique": "true"}}, "resourceRules": [{"apiGroups": [group],
                "apiVersions": ["v1"], "resources": [resource], "operations": ["CREATE", "UPDATE"]}]}}})
}

fn definition(group: &str, plural: &str, kind: &str, spec: &Value) -> Value {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")}, "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind}, "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}}]}})
}

fn crontabs(spec: &Value) -> Value {
    definition("stable.example.com", "crontabs", "CronTab", spec)
}

fn is_checked(policy: &Value) -> bool {
    policy["status"]["typeChecking"].is_object()
}

/// The places and texts of the warnings.
fn told(policy: &Value) -> Vec<(String, String)> {
    let warnings = policy["status"]["typeChecking"]["expressionWarnings"].as_array();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let warnings = warnings.into_iter().flatten();
    warnings
        .map(|warning| (text(&warning["fieldRef"]), text(&warning["warning"])))
        .collect()
}

/// Makes a policy and waits until its types are checked.
async fn check(plane: &Plane, policy: Value) -> Value {
    let name = policy["metadata"]["name"].as_str().unwrap().to_owned();
    plane.create(POLICIES, policy).await;
    plane
        .until("the type check", &format!("{POLICIES}/{name}"), is_checked)
        .await
}

/// Waits until a policy has so many warnings.
async fn until(plane: &Plane, name: &str, count: usize) -> Vec<(String, String)> {
    let seen = plane
        .until("the new type check", &format!("{POLICIES}/{name}"), |seen| {
            is_checked(seen) && told(seen).len() == count
        })
        .await;
    told(&seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expressions_about_built_in_kinds() {
    let plane = Plane::start().await;
    let right = json!([{"expression": "object.spec.replicas > 1"}]);
    let checked = check(&plane, policy("right.example.com", "apps", "deployments", &right)).await;
    assert_eq!(checked["status"], json!({"observedGeneration": 1, "typeChecking": {}}));
    let owners = checked["metadata"]["managedFields"].as_array().unwrap();
    let owner = owners.iter().find(|owner| owner["manager"] == MANAGER).unwrap();
    assert_eq!(
        (&owner["operation"], &owner["subresource"]),
        (&json!("Apply"), &json!("status"))
    );

    let wrong = json!([{"expression": "object.spec.replicas > '1'",
        "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas"}]);
    let checked = check(&plane, policy("wrong.example.com", "apps", "deployments", &wrong)).await;
    let warning = |text: &str| format!("apps/v1, Kind=Deployment: ERROR: <input>:1:{text}\n");
    assert_eq!(
        told(&checked),
        [
            (
                "spec.validations[0].expression".to_owned(),
                warning(
                    "22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n \
                     | .....................^"
                )
            ),
            (
                "spec.validations[0].messageExpression".to_owned(),
                warning(
                    "28: found no matching overload for '_+_' applied to '(string, int)'\n | 'wants replicas > 1, got ' \
                     + object.spec.replicas\n | ...........................^"
                )
            ),
        ]
    );

    // A better policy is looked at again, and what others say of it stays.
    let path = format!("{POLICIES}/wrong.example.com");
    let condition = json!([{"type": "Mine", "status": "True", "reason": "R", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    plane
        .patch(&format!("{path}/status"), json!({"status": {"conditions": condition}}))
        .await;
    plane.patch(&path, json!({"spec": {"validations": right}})).await;
    let seen = plane
        .until("the second check", &path, |seen| {
            seen["status"]["observedGeneration"] == 2 && seen["status"]["typeChecking"] == json!({})
        })
        .await;
    assert_eq!(seen["status"]["conditions"], condition);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expressions_about_custom_kinds_follow_their_definitions() {
    let plane = Plane::start().await;
    let spec = json!({"cronSpec": {"type": "string"}, "image": {"type": "string"}, "replicas": {"type": "integer"}});
    let validations = json!([{"expression": "object.spec.replicas > '1'"},
        {"expression": "object.spec.maxRetries < 10"}]);
    // Of what isn't there yet nothing is known.
    let early = policy("early.example.com", "stable.example.com", "crontabs", &validations);
    assert_eq!(told(&check(&plane, early).await), []);

    plane.create(DEFINITIONS, crontabs(&spec)).await;
    let warnings = until(&plane, "early.example.com", 2).await;
    let (confused, missing) = (&warnings[0], &warnings[1]);
    assert_eq!(confused.0, "spec.validations[0].expression");
    let expected = "stable.example.com/v1, Kind=CronTab: ERROR: <input>:1:22: found no matching overload for '_>_' \
                    applied to '(int, string)'";
    assert!(confused.1.starts_with(expected), "{confused:?}");
    assert_eq!(missing.0, "spec.validations[1].expression");
    assert!(missing.1.contains("undefined field 'maxRetries'"), "{missing:?}");

    let right = json!([{"expression": "object.spec.replicas > 1 && object.metadata.labels['a'] == 'b'"}]);
    let right = policy("right.example.com", "stable.example.com", "crontabs", &right);
    assert_eq!(told(&check(&plane, right).await), []);

    // The field comes.
    let mut more = spec.clone();
    more["maxRetries"] = json!({"type": "integer"});
    let versions = &crontabs(&more)["spec"]["versions"];
    let path = format!("{DEFINITIONS}/crontabs.stable.example.com");
    plane.patch(&path, json!({"spec": {"versions": versions}})).await;
    let left = until(&plane, "early.example.com", 1).await;
    assert_eq!(left[0].0, "spec.validations[0].expression");
    let seen = plane.get(&format!("{POLICIES}/early.example.com")).await.unwrap();
    assert_eq!(seen["status"]["observedGeneration"], 1);

    plane.delete(&path, "Background").await;
    until(&plane, "early.example.com", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_and_variables_have_types_too() {
    let plane = Plane::start().await;
    let limits = definition(
        "rules.example.com",
        "limits",
        "Limit",
        &json!({"most": {"type": "integer"}}),
    );
    plane.create(DEFINITIONS, limits).await;
    let validations = json!([
        {"expression": "variables.replicas <= params.spec.most"},
        {"expression": "variables.replicas == 'one'"},
        {"expression": "params.spec.least == 1"},
        {"expression": "variables.wrong == 1", "messageExpression": "string(params.spec.most) + params.kind"}]);
    let mut custom = policy("custom.example.com", "apps", "deployments", &validations);
    custom["spec"]["paramKind"] = json!({"apiVersion": "rules.example.com/v1", "kind": "Limit"});
    custom["spec"]["variables"] = json!([{"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "wrong", "expression": "object.spec.nothing"}]);
    // What isn't checked.
    custom["spec"]["matchConditions"] = json!([{"name": "a", "expression": "object.nothing"}]);
    custom["spec"]["auditAnnotations"] = json!([{"key": "a", "valueExpression": "object.nothing"}]);
    check(&plane, custom).await;
    let warnings = until(&plane, "custom.example.com", 2).await;
    let expected = [
        ("spec.validations[1].expression", "'_==_' applied to '(int, string)'"),
        ("spec.validations[2].expression", "undefined field 'least'"),
    ];
    for ((place, text), (expected_place, expected)) in warnings.iter().zip(expected) {
        assert_eq!(place, expected_place);
        assert!(text.contains(expected), "{text}");
    }

    let validations = json!([{"expression": "params.data['most'] == 1"}]);
    let mut builtin = policy("builtin.example.com", "", "pods", &validations);
    builtin["spec"]["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let warnings = told(&check(&plane, builtin).await);
    assert_eq!(warnings.len(), 1);
    let expected =
        "/v1, Kind=Pod: ERROR: <input>:1:21: found no matching overload for '_==_' applied to '(string, int)'";
    assert!(warnings[0].1.starts_with(expected), "{warnings:?}");
}
