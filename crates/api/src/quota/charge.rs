//! What a write costs each quota of its namespace, and whether they can bear it.

use jiff::Timestamp;
use serde_json::Value;

use super::{Amounts, Evaluator, hard, used};
use crate::rules::view::View as _;

/// A write to an object in a namespace.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The endpoint: the object itself, or one of its subresources.
    pub subresource: &'a str,
    /// The object as it would be stored.
    pub object: &'a Value,
    /// As it is stored; none when it is new.
    pub old: Option<&'a Value>,
    /// The time.
    pub now: Timestamp,
}

/// By the quotas' places in `quotas`, what each that is charged has used with the write; or why the write is refused.
pub fn charge(evaluator: &Evaluator, quotas: &[Value], request: &Request<'_>) -> Result<Vec<(usize, Amounts)>, String> {
    if !evaluator.handles(request) {
        return Ok(Vec::new());
    }
    let mut about = Vec::new();
    for (index, quota) in quotas.iter().enumerate() {
        let hard = hard(quota);
        if evaluator.covers(quota, &hard, request.object) {
            check(evaluator, quota, &hard, request.object)?;
            about.push((index, hard));
        }
    }
    if about.is_empty() {
        return Ok(Vec::new());
    }
    let usage = evaluator.usage(request.object, request.now);
    let negative: Vec<&str> = usage
        .iter()
        .filter(|(_, amount)| amount.is_negative())
        .map(|(name, _)| name)
        .collect();
    if !negative.is_empty() {
        return Err(format!(
            "quota usage is negative for resource(s): {}",
            negative.join(",")
        ));
    }
    let before = request.old.map(|old| (old, evaluator.usage(old, request.now)));
    let mut charged = Vec::new();
    for (index, hard) in about {
        let quota = &quotas[index];
        let cost = match &before {
            Some((old, before)) if evaluator.covers(quota, &hard, old) => usage.beyond(before),
            _ => usage.clone(),
        };
        let cost = cost.only(&|name| hard.get(name).is_some()).without_zeros();
        if cost.is_empty() {
            continue;
        }
        let mut sum = used(quota);
        sum.add(&cost);
        if request.subresource != "status" {
            bear(quota, &hard, &cost, &sum)?;
        }
        charged.push((index, sum));
    }
    Ok(charged)
}

/// What must hold before anything is counted.
fn check(evaluator: &Evaluator, quota: &Value, hard: &Amounts, object: &Value) -> Result<(), String> {
    let name = quota.at("metadata").text("name");
    let limited: Vec<&str> = hard.names().filter(|name| evaluator.counts(name)).collect();
    if let Err(why) = evaluator.constraints(object, &limited) {
        return Err(format!("failed quota: {name}: {why}"));
    }
    let known = used(quota);
    if limited.iter().any(|limit| known.get(limit).is_none()) {
        return Err(format!(
            "status unknown for quota: {name}, resources: {}",
            limited.join(",")
        ));
    }
    Ok(())
}

fn bear(quota: &Value, hard: &Amounts, cost: &Amounts, sum: &Amounts) -> Result<(), String> {
    let exceeded = |name: &str| match (cost.get(name), sum.get(name), hard.get(name)) {
        (Some(_), Some(sum), Some(hard)) => sum > hard,
        _ => false,
    };
    let requested = cost.only(&exceeded);
    if requested.is_empty() {
        return Ok(());
    }
    Err(format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        quota.at("metadata").text("name"),
        requested.text(),
        used(quota).only(&exceeded).text(),
        hard.only(&exceeded).text()
    ))
}
