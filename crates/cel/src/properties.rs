//! What holds for any expression.

use proptest::prelude::*;
use serde_json::json;

use crate::{Budget, Declaration, Environment, Error, Program, Type, Value};

/// Whole numbers and what is worked out of them, as text and as a reference; none is an error.
fn arithmetic() -> impl Strategy<Value = (String, Option<i64>)> {
    let leaf = (-100i64..100).prop_map(|number| (number.to_string(), Some(number)));
    leaf.prop_recursive(5, 40, 2, |inner| {
        (inner.clone(), inner, 0..5usize).prop_map(|((a, x), (b, y), operator)| {
            type Checked = fn(i64, i64) -> Option<i64>;
            let operators: [(&str, Checked); 5] = [
                ("+", i64::checked_add),
                ("-", i64::checked_sub),
                ("*", i64::checked_mul),
                ("/", i64::checked_div),
                ("%", i64::checked_rem),
            ];
            let (mark, work) = operators[operator];
            let value = x.zip(y).and_then(|(x, y)| work(x, y));
            (format!("({a} {mark} {b})"), value)
        })
    })
}

/// Conditions about `self`, a list of texts and a list of numbers.
fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("self.numbers.size() > 2".to_owned()),
        Just("self.numbers.all(n, n > 1)".to_owned()),
        Just("self.names.exists(n, n.startsWith('a'))".to_owned()),
        Just("self.names.map(n, n + '!').exists(n, n.contains('b!'))".to_owned()),
        Just("self.numbers.filter(n, n > 1).map(n, n * 2).sum() > 3".to_owned()),
        Just("self.names.all(i, n, n.size() > i)".to_owned()),
        Just("has(self.names) && self.names.size() == self.numbers.size()".to_owned()),
        Just("self.numbers.isSorted()".to_owned()),
        Just("self.names.join(',').matches('^[a-z,]*$')".to_owned()),
        Just("[1, 2, 3] == self.numbers".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            inner.prop_map(|a| format!("self.numbers.exists(each, each > 0 && ({a}))")),
        ]
    })
}

fn environment() -> Environment {
    let fields = [
        (
            "names".to_owned(),
            Declaration::list(Declaration::simple(Type::String, 8), 6),
        ),
        ("numbers".to_owned(), Declaration::list(Type::Int.into(), 6)),
    ];
    Environment::new().with("self", Declaration::object("Self", fields.into()))
}

proptest! {
    #[test]
    fn no_text_is_more_than_refused(text in ".{0,80}") {
        let _ = Program::compile(&text, &environment());
    }

    #[test]
    fn no_heap_of_words_is_more_than_refused(words in proptest::collection::vec(
        prop_oneof![Just("self"), Just("."), Just("names"), Just("("), Just(")"), Just("["), Just("]"), Just("{"),
            Just("}"), Just("?"), Just(":"), Just(","), Just("1"), Just("'a'"), Just("all"), Just("map"), Just("n"),
            Just("&&"), Just("!"), Just("-"), Just("has"), Just("=="), Just("in"), Just("optional.of")], 0..24)) {
        let _ = Program::compile(&words.concat(), &environment());
    }

    #[test]
    fn arithmetic_is_that_of_whole_numbers((text, expected) in arithmetic()) {
        let nothing: [(&str, Value); 0] = [];
        let program = Program::compile(&text, &Environment::new()).unwrap();
        let value = program.run(&nothing, &mut Budget::new(u64::MAX, u64::MAX));
        match expected {
            Some(number) => prop_assert_eq!(value, Ok(Value::Int(number))),
            None => prop_assert!(value.is_err()),
        }
    }

    /// Whoever was let in by the estimate is not stopped by the limit.
    #[test]
    fn nothing_costs_more_than_was_estimated(
        text in condition(),
        names in proptest::collection::vec("[a-c]{0,8}", 0..=6),
        numbers in proptest::collection::vec(-3i64..9, 0..=6),
    ) {
        let environment = environment();
        let program = Program::compile(&text, &environment).unwrap();
        prop_assert_eq!(program.output(), &Type::Bool);
        let object = [("self", Value::from_json(&json!({"names": names, "numbers": numbers})))];
        let estimate = program.estimate(&environment).max;
        let mut budget = Budget::new(u64::MAX, u64::MAX);
        let value = program.run(&object, &mut budget);
        let spent = u64::MAX - budget.left();
        prop_assert!(spent <= estimate, "{} spent, {} estimated: {}", spent, estimate, text);
        prop_assert_ne!(value, Err(Error::TooCostly));
    }
}
