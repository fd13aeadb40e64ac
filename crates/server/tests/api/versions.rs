//! Which groups, versions and resources are served, and how that is changed.

use http::Method;
use serde_json::{Value, json};
use server::{RuntimeConfig, User};

use crate::world::World;

const BUNDLES: &str = "/apis/certificates.k8s.io/v1/clustertrustbundles";
const OLD_BUNDLES: &str = "/apis/certificates.k8s.io/v1beta1/clustertrustbundles";

fn bundle(name: &str, signer: &str, pem: &str) -> Value {
    json!({"apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle", "metadata": {"name": name},
        "spec": {"signerName": signer, "trustBundle": pem}})
}

async fn with(settings: &[&str]) -> World {
    let runtime = RuntimeConfig::parse(settings.iter().copied()).unwrap();
    World::configured(|config| config.runtime = runtime).await
}

#[tokio::test]
async fn what_kubernetes_serves_by_default_is_served() {
    let world = World::new().await;
    let list = world.get("/apis").await.expect(200);
    let groups = list["groups"].as_array().unwrap().iter();
    let versions = groups.flat_map(|group| group["versions"].as_array().unwrap());
    let versions: Vec<&str> = versions
        .map(|version| version["groupVersion"].as_str().unwrap())
        .collect();
    for wanted in [
        "apps/v1",
        "events.k8s.io/v1",
        "authentication.k8s.io/v1",
        "authorization.k8s.io/v1",
        "autoscaling/v2",
        "autoscaling/v1",
        "batch/v1",
        "certificates.k8s.io/v1",
        "networking.k8s.io/v1",
        "policy/v1",
        "rbac.authorization.k8s.io/v1",
        "storage.k8s.io/v1",
        "admissionregistration.k8s.io/v1",
        "apiextensions.k8s.io/v1",
        "scheduling.k8s.io/v1",
        "coordination.k8s.io/v1",
        "node.k8s.io/v1",
        "discovery.k8s.io/v1",
        "resource.k8s.io/v1",
        "flowcontrol.apiserver.k8s.io/v1",
        "storagemigration.k8s.io/v1",
    ] {
        assert!(versions.contains(&wanted), "{wanted} is missing: {versions:?}");
    }
    assert!(!versions.iter().any(|version| version.contains("alpha")));
    assert!(!versions.contains(&"certificates.k8s.io/v1beta1"));
    assert_eq!(world.get(OLD_BUNDLES).await.code, 404);
}

#[tokio::test]
async fn beta_versions_are_served_when_they_are_switched_on() {
    let world = with(&["api/beta=true", "batch/v1/cronjobs=false"]).await;
    let pem = world.server.pki().ca().pem().to_owned();
    let mut old = bundle("example.com:s:web", "example.com/s", &pem);
    old["apiVersion"] = json!("certificates.k8s.io/v1beta1");
    let made = world.post(OLD_BUNDLES, &old).await.expect(201);
    assert_eq!(made["apiVersion"], "certificates.k8s.io/v1beta1");
    let shown = world.get(&format!("{BUNDLES}/example.com:s:web")).await.expect(200);
    assert_eq!(shown["apiVersion"], "certificates.k8s.io/v1");
    assert_eq!(shown["spec"]["trustBundle"], pem);
    let group = world.get("/apis/certificates.k8s.io").await.expect(200);
    assert_eq!(group["preferredVersion"]["version"], "v1");
    assert_eq!(group["versions"][1]["version"], "v1beta1");
    let list = world.get("/apis/batch/v1").await.expect(200);
    let names: Vec<&Value> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["name"])
        .collect();
    assert!(
        names.contains(&&json!("jobs")) && !names.contains(&&json!("cronjobs")),
        "{names:?}"
    );
    assert_eq!(world.get("/apis/batch/v1/cronjobs").await.code, 404);
}

