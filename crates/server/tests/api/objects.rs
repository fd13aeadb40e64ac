//! Each verb on objects: revisions, conflicts, patches, apply, deletion, pages, tables.

use serde_json::{Value, json};
use server::User;

use crate::world::World;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

#[tokio::test]
async fn an_object_lives() {
    let world = World::new().await;
    let made = world.post(MAPS, &map("x")).await.expect(201);
    assert_eq!(made["kind"], "ConfigMap");
    assert!(made["metadata"]["uid"].is_string() && made["metadata"]["creationTimestamp"].is_string());
    assert_eq!(made["metadata"]["managedFields"][0]["manager"], "test");
    assert_eq!(world.get(&format!("{MAPS}/x")).await.expect(200), made);

    let again = world.post(MAPS, &map("x")).await.expect(409);
    assert_eq!(
        (&again["reason"], &again["message"]),
        (&json!("AlreadyExists"), &json!("configmaps \"x\" already exists"))
    );

    let mut changed = made.clone();
    changed["data"]["a"] = json!("2");
    let put = world.put(&format!("{MAPS}/x"), &changed).await.expect(200);
    assert_ne!(put["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let stale = world.put(&format!("{MAPS}/x"), &changed).await.expect(409);
    assert_eq!(stale["reason"], "Conflict");
    let same = world.put(&format!("{MAPS}/x"), &put).await.expect(200);
    assert_eq!(
        same["metadata"]["resourceVersion"], put["metadata"]["resourceVersion"],
        "nothing changed"
    );

    let status = world.delete(&format!("{MAPS}/x")).await.expect(200);
    assert_eq!(
        (&status["status"], &status["details"]["uid"]),
        (&json!("Success"), &made["metadata"]["uid"])
    );
    let gone = world.get(&format!("{MAPS}/x")).await.expect(404);
    assert_eq!(gone["message"], "configmaps \"x\" not found");
}

#[tokio::test]
async fn patches_of_each_kind() {
    let world = World::new().await;
    world.post(MAPS, &map("x")).await.expect(201);
    let path = format!("{MAPS}/x");
    let out = world
        .patch("merge-patch+json", &path, &json!({"data": {"b": "2"}}))
        .await
        .expect(200);
    assert_eq!(out["data"], json!({"a": "1", "b": "2"}));
    let operations = json!([{"op": "remove", "path": "/data/a"}]);
    let out = world.patch("json-patch+json", &path, &operations).await.expect(200);
    assert_eq!(out["data"], json!({"b": "2"}));
    let out = world
        .patch(
            "strategic-merge-patch+json",
            &path,
            &json!({"data": {"b": null, "c": "3"}}),
        )
        .await
        .expect(200);
    assert_eq!(out["data"], json!({"c": "3"}));
    world.patch("unknown", &path, &json!({})).await.expect(415);
    let test = json!([{"op": "test", "path": "/data/c", "value": "9"}]);
    world.patch("json-patch+json", &path, &test).await.expect(422);
}

#[tokio::test]
async fn apply_owns_fields() {
    let world = World::new().await;
    let path = format!("{MAPS}/x");
    let kind = "apply-patch+yaml";
    let made = world
        .patch(kind, &format!("{path}?fieldManager=one"), &map("x"))
        .await
        .expect(201);
    assert_eq!(made["metadata"]["managedFields"][0]["operation"], "Apply");
    let again = world
        .patch(kind, &format!("{path}?fieldManager=one"), &map("x"))
        .await
        .expect(200);
    assert_eq!(
        again["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    let mut other = map("x");
    other["data"]["a"] = json!("2");
    let conflict = world
        .patch(kind, &format!("{path}?fieldManager=two"), &other)
        .await
        .expect(409);
    assert_eq!(
        conflict["message"],
        "Apply failed with 1 conflict: conflict with \"one\": .data.a"
    );
    let forced = world
        .patch(kind, &format!("{path}?fieldManager=two&force=true"), &other)
        .await
        .expect(200);
    assert_eq!(forced["data"]["a"], "2");
    world.patch(kind, &path, &other).await.expect(422);
}

#[tokio::test]
async fn lists_page_at_one_revision() {
    let world = World::new().await;
    for index in 0..5 {
        world.post(MAPS, &map(&format!("m{index}"))).await.expect(201);
    }
    let first = world.get(&format!("{MAPS}?limit=2")).await.expect(200);
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    world.post(MAPS, &map("m9")).await.expect(201);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = world
        .get(&format!("{MAPS}?limit=10&continue={token}"))
        .await
        .expect(200);
    assert_eq!(
        second["items"].as_array().unwrap().len(),
        3,
        "the new one is not in that revision"
    );
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let selected = world
        .get(&format!("{MAPS}?fieldSelector=metadata.name%3Dm3"))
        .await
        .expect(200);
    assert_eq!(selected["items"].as_array().unwrap().len(), 1);
    assert!(selected["items"][0].get("kind").is_none());
    let future = world
        .get(&format!("{MAPS}?resourceVersion=1&resourceVersionMatch=Sometimes"))
        .await;
    future.expect(422);
}

#[tokio::test]
async fn tables_and_partial_objects() {
    let world = World::new().await;
    world.post(MAPS, &map("x")).await.expect(201);
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = world.get_as(server::User::admin(), MAPS, accept).await.expect(200);
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "x");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = world.get_as(server::User::admin(), MAPS, accept).await.expect(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert!(list["items"][0].get("data").is_none());
}

#[tokio::test]
async fn protobuf_both_ways() {
    let world = World::new().await;
    world.post(MAPS, &map("x")).await.expect(201);
    let accept = "application/vnd.kubernetes.protobuf";
    for path in [MAPS.to_owned(), format!("{MAPS}/x")] {
        let answer = world.get_as(server::User::admin(), &path, accept).await;
        assert_eq!(answer.headers["content-type"], accept);
        assert_eq!(&answer.bytes[..4], b"k8s\0");
        assert!(answer.bytes.windows(1).any(|byte| byte == b"x"));
    }
    let missing = world.get_as(server::User::admin(), &format!("{MAPS}/y"), accept).await;
    assert_eq!((missing.code.as_u16(), &missing.bytes[..4]), (404, &b"k8s\0"[..]));
}

#[tokio::test]
async fn finalizers_hold_and_dry_runs_do_nothing() {
    let world = World::new().await;
    let mut held = map("x");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.post(&format!("{MAPS}?dryRun=All"), &held).await.expect(201);
    world.get(&format!("{MAPS}/x")).await.expect(404);
    world.post(MAPS, &held).await.expect(201);
    world.delete(&format!("{MAPS}/x?dryRun=All")).await.expect(200);
    let path = format!("{MAPS}/x");
    assert!(
        world.get(&path).await.expect(200)["metadata"]
            .get("deletionTimestamp")
            .is_none()
    );
    world.delete(&path).await.expect(200);
    assert!(world.get(&path).await.expect(200)["metadata"]["deletionTimestamp"].is_string());
    world
        .patch("merge-patch+json", &path, &json!({"metadata": {"finalizers": null}}))
        .await
        .expect(200);
    world.get(&path).await.expect(404);
}

#[tokio::test]
async fn services_get_addresses_and_ports_once() {
    let world = World::new().await;
    let path = "/api/v1/namespaces/default/services";
    let service = |name: &str, ip: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
               "spec": {"type": "NodePort", "clusterIP": ip, "ports": [{"port": 80}]}})
    };
    let made = world.post(path, &service("a", Value::Null)).await.expect(201);
    let ip = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(ip.starts_with("10.96."), "{ip}");
    assert!(made["spec"]["ports"][0]["nodePort"].as_i64().unwrap() >= 30000);
    world
        .get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{ip}"))
        .await
        .expect(200);
    world.post(path, &service("b", json!(ip))).await.expect(422);
    let bare = json!({"spec": {"ports": [{"port": 80, "name": "http"}]}});
    let patched = world
        .patch("merge-patch+json", &format!("{path}/a"), &bare)
        .await
        .expect(200);
    assert_eq!(
        patched["spec"]["ports"][0]["nodePort"],
        made["spec"]["ports"][0]["nodePort"]
    );
    world.delete(&format!("{path}/a")).await.expect(200);
    world.post(path, &service("b", json!(ip))).await.expect(201);
}

#[tokio::test]
async fn pods_are_bound_and_end_with_grace() {
    let world = World::new().await;
    world.default_account("default").await;
    let path = "/api/v1/namespaces/default/pods";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-"},
                     "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = world.post(path, &pod).await.expect(201);
    let name = made["metadata"]["name"].as_str().unwrap();
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(made["spec"]["priority"], 0);
    assert_eq!(made["spec"]["tolerations"].as_array().unwrap().len(), 2);
    let volume = made["spec"]["volumes"][0]["name"].as_str().unwrap();
    assert!(volume.starts_with("kube-api-access-"), "{volume}");
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
                         "target": {"kind": "Node", "name": "n1"}});
    world
        .post(&format!("{path}/{name}/binding"), &binding)
        .await
        .expect(201);
    let bound = world
        .get(&format!("{path}?fieldSelector=spec.nodeName%3Dn1"))
        .await
        .expect(200);
    assert_eq!(bound["items"].as_array().unwrap().len(), 1);
    let managers = |pod: &Value| pod["metadata"]["managedFields"].clone();
    assert_eq!(
        managers(&bound["items"][0]),
        managers(&made),
        "a binding makes nobody an owner"
    );
    world
        .post(&format!("{path}/{name}/binding"), &binding)
        .await
        .expect(409);
    let deleted = world.delete(&format!("{path}/{name}")).await.expect(200);
    assert_eq!(deleted["metadata"]["deletionGracePeriodSeconds"], 30);
    world
        .delete(&format!("{path}/{name}?gracePeriodSeconds=0"))
        .await
        .expect(200);
    world.get(&format!("{path}/{name}")).await.expect(404);
    let unscheduled = world.post(path, &pod).await.expect(201);
    let name = unscheduled["metadata"]["name"].as_str().unwrap();
    world.delete(&format!("{path}/{name}")).await.expect(200);
    world.get(&format!("{path}/{name}")).await.expect(404);
}

