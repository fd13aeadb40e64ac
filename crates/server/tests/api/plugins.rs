//! Smaller admission plug-ins: classes, protection, and those that are switched on.

use serde_json::{Value, json};

use crate::world::World;

const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
}

async fn ready() -> World {
    let world = World::new().await;
    world.default_account("default").await;
    world
}

async fn with(enable: &[&str]) -> World {
    let world = World::configured(|config| {
        config.admission.enable = enable.iter().map(|name| (*name).to_owned()).collect();
    })
    .await;
    world.default_account("default").await;
    world
}

#[tokio::test]
async fn claims_and_ingresses_get_the_default_class() {
    let world = ready().await;
    let class = |name: &str, default: &str| {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "p",
            "metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": default}}})
    };
    for (name, default) in [("slow", "false"), ("fast", "true")] {
        world
            .post("/apis/storage.k8s.io/v1/storageclasses", &class(name, default))
            .await
            .expect(201);
    }
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let made = world.post(claims, &claim).await.expect(201);
    assert_eq!(made["spec"]["storageClassName"], "fast");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let refused = world.patch("merge-patch+json", &format!("{claims}/c"), &more).await;
    assert!(!refused.code.is_success());
    let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "spec": {"controller": "x.io/y"},
        "metadata": {"name": "web", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}});
    world
        .post("/apis/networking.k8s.io/v1/ingressclasses", &class)
        .await
        .expect(201);
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"},
        "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}});
    let made = world
        .post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", &ingress)
        .await
        .expect(201);
    assert_eq!(made["spec"]["ingressClassName"], "web");
}

#[tokio::test]
async fn what_is_switched_on_runs() {
    let world = with(&[
        "AlwaysPullImages",
        "ExtendedResourceToleration",
        "DenyServiceExternalIPs",
    ])
    .await;
    let mut wanted = pod("a");
    wanted["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    wanted["spec"]["containers"][0]["resources"] = json!({"limits": {"example.com/gpu": "1"}});
    let made = world.post(PODS, &wanted).await.expect(201);
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "Always");
    let gpu = json!({"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"});
    assert!(made["spec"]["tolerations"].as_array().unwrap().contains(&gpu));
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]}});
    let refused = world
        .post("/api/v1/namespaces/default/services", &service)
        .await
        .expect(403);
    assert_eq!(
        refused["message"],
        "services \"s\" is forbidden: Use of external IPs is denied by admission control"
    );
}

#[tokio::test]
async fn a_namespace_says_where_its_pods_go() {
    let world = with(&["PodNodeSelector", "PodTolerationRestriction"]).await;
    let annotations = json!({
        "scheduler.alpha.kubernetes.io/node-selector": "zone=a",
        "scheduler.alpha.kubernetes.io/defaultTolerations": "[{\"key\":\"team\",\"operator\":\"Exists\"}]",
    });
    let patch = json!({"metadata": {"annotations": annotations}});
    world
        .patch("merge-patch+json", "/api/v1/namespaces/default", &patch)
        .await
        .expect(200);
    let made = world.post(PODS, &pod("a")).await.expect(201);
    assert_eq!(made["spec"]["nodeSelector"], json!({"zone": "a"}));
    let team = json!({"key": "team", "operator": "Exists"});
    assert!(made["spec"]["tolerations"].as_array().unwrap().contains(&team));
    let mut other = pod("b");
    other["spec"]["nodeSelector"] = json!({"zone": "b"});
    let refused = world.post(PODS, &other).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods \"b\" is forbidden: pod node label selector conflicts with its namespace node label selector"
    );
}

#[tokio::test]
async fn an_unknown_plugin_keeps_the_server_from_starting() {
    let error = World::try_configured(|config| config.admission.disable = vec!["Nonsense".to_owned()])
        .await
        .err();
    assert_eq!(
        error.map(|error| error.to_string()).as_deref(),
        Some("disable-admission-plugins plugin \"Nonsense\" is unknown")
    );
}

#[tokio::test]
async fn a_runtime_class_adds_its_overhead_and_its_nodes() {
    let world = ready().await;
    let classes = "/apis/node.k8s.io/v1/runtimeclasses";
    let mut wanted = pod("a");
    wanted["spec"]["runtimeClassName"] = json!("heavy");
    let refused = world.post(PODS, &wanted).await.expect(403);
    let told = r#"pods "a" is forbidden: pod rejected: RuntimeClass "heavy" not found"#;
    assert_eq!(refused["message"], told);
    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "heavy"},
        "handler": "runc", "overhead": {"podFixed": {"cpu": "100m", "memory": "64Mi"}},
        "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}});
    world.post(classes, &class).await.expect(201);
    let made = world.post(PODS, &wanted).await.expect(201);
    let spec = &made["spec"];
    assert_eq!(spec["overhead"], json!({"cpu": "100m", "memory": "64Mi"}));
    assert_eq!(spec["nodeSelector"], json!({"vm": "yes"}));
    let vm = json!({"key": "vm", "operator": "Exists"});
    assert!(spec["tolerations"].as_array().unwrap().contains(&vm), "{spec}");
    let mut other = pod("b");
    other["spec"]["runtimeClassName"] = json!("heavy");
    other["spec"]["overhead"] = json!({"cpu": "1"});
    world.post(PODS, &other).await.expect(403);
    let changed = json!({"handler": "another"});
    let refused = world
        .patch("merge-patch+json", &format!("{classes}/heavy"), &changed)
        .await;
    let causes = refused.expect(422)["details"]["causes"].clone();
    assert_eq!(causes[0]["field"], "handler");
    world.delete(&format!("{classes}/heavy")).await.expect(200);
    other["spec"].as_object_mut().unwrap().remove("overhead");
    world.post(PODS, &other).await.expect(403);
}
