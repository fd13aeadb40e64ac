//! The Pod Security Standards by the labels of namespaces.

use serde_json::{Value, json};

use crate::world::{Answer, World};

async fn namespace(world: &World, name: &str, labels: Value) -> Answer {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    let answer = world.post("/api/v1/namespaces", &namespace).await;
    if answer.code == 201 {
        world.default_account(name).await;
    }
    answer
}

fn pod(name: &str, image: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": image, "securityContext": {"privileged": true}}]}})
}

fn warnings(answer: &Answer) -> Vec<String> {
    let all = answer.headers.get_all("warning").iter();
    all.map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pods_are_refused_and_templates_warned_of() {
    let world = World::new().await;
    namespace(
        &world,
        "safe",
        json!({"pod-security.kubernetes.io/enforce": "baseline"}),
    )
    .await
    .expect(201);
    let pods = "/api/v1/namespaces/safe/pods";
    let refused = world.post(pods, &pod("p", "i")).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": privileged (container \"c\" must not set \
         securityContext.privileged=true)"
    );
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod("p", "i")["spec"]}},
    });
    let made = world
        .post("/apis/apps/v1/namespaces/safe/deployments", &deployment)
        .await;
    made.expect(201);
    assert_eq!(
        warnings(&made),
        [
            "299 - \"would violate PodSecurity \\\"baseline:latest\\\": privileged (container \\\"c\\\" must not set \
             securityContext.privileged=true)\""
        ]
    );
    // What isn't enforced is only warned of.
    namespace(&world, "lax", json!({"pod-security.kubernetes.io/warn": "baseline"}))
        .await
        .expect(201);
    let made = world.post("/api/v1/namespaces/lax/pods", &pod("p", "i")).await;
    made.expect(201);
    assert_eq!(warnings(&made).len(), 1);
    world
        .patch(
            "merge-patch+json",
            "/api/v1/namespaces/lax/pods/p",
            &json!({"metadata": {"labels": {"x": "y"}}}),
        )
        .await
        .expect(200);
}

#[tokio::test]
async fn a_namespace_that_becomes_stricter_tells_of_its_pods() {
    let world = World::new().await;
    namespace(&world, "old", json!({})).await.expect(201);
    for name in ["b", "a", "c"] {
        world
            .post("/api/v1/namespaces/old/pods", &pod(name, "i"))
            .await
            .expect(201);
    }
    let labels = json!({"metadata": {"labels": {
        "pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.30"}}});
    for query in ["?dryRun=All", ""] {
        let path = format!("/api/v1/namespaces/old{query}");
        let changed = world.patch("merge-patch+json", &path, &labels).await;
        changed.expect(200);
        assert_eq!(
            warnings(&changed),
            [
                "299 - \"existing pods in namespace \\\"old\\\" violate the new PodSecurity enforce level \
                 \\\"baseline:v1.30\\\"\"",
                "299 - \"a (and 2 other pods): privileged\"",
            ]
        );
    }
    let wrong = namespace(&world, "wrong", json!({"pod-security.kubernetes.io/enforce": "loose"})).await;
    let status = wrong.expect(422);
    assert_eq!(
        status["message"],
        "Namespace \"wrong\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"loose\": \
         must be one of privileged, baseline, restricted"
    );
}