#[tokio::test]
async fn scale_is_an_object_of_its_own() {
    let world = World::new().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    world.post(path, &deployment).await.expect(201);
    let scale = world.get(&format!("{path}/d/scale")).await.expect(200);
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]["selector"]),
        (&json!(2), &json!("a=b"))
    );
    let out = world
        .patch(
            "merge-patch+json",
            &format!("{path}/d/scale"),
            &json!({"spec": {"replicas": 5}}),
        )
        .await;
    assert_eq!(out.expect(200)["spec"]["replicas"], 5);
    let object = world.get(&format!("{path}/d")).await.expect(200);
    assert_eq!(
        (&object["spec"]["replicas"], &object["metadata"]["generation"]),
        (&json!(5), &json!(2))
    );
}

#[tokio::test]
async fn namespaces_go_in_order() {
    let world = World::new().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    world.post("/api/v1/namespaces", &namespace).await.expect(201);
    world
        .post("/api/v1/namespaces/none/configmaps", &map("x"))
        .await
        .expect(404);
    world.delete("/api/v1/namespaces/n").await.expect(200);
    let refused = world
        .post("/api/v1/namespaces/n/configmaps", &map("x"))
        .await
        .expect(403);
    assert_eq!(refused["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let mut last = world.get("/api/v1/namespaces/n").await.expect(200);
    assert_eq!(last["status"]["phase"], "Terminating");
    last["spec"]["finalizers"] = json!([]);
    world.put("/api/v1/namespaces/n/finalize", &last).await.expect(200);
    world.get("/api/v1/namespaces/n").await.expect(404);
    world.delete("/api/v1/namespaces/default").await.expect(403);
}

#[tokio::test]
async fn an_eviction_says_why_the_pod_goes() {
    let world = World::new().await;
    world.default_account("default").await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"nodeName": "one", "containers": [{"name": "c", "image": "i"}]}});
    let made = world.post(pods, &pod).await.expect(201);
    let evict = async |uid: &Value| {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"},
            "deleteOptions": {"preconditions": {"uid": uid}}});
        world.post(&format!("{pods}/web/eviction"), &eviction).await
    };
    evict(&json!("another")).await.expect(409);
    let untouched = world.get(&format!("{pods}/web")).await.expect(200);
    assert_eq!(
        untouched["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    evict(&made["metadata"]["uid"]).await.expect(201);
    let pod = world.get(&format!("{pods}/web")).await.expect(200);
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    let told = conditions
        .iter()
        .find(|condition| condition["type"] == "DisruptionTarget")
        .unwrap();
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&json!("True"), &json!("EvictionByEvictionAPI"))
    );
}

