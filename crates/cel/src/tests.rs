//! Expressions and what Kubernetes makes of them.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

fn declared() -> Declaration {
    let text = |largest| Declaration::simple(Type::String, largest);
    let fields = [
        ("s", text(10)),
        ("opt", text(10)),
        ("long", text(3 << 20)),
        ("i", Type::Int.into()),
        ("n", Type::Double.into()),
        ("l", Declaration::list(Type::Int.into(), 10)),
        ("names", Declaration::list(text(20), 5)),
        ("many", Declaration::list(text(1000), 100_000)),
        ("m", Declaration::map(text(5), 4)),
        ("ios", Declaration::simple(Type::Dyn, 100)),
    ];
    let fields = fields.into_iter().map(|(name, declared)| (name.to_owned(), declared));
    Declaration::object("Self", fields.collect::<BTreeMap<_, _>>())
}

fn environment() -> Environment {
    Environment::new().with("self", declared()).with("x", Type::Dyn)
}

fn told(text: &str) -> Result<Value, String> {
    let program = Program::compile(text, &environment()).map_err(|issues| issues.to_string())?;
    let object = json!({"s": "abc", "i": 5, "n": 2.5, "l": [1, 2, 3], "names": ["a", "b"], "many": [],
        "long": "abcdef", "m": {"k1": "v1", "k2": "v2"}, "ios": "50%"});
    let variables = [
        ("self", Value::from_json(&object)),
        ("x", Value::from_json(&json!({"a": 1}))),
    ];
    let mut budget = Budget::new(10_000_000, 1_000_000);
    program.run(&variables, &mut budget).map_err(|error| error.to_string())
}

#[test]
fn what_is_true() {
    for text in include_str!("testdata/true.txt")
        .lines()
        .filter(|line| !line.is_empty())
    {
        assert_eq!(told(text), Ok(Value::Bool(true)), "{text}");
    }
}

#[test]
fn what_is_refused() {
    for (text, expected) in [
        (
            "self.",
            "ERROR: <input>:1:6: Syntax error: no viable alternative at input '.'\n | self.\n | .....^",
        ),
        (
            "self.nothing == 1",
            "ERROR: <input>:1:5: undefined field 'nothing'\n | self.nothing == 1\n | ....^",
        ),
        (
            "other == 1",
            "ERROR: <input>:1:1: undeclared reference to 'other' (in container '')\n | other == 1\n | ^",
        ),
        (
            "self.s + 1 == ''",
            "ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(string, int)'\n | self.s + 1 == ''\n | .......^",
        ),
        (
            "self.i.startsWith('a')",
            "ERROR: <input>:1:18: found no matching overload for 'startsWith' applied to 'int.(string)'\n | self.i.startsWith('a')\n | .................^",
        ),
        (
            "self.i == 1.0",
            "ERROR: <input>:1:8: found no matching overload for '_==_' applied to '(int, double)'\n | self.i == 1.0\n | .......^",
        ),
        (
            "[1, 'a'].size() == 2",
            "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a'].size() == 2\n | ....^",
        ),
        (
            "nothing(1)",
            "ERROR: <input>:1:8: undeclared reference to 'nothing' (in container '')\n | nothing(1)\n | .......^",
        ),
        (
            "duration('x') == duration('1s')",
            "ERROR: <input>:1:10: invalid duration argument\n | duration('x') == duration('1s')\n | .........^",
        ),
        (
            "self.s.matches('(')",
            "ERROR: <input>:1:16: invalid matches argument\n | self.s.matches('(')\n | ...............^",
        ),
        (
            "self.l.all(1, true)",
            "ERROR: <input>:1:12: argument must be a simple name\n | self.l.all(1, true)\n | ...........^",
        ),
        (
            "has(self)",
            "ERROR: <input>:1:5: invalid argument to has() macro\n | has(self)\n | ....^",
        ),
    ] {
        let issues = Program::compile(text, &environment())
            .map(|_| ())
            .map_err(|issues| issues.to_string());
        assert_eq!(issues, Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn what_fails_while_it_runs() {
    for (text, expected) in [
        ("self.i / 0 == 1", "division by zero"),
        ("self.i % 0 == 1", "modulus by zero"),
        ("self.l[7] == 1", "index out of bounds: 7"),
        ("self.m['zz'] == 'v'", "no such key: zz"),
        ("self.opt == ''", "no such key: opt"),
        ("9223372036854775807 + self.i == 0", "integer overflow"),
        ("x.b", "no such key: b"),
        ("x.a.b", "no such key: b"),
        ("self.?opt.value() == ''", "optional.none() dereference"),
        ("self.l.all(v, v / 0 > 1)", "division by zero"),
    ] {
        assert_eq!(told(text), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn an_error_is_none_when_the_other_side_decides() {
    for text in [
        "self.i / 0 == 1 || true",
        "!(self.i / 0 == 1 && false)",
        "self.l.exists(v, 6 / (v - 1) == 3)",
        "!self.l.all(v, 6 / (v - 1) != 3)",
    ] {
        assert_eq!(told(text), Ok(Value::Bool(true)), "{text}");
    }
}

#[test]
fn deep_and_long_expressions_are_refused_or_run() {
    let deep = format!("{}true{}", "(".repeat(5000), ")".repeat(5000));
    assert!(told(&deep).unwrap_err().contains("recursion limit"));
    let long = vec!["true"; 3000].join(" && ");
    assert_eq!(told(&long), Ok(Value::Bool(true)));
    let long = vec!["1"; 3000].join(" + ");
    assert!(told(&long).unwrap_err().contains("recursion limit"));
}

#[test]
fn costs_are_those_of_kubernetes() {
    for (text, expected) in [
        ("true", 0),
        ("self.i == 5", 2),
        ("self.s == 'abc'", 3),
        ("self.s.startsWith('ab')", 3),
        ("self.l.all(v, v > 0)", 2 + 10 * 5 + 1),
        ("has(self.s)", 1),
        ("self.names.exists(n, n == 'a')", 2 + 5 * 6 + 1),
        (
            "self.l.map(v, v * 2).size() == 3",
            2 + 10 + 10 * (1 + 10 + 2 + 1) + 1 + 1 + 1,
        ),
    ] {
        let program = Program::compile(text, &environment()).unwrap();
        assert_eq!(program.estimate(&environment()).max, expected, "{text}");
    }
    let costly = Program::compile("self.many.all(a, self.many.all(b, a != b))", &environment()).unwrap();
    assert!(costly.estimate(&environment()).max > 10_000_000);
}

#[test]
fn what_costs_too_much_ends() {
    let program = Program::compile("lists.range(100000).all(v, v >= 0)", &environment()).unwrap();
    let nothing: [(&str, Value); 0] = [];
    let mut budget = Budget::new(10_000_000, 1_000);
    assert_eq!(program.run(&nothing, &mut budget), Err(Error::TooCostly));
}
