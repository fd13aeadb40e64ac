//! How requests share the server: the default objects, what answers say of them, and floods.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use server::User;

use crate::world::World;

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

async fn object(world: &World, path: &str) -> Value {
    world.get(&format!("{GROUP}/{path}")).await.expect(200)
}

#[tokio::test]
async fn every_cluster_has_the_schemas_and_levels() {
    let world = World::new().await;
    let names = |list: Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let schemas = names(object(&world, "flowschemas").await);
    assert_eq!(schemas.len(), 11, "{schemas:?}");
    let levels = names(object(&world, "prioritylevelconfigurations").await);
    assert_eq!(levels.len(), 8, "{levels:?}");
    let exempt = object(&world, "flowschemas/exempt").await;
    assert_eq!(exempt["spec"]["matchingPrecedence"], 1);
    assert_eq!(
        exempt["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"],
        "true"
    );
}

#[tokio::test]
async fn answers_name_the_schema_and_the_level() {
    let world = World::new().await;
    let answer = world
        .get_as(User::new("jane", &[]), "/api/v1/pods", "application/json")
        .await;
    assert_eq!(answer.code, 403, "also refusals have a turn");
    let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    let schema = object(&world, "flowschemas/global-default").await;
    let level = object(&world, "prioritylevelconfigurations/global-default").await;
    assert_eq!(header("x-kubernetes-pf-flowschema-uid"), schema["metadata"]["uid"]);
    assert_eq!(header("x-kubernetes-pf-prioritylevel-uid"), level["metadata"]["uid"]);
}

#[tokio::test]
async fn a_schema_says_whether_its_level_is_there() {
    let world = World::new().await;
    let schema = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": "mine"},
        "spec": {
            "priorityLevelConfiguration": {"name": "later"},
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": "jane"}}],
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/version"]}],
            }],
        },
    });
    let made = world.post(&format!("{GROUP}/flowschemas"), &schema).await.expect(201);
    assert_eq!(made["spec"]["matchingPrecedence"], 1000);
    says(&world, "True").await;
    let level = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "later"},
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}},
    });
    let made = world
        .post(&format!("{GROUP}/prioritylevelconfigurations"), &level)
        .await;
    assert_eq!(made.expect(201)["spec"]["limited"]["nominalConcurrencyShares"], 30);
    says(&world, "False").await;
}

async fn says(world: &World, wanted: &str) {
    for _ in 0..500 {
        let schema = object(world, "flowschemas/mine").await;
        if schema["status"]["conditions"][0]["status"] == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the schema's condition never became {wanted}");
}

#[tokio::test]
async fn what_is_wrong_with_a_level_is_told() {
    let world = World::new().await;
    let level = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "wide"},
        "spec": {"type": "Limited", "limited": {"limitResponse": {
            "type": "Queue", "queuing": {"queues": 4, "handSize": 5},
        }}},
    });
    let refusal = world
        .post(&format!("{GROUP}/prioritylevelconfigurations"), &level)
        .await
        .expect(422);
    let cause = &refusal["details"]["causes"][0];
    assert_eq!(cause["field"], "spec.limited.limitResponse.queuing.handSize");
    assert_eq!(
        cause["message"],
        "Invalid value: 5: should not be greater than queues (4)"
    );
    let fixed = json!({"spec": {"matchingPrecedence": 9}});
    let refusal = world
        .patch("merge-patch+json", &format!("{GROUP}/flowschemas/exempt"), &fixed)
        .await;
    let refusal = refusal.expect(422);
    assert!(
        refusal["message"]
            .as_str()
            .unwrap()
            .contains("spec of 'exempt' must equal the fixed value")
    );
}

/// With one seat and a flood that fills its own queues, another's request is still served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_user_leaves_the_others_their_turn() {
    let world = Arc::new(World::new().await);
    let level = json!({"spec": {"limited": {"nominalConcurrencyShares": 0, "limitResponse": {
        "type": "Queue", "queuing": {"queues": 64, "handSize": 2, "queueLengthLimit": 2},
    }}}});
    let path = format!("{GROUP}/prioritylevelconfigurations/global-default");
    world.patch("merge-patch+json", &path, &level).await.expect(200);
    // With no share of its own, the level lets one through at a time.
    let flood: Vec<_> = (0..200)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let answer = world.get_as(User::new("flood", &[]), "/apis", "application/json").await;
                answer.code.as_u16()
            })
        })
        .collect();
    for _ in 0..20 {
        let answer = world
            .get_as(User::new("jane", &[]), "/version", "application/json")
            .await;
        assert_eq!(answer.code, 200);
    }
    for one in flood {
        let code = one.await.unwrap();
        assert!(matches!(code, 200 | 429), "{code}");
    }
}
