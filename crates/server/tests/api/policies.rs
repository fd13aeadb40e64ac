//! Admission policies: expressions that judge and change requests.

use http::Method;
use serde_json::{Value, json};
use server::User;

use crate::world::{Answer, World};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn rules(group: &str, resource: &str, operations: &Value) -> Value {
    json!({"resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"], "resources": [resource],
        "operations": operations}]})
}

/// Makes a policy and its binding.
async fn bind(world: &World, kind: &str, name: &str, spec: &Value, binding: &Value) {
    let plural = match kind {
        "Validating" => "validatingadmissionpolic",
        _ => "mutatingadmissionpolic",
    };
    let kind = format!("{kind}AdmissionPolicy");
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "spec": spec});
    world.post(&format!("{GROUP}/{plural}ies"), &policy).await.expect(201);
    let mut binding = binding.clone();
    binding["policyName"] = json!(name);
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}Binding"),
        "metadata": {"name": format!("{name}-bound")}, "spec": binding});
    world
        .post(&format!("{GROUP}/{plural}ybindings"), &binding)
        .await
        .expect(201);
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn deployment(name: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

fn message(answer: &Answer, code: u16) -> String {
    answer.expect(code)["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_validation_refuses_with_its_message() {
    let world = World::new().await;
    let spec = json!({"matchConstraints": rules("apps", "deployments", &json!(["CREATE", "UPDATE"])),
        "variables": [{"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "odd", "expression": "variables.replicas % 2 == 1"}],
        "validations": [
            {"expression": "variables.replicas > 1", "messageExpression":
                "'wants replicas > 1, got ' + string(variables.replicas)"},
            {"expression": "variables.odd", "reason": "Forbidden"},
            {"expression": "namespaceObject.metadata.name == 'default'", "message": "only here"}]});
    bind(
        &world,
        "Validating",
        "odd.example.com",
        &spec,
        &json!({"validationActions": ["Deny"]}),
    )
    .await;
    let answer = world.post(DEPLOYMENTS, &deployment("one", 1)).await;
    let status = answer.expect(422);
    assert_eq!(
        status["message"],
        "deployments.apps \"one\" is forbidden: ValidatingAdmissionPolicy 'odd.example.com' with binding \
         'odd.example.com-bound' denied request: wants replicas > 1, got 1"
    );
    assert_eq!(status["reason"], "Invalid");
    let answer = world.post(DEPLOYMENTS, &deployment("two", 2)).await;
    assert!(message(&answer, 403).ends_with("denied request: failed expression: variables.odd"));
    world.post(DEPLOYMENTS, &deployment("three", 3)).await.expect(201);
    let made = world
        .get(&format!("{GROUP}/validatingadmissionpolicies/odd.example.com"))
        .await
        .expect(200);
    assert_eq!(made["spec"]["failurePolicy"], "Fail");
    assert_eq!(made["spec"]["matchConstraints"]["matchPolicy"], "Equivalent");
    // Without its binding a policy says nothing.
    let path = format!("{GROUP}/validatingadmissionpolicybindings/odd.example.com-bound");
    world.delete(&path).await.expect(200);
    world.post(DEPLOYMENTS, &deployment("four", 4)).await.expect(201);
}

#[tokio::test]
async fn parameters_come_from_other_objects() {
    let world = World::new().await;
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": rules("apps", "deployments", &json!(["CREATE"])),
        "matchConditions": [{"name": "named", "expression": "object.metadata.name != 'free'"}],
        "validations": [{"expression": "object.spec.replicas <= int(params.data.most)"}]});
    let binding = json!({"validationActions": ["Deny"],
        "paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}});
    bind(&world, "Validating", "most.example.com", &spec, &binding).await;
    let denied = "deployments.apps \"a\" is forbidden: ValidatingAdmissionPolicy 'most.example.com' with binding \
        'most.example.com-bound' denied request: ";
    let missing = format!(
        "{denied}failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    assert_eq!(
        message(&world.post(DEPLOYMENTS, &deployment("a", 3)).await, 422),
        missing
    );
    world.post(MAPS, &map("limits", json!({"most": "2"}))).await.expect(201);
    let failed = format!("{denied}failed expression: object.spec.replicas <= int(params.data.most)");
    assert_eq!(
        message(&world.post(DEPLOYMENTS, &deployment("a", 3)).await, 422),
        failed
    );
    world.post(DEPLOYMENTS, &deployment("a", 2)).await.expect(201);
    world.post(DEPLOYMENTS, &deployment("free", 9)).await.expect(201);
}

#[tokio::test]
async fn warnings_errors_and_failure_policies() {
    let world = World::new().await;
    let spec = |failure: &str| {
        json!({"failurePolicy": failure, "matchConstraints": rules("", "configmaps", &json!(["CREATE"])),
            "validations": [{"expression": "object.data.wanted == 'yes'"}]})
    };
    bind(
        &world,
        "Validating",
        "warn",
        &spec("Fail"),
        &json!({"validationActions": ["Warn", "Audit"]}),
    )
    .await;
    let answer = world.post(MAPS, &map("a", json!({"wanted": "no"}))).await;
    answer.expect(201);
    assert_eq!(
        answer.headers["warning"],
        "299 - \"Validation failed for ValidatingAdmissionPolicy 'warn' with binding 'warn-bound': failed expression: \
         object.data.wanted == 'yes'\""
    );
    bind(
        &world,
        "Validating",
        "ignore",
        &spec("Ignore"),
        &json!({"validationActions": ["Deny"]}),
    )
    .await;
    world.post(MAPS, &map("b", json!({"other": "x"}))).await.expect(201);
    bind(
        &world,
        "Validating",
        "fail",
        &spec("Fail"),
        &json!({"validationActions": ["Deny"]}),
    )
    .await;
    let told = message(&world.post(MAPS, &map("c", json!({"other": "x"}))).await, 422);
    assert!(
        told.ends_with("expression 'object.data.wanted == 'yes'' resulted in error: no such key: wanted"),
        "{told}"
    );
}

#[tokio::test]
async fn objects_are_changed() {
    let world = World::new().await;
    let spec = json!({"reinvocationPolicy": "Never",
        "matchConstraints": rules("apps", "deployments", &json!(["CREATE"])),
        "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
                "Object{metadata: Object.metadata{annotations: {'mutated-by': 'admission-policy'}}, \
                 spec: Object.spec{replicas: 1337}}"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression":
                "[JSONPatch{op: 'test', path: '/spec/replicas', value: 1337}, \
                  JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('a/b'), value: 'c'}]"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression":
                "[JSONPatch{op: 'test', path: '/spec/replicas', value: 1}, JSONPatch{op: 'remove', path: '/spec'}]"}}]});
    bind(&world, "Mutating", "change", &spec, &json!({})).await;
    let made = world.post(DEPLOYMENTS, &deployment("a", 1)).await.expect(201);
    assert_eq!(made["spec"]["replicas"], 1337);
    assert_eq!(
        made["metadata"]["annotations"],
        json!({"mutated-by": "admission-policy", "a/b": "c"})
    );
    assert_eq!(made["spec"]["template"]["spec"]["containers"][0]["name"], "c");
    let spec = json!({"reinvocationPolicy": "Never",
        "matchConstraints": rules("", "configmaps", &json!(["CREATE"])),
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{data: Object.wrong{}}"}}]});
    bind(&world, "Mutating", "wrong", &spec, &json!({})).await;
    let status = world.post(MAPS, &map("x", json!({}))).await.expect(403);
    let told = status["message"].as_str().unwrap();
    assert!(
        told.starts_with("policy 'wrong' with binding 'wrong-bound' denied request: type mismatch"),
        "{told}"
    );
}

#[tokio::test]
async fn what_is_no_expression_is_refused() {
    let world = World::new().await;
    let policy = |validation: Value| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "p"}, "spec": {"matchConstraints": rules("", "configmaps", &json!(["CREATE"])),
                "validations": [validation]}})
    };
    let path = format!("{GROUP}/validatingadmissionpolicies");
    for (validation, field) in [
        (json!({"expression": "object."}), "expression"),
        (json!({"expression": "params.x == 1"}), "expression"),
        (
            json!({"expression": "true", "messageExpression": "authorizer"}),
            "messageExpression",
        ),
    ] {
        let status = world.post(&path, &policy(validation)).await.expect(422);
        let cause = &status["details"]["causes"][0];
        assert_eq!(cause["field"], format!("spec.validations[0].{field}"));
        assert!(
            cause["message"].as_str().unwrap().contains("compilation failed: "),
            "{cause}"
        );
    }
    let policy = policy(json!({"expression": "true"}));
    let alice = User::new("alice", &[]);
    let answer = world
        .write(alice, http::Method::POST, &path, "application/json", &policy)
        .await;
    answer.expect(403);
}

