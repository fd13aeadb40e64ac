//! Expressions against what Kubernetes answers to them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Asked, Authorizer, Declared, Expression, Scope, Type, Verdict, is_identifier};

fn declared(variables: &[(String, Type)]) -> Declared<'_> {
    Declared {
        params: true,
        authorizer: true,
        variables,
        patches: true,
    }
}

struct OnlyGet;

impl Authorizer for OnlyGet {
    fn decide(&self, asked: &Asked) -> Verdict {
        Verdict {
            allowed: asked.verb == "get" && asked.resource == "pods" && asked.account.is_none(),
            reason: format!("{} {}", asked.verb, asked.namespace),
        }
    }
}

fn scope<'a>() -> Scope<'a> {
    let object = json!({"metadata": {"name": "a", "labels": {"x": "1"}}, "spec": {"replicas": 3, "list": ["a", "b"]}});
    let mut scope = Scope::new(&object, &Value::Null, &json!({"operation": "CREATE"}));
    scope.set_params(&json!({"most": 2}));
    let authorizer: Arc<dyn Authorizer> = Arc::new(OnlyGet);
    let request = Asked {
        resource: "pods".to_owned(),
        ..Asked::default()
    };
    scope.set_authorizer(&authorizer, request);
    scope
}

fn told(text: &str) -> Result<Value, String> {
    Expression::compile(text, &declared(&[]))?.evaluate(&scope())
}

#[test]
fn values_are_those_of_kubernetes() {
    for (text, value) in [
        ("object.spec.replicas > params.most", json!(true)),
        (
            "object.metadata.name != 'skip-me' && request.operation == 'CREATE'",
            json!(true),
        ),
        ("oldObject == null", json!(true)),
        ("has(object.spec.other)", json!(false)),
        ("object.spec.list.exists(item, item == 'b')", json!(true)),
        ("object.?spec.?other.orValue(7)", json!(7)),
        ("object.?spec.?replicas.orValue(7)", json!(3)),
        ("'got ' + string(object.spec.replicas)", json!("got 3")),
        (
            "authorizer.group('').resource('pods').namespace('n').check('get').allowed()",
            json!(true),
        ),
        (
            "authorizer.group('').resource('pods').namespace('n').check('list').reason()",
            json!("list n"),
        ),
        ("authorizer.requestResource.check('get').allowed()", json!(true)),
        (
            "authorizer.serviceAccount('a', 'b').group('').resource('pods').check('get').allowed()",
            json!(false),
        ),
        (
            "Object{spec: Object.spec{replicas: 1337}}",
            json!({"spec": {"replicas": 1337}}),
        ),
        (
            "[JSONPatch{op: 'add', path: '/a', value: Object.spec{x: {'y': 'z'}}}]",
            json!([{"op": "add", "path": "/a", "value": {"x": {"y": "z"}}}]),
        ),
    ] {
        assert_eq!(told(text), Ok(value), "{text}");
    }
}

#[test]
fn errors_are_those_of_kubernetes() {
    for (text, why) in [
        (
            "object.spec.other > 1",
            "expression 'object.spec.other > 1' resulted in error: no such key: other",
        ),
        (
            "oldObject.spec.x == 1",
            "expression 'oldObject.spec.x == 1' resulted in error: no such key: spec",
        ),
        (
            "object.spec.list[5] == ''",
            "expression 'object.spec.list[5] == ''' resulted in error: index out of bounds: 5",
        ),
        (
            "nothing == 1",
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'nothing' (in container '')\n | nothing == 1\n | ^",
        ),
        (
            "namespaceObject.metadata.uid == ''",
            "compilation failed: ERROR: <input>:1:25: undefined field 'uid'\n | namespaceObject.metadata.uid == ''\n | ........................^",
        ),
    ] {
        assert_eq!(told(text), Err(why.to_owned()), "{text}");
    }
    let why = told("... [] bad expression").unwrap_err();
    assert!(why.starts_with("compilation failed: ERROR: <input>:1:"), "{why}");
    let why = told("Object{spec: Object.wrong{}}").unwrap_err();
    assert!(why.starts_with("type mismatch"), "{why}");
}

#[test]
fn variables_are_evaluated_when_they_are_used() {
    let (mut names, mut variables) = (Vec::new(), Vec::new());
    for (name, text) in [
        ("replicas", "object.spec.replicas"),
        ("odd", "variables.replicas % 2 == 1"),
        ("broken", "object.nothing"),
    ] {
        let expression = Expression::compile(text, &declared(&names)).unwrap();
        names.push((name.to_owned(), expression.output().clone()));
        variables.push((name.to_owned(), expression));
    }
    let mut scope = scope();
    scope.set_variables(&variables);
    let ask = |text: &str| Expression::compile(text, &declared(&names)).unwrap().evaluate(&scope);
    assert_eq!(ask("variables.odd"), Ok(json!(true)));
    assert_eq!(
        ask("variables.broken"),
        Err(
            "expression 'variables.broken' resulted in error: composited variable \"broken\" fails to evaluate: no \
             such key: nothing"
                .to_owned()
        )
    );
    assert!(Expression::compile("variables.later", &declared(&names)).is_err());
}

#[test]
fn identifiers() {
    assert!(is_identifier("_a1") && is_identifier("oddReplicas"));
    assert!(!is_identifier("1a") && !is_identifier("a-b") && !is_identifier("namespace") && !is_identifier(""));
}
