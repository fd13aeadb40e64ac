//! Rules, and what Kubernetes says when they are broken or can't be.

use meta::Path;
use serde_json::{Value, json};

use super::{Expressions, check_rules};
use crate::rules::check::Errors;

fn told(schema: &Value, object: &Value, old: Option<&Value>) -> Vec<String> {
    let found = Expressions::compile(schema).check(object, old);
    found.iter().map(ToString::to_string).collect()
}

fn refused(schema: &Value) -> Vec<String> {
    let mut errors = Errors::default();
    check_rules(schema, &Path::new("schema"), &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object",
        "x-kubernetes-validations": [
            {"rule": "self.min <= self.max", "message": "min must not exceed max"},
            {"rule": "self.size == oldSelf.size", "reason": "FieldValueForbidden", "fieldPath": ".size",
                "messageExpression": "'size was %d'.format([oldSelf.size])"},
        ],
        "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}, "size": {"type": "integer"},
            "name": {"type": "string", "maxLength": 10, "x-kubernetes-validations": [{"rule": "self.startsWith('a')"}]}}}}})
}

#[test]
fn rules_speak_as_in_kubernetes() {
    let good = json!({"spec": {"min": 1, "max": 2, "size": 1, "name": "a"}});
    assert_eq!(refused(&schema()), Vec::<String>::new());
    assert_eq!(told(&schema(), &good, None), Vec::<String>::new());
    let bad = json!({"spec": {"min": 3, "max": 2, "size": 2, "name": "b"}});
    assert_eq!(
        told(&schema(), &bad, Some(&good)),
        [
            "spec: Invalid value: min must not exceed max",
            "spec.size: Forbidden: size was 1",
            "spec.name: Invalid value: \"b\": failed rule: self.startsWith('a')",
        ]
    );
    let lacking = json!({"spec": {"min": 3, "size": 2, "name": "a"}});
    assert_eq!(
        told(&schema(), &lacking, None),
        ["spec: Invalid value: \"object\": no such key: max evaluating rule: min must not exceed max"]
    );
}

#[test]
fn what_has_not_changed_may_stay_wrong() {
    let old = json!({"spec": {"min": 1, "max": 2, "size": 1, "name": "b"}});
    let new = json!({"spec": {"min": 2, "max": 2, "size": 1, "name": "b"}});
    assert_eq!(told(&schema(), &new, Some(&old)), Vec::<String>::new());
}

#[test]
fn elements_are_compared_with_their_counterparts() {
    let schema = json!({"type": "object", "properties": {"list": {"type": "array", "maxItems": 5,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "maxLength": 5}, "n": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.n >= oldSelf.n", "message": "n must not shrink"},
                {"rule": "!oldSelf.hasValue() || oldSelf.value().n > 0", "optionalOldSelf": true, "message": "was none"}]}}}});
    assert_eq!(refused(&schema), Vec::<String>::new());
    let old = json!({"list": [{"name": "a", "n": 5}, {"name": "b", "n": 0}]});
    let new = json!({"list": [{"name": "b", "n": 1}, {"name": "a", "n": 4}, {"name": "c", "n": 0}]});
    assert_eq!(
        told(&schema, &new, Some(&old)),
        [
            "list[0]: Invalid value: was none",
            "list[1]: Invalid value: n must not shrink",
        ]
    );
}

#[test]
fn values_are_what_their_schemas_say() {
    let property = |of: Value| json!({"type": "object", "properties": {"v": of}});
    for (of, value, rule) in [
        (json!({"type": "number"}), json!(5), "type(self.v) == double"),
        (
            json!({"type": "string", "format": "byte"}),
            json!("YWI="),
            "self.v == b'ab'",
        ),
        (
            json!({"type": "string", "format": "duration"}),
            json!("1h"),
            "self.v.getMinutes() == 60",
        ),
        (
            json!({"type": "string", "format": "date"}),
            json!("2024-05-01"),
            "self.v.getMonth() == 4",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("2024-05-01T10:00:00Z"),
            "self.v.getHours() == 10",
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!("5%"),
            "type(self.v) == int ? self.v > 1 : self.v.endsWith('%')",
        ),
        (
            json!({"type": "object", "properties": {"a-b": {"type": "string"}, "namespace": {"type": "string"}}}),
            json!({"a-b": "x", "namespace": "y"}),
            "self.v.a__dash__b == 'x' && self.v.__namespace__ == 'y' && self.v.namespace == 'y'",
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            json!({"kind": "K", "metadata": {"name": "n", "labels": {}}}),
            "self.v.kind == 'K' && self.v.metadata.name == 'n'",
        ),
    ] {
        let mut schema = property(of);
        schema["x-kubernetes-validations"] = json!([{"rule": rule}]);
        let object = json!({"v": value});
        assert_eq!(refused(&schema), Vec::<String>::new(), "{rule}");
        assert_eq!(told(&schema, &object, None), Vec::<String>::new(), "{rule}");
    }
}

