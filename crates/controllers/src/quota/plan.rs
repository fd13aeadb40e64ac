//! What a quota's status should say. Pure.

use std::collections::BTreeSet;

use api::quota::{Amounts, Evaluator, hard, used};
use serde_json::{Value, json};

/// The limits that are wanted.
pub(super) fn wanted(quota: &Value) -> Amounts {
    Amounts::read(&quota["spec"]["hard"])
}

/// The resources that a quota is about, as group and plural.
pub(super) fn resources(hard: &Amounts) -> BTreeSet<(String, String)> {
    let named = hard.names().filter_map(Evaluator::counted);
    named
        .map(|(group, plural)| (group.to_owned(), plural.to_owned()))
        .collect()
}

/// Whether the status lacks something that follows from the limits alone.
pub(super) fn is_behind(quota: &Value) -> bool {
    let (wanted, used) = (wanted(quota), used(quota));
    wanted != hard(quota) || wanted.names().any(|name| used.get(name).is_none())
}

/// Whether a quota is about a resource.
pub(super) fn is_about(quota: &Value, evaluator: &Evaluator) -> bool {
    wanted(quota).names().any(|name| evaluator.counts(name))
}

/// The status that a quota should have by what was counted; what wasn't is left as it was. None when it has it.
pub(super) fn status(quota: &Value, counted: &Amounts) -> Option<Value> {
    let limits = wanted(quota);
    let before = used(quota);
    let mut now = before.clone();
    for (name, amount) in counted.iter() {
        now.set(name, amount);
    }
    let now = now.only(&|name| limits.get(name).is_some());
    let told = quota["status"]["hard"].is_object() && quota["status"]["used"].is_object();
    if told && limits == hard(quota) && now == before {
        return None;
    }
    Some(json!({"hard": limits.to_value(), "used": now.to_value()}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(list: Value) -> Amounts {
        Amounts::read(&list)
    }

    #[test]
    fn limits_are_taken_over_and_use_is_counted() {
        let mut quota = json!({"spec": {"hard": {"pods": "3", "count/foos.example.com": "1"}}});
        assert!(is_behind(&quota));
        let status = status(&quota, &amounts(json!({"pods": "2", "cpu": "1"}))).unwrap();
        assert_eq!(status["hard"], quota["spec"]["hard"]);
        assert_eq!(status["used"], json!({"pods": "2"}), "what nobody knows has no use");
        quota["status"] = status;
        assert!(is_behind(&quota), "the other is still to be counted");
        quota["status"]["used"]["count/foos.example.com"] = json!("0");
        assert!(!is_behind(&quota));
        assert_eq!(super::status(&quota, &amounts(json!({"pods": "2"}))), None);
    }

    #[test]
    fn a_limit_that_is_gone_is_forgotten() {
        let quota = json!({
            "spec": {"hard": {"pods": "3"}},
            "status": {"hard": {"pods": "3", "secrets": "1"}, "used": {"pods": "1", "secrets": "1"}},
        });
        let status = status(&quota, &amounts(json!({"pods": "1"}))).unwrap();
        assert_eq!(status, json!({"hard": {"pods": "3"}, "used": {"pods": "1"}}));
    }

    #[test]
    fn names_are_sorted_by_what_they_are_about() {
        let hard =
            amounts(json!({"requests.cpu": "1", "pods": "1", "count/jobs.batch": "1", "secrets": "1", "x": "1"}));
        let found: Vec<(String, String)> = resources(&hard).into_iter().collect();
        let expected = [("", "pods"), ("", "secrets"), ("batch", "jobs")];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
