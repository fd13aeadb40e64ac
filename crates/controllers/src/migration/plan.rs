//! What is said of a migration, and of the definition whose objects were migrated. Pure.

use serde_json::{Value, json};

/// A condition that holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Condition {
    kind: &'static str,
    reason: &'static str,
    message: String,
}

impl Condition {
    pub(super) fn new(kind: &'static str, reason: &'static str, message: &str) -> Condition {
        Condition {
            kind,
            reason,
            message: message.to_owned(),
        }
    }
}

/// That it is under way: so many objects of all are left.
pub(super) fn running(left: usize, total: usize) -> Condition {
    let message = match (left, total) {
        (_, 0) => "The migration is running".to_owned(),
        (0, total) => format!("The migration is running, {total} objects verified migrated"),
        (left, total) => format!("The migration is running, {left}/{total} objects not yet migrated"),
    };
    Condition::new("Running", "MigrationRunning", &message)
}

/// Sets conditions in a status; one that is there already keeps the time since when it holds.
pub(super) fn set(status: &mut Value, conditions: &[Condition], now: impl Into<Value>) {
    let now = now.into();
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(list) = status["conditions"].as_array_mut() else {
        return;
    };
    for condition in conditions {
        let mut told = json!({"type": condition.kind, "status": "True", "reason": condition.reason,
            "message": condition.message, "lastTransitionTime": now});
        match list.iter_mut().find(|known| known["type"] == condition.kind) {
            Some(known) => {
                if known["status"] == "True" {
                    told["lastTransitionTime"] = known["lastTransitionTime"].clone();
                }
                *known = told;
            }
            None => list.push(told),
        }
    }
}

/// What to write into a definition's status once all its objects are in the storage version; none when it says so.
pub(super) fn stored_versions(definition: &Value) -> Option<Value> {
    let versions = definition["spec"]["versions"].as_array()?;
    let storage = versions.iter().find(|version| version["storage"] == true)?;
    let wanted = json!([storage["name"]]);
    let metadata = &definition["metadata"];
    (definition["status"]["storedVersions"] != wanted).then(
        || json!({"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": {"storedVersions": wanted}}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_keep_the_time_since_when_they_hold() {
        let mut status = json!({});
        set(&mut status, &[running(3, 3)], "t1");
        set(
            &mut status,
            &[
                running(0, 3),
                Condition::new("Succeeded", "Done", "Migration completed"),
            ],
            "t2",
        );
        let list = status["conditions"].as_array().unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!(list[0]["lastTransitionTime"], "t1");
        assert_eq!(
            list[0]["message"],
            "The migration is running, 3 objects verified migrated"
        );
        assert_eq!(
            (&list[1]["type"], &list[1]["lastTransitionTime"]),
            (&json!("Succeeded"), &json!("t2"))
        );
    }

    #[test]
    fn only_the_storage_version_is_left() {
        let definition = |stored: Value| {
            json!({"metadata": {"resourceVersion": "7"}, "status": {"storedVersions": stored},
                "spec": {"versions": [{"name": "v1", "storage": false}, {"name": "v2", "storage": true}]}})
        };
        let told = stored_versions(&definition(json!(["v1", "v2"]))).unwrap();
        assert_eq!(told["status"]["storedVersions"], json!(["v2"]));
        assert_eq!(told["metadata"]["resourceVersion"], "7");
        assert_eq!(stored_versions(&definition(json!(["v2"]))), None);
    }
}
