//! Custom resources from the definition to its end.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use server::User;

use crate::world::World;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const TABS: &str = "/apis/stable.example.com/v1/namespaces/default/crontabs";

fn definition() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {"group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
                "additionalPrinterColumns": [
                    {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "required": ["cronSpec"], "properties": {
                        "cronSpec": {"type": "string", "pattern": "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$"},
                        "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
                        "color": {"type": "string"},
                        "size": {"type": "integer", "x-kubernetes-validations": [
                            {"rule": "self >= oldSelf", "message": "must not shrink"}]},
                        "ports": {"type": "array", "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object",
                                "required": ["name"], "properties": {"name": {"type": "string"},
                                    "port": {"x-kubernetes-int-or-string": true}}}}}},
                    "status": {"type": "object", "properties": {"replicas": {"type": "integer"},
                        "selector": {"type": "string"}}}}}}}]}})
}

fn tab(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": spec})
}

fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let all = object.pointer("/status/conditions")?.as_array()?;
    all.iter().find(|one| one["type"] == name)
}

/// Waits until something of a definition is so.
async fn until(world: &World, path: &str, what: impl Fn(u16, &Value) -> bool) -> Value {
    for _ in 0..200 {
        let answer = world.get(path).await;
        let object = serde_json::from_slice(&answer.bytes).unwrap_or(Value::Null);
        if what(answer.code.as_u16(), &object) {
            return object;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{path} doesn't become what it should: {:?}", world.get(path).await);
}

async fn defined() -> World {
    let world = World::new().await;
    world.post(DEFINITIONS, &definition()).await.expect(201);
    let established =
        |_: u16, object: &Value| condition(object, "Established").is_some_and(|one| one["status"] == "True");
    until(
        &world,
        &format!("{DEFINITIONS}/crontabs.stable.example.com"),
        established,
    )
    .await;
    world
}

#[tokio::test]
async fn a_definition_is_served_when_it_is_established() {
    let world = defined().await;
    let object = world
        .get(&format!("{DEFINITIONS}/crontabs.stable.example.com"))
        .await
        .expect(200);
    assert_eq!(object["status"]["acceptedNames"]["singular"], "crontab");
    assert_eq!(object["status"]["storedVersions"], json!(["v1"]));
    let group = world.get("/apis/stable.example.com/v1").await.expect(200);
    let names: Vec<&str> = group["resources"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|resource| resource["name"].as_str())
        .collect();
    assert_eq!(names, ["crontabs", "crontabs/status", "crontabs/scale"]);
    let document = world.get("/openapi/v3/apis/stable.example.com/v1").await.expect(200);
    assert!(document["components"]["schemas"]["com.example.stable.v1.CronTab"]["properties"]["spec"].is_object());
    assert!(world.get("/openapi/v3").await.expect(200)["paths"]["apis/stable.example.com/v1"].is_object());
}

#[tokio::test]
async fn objects_are_pruned_defaulted_and_validated() {
    let world = defined().await;
    let made = world
        .post(TABS, &tab("a", json!({"cronSpec": "* * * * */5", "other": 1})))
        .await
        .expect(201);
    assert_eq!(made["spec"], json!({"cronSpec": "* * * * */5", "replicas": 1}));
    assert_eq!(made["metadata"]["generation"], 1);

    let bad = world
        .post(TABS, &tab("b", json!({"cronSpec": "* * *", "replicas": 15})))
        .await
        .expect(422);
    assert_eq!(
        bad["message"],
        "CronTab.stable.example.com \"b\" is invalid: [spec.cronSpec: Invalid value: \"* * *\": spec.cronSpec in body \
         should match '^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$', spec.replicas: Invalid value: 15: \
         spec.replicas in body should be less than or equal to 10]"
    );
    let missing = world.post(TABS, &tab("b", json!({}))).await.expect(422);
    assert!(
        missing["message"]
            .as_str()
            .unwrap()
            .contains("spec.cronSpec: Required value"),
        "{missing}"
    );

    let strict = format!("{TABS}?fieldValidation=Strict");
    let unknown = tab("b", json!({"cronSpec": "* * * * */5", "other": 1}));
    let refused = world.post(&strict, &unknown).await.expect(400);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("strict decoding error: unknown field \"spec.other\""),
        "{refused}"
    );

    let protobuf = world
        .get_as(
            User::admin(),
            &format!("{TABS}/a"),
            "application/vnd.kubernetes.protobuf",
        )
        .await;
    assert_eq!(protobuf.code, 406);
    let strategic = json!({"spec": {"replicas": 2}});
    world
        .patch("strategic-merge-patch+json", &format!("{TABS}/a"), &strategic)
        .await
        .expect(415);
}

#[tokio::test]
async fn rules_in_cel_see_the_change() {
    let world = defined().await;
    world
        .post(TABS, &tab("a", json!({"cronSpec": "* * * * */5", "size": 2})))
        .await
        .expect(201);
    let path = format!("{TABS}/a");
    world
        .patch("merge-patch+json", &path, &json!({"spec": {"size": 3}}))
        .await
        .expect(200);
    let refused = world
        .patch("merge-patch+json", &path, &json!({"spec": {"size": 1}}))
        .await
        .expect(422);
    assert_eq!(
        refused["message"],
        "CronTab.stable.example.com \"a\" is invalid: spec.size: Invalid value: 1: must not shrink"
    );
}

#[tokio::test]
async fn status_and_scale_have_their_own_ends() {
    let world = defined().await;
    let mut object = tab("a", json!({"cronSpec": "* * * * */5"}));
    object["status"] = json!({"replicas": 7});
    let made = world.post(TABS, &object).await.expect(201);
    assert_eq!(made.get("status"), None, "the status is nobody's on creation");
    let path = format!("{TABS}/a");
    let status = json!({"status": {"replicas": 3, "selector": "a=b"}, "spec": {"replicas": 9}});
    let patched = world
        .patch("merge-patch+json", &format!("{path}/status"), &status)
        .await
        .expect(200);
    assert_eq!(
        (&patched["spec"]["replicas"], &patched["status"]["replicas"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(patched["metadata"]["generation"], 1);
    let scale = world.get(&format!("{path}/scale")).await.expect(200);
    assert_eq!(
        (&scale["kind"], &scale["spec"]["replicas"], &scale["status"]),
        (&json!("Scale"), &json!(1), &json!({"replicas": 3, "selector": "a=b"}))
    );
    world
        .patch(
            "merge-patch+json",
            &format!("{path}/scale"),
            &json!({"spec": {"replicas": 4}}),
        )
        .await
        .expect(200);
    let now = world.get(&path).await.expect(200);
    assert_eq!(
        (&now["spec"]["replicas"], &now["metadata"]["generation"]),
        (&json!(4), &json!(2))
    );
}

#[tokio::test]
async fn apply_merges_by_the_definitions_keys() {
    let world = defined().await;
    let path = format!("{TABS}/a");
    let apply = |manager: &str, spec: Value| {
        let path = format!("{path}?fieldManager={manager}");
        let world = &world;
        async move {
            world
                .write(
                    User::admin(),
                    Method::PATCH,
                    &path,
                    "application/apply-patch+yaml",
                    &tab("a", spec),
                )
                .await
        }
    };
    let one = json!({"cronSpec": "* * * * */5", "ports": [{"name": "x", "port": 1}]});
    apply("one", one).await.expect(201);
    let both = apply("two", json!({"ports": [{"name": "y", "port": "http"}]}))
        .await
        .expect(200);
    assert_eq!(
        both["spec"]["ports"],
        json!([{"name": "x", "port": 1}, {"name": "y", "port": "http"}])
    );
    let conflict = apply("two", json!({"cronSpec": "1 * * * */5"})).await.expect(409);
    assert!(
        conflict["message"]
            .as_str()
            .unwrap()
            .contains("conflict with \"one\": .spec.cronSpec"),
        "{conflict}"
    );
}

#[tokio::test]
async fn apply_tells_of_keys_that_stand_twice() {
    let world = defined().await;
    let text = "apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata:\n  name: twice\nspec:\n  cronSpec: \"* * * * */5\"\n  \
                replicas: 1\n  replicas: 2\n";
    let path = |validation: &str| format!("{TABS}/twice?fieldManager=me&fieldValidation={validation}");
    let refused = world.apply_yaml(&path("Strict"), text).await.expect(400);
    assert_eq!(
        refused["message"],
        "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n  line 8: key \"replicas\" \
         already set in map"
    );
    let made = world.apply_yaml(&path("Ignore"), text).await.expect(201);
    assert_eq!(made["spec"]["replicas"], 2);
    let unknown = text.replace("  replicas: 1\n", "  other: 1\n");
    let refused = world.apply_yaml(&path("Strict"), &unknown).await;
    let message = refused.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(
        message.ends_with(".spec.other: field not declared in schema"),
        "{message}"
    );
}

#[tokio::test]
async fn tables_and_selections_are_the_definitions() {
    let world = defined().await;
    for (name, color) in [("a", "red"), ("b", "blue")] {
        let spec = json!({"cronSpec": "* * * * */5", "color": color});
        world.post(TABS, &tab(name, spec)).await.expect(201);
    }
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table: Value = serde_json::from_slice(&world.get_as(User::admin(), TABS, accept).await.bytes).unwrap();
    let heads: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(heads, ["Name", "Spec", "Age"]);
    assert_eq!(table["rows"][0]["cells"][1], "* * * * */5");
    let red = world
        .get(&format!("{TABS}?fieldSelector=spec.color%3Dred"))
        .await
        .expect(200);
    assert_eq!(red["items"].as_array().unwrap().len(), 1);
    assert_eq!(red["kind"], "CronTabList");
    let wrong = world
        .get(&format!("{TABS}?fieldSelector=spec.replicas%3D1"))
        .await
        .expect(400);
    assert_eq!(
        wrong["message"],
        "field label \"spec.replicas\" not supported for CronTab"
    );
}

#[tokio::test]
async fn a_definition_goes_with_all_its_objects() {
    let world = defined().await;
    let mut held = tab("held", json!({"cronSpec": "* * * * */5"}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.post(TABS, &held).await.expect(201);
    world
        .post(TABS, &tab("free", json!({"cronSpec": "* * * * */5"})))
        .await
        .expect(201);
    let path = format!("{DEFINITIONS}/crontabs.stable.example.com");
    let marked = world.delete(&path).await.expect(200);
    assert_eq!(
        marked["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"])
    );
    until(&world, &format!("{TABS}/free"), |code, _| code == 404).await;
    let waiting = until(&world, &path, |_, object| {
        condition(object, "Terminating").is_some_and(|one| one["reason"] == "InstanceDeletionInProgress")
    })
    .await;
    assert!(waiting["metadata"]["deletionTimestamp"].is_string());
    let new = tab("new", json!({"cronSpec": "* * * * */5"}));
    world.post(TABS, &new).await.expect(405);
    world
        .patch(
            "merge-patch+json",
            &format!("{TABS}/held"),
            &json!({"metadata": {"finalizers": null}}),
        )
        .await
        .expect(200);
    until(&world, &path, |code, _| code == 404).await;
    until(&world, TABS, |code, _| code == 404).await;
    // And it can come again.
    world.post(DEFINITIONS, &definition()).await.expect(201);
    until(&world, TABS, |code, list| code == 200 && list["items"] == json!([])).await;
}

#[tokio::test]
async fn a_definition_that_makes_no_sense_is_refused() {
    let world = World::new().await;
    let mut wrong = definition();
    wrong["metadata"]["name"] = "other.stable.example.com".into();
    wrong["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["type"] = Value::Null;
    let refused = world.post(DEFINITIONS, &wrong).await.expect(422);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains(
            "metadata.name: Invalid value: \"other.stable.example.com\": must be spec.names.plural+\".\"+spec.group"
        ),
        "{message}"
    );
    assert!(
        message.contains(
            "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified \
             object fields"
        ),
        "{message}"
    );
}

#[tokio::test]
async fn two_definitions_can_not_have_one_name() {
    let world = defined().await;
    let mut second = definition();
    second["metadata"]["name"] = "crons.stable.example.com".into();
    second["spec"]["names"] = json!({"plural": "crons", "kind": "CronTab"});
    world.post(DEFINITIONS, &second).await.expect(201);
    let path = format!("{DEFINITIONS}/crons.stable.example.com");
    let refused = until(&world, &path, |_, object| condition(object, "NamesAccepted").is_some()).await;
    let accepted = condition(&refused, "NamesAccepted").unwrap();
    assert_eq!(
        (&accepted["status"], &accepted["reason"]),
        (&json!("False"), &json!("ListKindConflict"))
    );
    assert_eq!(world.get("/apis/stable.example.com/v1/crons").await.code, 404);
    world
        .delete(&format!("{DEFINITIONS}/crontabs.stable.example.com"))
        .await
        .expect(200);
    until(&world, &path, |_, object| {
        condition(object, "Established").is_some_and(|one| one["status"] == "True")
    })
    .await;
}
