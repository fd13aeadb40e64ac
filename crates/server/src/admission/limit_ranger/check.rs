//! Whether pods and claims keep within a limit range. Pure.

use api::quota::{Amounts, List, specified};
use meta::Quantity;
use serde_json::Value;

/// Amounts beyond this are compared in whole units.
const MAX_MILLI: i64 = i64::MAX / 1000;

/// What a pod breaks.
pub(super) fn pod(range: &Value, pod: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    for limit in limits(range) {
        match limit["type"].as_str() {
            Some(kind @ "Container") => {
                for container in ["containers", "initContainers"]
                    .iter()
                    .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
                {
                    let resources = &container["resources"];
                    let asked = Asked {
                        requests: Amounts::read(&resources["requests"]),
                        limits: Amounts::read(&resources["limits"]),
                    };
                    asked.check(limit, kind, &mut broken);
                }
            }
            Some(kind @ "Pod") => {
                let asked = Asked {
                    requests: specified(pod, List::Requests),
                    limits: specified(pod, List::Limits),
                };
                asked.check(limit, kind, &mut broken);
            }
            _ => {}
        }
    }
    broken
}

/// What a claim breaks.
pub(super) fn claim(range: &Value, claim: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    let asked = Asked {
        requests: Amounts::read(&claim["spec"]["resources"]["requests"]),
        limits: Amounts::default(),
    };
    for limit in limits(range) {
        let kind = "PersistentVolumeClaim";
        if limit["type"] != kind {
            continue;
        }
        for (name, least) in Amounts::read(&limit["min"]).iter() {
            broken.extend(asked.at_least(kind, name, least));
        }
        for (name, most) in Amounts::read(&limit["max"]).iter() {
            broken.extend(asked.requests_at_most(kind, name, most));
        }
    }
    broken
}

fn limits(range: &Value) -> impl Iterator<Item = &Value> {
    range["spec"]["limits"].as_array().into_iter().flatten()
}

/// What a container, a pod or a claim asks for.
struct Asked {
    requests: Amounts,
    limits: Amounts,
}

impl Asked {
    fn check(&self, limit: &Value, kind: &str, broken: &mut Vec<String>) {
        for (name, least) in Amounts::read(&limit["min"]).iter() {
            broken.extend(self.at_least(kind, name, least));
        }
        for (name, most) in Amounts::read(&limit["max"]).iter() {
            broken.extend(self.at_most(kind, name, most));
        }
        for (name, ratio) in Amounts::read(&limit["maxLimitRequestRatio"]).iter() {
            broken.extend(self.within_ratio(kind, name, ratio));
        }
    }

    fn at_least(&self, kind: &str, name: &str, least: Quantity) -> Option<String> {
        let what = format!("minimum {name} usage per {kind} is {least}");
        let Some(request) = self.requests.get(name) else {
            return Some(format!("{what}.  No request is specified"));
        };
        let limit = self.limits.get(name);
        let (seen, seen_limit, wanted) = comparable(request, limit.unwrap_or_default(), least);
        match limit {
            _ if seen < wanted => Some(format!("{what}, but request is {request}")),
            Some(limit) if seen_limit < wanted => Some(format!("{what}, but limit is {limit}")),
            _ => None,
        }
    }

    fn at_most(&self, kind: &str, name: &str, most: Quantity) -> Option<String> {
        let what = format!("maximum {name} usage per {kind} is {most}");
        let Some(limit) = self.limits.get(name) else {
            return Some(format!("{what}.  No limit is specified"));
        };
        let request = self.requests.get(name);
        let (seen, seen_limit, wanted) = comparable(request.unwrap_or_default(), limit, most);
        match request {
            _ if seen_limit > wanted => Some(format!("{what}, but limit is {limit}")),
            Some(request) if seen > wanted => Some(format!("{what}, but request is {request}")),
            _ => None,
        }
    }

    fn requests_at_most(&self, kind: &str, name: &str, most: Quantity) -> Option<String> {
        let what = format!("maximum {name} usage per {kind} is {most}");
        let Some(request) = self.requests.get(name) else {
            return Some(format!("{what}.  No request is specified"));
        };
        let (seen, _, wanted) = comparable(request, Quantity::ZERO, most);
        (seen > wanted).then(|| format!("{what}, but request is {request}"))
    }