#[tokio::test]
async fn bundles_are_authorities_and_attested() {
    let world = World::new().await;
    let pem = world.server.pki().ca().pem().to_owned();
    world.post(BUNDLES, &bundle("web", "", &pem)).await.expect(201);
    let refused = world.post(BUNDLES, &bundle("other", "", "nothing")).await.expect(422);
    let told = "Invalid value: \"<value omitted>\": at least one trust anchor must be provided";
    assert_eq!(refused["details"]["causes"][0]["message"], told);
    world
        .post(BUNDLES, &bundle("web2", "example.com/s", &pem))
        .await
        .expect(422);

    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "b"},
        "rules": [{"apiGroups": ["certificates.k8s.io"], "resources": ["clustertrustbundles"], "verbs": ["*"]}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    world.post(&format!("{rbac}/clusterroles"), &role).await.expect(201);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "bob"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "b"}});
    world
        .post(&format!("{rbac}/clusterrolebindings"), &binding)
        .await
        .expect(201);
    let bobs = bundle("example.com:s:web", "example.com/s", &pem);
    let bob = User::new("bob", &[]);
    let refused = world
        .write(bob, Method::POST, BUNDLES, "application/json", &bobs)
        .await
        .expect(403);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.ends_with("user not permitted to attest for signerName \"example.com/s\""),
        "{message}"
    );
    world.post(BUNDLES, &bobs).await.expect(201);
}

#[tokio::test]
async fn a_migration_is_checked() {
    let world = World::new().await;
    let path = "/apis/storagemigration.k8s.io/v1/storageversionmigrations";
    let migration = json!({"apiVersion": "storagemigration.k8s.io/v1", "kind": "StorageVersionMigration",
        "metadata": {"name": "m"}, "spec": {"resource": {"group": "apps", "resource": "deployments"}}});
    world.post(path, &migration).await.expect(201);
    let other = json!({"spec": {"resource": {"resource": "statefulsets"}}});
    let refused = world
        .patch("merge-patch+json", &format!("{path}/m"), &other)
        .await
        .expect(422);
    assert_eq!(refused["details"]["causes"][0]["field"], "spec");
}

#[tokio::test]
async fn each_served_version_has_its_local_service() {
    let world = World::new().await;
    let path = "/apis/apiregistration.k8s.io/v1/apiservices";
    let core = world.get(&format!("{path}/v1.")).await.expect(200);
    assert_eq!(
        core["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"],
        "onstart"
    );
    let condition = &core["status"]["conditions"][0];
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("True"), &json!("Local"))
    );
    let list = world.get(path).await.expect(200);
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|service| service["metadata"]["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"v1.apps") && names.contains(&"v1.resource.k8s.io"),
        "{names:?}"
    );
    assert!(!names.contains(&"v1beta1.certificates.k8s.io"));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = world
        .get_as(User::admin(), &format!("{path}/v1.apps"), table)
        .await
        .expect(200);
    let cells = &table["rows"][0]["cells"];
    assert_eq!((&cells[1], &cells[2]), (&json!("Local"), &json!("True")));
}

#[tokio::test]
async fn what_is_deleted_comes_back_and_what_definitions_bring_goes_with_them() {
    let world = World::new().await;
    let path = "/apis/apiregistration.k8s.io/v1/apiservices";
    let core = world.get(&format!("{path}/v1.")).await.expect(200);
    let uid = core["metadata"]["uid"].clone();
    world.delete(&format!("{path}/v1.")).await.expect(200);
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"}, "versions": [{"name": "v1", "served": true,
                "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    world.post(definitions, &definition).await.expect(201);
    let until = |name: &'static str, code: u16| {
        let world = &world;
        async move {
            for _ in 0..500 {
                let found = world.get(&format!("{path}/{name}")).await;
                if found.code.as_u16() == code {
                    return found.json();
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            panic!("{name} doesn't answer {code}");
        }
    };
    let custom = until("v1.example.com", 200).await;
    assert_eq!(custom["spec"]["groupPriorityMinimum"], 1000);
    assert_eq!(
        custom["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"],
        "true"
    );
    assert_ne!(until("v1.", 200).await["metadata"]["uid"], uid);
    world
        .delete(&format!("{definitions}/widgets.example.com"))
        .await
        .expect(200);
    until("v1.example.com", 404).await;
    let wrong = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "x"},
        "spec": {"group": "g.example", "version": "v1", "groupPriorityMinimum": 0, "versionPriority": 1}});
    let refused = world.post(path, &wrong).await.expect(422);
    assert_eq!(refused["details"]["causes"].as_array().map(Vec::len), Some(2));
}
