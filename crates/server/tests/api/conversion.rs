//! Conversion of custom resources by a webhook.

use serde_json::{Value, json};

use crate::hook::Hook;
use crate::watching::Stream;
use crate::world::World;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn path(version: &str) -> String {
    format!("/apis/stable.example.com/{version}/namespaces/default/places")
}

fn versions(storage: &str) -> Value {
    let version = |name: &str, fields: &[&str]| {
        let properties = fields
            .iter()
            .map(|field| ((*field).to_owned(), json!({"type": "string"})));
        let selectable = fields.iter().map(|field| json!({"jsonPath": format!(".{field}")}));
        json!({"name": name, "served": true, "storage": name == storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": Value::Object(properties.collect())}},
            "selectableFields": selectable.collect::<Vec<_>>()})
    };
    json!([version("v1", &["hostPort"]), version("v2", &["host", "port"])])
}

fn definition(hook: &Hook, path: &str) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "places.stable.example.com"},
        "spec": {"group": "stable.example.com", "scope": "Namespaced", "versions": versions("v1"),
            "names": {"plural": "places", "kind": "Place"},
            "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": hook.client(path),
                "conversionReviewVersions": ["v1"]}}}})
}

/// `hostPort` is `host` and `port`.
fn convert(path: &str, review: &Value) -> Value {
    let request = &review["request"];
    let wanted = request["desiredAPIVersion"].as_str().unwrap();
    let converted = request["objects"].as_array().unwrap().iter().map(|object| {
        let mut object = object.clone();
        let fields = object.as_object_mut().unwrap();
        fields.insert("apiVersion".to_owned(), json!(wanted));
        if wanted.ends_with("v2") {
            if let Some(Value::String(both)) = fields.remove("hostPort") {
                let (host, port) = both.split_once(':').unwrap();
                fields.insert("host".to_owned(), json!(host));
                fields.insert("port".to_owned(), json!(port));
            }
        } else if let (Some(Value::String(host)), Some(Value::String(port))) =
            (fields.remove("host"), fields.remove("port"))
        {
            fields.insert("hostPort".to_owned(), json!(format!("{host}:{port}")));
        }
        object
    });
    let converted: Vec<Value> = converted.collect();
    let result = match path.starts_with("/refuse") {
        true => json!({"status": "Failure", "message": "out of order"}),
        false => json!({"status": "Success"}),
    };
    json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
        "response": {"uid": request["uid"], "result": result, "convertedObjects": converted}})
}

