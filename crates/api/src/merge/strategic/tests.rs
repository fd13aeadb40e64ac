//! Strategic merge over a small schema made by hand.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::merge::apply::tests::spec;
use crate::merge::sample::Sample;

fn patched(current: Value, patch: Value) -> Result<Value, Problem> {
    let sample = Sample::new();
    let (current, patch) = (Sample::object(current), json!({"spec": patch}));
    strategic(&sample.schema, sample.ty, &current, &patch).map(|mut object| object["spec"].take())
}

fn pod(spec: Value) -> Value {
    json!({"template": {"spec": spec}})
}

#[test]
fn lists_merge_by_key_or_are_replaced() {
    let current = pod(json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}], "args": ["x", "y"]}));
    let patch = pod(json!({"containers": [{"name": "c"}, {"name": "a", "image": "2"}], "args": ["z"]}));
    let expected = json!({"containers": [{"name": "c"}, {"name": "a", "image": "2"}, {"name": "b"}], "args": ["z"]});
    assert_eq!(patched(current, patch), Ok(pod(expected)));
}

#[test]
fn directives_delete_and_replace() {
    let current = pod(json!({"containers": [{"name": "a"}, {"name": "b", "image": "1"}], "nodeSelector": {"x": "y"}}));
    let patch = pod(
        json!({"containers": [{"name": "a", "$patch": "delete"}], "nodeSelector": {"$patch": "replace", "z": "1"}}),
    );
    let expected = json!({"containers": [{"name": "b", "image": "1"}], "nodeSelector": {"z": "1"}});
    assert_eq!(patched(current.clone(), patch), Ok(pod(expected)));
    let patch =
        pod(json!({"containers": [{"$patch": "replace"}, {"name": "n"}], "nodeSelector": {"$patch": "delete"}}));
    assert_eq!(
        patched(current.clone(), patch),
        Ok(pod(json!({"containers": [{"name": "n"}], "nodeSelector": {}})))
    );
    // Directives and nulls in what is new leave no trace.
    let patch = pod(json!({"volumes": [{"name": "v", "emptyDir": {"$patch": "delete"}, "hostPath": null}]}));
    let expected = pod(json!({
        "containers": [{"name": "a"}, {"name": "b", "image": "1"}], "nodeSelector": {"x": "y"},
        "volumes": [{"name": "v"}],
    }));
    assert_eq!(patched(current, patch), Ok(expected));
}

#[test]
fn declared_order_wins_and_the_servers_items_stay_between() {
    let names = |names: &[&str]| -> Value { names.iter().map(|name| json!({"name": name})).collect() };
    let current = pod(json!({"containers": names(&["x", "a", "y", "b"])}));
    let patch = pod(json!({
        "containers": names(&["n"]), "$setElementOrder/containers": names(&["b", "n", "a"]),
    }));
    assert_eq!(
        patched(current, patch),
        Ok(pod(json!({"containers": names(&["x", "y", "b", "n", "a"])})))
    );
}

#[test]
fn scalars_are_added_and_deleted() {
    let sample = Sample::new();
    let current = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    let patch = json!({"metadata": {
        "finalizers": ["d"], "$deleteFromPrimitiveList/finalizers": ["b"],
        "$setElementOrder/finalizers": ["d", "a", "c"],
    }});
    let merged = strategic(&sample.schema, sample.ty, &current, &patch);
    assert_eq!(merged, Ok(json!({"metadata": {"finalizers": ["d", "a", "c"]}})));
}

#[test]
fn retain_keys_clears_what_it_does_not_name() {
    let current = json!({"strategy": {"type": "Rolling", "rollingUpdate": {"maxSurge": 1}}});
    let patch = json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}});
    assert_eq!(
        patched(current.clone(), patch),
        Ok(json!({"strategy": {"type": "Recreate"}}))
    );
    let patch = json!({"strategy": {"$retainKeys": ["other"], "type": "Recreate"}});
    assert_eq!(
        patched(current, patch),
        Err(Problem::BadRequest("invalid patch format of retainKeys".into()))
    );
}

#[test]
fn faults_have_kubernetes_texts() {
    let current = pod(json!({"containers": [{"name": "a"}]}));
    let fault = |patch: Value| patched(current.clone(), pod(patch)).expect_err("refused").to_string();
    assert_eq!(
        fault(json!({"containers": [{"image": "x"}]})),
        "map: map[image:x] does not contain declared merge key: name"
    );
    assert_eq!(
        fault(json!({"containers": [{"name": "a"}, 1]})),
        "list element types are not identical: [[map[name:a]] [map[name:a] 1]]"
    );
    assert_eq!(
        fault(json!({"containers": [{"name": "a", "$patch": "what"}]})),
        "unknown patch type: what in map: map[$patch:what name:a]"
    );
    assert_eq!(
        fault(json!({"containers": [{"name": "a"}], "$setElementOrder/containers": [{"name": "b"}]})),
        "The order in patch list:\n[map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n"
    );
    assert_eq!(
        fault(json!({"$setElementOrder/nothing": []})),
        "unable to find api field in struct PodSpec for the json field \"nothing\""
    );
    let sample = Sample::new();
    let text = strategic(&sample.schema, sample.ty, &json!({}), &json!([])).expect_err("refused");
    assert_eq!(meta::Status::from(text).code, 400);
}

#[test]
fn a_diff_is_what_kubectl_sends() {
    let sample = Sample::new();
    let old = Sample::object(pod(json!({
        "containers": [{"name": "a", "image": "1"}, {"name": "b"}], "volumes": [{"name": "v", "emptyDir": {}}],
    })));
    let new = Sample::object(pod(json!({
        "containers": [{"name": "c"}, {"name": "a", "image": "2"}],
        "volumes": [{"name": "v", "hostPath": {"path": "/x"}}],
    })));
    let patch = strategic_diff(&sample.schema, sample.ty, &old, &new).expect("diffs");
    let expected = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
        "containers": [{"name": "c"}, {"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}],
        "$setElementOrder/volumes": [{"name": "v"}],
        "volumes": [{"name": "v", "emptyDir": null, "hostPath": {"path": "/x"}, "$retainKeys": ["hostPath", "name"]}],
    }}}});
    assert_eq!(patch, expected);
    assert_eq!(strategic(&sample.schema, sample.ty, &old, &patch), Ok(new));
}

/// Without what is empty: a patch can't say the difference between an empty list and none.
fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(name, value)| (name.clone(), without_empty(value)));
            Value::Object(
                kept.filter(|(_, value)| *value != json!({}) && *value != json!([]))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(without_empty).collect()),
        scalar => scalar.clone(),
    }
}

proptest! {
    #[test]
    fn a_diff_leads_to_its_target(old in spec(), new in spec()) {
        let sample = Sample::new();
        let (old, new) = (Sample::object(old), Sample::object(new));
        let patch = strategic_diff(&sample.schema, sample.ty, &old, &new).expect("diffs");
        let result = strategic(&sample.schema, sample.ty, &old, &patch).expect("applies");
        prop_assert_eq!(without_empty(&result), without_empty(&new));
        let nothing = strategic_diff(&sample.schema, sample.ty, &new, &new).expect("diffs");
        prop_assert_eq!(nothing, json!({}));
    }
}
