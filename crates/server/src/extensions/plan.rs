//! What the status of a definition shall be: which of its names it may have, and whether its resource is served. Pure:
//! definitions come in as trees and leave as trees.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Our finalizer, which stands on a definition while its objects are deleted.
pub(super) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The status that a definition should have beside the others of its group; none when it has it.
pub(super) fn status(definition: &Value, others: &[&Value]) -> Option<Value> {
    let before = definition.get("status").cloned().unwrap_or_else(|| json!({}));
    let mut status = before.clone();
    let names = &definition["spec"]["names"];
    if same_names(names, &before["acceptedNames"]) && is_true(definition, "Established") {
        return None;
    }
    let in_use = InUse::of(definition, others);
    let (accepted, conflict) = in_use.settle(names, &before["acceptedNames"]);
    status["acceptedNames"] = accepted;
    let was_established = is_true(definition, "Established");
    match conflict {
        None => {
            set(
                &mut status,
                "NamesAccepted",
                "True",
                "NoConflicts",
                "no conflicts found",
            );
            let why = "the initial names have been accepted";
            set(&mut status, "Established", "True", "InitialNamesAccepted", why);
        }
        Some((reason, message)) => {
            set(&mut status, "NamesAccepted", "False", reason, &message);
            if !was_established {
                let why = "not all names are accepted";
                set(&mut status, "Established", "False", "NotAccepted", why);
            }
        }
    }
    (status != before).then_some(status)
}

/// Whether a condition of a definition is true.
pub(super) fn is_true(definition: &Value, condition: &str) -> bool {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|one| one["type"] == condition && one["status"] == "True")
}

/// Whether a definition is being deleted and its objects are ours to delete.
pub(super) fn is_ending(definition: &Value) -> bool {
    let finalizers = definition.pointer("/metadata/finalizers").and_then(Value::as_array);
    definition["metadata"].get("deletionTimestamp").is_some()
        && finalizers.into_iter().flatten().any(|finalizer| finalizer == CLEANUP)
}

/// Sets a condition of a status.
pub(super) fn set(status: &mut Value, condition: &str, is: &str, reason: &str, message: &str) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(all) = status["conditions"].as_array_mut() else {
        return;
    };
    let now = meta::time::now();
    match all.iter_mut().find(|one| one["type"] == condition) {
        Some(one) => {
            if one["status"] != is || one["lastTransitionTime"].is_null() {
                one["lastTransitionTime"] = now.into();
            }
            one["status"] = is.into();
            one["reason"] = reason.into();
            one["message"] = message.into();
        }
        None => all.push(
            json!({"type": condition, "status": is, "reason": reason, "message": message,
            "lastTransitionTime": now}),
        ),
    }
}

/// The names that the definitions of a group have.
struct InUse {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl InUse {
    fn of(definition: &Value, others: &[&Value]) -> InUse {
        let mut in_use = InUse {
            resources: BTreeSet::new(),
            kinds: BTreeSet::new(),
        };
        let group = &definition["spec"]["group"];
        let rest = others.iter().copied().filter(|other| other["spec"]["group"] == *group);
        for one in rest.chain([definition]) {
            let names = &one["status"]["acceptedNames"];
            for name in [&names["plural"], &names["singular"]] {
                in_use.resources.extend(text(name));
            }
            in_use.resources.extend(list(&names["shortNames"]));
            for name in [&names["kind"], &names["listKind"]] {
                in_use.kinds.extend(text(name));
            }
        }
        in_use
    }

    /// The names that may be had, and the last conflict.
    fn settle(&self, wanted: &Value, had: &Value) -> (Value, Option<(&'static str, String)>) {
        let mut accepted = if had.is_object() { had.clone() } else { json!({}) };
        let mut conflict = None;
        for (key, used, reason) in [
            ("plural", &self.resources, "PluralConflict"),
            ("singular", &self.resources, "SingularConflict"),
            ("shortNames", &self.resources, "ShortNamesConflict"),
            ("kind", &self.kinds, "KindConflict"),
            ("listKind", &self.kinds, "ListKindConflict"),
        ] {
            let own = every(&had[key]);
            let taken: Vec<String> = every(&wanted[key])
                .iter()
                .filter(|name| !own.contains(name) && used.contains(*name))
                .map(|name| format!("{name:?} is already in use"))
                .collect();
            match taken.as_slice() {
                [] => accepted[key] = wanted[key].clone(),
                [one] => conflict = Some((reason, one.clone())),
                more => conflict = Some((reason, format!("[{}]", more.join(", ")))),
            }
        }
        accepted["categories"] = wanted["categories"].clone();
        if let Some(accepted) = accepted.as_object_mut() {
            accepted.retain(|_, value| !value.is_null());
        }
        (accepted, conflict)
    }
}

/// A name, or a list of names.
fn every(value: &Value) -> Vec<String> {
    match value {
        Value::Array(_) => list(value),
        one => text(one).into_iter().collect(),
    }
}

fn same_names(wanted: &Value, accepted: &Value) -> bool {
    ["plural", "singular", "kind", "listKind"]
        .iter()
        .all(|key| text(&wanted[*key]) == text(&accepted[*key]))
        && ["shortNames", "categories"]
            .iter()
            .all(|key| list(&wanted[*key]) == list(&accepted[*key]))
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn list(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &str, kind: &str, short: &str) -> Value {
        let names = json!({"plural": name, "singular": kind.to_lowercase(), "kind": kind,
            "listKind": format!("{kind}List"), "shortNames": [short]});
        json!({"metadata": {"name": format!("{name}.example.com")}, "spec": {"group": "example.com", "names": names}})
    }

    fn condition<'a>(status: &'a Value, name: &str) -> &'a Value {
        let all = status["conditions"].as_array().unwrap();
        all.iter().find(|one| one["type"] == name).unwrap()
    }

    #[test]
    fn a_definition_alone_gets_its_names() {
        let mut one = definition("foos", "Foo", "f");
        let made = status(&one, &[]).unwrap();
        assert_eq!(made["acceptedNames"], one["spec"]["names"]);
        assert_eq!(condition(&made, "NamesAccepted")["reason"], "NoConflicts");
        assert_eq!(condition(&made, "Established")["status"], "True");
        one["status"] = made;
        assert_eq!(status(&one, &[]), None, "settled");
    }

    #[test]
    fn a_name_that_is_taken_stays_taken() {
        let mut first = definition("foos", "Foo", "f");
        first["status"] = status(&first, &[]).unwrap();
        let second = definition("bars", "Foo", "f");
        let made = status(&second, &[&first]).unwrap();
        let accepted = condition(&made, "NamesAccepted");
        assert_eq!(
            (&accepted["status"], &accepted["reason"]),
            (&json!("False"), &json!("ListKindConflict"))
        );
        assert_eq!(made["acceptedNames"]["plural"], "bars");
        assert_eq!(made["acceptedNames"].get("kind"), None);
        assert_eq!(condition(&made, "Established")["reason"], "NotAccepted");
        let other_group = json!({"spec": {"group": "other.example.com", "names": second["spec"]["names"]}});
        assert_eq!(
            condition(&status(&other_group, &[&first]).unwrap(), "NamesAccepted")["status"],
            "True"
        );
    }
}