#[tokio::test]
async fn questions_have_no_tables() {
    let world = World::new().await;
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}});
    let ask = async |accept: &str| {
        let request = http::Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
            .header("content-type", "application/json")
            .header("accept", accept)
            .body(http_body_util::Full::new(bytes::Bytes::from(review.to_string())));
        world.send(User::admin(), request.unwrap()).await.status().as_u16()
    };
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    assert_eq!(ask(table).await, 406);
    assert_eq!(ask(&format!("{table},application/json")).await, 201);
}

#[tokio::test]
async fn events_of_both_groups_are_encoded_apart() {
    let world = World::new().await;
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "Seen",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "a"}, "message": "what was seen",
        "firstTimestamp": "2026-01-02T03:04:05Z", "type": "Normal"});
    world
        .post("/api/v1/namespaces/default/events", &event)
        .await
        .expect(201);
    let accept = "application/vnd.kubernetes.protobuf";
    let core = world
        .get_as(User::admin(), "/api/v1/namespaces/default/events", accept)
        .await;
    let new = world
        .get_as(
            User::admin(),
            "/apis/events.k8s.io/v1/namespaces/default/events",
            accept,
        )
        .await;
    for (answer, version, kind, field) in [
        (core, "v1", "EventList", "message"),
        (new, "events.k8s.io/v1", "EventList", "note"),
    ] {
        let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
        let kind = meta::GroupVersionKind {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        };
        let shape = api::codec::Shape::builtin(kind).unwrap();
        let content = api::codec::ContentType::Protobuf;
        let list = api::codec::decode(&answer.bytes, content, &shape, api::codec::FieldValidation::Ignore).unwrap();
        assert_eq!(list.value["items"][0][field], "what was seen");
    }
    let by = async |selector: &str| {
        let path = format!("/apis/events.k8s.io/v1/events?fieldSelector={selector}");
        world.get(&path).await.expect(200)["items"].as_array().unwrap().len()
    };
    assert_eq!(by("regarding.name%3Da,type%3DNormal").await, 1);
    assert_eq!(by("reportingController%3Dothers").await, 0);
    let refused = world
        .get("/apis/events.k8s.io/v1/events?fieldSelector=involvedObject.name%3Da")
        .await;
    assert_eq!(
        refused.expect(400)["message"],
        "field label not supported: involvedObject.name"
    );
}

