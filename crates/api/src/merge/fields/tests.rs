//! Field sets and their wire form.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn the_wire_form_is_kubernetes() {
    let wire = json!({
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:ports": {
                ".": {},
                "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:protocol": {}}
            },
            "f:finalizers": {"v:\"a<b\"": {}},
            "f:list": {"i:3": {}}
        }
    });
    let set = decode(&wire).expect("decodes");
    assert_eq!(set.len(), 8);
    let paths: Vec<String> = set.paths().iter().map(ToString::to_string).collect();
    assert_eq!(
        paths,
        [
            ".metadata.labels",
            ".metadata.labels.app",
            ".spec.ports",
            ".spec.finalizers[=\"a<b\"]",
            ".spec.list[3]",
            ".spec.ports[port=80,protocol=\"TCP\"]",
            ".spec.ports[port=80,protocol=\"TCP\"].port",
            ".spec.ports[port=80,protocol=\"TCP\"].protocol",
        ]
    );
    // `<` is escaped on the way out, as Go does.
    let text = encode(&set).to_string();
    assert!(text.contains(r#""v:\"a\\u003cb\"":{}"#), "{text}");
    assert_eq!(decode(&encode(&set)).expect("decodes"), set);
}

#[test]
fn unknown_elements_are_dropped_and_broken_ones_refused() {
    assert!(decode(&json!({"x:what": {"f:a": {}}, "f:b": {}})).is_ok_and(|set| set == FieldSet::of(&[&["b"]])));
    for broken in [
        json!({"f": {}}),
        json!({"fa:b": {}}),
        json!({"k:{": {}}),
        json!({"f:a": "b"}),
        json!([]),
    ] {
        assert!(decode(&broken).is_err(), "{broken}");
    }
}

#[test]
fn taking_a_parent_leaves_its_children() {
    let set = FieldSet::of(&[&["a"], &["a", "b"], &["c"]]);
    let taken = FieldSet::of(&[&["a"]]);
    assert_eq!(set.difference(&taken), FieldSet::of(&[&["a", "b"], &["c"]]));
    assert_eq!(set.difference_below(&taken), FieldSet::of(&[&["c"]]));
}

/// Elements of every kind, few enough that sets overlap.
fn element() -> impl Strategy<Value = Element> {
    let scalar = prop_oneof![
        (0i64..4).prop_map(Scalar::Int),
        (0u8..3).prop_map(|half| Scalar::Float(f64::from(half) + 0.5)),
        "[a-c\"<é]{0,2}".prop_map(|text| Scalar::Text(text.into())),
        any::<bool>().prop_map(Scalar::Bool),
    ];
    prop_oneof![
        "[a-d.:]{1,2}".prop_map(|name| Element::field(&name)),
        scalar.clone().prop_map(Element::Value),
        (0i64..4).prop_map(Element::Index),
        (scalar.clone(), scalar).prop_map(|(first, second)| {
            let field = |name: &str, value| KeyField {
                name: name.into(),
                value,
            };
            Element::Key([field("name", first), field("port", second)].into())
        }),
    ]
}

fn path() -> impl Strategy<Value = Vec<Element>> {
    prop::collection::vec(element(), 1..4)
}

fn set() -> impl Strategy<Value = FieldSet> {
    prop::collection::vec(path(), 0..12).prop_map(|paths| {
        let mut set = FieldSet::new();
        paths.into_iter().for_each(|path| set.insert(path));
        set
    })
}

proptest! {
    #[test]
    fn sets_survive_the_wire(set in set()) {
        prop_assert_eq!(decode(&encode(&set)).expect("decodes"), set);
    }

    #[test]
    fn operations_agree_with_membership(left in set(), right in set(), path in path()) {
        let (in_left, in_right) = (left.has(&path), right.has(&path));
        prop_assert_eq!(left.union(&right).has(&path), in_left || in_right);
        prop_assert_eq!(left.intersection(&right).has(&path), in_left && in_right);
        prop_assert_eq!(left.difference(&right).has(&path), in_left && !in_right);
        let covered = (1..=path.len()).any(|length| right.has(&path[..length]));
        prop_assert_eq!(left.difference_below(&right).has(&path), in_left && !covered);
        prop_assert!(left.difference(&right).is_subset(&left));
        prop_assert!(left.is_subset(&left.union(&right)));
        prop_assert_eq!(left.union(&right).len() + left.intersection(&right).len(), left.len() + right.len());
    }

    #[test]
    fn a_stored_set_is_touched_wherever_it_overlaps(left in set(), right in set()) {
        if !left.intersection(&right).is_empty() {
            prop_assert!(touches(&encode(&left), &right));
        }
    }
}
