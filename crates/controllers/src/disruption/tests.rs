//! Golden scenarios of budgets.

use std::collections::BTreeMap;
use std::time::Duration;

use super::plan::{Scale, status};
use crate::testing::{at, pod};
use crate::world::{Amount, Budget, BudgetStatus, Phase, Pod};
use client::ObjectKey;

fn budget(min: Option<Amount>, max: Option<Amount>) -> Budget {
    Budget {
        key: ObjectKey::namespaced("d", "web"),
        uid: "budget".into(),
        generation: 3,
        selector: None,
        min_available: min,
        max_unavailable: max,
        status: BudgetStatus::default(),
    }
}

fn ready(name: &str) -> Pod {
    let mut pod = pod(name);
    pod.phase = Phase::Running;
    pod.ready = Some(at(1));
    pod
}

/// allowed, healthy, desired, expected
fn numbers(budget: &Budget, pods: &[Pod], scale: Scale) -> (i32, i32, i32, i32) {
    let pods: Vec<&Pod> = pods.iter().collect();
    let (status, _) = status(budget, &pods, &scale, at(100));
    assert_eq!(status.observed_generation, 3);
    (status.allowed, status.healthy, status.desired, status.expected)
}

#[test]
fn a_number_of_available_pods_counts_the_pods_that_there_are() {
    let three = [ready("a"), ready("b"), pod("c")];
    let unknown = || Err("not asked".to_owned());
    let of = |least| numbers(&budget(Some(Amount::Number(least)), None), &three, unknown());
    assert_eq!(of(1), (1, 2, 1, 3));
    assert_eq!(of(2), (0, 2, 2, 3));
    assert_eq!(of(5), (0, 2, 5, 3));
    assert_eq!(
        numbers(&budget(Some(Amount::Number(0)), None), &[], unknown()),
        (0, 0, 0, 0)
    );
}

#[test]
fn percentages_are_of_what_the_owners_want_and_round_up() {
    let four = [ready("a"), ready("b"), ready("c"), ready("d")];
    assert_eq!(
        numbers(&budget(Some(Amount::Percent(50)), None), &four, Ok(5)),
        (1, 4, 3, 5)
    );
    assert_eq!(
        numbers(&budget(None, Some(Amount::Percent(30))), &four, Ok(4)),
        (2, 4, 2, 4)
    );
    assert_eq!(
        numbers(&budget(None, Some(Amount::Number(1))), &four, Ok(4)),
        (1, 4, 3, 4)
    );
    assert_eq!(
        numbers(&budget(None, Some(Amount::Number(9))), &four, Ok(4)),
        (4, 4, 0, 4)
    );
}

#[test]
fn nothing_is_allowed_while_the_scale_is_unknown() {
    let (status, _) = status(
        &budget(None, Some(Amount::Number(1))),
        &[&ready("a")],
        &Err("found no controllers for pod \"a\"".into()),
        at(100),
    );
    let condition = status.condition.expect("a condition");
    assert_eq!((status.allowed, condition.reason.as_str()), (0, "SyncFailed"));
    assert_eq!(condition.message, "found no controllers for pod \"a\"");
}

#[test]
fn a_pod_that_is_being_evicted_is_not_healthy_until_the_eviction_is_given_up() {
    let mut budget = budget(Some(Amount::Number(1)), None);
    budget.status.disrupted = BTreeMap::from([
        ("a".to_owned(), at(90)),
        ("old".to_owned(), at(-100)),
        ("gone".to_owned(), at(95)),
    ]);
    let (a, old, b) = (ready("a"), ready("old"), ready("b"));
    let (status, wait) = status(&budget, &[&a, &old, &b], &Ok(0), at(100));
    assert_eq!(status.disrupted, BTreeMap::from([("a".to_owned(), at(90))]));
    assert_eq!((status.healthy, status.allowed), (2, 1));
    assert_eq!(wait, Some(Duration::from_secs(110)));
}

#[test]
fn a_pod_that_goes_is_not_healthy() {
    let mut going = ready("b");
    going.deleting = true;
    let budget = budget(Some(Amount::Number(1)), None);
    assert_eq!(numbers(&budget, &[ready("a"), going], Ok(0)), (0, 1, 1, 2));
}