#[test]
fn a_rule_that_is_none_is_refused() {
    let rule = |rule: Value| json!({"type": "object", "properties": {"a": {"type": "string"}}, "x-kubernetes-validations": [rule]});
    for (given, at, why) in [
        (
            json!({"rule": "self ="}),
            "rule",
            "compilation failed: ERROR: <input>:1:6: Syntax error",
        ),
        (
            json!({"rule": "self.b == 'x'"}),
            "rule",
            "compilation failed: ERROR: <input>:1:5: undefined field 'b'",
        ),
        (
            json!({"rule": "self.a"}),
            "rule",
            "cel expression must evaluate to a bool",
        ),
        (
            json!({"rule": "true", "messageExpression": "1"}),
            "messageExpression",
            "messageExpression must evaluate to a string",
        ),
        (
            json!({"rule": "true", "optionalOldSelf": true}),
            "optionalOldSelf",
            "may not be set if oldSelf is not used in rule",
        ),
    ] {
        let told = refused(&rule(given.clone()));
        assert_eq!(told.len(), 1, "{told:?}");
        let place = format!("schema.x-kubernetes-validations[0].{at}: Invalid value: ");
        assert!(told[0].starts_with(&place) && told[0].contains(why), "{told:?}");
    }
    let list = json!({"type": "object", "properties": {"l": {"type": "array", "maxItems": 3, "items": {"type": "string",
        "maxLength": 5, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}});
    assert_eq!(
        refused(&list),
        [
            "schema.properties[l].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf \
          cannot be used on the uncorrelatable portion of the schema within schema.properties[l]"
        ]
    );
}

#[test]
fn a_rule_that_may_cost_too_much_is_refused() {
    let schema = |limits: bool| {
        let mut list = json!({"type": "array", "items": {"type": "string"},
            "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, a == b))"}]});
        if limits {
            list["maxItems"] = json!(10);
            list["items"]["maxLength"] = json!(10);
        }
        json!({"type": "object", "properties": {"l": list}})
    };
    let told = refused(&schema(false));
    assert_eq!(told.len(), 3, "{told:?}");
    let advice = "exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, \
                  and maxLength where arrays, maps, and strings are declared)";
    let rule = "schema.properties[l].x-kubernetes-validations[0].rule: Forbidden:";
    assert_eq!(told[0], format!("{rule} estimated rule cost {advice}"));
    assert_eq!(
        told[1],
        format!("{rule} contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema")
    );
    assert!(
        told[2].starts_with("schema: Forbidden: x-kubernetes-validations estimated rule cost total"),
        "{told:?}"
    );
    assert_eq!(refused(&schema(true)), Vec::<String>::new());
}