    #[allow(clippy::cast_precision_loss, reason = "a ratio is a floating point number")]
    fn within_ratio(&self, kind: &str, name: &str, most: Quantity) -> Option<String> {
        let what = format!("{name} max limit to request ratio per {kind} is {most}");
        let amount = |list: &Amounts| list.get(name).unwrap_or_default();
        let (request, limit, _) = comparable(amount(&self.requests), amount(&self.limits), most);
        if request == 0 {
            return Some(format!("{what}, but no request is specified or request is 0"));
        }
        if limit == 0 {
            return Some(format!("{what}, but no limit is specified or limit is 0"));
        }
        let ratio = limit as f64 / request as f64;
        let exceeded = match most.units() <= MAX_MILLI {
            true => ratio * 1000.0 > most.millis() as f64,
            false => ratio > most.units() as f64,
        };
        exceeded.then(|| format!("{what}, but provided ratio is {ratio:.6}"))
    }
}

/// In thousandths where none of them is too large for that, else in units.
fn comparable(request: Quantity, limit: Quantity, wanted: Quantity) -> (i64, i64, i64) {
    let all = [request, limit, wanted];
    let [request, limit, wanted] = match all.iter().all(|amount| amount.units() <= MAX_MILLI) {
        true => all.map(Quantity::millis),
        false => all.map(Quantity::units),
    };
    (request, limit, wanted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(limit: Value, requests: Value, limits: Value) -> Vec<String> {
        let range = json!({"spec": {"limits": [limit]}});
        let resources = json!({"requests": requests, "limits": limits});
        pod(&range, &json!({"spec": {"containers": [{"resources": resources}]}}))
    }

    #[test]
    fn least_most_and_ratio() {
        let limit = json!({"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "1"},
            "maxLimitRequestRatio": {"cpu": "2"}});
        let check = |request: Value, most: Value, expected: &[&str]| {
            let list = |amount: Value| {
                if amount.is_null() {
                    json!({})
                } else {
                    json!({"cpu": amount})
                }
            };
            assert_eq!(of(limit.clone(), list(request), list(most)), expected);
        };
        check(json!("500m"), json!("1"), &[]);
        check(
            json!("50m"),
            json!("100m"),
            &["minimum cpu usage per Container is 100m, but request is 50m"],
        );
        check(
            json!("1"),
            json!("1100m"),
            &["maximum cpu usage per Container is 1, but limit is 1100m"],
        );
        check(
            json!("300m"),
            json!("1"),
            &["cpu max limit to request ratio per Container is 2, but provided ratio is 3.333333"],
        );
        check(
            json!("100m"),
            Value::Null,
            &[
                "maximum cpu usage per Container is 1.  No limit is specified",
                "cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0",
            ],
        );
        check(
            Value::Null,
            json!("1"),
            &[
                "minimum cpu usage per Container is 100m.  No request is specified",
                "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
            ],
        );
    }

    #[test]
    fn a_pod_as_a_whole_and_a_claim() {
        let whole = json!({"type": "Pod", "max": {"memory": "1Gi"}});
        let range = json!({"spec": {"limits": [whole]}});
        let container = json!({"resources": {"limits": {"memory": "600Mi"}}});
        let two = json!({"spec": {"containers": [container, container]}});
        assert_eq!(
            pod(&range, &two),
            ["maximum memory usage per Pod is 1Gi, but limit is 1200Mi"]
        );
        let storage = json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}});
        let range = json!({"spec": {"limits": [storage]}});
        let asks = |amount: &str| json!({"spec": {"resources": {"requests": {"storage": amount}}}});
        assert_eq!(claim(&range, &asks("1536Mi")), Vec::<String>::new());
        assert_eq!(
            claim(&range, &asks("500Mi")),
            ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi"]
        );
        assert_eq!(
            claim(&range, &asks("3Gi")),
            ["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]
        );
    }
}
