//! Who may do what: RBAC, escalation, nodes, tokens, reviews, impersonation.

use http::Method;
use serde_json::{Value, json};
use server::User;

use crate::world::World;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

async fn try_as(world: &World, user: &User, method: Method, path: &str, body: &Value) -> (u16, String) {
    let answer = world.write(user.clone(), method, path, "application/json", body).await;
    (
        answer.code.as_u16(),
        answer.json()["message"].as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn nobody_may_do_what_no_rule_allows() {
    let world = World::new().await;
    let jane = User::new("jane", &[]);
    let path = "/api/v1/namespaces/default/pods";
    let (code, message) = try_as(&world, &jane, Method::GET, path, &Value::Null).await;
    let wanted =
        r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#;
    assert_eq!((code, message.as_str()), (403, wanted));
    let (code, message) = try_as(&world, &User::anonymous(), Method::GET, "/metrics", &Value::Null).await;
    assert_eq!(
        (code, message.as_str()),
        (403, r#"forbidden: User "system:anonymous" cannot get path "/metrics""#)
    );
    assert_eq!(world.get_as(User::anonymous(), "/version", "*/*").await.code, 200);

    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "v"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}});
    world
        .post(&format!("{RBAC}/namespaces/default/rolebindings"), &binding)
        .await
        .expect(201);
    assert_eq!(world.get_as(jane.clone(), path, "*/*").await.code, 200);
    assert_eq!(
        world
            .get_as(jane.clone(), "/api/v1/namespaces/default/secrets", "*/*")
            .await
            .code,
        403
    );
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": "default", "verb": "list", "resource": "pods"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = world
        .write(jane, Method::POST, path, "application/json", &review)
        .await
        .expect(201);
    assert_eq!(answer["status"]["allowed"], true);
}

#[tokio::test]
async fn nobody_grants_what_they_lack() {
    let world = World::new().await;
    let role = |rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"}, "rules": rules});
    let keeper = User::service_account("kube-system", "clusterrole-aggregation-controller");
    let path = format!("{RBAC}/clusterroles");
    world.post(&path, &role(json!([]))).await.expect(201);
    let controller = User::service_account("kube-system", "namespace-controller");
    let (code, _) = try_as(&world, &controller, Method::PUT, &format!("{path}/r"), &role(json!([]))).await;
    assert_eq!(code, 403);
    let all = role(json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]));
    let (code, message) = try_as(&world, &keeper, Method::PUT, &format!("{path}/r"), &all).await;
    assert_eq!(code, 200, "it has the verb escalate: {message}");
}

#[tokio::test]
async fn a_node_sees_what_its_pods_need() {
    let world = World::new().await;
    world.default_account("default").await;
    let node = User::new("system:node:n1", &["system:nodes"]);
    let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    for name in ["mine", "other"] {
        world
            .post("/api/v1/namespaces/default/secrets", &secret(name))
            .await
            .expect(201);
    }
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n1",
        "containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "mine"}}]}]}});
    world.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
    let get = |path: &'static str| world.get_as(node.clone(), path, "*/*");
    assert_eq!(get("/api/v1/namespaces/default/secrets/mine").await.code, 200);
    let refused = get("/api/v1/namespaces/default/secrets/other").await.expect(403);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("no relationship found between node 'n1' and this object")
    );
    assert_eq!(get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.code, 200);
    assert_eq!(get("/api/v1/pods").await.code, 403);
    let other = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}});
    let (code, message) = try_as(&world, &node, Method::POST, "/api/v1/nodes", &other).await;
    assert_eq!(
        (code, message.contains("is not allowed to modify node")),
        (403, true),
        "{message}"
    );
    let own = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    let made = world
        .write(node.clone(), Method::POST, "/api/v1/nodes", "application/json", &own)
        .await
        .expect(201);
    assert_eq!(made["spec"]["taints"][0]["key"], "node.kubernetes.io/not-ready");
}

#[tokio::test]
async fn tokens_are_bound_to_what_they_are_for() {
    let world = World::new().await;
    world.default_account("default").await;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default";
    let made = world.post(&format!("{path}/token"), &request).await.expect(201);
    let token = made["status"]["token"].as_str().unwrap();
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let ask = "/apis/authentication.k8s.io/v1/tokenreviews";
    let answer = world.post(ask, &review).await.expect(201);
    assert_eq!(answer["status"]["authenticated"], true);
    assert_eq!(
        answer["status"]["user"]["username"],
        "system:serviceaccount:default:default"
    );
    world.delete(path).await.expect(200);
    let answer = world.post(ask, &review).await.expect(201);
    assert_ne!(answer["status"]["authenticated"], true);
}