#[tokio::test]
async fn an_autoscaler_is_shown_in_both_of_its_versions() {
    let world = World::new().await;
    let path = |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let old = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 3}});
    let made = world.post(&path("v1"), &old).await.expect(201);
    assert_eq!(made["apiVersion"], "autoscaling/v1");
    assert_eq!(made["spec"]["targetCPUUtilizationPercentage"], 80);
    assert_eq!(made["spec"]["minReplicas"], 1);
    let new = world.get(&format!("{}/a", path("v2"))).await.expect(200);
    let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}});
    assert_eq!(new["spec"]["metrics"], json!([{"type": "Resource", "resource": cpu}]));
    assert!(new["spec"].get("targetCPUUtilizationPercentage").is_none());

    let memory = json!({"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}});
    let metrics = json!({"spec": {"metrics": [{"type": "Resource", "resource": memory}]}});
    world
        .patch("merge-patch+json", &format!("{}/a", path("v2")), &metrics)
        .await
        .expect(200);
    let old = world.get(&format!("{}/a", path("v1"))).await.expect(200);
    let noted = &old["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"];
    let noted: Value = serde_json::from_str(noted.as_str().unwrap()).unwrap();
    assert_eq!(
        noted,
        json!([{"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}}])
    );
    // What the older version can't say survives its writers.
    let more = json!({"spec": {"maxReplicas": 5}});
    world
        .patch("merge-patch+json", &format!("{}/a", path("v1")), &more)
        .await
        .expect(200);
    let new = world.get(&format!("{}/a", path("v2"))).await.expect(200);
    assert_eq!(new["spec"]["maxReplicas"], 5);
    assert_eq!(new["spec"]["metrics"], metrics["spec"]["metrics"]);
    assert!(new["metadata"].get("annotations").is_none());
    let owners: Vec<&Value> = new["metadata"]["managedFields"].as_array().unwrap().iter().collect();
    assert!(
        owners.iter().any(|owner| owner["apiVersion"] == "autoscaling/v1"),
        "{owners:?}"
    );
    let group = world.get("/apis/autoscaling").await.expect(200);
    assert_eq!(group["preferredVersion"]["version"], "v2");
    assert_eq!(group["versions"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn component_statuses_are_told_and_kept_nowhere() {
    let world = World::new().await;
    let path = "/api/v1/componentstatuses";
    let listed = world.get(path).await;
    let warned = listed.headers["warning"].to_str().unwrap();
    assert!(
        warned.contains("v1 ComponentStatus is deprecated in v1.19+"),
        "{warned}"
    );
    let list = listed.expect(200);
    assert_eq!(list["kind"], "ComponentStatusList");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(3));
    let etcd = world.get(&format!("{path}/etcd-0")).await.expect(200);
    assert_eq!(etcd["conditions"][0]["status"], "True");
    world.get(&format!("{path}/nobody")).await.expect(404);
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = world.get_as(User::admin(), path, table).await.expect(200);
    assert_eq!(table["columnDefinitions"][1]["name"], "Status");
    let one = world
        .get(&format!("{path}?fieldSelector=metadata.name%3Dscheduler"))
        .await
        .expect(200);
    assert_eq!(one["items"].as_array().map(Vec::len), Some(1));
    world.delete(&format!("{path}/etcd-0")).await.expect(405);
}

#[tokio::test]
async fn a_claim_of_devices_is_filled_in_checked_and_fixed() {
    let world = World::new().await;
    let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let claim = |name: &str, requests: Value| {
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": name},
            "spec": {"devices": {"requests": requests}}})
    };
    let wanted = json!([{"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com",
        "selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]}}]);
    let made = world.post(claims, &claim("a", wanted)).await.expect(201);
    let exactly = &made["spec"]["devices"]["requests"][0]["exactly"];
    assert_eq!(
        (&exactly["allocationMode"], &exactly["count"]),
        (&json!("ExactCount"), &json!(1))
    );
    let both = json!([{"name": "x"}, {"name": "x", "exactly": {"deviceClassName": "c", "allocationMode": "Some",
        "selectors": [{"cel": {"expression": "object.x"}}]}}]);
    let refused = world.post(claims, &claim("b", both)).await.expect(422);
    let causes = refused["details"]["causes"].as_array().unwrap();
    let fields: Vec<&str> = causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(
        fields,
        [
            "spec.devices.requests[0]",
            "spec.devices.requests[1].exactly.selectors[0].cel.expression",
            "spec.devices.requests[1].exactly.allocationMode",
            "spec.devices.requests[1]",
        ]
    );
    let status = json!({"status": {"allocation": {"devices": {"results": [
        {"request": "gpu", "driver": "gpu.example.com", "pool": "p", "device": "d-0"}]}},
        "reservedFor": [{"resource": "pods", "name": "web", "uid": "1"}]}});
    let changed = world
        .patch("merge-patch+json", &format!("{claims}/a/status"), &status)
        .await
        .expect(200);
    assert_eq!(
        changed["status"]["allocation"]["devices"]["results"][0]["device"],
        "d-0"
    );
    let spec = json!({"spec": {"devices": {"requests": []}}});
    let refused = world.patch("merge-patch+json", &format!("{claims}/a"), &spec).await;
    assert_eq!(refused.expect(422)["details"]["causes"][0]["field"], "spec");
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = world
        .get_as(User::admin(), &format!("{claims}/a"), table)
        .await
        .expect(200);
    assert_eq!(table["rows"][0]["cells"][1], "allocated,reserved");
}

#[tokio::test]
async fn a_pods_own_certificate_lives_within_bounds() {
    let world = World::new().await;
    world.default_account("default").await;
    let make = async |source: Value| {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-"}, "spec": {
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "projected": {"sources": [source]}}]}});
        world.post("/api/v1/namespaces/default/pods", &pod).await
    };
    let certificate = |seconds: u32| {
        json!({"podCertificate": {"signerName": "example.com/it", "keyType": "ED25519",
            "credentialBundlePath": "it.pem", "maxExpirationSeconds": seconds}})
    };
    make(certificate(3600)).await.expect(201);
    let at = "spec.volumes[0].projected.sources[0]";
    for (source, why) in [
        (
            certificate(3599),
            "podCertificate.maxExpirationSeconds: Invalid value: 3599: if provided, maxExpirationSeconds must be >= 3600",
        ),
        (
            certificate(7_862_401),
            "podCertificate.maxExpirationSeconds: Invalid value: 7862401: if provided, maxExpirationSeconds must be <= 7862400",
        ),
        (
            json!({"podCertificate": {"signerName": "example.com/it", "keyType": "ED25519"}}),
            "podCertificate: Required value: specify at least one of credentialBundlePath, keyPath, and certificateChainPath",
        ),
        (
            json!({"clusterTrustBundle": {"path": "a"}}),
            "clusterTrustBundle: Required value: either name or signerName must be specified",
        ),
    ] {
        let message = make(source).await.expect(422)["message"].as_str().unwrap().to_owned();
        assert!(message.ends_with(&format!("{at}.{why}")), "{message}");
    }
}
