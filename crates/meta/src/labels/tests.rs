//! Selectors against the published grammar.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn reads_and_writes_the_grammar() {
    for (text, written) in [
        ("", ""),
        ("x=a,y=b,z=c", "x=a,y=b,z=c"),
        ("x!=a,y=b", "x!=a,y=b"),
        ("  x  ==  a , y ", "x==a,y"),
        ("x=", "x="),
        ("x= ,z= ", "x=,z="),
        ("x in (foo,,baz),y,z notin ()", "x in (,baz,foo),y,z notin ()"),
        ("!x", "!x"),
        ("x>1,y<7", "x>1,y<7"),
        ("in in (in,notin)", "in in (in,notin)"),
        ("b,a", "a,b"),
        ("a.b/c in (d)", "a.b/c in (d)"),
        ("x in (,)", "x in ()"),
    ] {
        assert_eq!(
            Selector::parse(text).map(|selector| selector.to_string()),
            Ok(written.to_owned()),
            "{text:?}"
        );
    }
}

#[test]
fn says_what_kubernetes_says() {
    for (text, message) in [
        (
            "x a",
            "unable to parse requirement: found 'a', expected: in, notin, =, ==, !=, gt, lt",
        ),
        (
            "x=a||y=b",
            "unable to parse requirement: values[0][x]: Invalid value: \"a||y\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
        ("x in", "unable to parse requirement: found '' expected: '('"),
        ("x in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("x,,y", "found ',', expected: identifier after ','"),
        (",x", "found ',', expected: !, identifier, or 'end of string'"),
        (
            "x>a",
            "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        ("x=a b", "found 'b', expected: ',' or 'end of string'"),
    ] {
        assert_eq!(
            Selector::parse(text).map_err(|error| error.to_string()),
            Err(message.to_owned()),
            "{text:?}"
        );
    }
    assert!(
        Selector::parse("-x")
            .unwrap_err()
            .to_string()
            .starts_with("unable to parse requirement: <nil>: Invalid value: \"-x\": name part must consist of")
    );
}

#[test]
fn matches_as_documented() {
    let object = labels(&[("x", "y"), ("n", "5")]);
    for (text, expected) in [
        ("", true),
        ("x=y", true),
        ("x=z", false),
        ("a!=b", true),
        ("x!=y", false),
        ("x in (y,z)", true),
        ("x notin (y)", false),
        ("a notin (y)", true),
        ("a in (y)", false),
        ("x", true),
        ("!x", false),
        ("!a", true),
        ("n>4", true),
        ("n>5", false),
        ("n<6,x=y", true),
        ("x>1", false),
        ("a>1", false),
    ] {
        assert_eq!(Selector::parse(text).unwrap().matches(&object), expected, "{text:?}");
    }
    assert!(!Selector::nothing().matches(&object));
}

#[test]
fn reads_label_selectors() {
    let read = |value: serde_json::Value| Selector::from_label_selector(Some(&value)).map(|s| s.to_string());
    assert_eq!(read(json!({})), Ok(String::new()));
    let both =
        json!({"matchLabels": {"b": "c"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["y", "x"]}]});
    assert_eq!(read(both), Ok("a in (x,y),b=c".to_owned()));
    let wrong = json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
    assert_eq!(
        read(wrong).unwrap_err().to_string(),
        "\"Near\" is not a valid label selector operator"
    );
    let empty = json!({"matchExpressions": [{"key": "a", "operator": "In", "values": []}]});
    assert_eq!(
        read(empty).unwrap_err().to_string(),
        "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
    );
    assert!(Selector::from_label_selector(None).unwrap().is_nothing());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-c!=<>(), \t\0in.-/é]{0,24}") {
        let _ = Selector::parse(&text);
    }

    #[test]
    fn what_is_written_is_read_again(text in "(!?[a-c]|[a-c](=|==|!=)[d-f]?|[a-c] (in|notin) \\([d-f]{0,2}(,[d-f]){0,2}\\))(,[g-i](=[a-z]{1,3})?){0,2}") {
        let once = Selector::parse(&text).unwrap();
        prop_assert_eq!(Selector::parse(&once.to_string()).unwrap(), once);
    }
}
