//! Putting lists of tolerations together. Pure.

use serde_json::Value;

/// Both lists as one, without what another of them covers.
pub(super) fn merge(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let covered = merged.iter().any(|other| covers(other, one))
            // Of equal ones the first stays.
            || all[index + 1..].iter().any(|other| !same(one, other) && covers(other, one));
        if !covered {
            merged.push((*one).clone());
        }
    }
    merged
}

/// Whether each is covered by one that is allowed; nothing allowed allows everything.
pub(super) fn are_allowed(tolerations: &[Value], allowed: &[Value]) -> bool {
    allowed.is_empty()
        || tolerations
            .iter()
            .all(|one| allowed.iter().any(|wider| covers(wider, one)))
}

fn text<'a>(toleration: &'a Value, field: &str) -> &'a str {
    toleration.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn seconds(toleration: &Value) -> Option<i64> {
    toleration.get("tolerationSeconds").and_then(Value::as_i64)
}

fn same(a: &Value, b: &Value) -> bool {
    let texts = ["key", "operator", "value", "effect"];
    texts.iter().all(|field| text(a, field) == text(b, field)) && seconds(a) == seconds(b)
}

/// Whether the one tolerates at least what the other does.
fn covers(wide: &Value, one: &Value) -> bool {
    if same(wide, one) {
        return true;
    }
    let every_key = text(wide, "key").is_empty() && text(wide, "operator") == "Exists";
    if text(one, "key") != text(wide, "key") && !every_key {
        return false;
    }
    let effect = text(wide, "effect");
    if !effect.is_empty() && text(one, "effect") != effect {
        return false;
    }
    if effect == "NoExecute"
        && let Some(limit) = seconds(wide)
        && seconds(one).is_none_or(|seconds| seconds > limit)
    {
        return false;
    }
    match text(wide, "operator") {
        "" | "Equal" => text(one, "operator") == "Equal" && text(one, "value") == text(wide, "value"),
        "Exists" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_wider_one_stays() {
        let all = json!({"operator": "Exists"});
        let one = json!({"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"});
        let merged = |a: &Value, b: &Value| merge(std::slice::from_ref(a), std::slice::from_ref(b));
        assert_eq!(merged(&one, &all), vec![all.clone()]);
        assert_eq!(merged(&one, &one), vec![one.clone()]);
        let other = json!({"key": "a", "operator": "Equal", "value": "c", "effect": "NoSchedule"});
        assert_eq!(merged(&one, &other), vec![one.clone(), other.clone()]);
        let key = json!({"key": "a", "operator": "Exists", "effect": "NoSchedule"});
        let allowed = std::slice::from_ref(&key);
        assert!(are_allowed(&[one, other], allowed));
        assert!(!are_allowed(&[all], allowed));
        let long = json!({"key": "n", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
        let short = json!({"key": "n", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30});
        assert_eq!(merged(&short, &long), vec![long]);
    }
}