/// Estimates that Kubernetes 1.37.2 gives for these schemas and rules.
#[test]
fn costs_are_those_of_kubernetes() {
    use super::declare::declare;
    let limited = |mut schema: Value, key: &str, most: Option<u64>| {
        if let Some(most) = most {
            schema[key] = json!(most);
        }
        schema
    };
    let list = |of: Value, most| limited(json!({"type": "array", "items": of}), "maxItems", most);
    let map = |of: Value, most| {
        limited(
            json!({"type": "object", "additionalProperties": of}),
            "maxProperties",
            most,
        )
    };
    let text = |most| limited(json!({"type": "string"}), "maxLength", most);
    let of = |ty: &str| json!({"type": ty});
    let timed = |format: &str| json!({"type": "string", "format": format});
    let int_or_string = json!({"x-kubernetes-int-or-string": true});
    for (schema, rule, expected) in [
        (list(of("number"), None), "self.all(x, true)", 4_718_591),
        (list(of("number"), Some(10)), "self.all(x, true)", 32),
        (list(of("string"), None), "self.all(x, true)", 3_145_727),
        (list(of("boolean"), None), "self.all(x, true)", 1_887_437),
        (list(list(of("number"), None), None), "self.all(x, true)", 3_145_727),
        (map(of("number"), None), "self.all(x, true)", 1_348_169),
        (map(of("string"), Some(3)), "self.all(x, true)", 11),
        (map(of("boolean"), None), "self.all(x, true)", 943_718),
        (text(None), "self.contains('test')", 314_574),
        (text(Some(10)), "self.contains('test')", 5),
        (text(None), "self.startsWith('test')", 2),
        (text(None), "size(self + \"hello\") > size(\"hello\")", 314_578),
        (text(Some(4)), "size(self + \"hello\") > size(\"hello\")", 7),
        (list(of("number"), None), "self[1] == 0.0", 2),
        (list(of("string"), Some(8)), "self[1] == self[1]", 314_577),
        (list(of("number"), Some(10)), "self.all(x, self.all(y, true))", 352),
        (
            list(of("number"), Some(10)),
            "self.all(x, self.all(y, self.all(z, true)))",
            3_552,
        ),
        (text(None), "self.matches(\"x\")", 314_574),
        (text(Some(50)), "self.matches(\"x\")", 22),
        (text(None), "\"\".matches(\"(((((((((())))))))))[0-9]\")", 7),
        (text(None), "self.matches(\"\")", 1),
        (text(None), "self == \"x\"", 2),
        (text(Some(0)), "self == \"x\"", 1),
        (list(of("number"), None), "self.all(x, x == 0.0)", 6_291_454),
        (
            list(of("number"), Some(3 * 1024 * 2048)),
            "self.all(x, x == 0.0)",
            25_165_826,
        ),
        (list(int_or_string.clone(), None), "self.all(x, true)", 4_718_591),
        (list(int_or_string.clone(), None), "self[0] == 5", 3),
        (list(timed("duration"), None), "self.all(x, true)", 2_359_295),
        (list(timed("duration"), None), "self[0].getHours() == 2", 4),
        (list(timed("date"), None), "self.all(x, true)", 725_936),
        (list(timed("date-time"), None), "self.all(x, true)", 428_963),
        (list(timed("date-time"), None), "self[2].getMinutes() == 45", 4),
        (map(int_or_string, None), "self.all(x, true)", 1_348_169),
        (map(timed("duration"), None), "self.all(x, true)", 1_048_577),
        (map(timed("date"), None), "self.all(x, true)", 524_288),
        (map(timed("date-time"), None), "self.all(x, true)", 349_526),
        (
            list(map(of("number"), None), None),
            "self.all(x, x.y == 25.2)",
            6_291_452,
        ),
        (list(map(of("number"), None), None), "self[0].x > 2.0", 4),
        (text(None), "self.find('[0-9]+') == ''", 629_147),
        (text(Some(10)), "self.find('[0-9]+') == ''", 11),
    ] {
        let about = declare(&schema, false, "selfType").unwrap();
        let environment = super::rule::environment(&json!({}), &about);
        let program = cel::Program::compile(rule, &environment).unwrap();
        assert_eq!(program.estimate(&environment).max, expected, "{rule} on {schema}");
    }
}

/// What Kubernetes 1.37.2 says that these rules cost at most: `costs.tsv`, a cost and a rule a line.
#[test]
fn many_rules_cost_what_they_cost_in_kubernetes() {
    let schema = json!({"type": "object", "properties": {
        "s": {"type": "string", "maxLength": 10}, "opt": {"type": "string", "maxLength": 10},
        "long": {"type": "string"}, "i": {"type": "integer"}, "n": {"type": "number"},
        "l": {"type": "array", "maxItems": 10, "items": {"type": "integer"}},
        "names": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 20}},
        "many": {"type": "array", "maxItems": 100_000, "items": {"type": "string", "maxLength": 1000}},
        "m": {"type": "object", "maxProperties": 4, "additionalProperties": {"type": "string", "maxLength": 5}},
        "ios": {"x-kubernetes-int-or-string": true}}});
    let about = super::declare::declare(&schema, false, "selfType").unwrap();
    let environment = super::rule::environment(&json!({}), &about);
    let mut wrong = Vec::new();
    for line in include_str!("costs.tsv").lines() {
        let (cost, rule) = line.split_once('\t').unwrap();
        match cel::Program::compile(rule, &environment) {
            Ok(program) => {
                let estimate = program.estimate(&environment).max;
                if estimate.to_string() != cost {
                    wrong.push(format!("{estimate} and not {cost}: {rule}"));
                }
            }
            Err(issues) => wrong.push(format!("{issues}: {rule}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