async fn defined(world: &World, hook: &Hook, route: &str) {
    world.post(DEFINITIONS, &definition(hook, route)).await.expect(201);
    for _ in 0..500 {
        if world.get(&path("v2")).await.code == 200 && world.get(&path("v1")).await.code == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the definition isn't served");
}

fn place(name: &str) -> Value {
    json!({"apiVersion": "stable.example.com/v1", "kind": "Place", "metadata": {"name": name, "labels": {"a": "b"}},
        "hostPort": "localhost:8080"})
}

#[tokio::test]
async fn objects_are_read_and_written_in_each_version() {
    let (world, hook) = (World::new().await, Hook::start(&[], convert).await);
    defined(&world, &hook, "/convert").await;
    let made = world.post(&path("v1"), &place("one")).await.expect(201);
    assert_eq!(made["hostPort"], "localhost:8080");
    assert_eq!(
        hook.asked().len(),
        0,
        "what is stored as it was sent needs no conversion"
    );
    let one = format!("{}/one", path("v2"));
    let shown = world.get(&one).await.expect(200);
    assert_eq!(shown["apiVersion"], "stable.example.com/v2");
    assert_eq!([&shown["host"], &shown["port"]], ["localhost", "8080"]);
    assert_eq!(shown["hostPort"], Value::Null);
    assert_eq!(shown["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(
        shown["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    let (route, review) = hook.asked().pop().unwrap();
    assert_eq!(route, "/convert?timeout=30s");
    assert_eq!(review["request"]["objects"][0]["apiVersion"], "stable.example.com/v1");
    // A result is kept: reading again asks nobody.
    world.get(&one).await.expect(200);
    assert_eq!(hook.asked().len(), 1);
    // Written in the version that isn't stored.
    let patched = world
        .patch("merge-patch+json", &one, &json!({"port": "9090"}))
        .await
        .expect(200);
    assert_eq!(patched["port"], "9090");
    let shown = world.get(&format!("{}/one", path("v1"))).await.expect(200);
    assert_eq!(shown["hostPort"], "localhost:9090");
    assert_eq!(shown["metadata"]["labels"]["a"], "b");
    world.delete(&one).await.expect(200);
    world.get(&one).await.expect(404);
}

#[tokio::test]
async fn a_list_of_objects_in_several_stored_versions() {
    let (world, hook) = (World::new().await, Hook::start(&[], convert).await);
    defined(&world, &hook, "/convert").await;
    world.post(&path("v1"), &place("one")).await.expect(201);
    let change = json!({"spec": {"versions": versions("v2")}});
    let definition = format!("{DEFINITIONS}/places.stable.example.com");
    world.patch("merge-patch+json", &definition, &change).await.expect(200);
    // The change is served a moment later; until then the old version is stored.
    let mut number = 0;
    loop {
        number += 1;
        let before = hook.asked().len();
        world
            .post(&path("v1"), &place(&format!("later-{number}")))
            .await
            .expect(201);
        if hook.asked().len() > before {
            break;
        }
        assert!(number < 500, "the storage version doesn't change");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for (version, field, value) in [("v1", "hostPort", "localhost:8080"), ("v2", "port", "8080")] {
        let list = world.get(&path(version)).await.expect(200);
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), number + 1);
        for item in items {
            assert_eq!(item[field], value, "{item}");
            assert_eq!(item["apiVersion"], format!("stable.example.com/{version}"));
        }
    }
}

#[tokio::test]
async fn a_conversion_that_fails_is_told() {
    let (world, hook) = (World::new().await, Hook::start(&[], convert).await);
    defined(&world, &hook, "/refuse").await;
    world.post(&path("v1"), &place("one")).await.expect(201);
    let status = world.get(&format!("{}/one", path("v2"))).await.expect(500);
    assert_eq!(
        status["message"],
        "conversion webhook for stable.example.com/v1, Kind=Place failed: out of order"
    );
    world.get(&format!("{}/one", path("v1"))).await.expect(200);
    world.get(&path("v1")).await.expect(200);
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn selectors_look_at_the_version_that_is_asked_for() {
    let (world, hook) = (World::new().await, Hook::start(&[], convert).await);
    defined(&world, &hook, "/convert").await;
    let mut by_host = Stream::of(&world, &path("v2"), "fieldSelector=host=one").await;
    let mut by_both = Stream::of(&world, &path("v1"), "fieldSelector=hostPort=one:80").await;
    for (name, host, port) in [("a", "one", "80"), ("b", "one", "8080"), ("c", "two", "80")] {
        let place = json!({"apiVersion": "stable.example.com/v2", "kind": "Place", "metadata": {"name": name},
            "host": host, "port": port});
        world.post(&path("v2"), &place).await.expect(201);
    }
    for (version, selector, expected) in [
        ("v2", "host=one", &["a", "b"][..]),
        ("v2", "host=one,port=80", &["a"]),
        ("v2", "host!=one", &["c"]),
        ("v1", "hostPort=one:8080", &["b"]),
        ("v2", "host=one,metadata.name=b", &["b"]),
    ] {
        let list = world.get(&format!("{}?fieldSelector={selector}", path(version))).await;
        assert_eq!(names(&list.expect(200)), expected, "{selector}");
    }
    let page = world
        .get(&format!("{}?fieldSelector=port=80&limit=1", path("v2")))
        .await
        .expect(200);
    assert_eq!(names(&page), ["a"]);
    let token = page["metadata"]["continue"].as_str().unwrap();
    let page = format!("{}?fieldSelector=port=80&limit=1&continue={token}", path("v2"));
    let page = world.get(&page).await.expect(200);
    assert_eq!((names(&page), &page["metadata"]["continue"]), (vec!["c"], &Value::Null));

    by_host.expect("ADDED", "a").await;
    by_host.expect("ADDED", "b").await;
    by_both.expect("ADDED", "a").await;
    let moved = json!({"host": "two"});
    world
        .patch("merge-patch+json", &format!("{}/b", path("v2")), &moved)
        .await
        .expect(200);
    by_host.expect("DELETED", "b").await;
    world
        .delete(&format!("{}?fieldSelector=host=one", path("v2")))
        .await
        .expect(200);
    by_host.expect("DELETED", "a").await;
    by_both.expect("DELETED", "a").await;
    assert_eq!(names(&world.get(&path("v1")).await.expect(200)), ["b", "c"]);
    let mut late = Stream::of(&world, &path("v2"), "fieldSelector=host=two").await;
    late.expect("ADDED", "b").await;
    late.expect("ADDED", "c").await;
}