#[tokio::test]
async fn who_names_parameters_must_be_allowed_to_read_them() {
    let world = World::new().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let grants = json!([
        {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "author"}, "rules": grants});
    world.post(&format!("{rbac}/clusterroles"), &role).await.expect(201);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "author"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "author"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "author"}]});
    world
        .post(&format!("{rbac}/clusterrolebindings"), &binding)
        .await
        .expect(201);
    let write = async |plural: &str, kind: &str, name: &str, spec: Value| {
        let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
            "spec": spec});
        let path = format!("{GROUP}/{plural}");
        let author = User::new("author", &[]);
        world
            .write(author, Method::POST, &path, "application/json", &object)
            .await
    };
    let policy = async |name: &str, kind: &str| {
        let spec = json!({"paramKind": {"apiVersion": "v1", "kind": kind},
            "matchConstraints": rules("", "configmaps", &json!(["CREATE"])),
            "validations": [{"expression": "params != null"}]});
        write("validatingadmissionpolicies", "ValidatingAdmissionPolicy", name, spec).await
    };
    policy("maps", "ConfigMap").await.expect(201);
    assert_eq!(
        message(&policy("secrets", "Secret").await, 422),
        "ValidatingAdmissionPolicy.admissionregistration.k8s.io \"secrets\" is invalid: spec.paramKind: Forbidden: user \
         &{author  [system:authenticated] map[]} must have \"get\" permission on all objects of the referenced paramKind \
         (kind=Secret, apiVersion=v1)"
    );

    // An administrator's policy about secrets: the author may not choose which.
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "Secret"},
        "matchConstraints": rules("", "configmaps", &json!(["CREATE"])),
        "validations": [{"expression": "params != null"}]});
    let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "secrets"}, "spec": spec});
    world
        .post(&format!("{GROUP}/validatingadmissionpolicies"), &object)
        .await
        .expect(201);
    let bound = async |name: &str, policy: &str, wanted: Value| {
        let spec = json!({"policyName": policy, "validationActions": ["Deny"], "paramRef": wanted});
        write(
            "validatingadmissionpolicybindings",
            "ValidatingAdmissionPolicyBinding",
            name,
            spec,
        )
        .await
    };
    let named = json!({"name": "it", "namespace": "default", "parameterNotFoundAction": "Allow"});
    let chosen = json!({"selector": {}, "parameterNotFoundAction": "Allow"});
    bound("a", "maps", named.clone()).await.expect(201);
    bound("b", "maps", chosen.clone()).await.expect(201);
    for (wanted, verb) in [(named.clone(), "get"), (chosen, "list")] {
        assert_eq!(
            message(&bound("c", "secrets", wanted).await, 422),
            format!(
                "ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io \"c\" is invalid: spec.paramRef: Forbidden: \
                 user &{{author  [system:authenticated] map[]}} does not have \"{verb}\" permission on the object \
                 referenced by paramRef"
            )
        );
    }
    let unknown = message(&bound("d", "nowhere", named).await, 422);
    assert!(
        unknown.contains("unable to get policy nowhere to determine minimum required permissions"),
        "{unknown}"
    );
}
