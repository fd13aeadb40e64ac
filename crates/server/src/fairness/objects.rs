//! The schemas and levels that every cluster has, as Kubernetes v1.37 makes them.

use serde_json::{Value, json};

use crate::authz::bootstrap::Made;

/// Whoever sets it to `false` keeps the object as it is.
pub(crate) const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// The levels: shares of the server's seats, how many percent are lent, and queues, hand size and queue length.
pub(crate) fn levels() -> Vec<Made> {
    let limited = [
        ("system", 30, 33, (64, 6)),
        ("node-high", 40, 25, (64, 6)),
        ("leader-election", 10, 0, (16, 4)),
        ("workload-high", 40, 50, (128, 6)),
        ("workload-low", 100, 90, (128, 6)),
        ("global-default", 20, 50, (128, 6)),
    ];
    let mut out: Vec<Made> = limited
        .into_iter()
        .map(|(name, shares, lendable, (queues, hand))| {
            let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": 50});
            level(
                name,
                &json!({"type": "Limited", "limited": {
                    "nominalConcurrencyShares": shares, "lendablePercent": lendable,
                    "limitResponse": {"type": "Queue", "queuing": queuing},
                }}),
            )
        })
        .collect();
    out.push(level(
        "catch-all",
        &json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"},
        }}),
    ));
    out.push(level(
        "exempt",
        &json!({"type": "Exempt", "exempt": {
            "nominalConcurrencyShares": 0, "lendablePercent": 0,
        }}),
    ));
    out
}

/// The schemas: precedence, level, what tells flows apart, who, and what they ask for.
pub(crate) fn schemas() -> Vec<Made> {
    let all = ["system:unauthenticated", "system:authenticated"];
    let (managers, scheduler) = ("system:kube-controller-manager", "system:kube-scheduler");
    let mut leaders: Vec<Value> = [managers, scheduler].map(user).into();
    leaders.push(account());
    let nodes = groups(&["system:nodes"]);
    let leases = resources(&["*"], &["coordination.k8s.io"], &["leases"], false);
    let leading = resources(
        &["get", "create", "update"],
        &["coordination.k8s.io"],
        &["leases"],
        false,
    );
    let of_nodes = json!([resources(&["*"], &[""], &["nodes", "nodes/status"], true), leases]);
    let probes = json!([{
        "subjects": groups(&all),
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
    }]);
    let leading = json!([{"subjects": leaders, "resourceRules": [leading]}]);
    let beating = json!([{"subjects": nodes, "resourceRules": of_nodes}]);
    let (user, namespace) = (Some("ByUser"), Some("ByNamespace"));
    vec![
        schema("exempt", (1, "exempt", None), &everything(groups(&["system:masters"]))),
        schema("probes", (2, "exempt", None), &probes),
        schema("system-leader-election", (100, "leader-election", user), &leading),
        schema("system-node-high", (400, "node-high", user), &beating),
        schema("system-nodes", (500, "system", user), &everything(nodes)),
        schema(
            "kube-controller-manager",
            (800, "workload-high", namespace),
            &everything(json!([self::user(managers)])),
        ),
        schema(
            "kube-scheduler",
            (800, "workload-high", namespace),
            &everything(json!([self::user(scheduler)])),
        ),
        schema(
            "kube-system-service-accounts",
            (900, "workload-high", namespace),
            &everything(json!([account()])),
        ),
        schema(
            "service-accounts",
            (9000, "workload-low", user),
            &everything(groups(&["system:serviceaccounts"])),
        ),
        schema(
            "global-default",
            (9900, "global-default", user),
            &everything(groups(&all)),
        ),
        schema("catch-all", (10_000, "catch-all", user), &everything(groups(&all))),
    ]
}

fn level(name: &str, spec: &Value) -> Made {
    made("prioritylevelconfigurations", name, spec)
}

fn schema(name: &str, (precedence, level, by): (i64, &str, Option<&str>), rules: &Value) -> Made {
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": rules,
    });
    if let Some(by) = by {
        spec["distinguisherMethod"] = json!({"type": by});
    }
    made("flowschemas", name, &spec)
}

fn made(plural: &'static str, name: &str, spec: &Value) -> Made {
    Made {
        group: GROUP.to_owned(),
        plural,
        object: json!({"metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec}),
    }
}

fn everything(subjects: Value) -> Value {
    json!([{
        "subjects": subjects,
        "resourceRules": [resources(&["*"], &["*"], &["*"], true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }])
}

fn resources(verbs: &[&str], groups: &[&str], resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "namespaces": ["*"]});
    if cluster {
        rule["clusterScope"] = json!(true);
    }
    rule
}

fn groups(names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| json!({"kind": "Group", "group": {"name": name}}))
        .collect()
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

/// Every service account of `kube-system`.
fn account() -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}})
}
