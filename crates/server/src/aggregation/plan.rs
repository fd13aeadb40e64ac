//! Whether an extension server can be used, as far as its Service and that one's endpoints tell, and what its APIService's
//! conditions should be. Pure. Reasons and messages are those of Kubernetes' aggregator.

use serde_json::{Value, json};

use super::remote::Service;
use crate::object::text;

/// The condition that everyone looks at.
const AVAILABLE: &str = "Available";

/// What was found out about a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) available: bool,
    reason: &'static str,
    message: String,
}

impl Found {
    fn wrong(reason: &'static str, message: String) -> Found {
        Found {
            available: false,
            reason,
            message,
        }
    }

    /// It has answered.
    pub(super) fn passed() -> Found {
        Found {
            available: true,
            reason: "Passed",
            message: "all checks passed".to_owned(),
        }
    }

    /// It has not answered as it must.
    pub(super) fn failed(why: String) -> Found {
        Found::wrong("FailedDiscoveryCheck", why)
    }
}

/// What is wrong with the way to a server; none when it is to be asked itself.
pub(super) fn obstacle(wanted: &Service, service: Option<&Value>, slices: &[Value]) -> Option<Found> {
    let Service { namespace, name, port } = wanted;
    let Some(service) = service else {
        let why = format!("service/{name} in {namespace:?} is not present");
        return Some(Found::wrong("ServiceNotFound", why));
    };
    // Only of these is it certain how they are reached.
    if !matches!(text(service, &["spec", "type"]), "" | "ClusterIP") {
        return None;
    }
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let Some(found) = ports.find(|one| one["port"].as_i64() == Some(*port)) else {
        let why = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Some(Found::wrong("ServicePortError", why));
    };
    if slices.is_empty() {
        let why = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Some(Found::wrong("EndpointsNotFound", why));
    }
    let port_name = text(found, &["name"]);
    if !slices.iter().any(|slice| is_ready(slice, port_name)) {
        let why = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        return Some(Found::wrong("MissingEndpoints", why));
    }
    None
}

fn is_ready(slice: &Value, port_name: &str) -> bool {
    let list = |field: &str| slice[field].as_array().cloned().unwrap_or_default();
    let ready = list("endpoints")
        .iter()
        .any(|endpoint| endpoint["conditions"]["ready"] != false);
    let named = |port: &Value| text(port, &["name"]) == port_name && port["port"].is_number();
    ready && list("ports").iter().any(named)
}

/// The conditions with what was found; none when they say that already. Others' conditions stay.
pub(super) fn conditions(there: &Value, found: &Found, now: &str) -> Option<Value> {
    let mut all = there.as_array().cloned().unwrap_or_default();
    let status = if found.available { "True" } else { "False" };
    let mut wanted = json!({
        "type": AVAILABLE, "status": status, "lastTransitionTime": now, "reason": found.reason,
        "message": found.message,
    });
    let Some(current) = all.iter_mut().find(|condition| condition["type"] == AVAILABLE) else {
        all.push(wanted);
        return Some(all.into());
    };
    if current["status"] == status && current["lastTransitionTime"].is_string() {
        wanted["lastTransitionTime"] = current["lastTransitionTime"].clone();
    }
    if *current == wanted {
        return None;
    }
    *current = wanted;
    Some(all.into())
}

/// Whether the conditions of an APIService let requests pass.
pub(super) fn is_available(service: &Value) -> bool {
    available(&service["status"]["conditions"]).is_some_and(|condition| condition["status"] == "True")
}

/// The reason for which a server has become unavailable between two states of its conditions, if it has, or if there is
/// another one now.
pub(super) fn loss<'a>(before: &Value, after: &'a Value) -> Option<&'a str> {
    let after = available(after).filter(|condition| condition["status"] != "True")?;
    let is_new =
        available(before).is_none_or(|before| before["status"] == "True" || before["reason"] != after["reason"]);
    is_new.then(|| text(after, &["reason"]))
}

fn available(conditions: &Value) -> Option<&Value> {
    let mut all = conditions.as_array().into_iter().flatten();
    all.find(|condition| condition["type"] == AVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Service {
        Service {
            namespace: "ns".to_owned(),
            name: "api".to_owned(),
            port: 443,
        }
    }

    fn reason(service: Option<&Value>, slices: &[Value]) -> Option<(&'static str, String)> {
        obstacle(&wanted(), service, slices).map(|found| (found.reason, found.message))
    }

    fn slice(ready: bool, port: &str) -> Value {
        json!({"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
            "ports": [{"name": port, "port": 6443}]})
    }

    #[test]
    fn each_obstacle_has_its_reason() {
        let service = json!({"spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": 443}]}});
        let other = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
        let told = |reason, message: &str| Some((reason, message.to_owned()));
        assert_eq!(
            reason(None, &[]),
            told("ServiceNotFound", "service/api in \"ns\" is not present")
        );
        assert_eq!(
            reason(Some(&other), &[]),
            told("ServicePortError", "service/api in \"ns\" is not listening on port 443")
        );
        assert_eq!(
            reason(Some(&service), &[]),
            told(
                "EndpointsNotFound",
                "cannot find endpointslices for service/api in \"ns\""
            )
        );
        let missing = told(
            "MissingEndpoints",
            "endpointslices for service/api in \"ns\" have no addresses with port name \"https\"",
        );
        assert_eq!(reason(Some(&service), &[slice(false, "https")]), missing);
        assert_eq!(reason(Some(&service), &[slice(true, "other")]), missing);
        assert_eq!(
            reason(Some(&service), &[slice(false, "https"), slice(true, "https")]),
            None
        );
        let outside = json!({"spec": {"type": "ExternalName", "externalName": "api.example.com"}});
        assert_eq!(reason(Some(&outside), &[]), None);
    }

    #[test]
    fn a_transition_has_its_time_and_others_stay() {
        let failed = Found::failed("no".to_owned());
        let first = conditions(&Value::Null, &failed, "t1").unwrap();
        let condition = |status, at, reason, message| {
            json!({"type": "Available", "status": status, "lastTransitionTime": at, "reason": reason,
                "message": message})
        };
        assert_eq!(first, json!([condition("False", "t1", "FailedDiscoveryCheck", "no")]));
        assert_eq!(conditions(&first, &failed, "t2"), None);
        let again = conditions(&first, &Found::failed("still no".to_owned()), "t2").unwrap();
        assert_eq!(
            again,
            json!([condition("False", "t1", "FailedDiscoveryCheck", "still no")])
        );
        let other = json!({"type": "Other", "status": "True"});
        let both = json!([other, first[0]]);
        let passed = conditions(&both, &Found::passed(), "t3").unwrap();
        assert_eq!(
            passed,
            json!([other, condition("True", "t3", "Passed", "all checks passed")])
        );
        assert_eq!(loss(&passed, &both), Some("FailedDiscoveryCheck"));
        assert_eq!((loss(&first, &again), loss(&both, &passed)), (None, None));
        assert!(is_available(&json!({"status": {"conditions": passed}})));
        assert!(!is_available(&json!({"status": {"conditions": both}})) && !is_available(&json!({})));
    }
}
