//! Ownership and apply over a small schema made by hand.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::merge::Problem;
use crate::merge::sample::Sample;

/// A world with one object, as a server would keep it.
struct World {
    sample: Sample,
    reset: ResetFields,
    subresource: &'static str,
    live: Option<Value>,
    clock: i64,
}

impl World {
    fn new() -> Self {
        Self {
            sample: Sample::new(),
            reset: ResetFields::Nothing,
            subresource: "",
            live: None,
            clock: 1_000,
        }
    }

    fn target(&self) -> Target<'_> {
        Target {
            schema: &self.sample.schema,
            ty: self.sample.ty,
            api_version: "apps/v1",
            kind: "Deployment",
            subresource: self.subresource,
            reset: &self.reset,
            versions: &OneVersion,
        }
    }

    fn now(&mut self) -> Timestamp {
        self.clock += 60;
        Timestamp::from_second(self.clock).expect("in range")
    }

    fn store(&mut self, mut object: Value) {
        object["metadata"]["uid"] = "some-uid".into();
        self.live = Some(object);
    }

    fn try_apply(&mut self, manager: &str, object: &Value, force: bool) -> Result<(), Problem> {
        let now = self.now();
        let config = Config { object, manager, force };
        let applied = apply(&self.target(), self.live.as_ref(), config, now)?;
        self.store(applied);
        Ok(())
    }

    fn apply(&mut self, manager: &str, spec: Value) {
        self.try_apply(manager, &Sample::object(spec), false).expect("applies");
    }

    fn update(&mut self, manager: &str, mut object: Value) {
        let now = self.now();
        track_update(&self.target(), self.live.as_ref(), &mut object, manager, now);
        self.store(object);
    }

    fn live(&self) -> &Value {
        self.live.as_ref().expect("stored")
    }

    /// Manager, operation, subresource, and what it owns, for each entry.
    fn owners(&self) -> Vec<(String, Value)> {
        let entries = managed::of(self.live())
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or("").to_owned();
        entries
            .iter()
            .map(|entry| {
                let subresource = text(entry, "subresource");
                let slash = if subresource.is_empty() { "" } else { "/" };
                let name = format!(
                    "{} {}{slash}{subresource}",
                    text(entry, "manager"),
                    text(entry, "operation")
                );
                (name, entry["fieldsV1"].clone())
            })
            .collect()
    }

    fn owner(&self, name: &str) -> Option<Value> {
        self.owners()
            .into_iter()
            .find(|(owner, _)| owner == name)
            .map(|(_, fields)| fields)
    }
}

fn containers(image: &str) -> Value {
    json!([{"name": "c", "image": image}])
}

#[test]
fn an_apply_creates_and_owns_what_it_says() {
    let mut world = World::new();
    world.apply(
        "me",
        json!({"replicas": 1, "template": {"spec": {
            "args": ["a"], "nodeSelector": {"a": "b"},
            "containers": [{"name": "c", "ports": [{"containerPort": 80}], "resources": {}}],
        }}}),
    );
    let fields = json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {
        "f:args": {}, "f:nodeSelector": {},
        "f:containers": {"k:{\"name\":\"c\"}": {
            ".": {}, "f:name": {}, "f:resources": {},
            "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
        }},
    }}}});
    assert_eq!(world.owners(), [("me Apply".to_owned(), fields)]);
    let entry = &managed::of(world.live()).expect("managed")[0];
    assert_eq!(entry["time"], "1970-01-01T00:17:40Z");
    assert_eq!(
        (&entry["apiVersion"], &entry["fieldsType"]),
        (&json!("apps/v1"), &json!("FieldsV1"))
    );
}

#[test]
fn applying_again_changes_nothing() {
    let mut world = World::new();
    world.apply(
        "me",
        json!({"replicas": 1, "template": {"spec": {"containers": containers("x")}}}),
    );
    let before = world.live().clone();
    world.apply(
        "me",
        json!({"replicas": 1, "template": {"spec": {"containers": containers("x")}}}),
    );
    assert_eq!(*world.live(), before);
}

#[test]
fn another_owner_is_a_conflict_until_forced() {
    let mut world = World::new();
    world.update("kubectl-client-side-apply", Sample::object(json!({"replicas": 3})));
    let mine = Sample::object(json!({"replicas": 1}));
    let problem = world.try_apply("me", &mine, false).expect_err("conflicts");
    assert_eq!(
        problem.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas"
    );
    let status = meta::Status::from(problem).to_value();
    assert_eq!((&status["code"], &status["reason"]), (&json!(409), &json!("Conflict")));
    assert_eq!(
        status["details"]["causes"],
        json!([{
            "reason": "FieldManagerConflict",
            "message": "conflict with \"kubectl-client-side-apply\" using apps/v1",
            "field": ".spec.replicas",
        }])
    );
    world.try_apply("me", &mine, true).expect("forced");
    assert_eq!(world.live()["spec"]["replicas"], 1);
    assert_eq!(world.owners().len(), 1);
}

#[test]
fn several_conflicts_are_listed_by_manager() {
    let mut world = World::new();
    world.apply("b", json!({"replicas": 1, "paused": true}));
    world.apply("a", json!({"template": {"spec": {"containers": containers("x")}}}));
    let mine =
        Sample::object(json!({"replicas": 2, "paused": false, "template": {"spec": {"containers": containers("y")}}}));
    let problem = world.try_apply("me", &mine, false).expect_err("conflicts");
    assert_eq!(
        problem.to_string(),
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .spec.template.spec.containers[name=\"c\"].image\n\
         conflicts with \"b\":\n- .spec.paused\n- .spec.replicas"
    );
}

#[test]
fn the_same_value_is_owned_together() {
    let mut world = World::new();
    world.apply("a", json!({"replicas": 1}));
    world.apply("b", json!({"replicas": 1}));
    assert_eq!(world.owners().len(), 2);
    // The first gives it up, the second keeps it.
    world.apply("a", json!({"paused": true}));
    let spec = &world.live()["spec"];
    assert_eq!((&spec["replicas"], &spec["paused"]), (&json!(1), &json!(true)));
    let nothing = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
    world.try_apply("b", &nothing, false).expect("applies");
    let spec = &world.live()["spec"];
    assert_eq!((&spec["replicas"], &spec["paused"]), (&Value::Null, &json!(true)));
    assert_eq!(world.owners().len(), 1, "an owner of nothing is forgotten");
}

#[test]
fn what_is_applied_no_more_goes_with_its_defaults() {
    let mut world = World::new();
    world.apply(
        "me",
        json!({"template": {"spec": {"containers": [{"name": "c"}, {"name": "d"}]}}}),
    );
    let mut defaulted = world.live().clone();
    defaulted["spec"]["template"]["spec"]["containers"][1]["image"] = "default".into();
    world.live = Some(defaulted);
    world.apply("me", json!({"template": {"spec": {"containers": [{"name": "c"}]}}}));
    assert_eq!(
        world.live()["spec"]["template"]["spec"],
        json!({"containers": [{"name": "c"}]})
    );
}

#[test]
fn an_item_stays_as_long_as_an_applier_has_a_part_of_it() {
    let mut world = World::new();
    world.apply(
        "a",
        json!({"template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}}),
    );
    let env = json!([{"name": "A", "value": "1"}]);
    world.apply(
        "b",
        json!({"template": {"spec": {"containers": [{"name": "c", "env": env}]}}}),
    );
    world.apply("a", json!({}));
    assert_eq!(
        world.live()["spec"]["template"]["spec"]["containers"],
        json!([{"name": "c", "env": [{"name": "A", "value": "1"}]}])
    );
}

#[test]
fn an_update_takes_fields_from_an_applier() {
    let mut world = World::new();
    world.apply("me", json!({"replicas": 1, "paused": true}));
    let mut object = world.live().clone();
    object["spec"]["replicas"] = 5.into();
    world.update("scaler", object);
    assert_eq!(world.owner("me Apply"), Some(json!({"f:spec": {"f:paused": {}}})));
    assert_eq!(
        world.owner("scaler Update"),
        Some(json!({"f:spec": {"f:replicas": {}}}))
    );
}

#[test]
fn creation_owns_no_struct_that_is_always_there() {
    let mut world = World::new();
    let mut object = Sample::object(json!({"replicas": 1, "strategy": {"rollingUpdate": {"maxSurge": 1}}}));
    object["metadata"]["labels"] = json!({"a": "b"});
    world.update("me", object);
    assert_eq!(
        world.owner("me Update"),
        Some(json!({
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {"f:replicas": {}, "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}}},
        }))
    );
}

#[test]
fn a_write_that_changes_nothing_owns_nothing() {
    let mut world = World::new();
    world.update("a", Sample::object(json!({"replicas": 1})));
    let before = world.live().clone();
    world.update("b", before.clone());
    assert_eq!(*world.live(), before);
}

#[test]
fn clients_may_leave_out_replace_and_clear_managed_fields() {
    let mut world = World::new();
    world.update("a", Sample::object(json!({"replicas": 1})));
    // Left out: kept.
    world.update("b", Sample::object(json!({"replicas": 1, "paused": true})));
    assert_eq!(world.owners().len(), 2);
    // Replaced.
    let mut object = world.live().clone();
    object["metadata"]["managedFields"]
        .as_array_mut()
        .expect("list")
        .remove(0);
    world.update("c", object);
    assert_eq!(world.owners().len(), 1);
    // Unreadable: kept.
    let mut object = world.live().clone();
    object["metadata"]["managedFields"][0]["operation"] = "Guess".into();
    world.update("c", object);
    assert_eq!(world.owners().len(), 1);
    // Cleared, and it stays clear until somebody applies.
    for cleared in [json!([]), json!([{}])] {
        let mut object = world.live().clone();
        object["metadata"]["managedFields"] = cleared;
        world.update("c", object);
        assert_eq!(world.owners().len(), 0);
        let mut object = world.live().clone();
        object["spec"]["replicas"] = json!(object["spec"]["replicas"].as_i64().expect("number") + 1);
        world.update("c", object);
        assert_eq!(world.owners().len(), 0);
        world
            .try_apply("me", &Sample::object(json!({"paused": true})), false)
            .expect("same value");
        assert!(world.owner("before-first-apply Update").is_some());
    }
}

#[test]
fn a_subresource_has_its_own_managers_and_can_not_set_managed_fields() {
    let mut world = World::new();
    world.update("a", Sample::object(json!({"replicas": 1})));
    world.subresource = "status";
    world.reset = ResetFields::these(&["spec", "metadata.labels"]);
    let mut object = world.live().clone();
    object["status"] = json!({"replicas": 1});
    object["spec"]["replicas"] = 7.into();
    object["metadata"]["managedFields"] = json!([]);
    world.update("a", object);
    assert_eq!(world.owner("a Update"), Some(json!({"f:spec": {"f:replicas": {}}})));
    assert_eq!(
        world.owner("a Update/status"),
        Some(json!({"f:status": {".": {}, "f:replicas": {}}}))
    );
}

#[test]
fn the_eleventh_updater_makes_ancient_changes() {
    let mut world = World::new();
    world.update("m0", Sample::object(json!({"replicas": 1})));
    for index in 1..=12 {
        let mut object = world.live().clone();
        object["metadata"]["labels"][format!("l{index}")] = "x".into();
        world.update(&format!("m{index}"), object);
    }
    let owners = world.owners();
    assert_eq!(owners.len(), 10);
    assert_eq!(
        world.owner("ancient-changes Update"),
        Some(
            json!({"f:metadata": {"f:labels": {".": {}, "f:l1": {}, "f:l2": {}, "f:l3": {}}}, "f:spec": {"f:replicas": {}}})
        )
    );
}

#[test]
fn kubectl_takes_over_what_it_applied_from_the_client() {
    let mut world = World::new();
    let config = json!({"replicas": 1, "paused": true});
    let mut object = Sample::object(config.clone());
    let text = Sample::object(config).to_string();
    object["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": text});
    world.update("kubectl-client-side-apply", object);
    world.apply("kubectl", json!({"replicas": 2}));
    assert_eq!(world.live()["spec"], json!({"replicas": 2, "paused": true}));
    let annotation = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";
    let text = world
        .live()
        .pointer(annotation)
        .and_then(Value::as_str)
        .expect("kept in step");
    assert_eq!(text, format!("{}\n", Sample::object(json!({"replicas": 2}))));
    // Somebody else's change is a conflict all the same.
    let mut object = world.live().clone();
    object["spec"]["replicas"] = 9.into();
    world.update("scaler", object);
    let mine = Sample::object(json!({"replicas": 2}));
    assert!(matches!(
        world.try_apply("kubectl", &mine, false),
        Err(Problem::Conflicts(_))
    ));
}

#[test]
fn what_does_not_fit_is_refused_in_kubernetes_words() {
    let mut world = World::new();
    let mut refused = |object: Value| {
        let status = meta::Status::from(world.try_apply("me", &object, false).expect_err("refused"));
        (status.code, status.message)
    };
    let prefix = "failed to create typed patch object (/web; apps/v1, Kind=Deployment): ";
    let plain = |text: &str| (500, format!("{prefix}{text}"));
    assert_eq!(
        refused(Sample::object(json!({"x": 1}))),
        plain(".spec.x: field not declared in schema")
    );
    assert_eq!(
        refused(Sample::object(json!({"replicas": "1", "paused": 1}))),
        plain(
            "errors:\n  .spec.paused: expected boolean, got &{1}\n  .spec.replicas: expected numeric (int or float), got string"
        )
    );
    let twice = json!({"template": {"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}});
    assert_eq!(
        refused(Sample::object(twice)),
        plain(".spec.template.spec.containers: duplicate entries for key [name=\"c\"]")
    );
    let mut managed = Sample::object(json!({}));
    managed["metadata"]["managedFields"] = json!([]);
    assert_eq!(refused(managed), (400, "metadata.managedFields must be nil".into()));
    let other = json!({"apiVersion": "v1", "kind": "Pod"});
    assert_eq!(refused(other), (400, "invalid object type: /v1, Kind=Pod".into()));
}

#[test]
fn nulls_are_owned_and_absent() {
    let mut world = World::new();
    world.update("a", Sample::object(json!({"paused": true})));
    world.apply("me", json!({"replicas": null}));
    assert_eq!(world.owner("me Apply"), Some(json!({"f:spec": {"f:replicas": {}}})));
    assert_eq!(world.live()["spec"], json!({"paused": true}));
}

#[test]
fn a_configuration_orders_a_list_that_has_more() {
    let mut world = World::new();
    let item = |name: &str| json!({"name": name});
    let template = |items: Value| json!({"template": {"spec": {"containers": items}}});
    world.update(
        "a",
        Sample::object(template(json!([item("x"), item("a"), item("y"), item("b")]))),
    );
    world.apply("me", template(json!([item("b"), item("n"), item("a")])));
    let names: Vec<&str> = world.live()["spec"]["template"]["spec"]["containers"]
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|item| item["name"].as_str())
        .collect();
    assert_eq!(names, ["x", "y", "b", "n", "a"]);
}

#[test]
fn only_times_differ_means_no_write() {
    let mut world = World::new();
    world.apply("me", json!({"replicas": 1}));
    let old = world.live().clone();
    let mut new = old.clone();
    new["metadata"]["managedFields"][0]["time"] = "2030-01-01T00:00:00Z".into();
    keep_times(&old, &mut new);
    assert_eq!(new, old);
    new["metadata"]["managedFields"][0]["time"] = "2030-01-01T00:00:00Z".into();
    new["spec"]["replicas"] = 2.into();
    keep_times(&old, &mut new);
    assert_ne!(new["metadata"], old["metadata"]);
}

#[test]
fn all_but_matches_with_wildcards() {
    let reset = ResetFields::all_but(&["spec.template.spec.containers.*.image"]);
    let sample = Sample::new();
    let object = Sample::object(json!({"replicas": 1, "template": {"spec": {"containers": containers("x")}}}));
    let set = crate::merge::typed::fields_of(&sample.schema, sample.ty, &object);
    let paths: Vec<String> = reset.filter(set).paths().iter().map(ToString::to_string).collect();
    assert_eq!(
        paths,
        [
            ".spec.template.spec.containers[name=\"c\"]",
            ".spec.template.spec.containers[name=\"c\"].image"
        ]
    );
}

#[test]
fn names_come_from_the_user_agent() {
    assert_eq!(manager_name("mine", "kubectl/v1"), "mine");
    assert_eq!(manager_name("", "kubectl/v1.37 (linux)"), "kubectl");
    assert_eq!(manager_name("", "a\tb\u{7f}c"), "abc");
    assert_eq!(manager_name("", &"é".repeat(100)).len(), 128);
    let mut world = World::new();
    world.update("", Sample::object(json!({"replicas": 1})));
    assert!(world.owner("unknown Update").is_some());
}

#[test]
fn the_owner_of_the_replicas_is_the_same_in_the_scale() {
    let paths: ReplicasPaths<'_> = &[("apps/v1", Some(&["spec", "replicas"]))];
    let mut world = World::new();
    world.apply("me", json!({"replicas": 1, "paused": true}));
    let parent = managed::of(world.live()).cloned();
    let scale = to_scale(parent.as_ref(), paths).expect("reads").expect("owned");
    assert_eq!(scale[0]["apiVersion"], "autoscaling/v1");
    assert_eq!(scale[0]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    let scaled = json!([{
        "manager": "hpa", "operation": "Update", "apiVersion": "autoscaling/v1", "subresource": "scale",
        "time": "2030-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}},
    }]);
    let back = from_scale(parent.as_ref(), Some(&scaled), "apps/v1", paths)
        .expect("reads")
        .expect("owned");
    assert_eq!(back[0]["fieldsV1"], json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(
        (&back[1]["manager"], &back[1]["apiVersion"]),
        (&json!("hpa"), &json!("apps/v1"))
    );
    assert_eq!(back[1]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
}

/// Specs of the sample, few enough values that two have things in common.
pub(in crate::merge) fn spec() -> impl Strategy<Value = Value> {
    let text = || prop::sample::select(vec!["a", "b", "c"]);
    let maybe = |name: &'static str, value: BoxedStrategy<Value>| {
        prop::option::of(value).prop_map(move |value| value.map(|value| (name.to_owned(), value)))
    };
    let object = |fields: Vec<Option<(String, Value)>>| Value::Object(fields.into_iter().flatten().collect());
    let map = || {
        prop::collection::btree_map("[k-m]", text(), 0..3)
            .prop_map(|map| json!(map))
            .boxed()
    };
    let env = (text(), text()).prop_map(|(name, value)| json!({"name": name, "value": value}));
    let port =
        (1..3, prop::option::of(prop::sample::select(vec!["TCP", "UDP"]))).prop_map(
            |(port, protocol)| match protocol {
                Some(protocol) => json!({"containerPort": port, "protocol": protocol}),
                None => json!({"containerPort": port}),
            },
        );
    let container = (
        text().prop_map(|name| Some(("name".to_owned(), json!(name)))),
        maybe("image", text().prop_map(Value::from).boxed()),
        maybe("env", distinct(env, &["name"])),
        maybe("ports", distinct(port, &["containerPort"])),
    )
        .prop_map(move |(name, image, env, ports)| object(vec![name, image, env, ports]));
    let volume = (text(), any::<bool>()).prop_map(|(name, host)| match host {
        true => json!({"name": name, "hostPath": {"path": "/"}}),
        false => json!({"name": name, "emptyDir": {}}),
    });
    let pod = (
        maybe("containers", distinct(container, &["name"])),
        maybe("volumes", distinct(volume, &["name"])),
        maybe(
            "args",
            prop::collection::vec(text(), 0..3).prop_map(|args| json!(args)).boxed(),
        ),
        maybe("nodeSelector", map()),
    )
        .prop_map(move |(containers, volumes, args, selector)| object(vec![containers, volumes, args, selector]));
    (
        maybe("replicas", (0..3).prop_map(Value::from).boxed()),
        maybe("template", pod.prop_map(|spec| json!({"spec": spec})).boxed()),
    )
        .prop_map(move |(replicas, template)| object(vec![replicas, template]))
}

fn distinct(item: impl Strategy<Value = Value> + 'static, keys: &'static [&str]) -> BoxedStrategy<Value> {
    prop::collection::vec(item, 0..4)
        .prop_map(move |items| {
            let mut out: Vec<Value> = Vec::new();
            for item in items {
                if !out.iter().any(|other| keys.iter().all(|key| other[key] == item[key])) {
                    out.push(item);
                }
            }
            Value::Array(out)
        })
        .boxed()
}

proptest! {
    #[test]
    fn whatever_is_applied_twice_is_applied_once(first in spec(), theirs in spec(), mine in spec()) {
        let mut world = World::new();
        world.update("creator", Sample::object(first));
        world.try_apply("them", &Sample::object(theirs), true).expect("forced");
        world.try_apply("me", &Sample::object(mine.clone()), true).expect("forced");
        let before = world.live().clone();
        world.try_apply("me", &Sample::object(mine.clone()), false).expect("nobody else owns it now");
        prop_assert_eq!(world.live(), &before);
        // What I applied is there, and nothing is owned that isn't.
        let sample = Sample::new();
        let applied = crate::merge::typed::fields_of(&sample.schema, sample.ty, &Sample::object(mine));
        let owned = crate::merge::fields::decode(&world.owner("me Apply").unwrap_or_else(|| json!({}))).expect("decodes");
        prop_assert!(owned.is_subset(&applied));
    }

    #[test]
    fn an_update_leaves_nobody_owning_what_is_gone(first in spec(), second in spec()) {
        let mut world = World::new();
        world.update("a", Sample::object(first));
        world.update("b", Sample::object(second));
        let live = crate::merge::typed::compare(
            &world.sample.schema, world.sample.ty, &json!({}), world.live(),
        ).expect("compares").added;
        for (_, fields) in world.owners() {
            let owned = crate::merge::fields::decode(&fields).expect("decodes");
            prop_assert!(owned.is_subset(&live));
        }
    }
}
