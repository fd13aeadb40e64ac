//! Charging, against the texts and figures of Kubernetes.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

fn quota(hard: Value, used: Value) -> Value {
    json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
}

fn pod(resources: Value) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": resources}]}})
}

fn create(evaluator: &Evaluator, quota: &Value, object: &Value) -> Result<Value, String> {
    write(evaluator, quota, object, None)
}

fn write(evaluator: &Evaluator, quota: &Value, object: &Value, old: Option<&Value>) -> Result<Value, String> {
    let request = Request {
        subresource: "",
        object,
        old,
        now: Timestamp::UNIX_EPOCH,
    };
    let charged = charge(evaluator, std::slice::from_ref(quota), &request)?;
    Ok(charged
        .into_iter()
        .next()
        .map_or(Value::Null, |(_, used)| used.to_value()))
}

#[test]
fn a_pod_is_charged_and_refused() {
    let quota = quota(
        json!({"pods": "2", "requests.cpu": "1", "limits.memory": "1Gi"}),
        json!({"pods": "1", "requests.cpu": "500m", "limits.memory": "0"}),
    );
    let fits = pod(json!({"requests": {"cpu": "500m"}, "limits": {"memory": "512Mi"}}));
    assert_eq!(
        create(&Evaluator::Pods, &quota, &fits),
        Ok(json!({"pods": "2", "requests.cpu": "1", "limits.memory": "512Mi"}))
    );
    let greedy = pod(json!({"requests": {"cpu": "1100m"}, "limits": {"memory": "2Gi"}}));
    assert_eq!(
        create(&Evaluator::Pods, &quota, &greedy),
        Err(
            "exceeded quota: q, requested: limits.memory=2Gi,requests.cpu=1100m, used: limits.memory=0,requests.cpu=500m, \
             limited: limits.memory=1Gi,requests.cpu=1"
                .to_owned()
        )
    );
    let silent = pod(json!({}));
    assert_eq!(
        create(&Evaluator::Pods, &quota, &silent),
        Err("failed quota: q: must specify limits.memory for: c; requests.cpu for: c".to_owned())
    );
}

#[test]
fn a_quota_without_a_count_refuses() {
    let quota = quota(json!({"pods": "2", "secrets": "1"}), json!({"secrets": "0"}));
    assert_eq!(
        create(&Evaluator::Pods, &quota, &pod(json!({}))),
        Err("status unknown for quota: q, resources: pods".to_owned())
    );
    let secrets = Evaluator::of("", "secrets").unwrap();
    assert_eq!(create(&secrets, &quota, &json!({})), Ok(json!({"secrets": "1"})));
}

#[test]
fn scopes_choose() {
    let of = |scopes: Value, selector: Value| {
        let mut quota = quota(json!({"pods": "0"}), json!({"pods": "0"}));
        quota["spec"]["scopes"] = scopes;
        quota["spec"]["scopeSelector"] = selector;
        quota
    };
    let covered = |quota: &Value, pod: &Value| create(&Evaluator::Pods, quota, pod).is_err();
    let best_effort = pod(json!({}));
    let burstable = pod(json!({"requests": {"cpu": "1"}}));
    let mut ending = burstable.clone();
    ending["spec"]["activeDeadlineSeconds"] = json!(5);
    let mut high = burstable.clone();
    high["spec"]["priorityClassName"] = json!("high");
    let scope = |name: &str| of(json!([name]), Value::Null);
    assert!(covered(&scope("BestEffort"), &best_effort) && !covered(&scope("BestEffort"), &burstable));
    assert!(!covered(&scope("NotBestEffort"), &best_effort) && covered(&scope("NotBestEffort"), &burstable));
    assert!(covered(&scope("Terminating"), &ending) && !covered(&scope("Terminating"), &burstable));
    assert!(covered(&scope("NotTerminating"), &burstable) && !covered(&scope("NotTerminating"), &ending));
    assert!(covered(&scope("PriorityClass"), &high) && !covered(&scope("PriorityClass"), &burstable));
    let classes = |operator: &str| {
        let one = json!({"scopeName": "PriorityClass", "operator": operator, "values": ["high"]});
        of(json!([]), json!({"matchExpressions": [one]}))
    };
    assert!(covered(&classes("In"), &high) && !covered(&classes("In"), &burstable));
    assert!(!covered(&classes("NotIn"), &high) && covered(&classes("NotIn"), &burstable));
    let mut near = burstable.clone();
    let term = json!({"topologyKey": "zone", "namespaces": ["other"]});
    near["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    let elsewhere = scope("CrossNamespacePodAffinity");
    assert!(covered(&elsewhere, &near) && !covered(&elsewhere, &burstable));
}

#[test]
fn a_pod_counts_with_init_containers_sidecars_overhead_and_its_own_amounts() {
    let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
    let mut pod = json!({"spec": {
        "containers": [{"name": "a", "resources": cpu("1")}, {"name": "b", "resources": cpu("2")}],
        "initContainers": [
            {"name": "s", "restartPolicy": "Always", "resources": cpu("500m")},
            {"name": "i", "resources": cpu("5")},
        ],
        "overhead": {"cpu": "250m"},
    }});
    let used = |pod: &Value| Evaluator::Pods.usage(pod, Timestamp::UNIX_EPOCH);
    assert_eq!(used(&pod).get("cpu").unwrap().to_string(), "5750m");
    pod["spec"]["resources"] = cpu("4");
    assert_eq!(used(&pod).get("requests.cpu").unwrap().to_string(), "4250m");
    pod["status"]["phase"] = json!("Succeeded");
    assert_eq!(used(&pod).to_value(), json!({"count/pods": "1"}));
}

#[test]
fn extended_resources_and_huge_pages() {
    let quota = quota(
        json!({"requests.example.com/gpu": "1", "hugepages-2Mi": "4Mi"}),
        json!({"requests.example.com/gpu": "0", "hugepages-2Mi": "0"}),
    );
    let amounts = json!({"example.com/gpu": "2", "hugepages-2Mi": "2Mi"});
    let asks = pod(json!({"requests": amounts, "limits": amounts}));
    assert_eq!(
        create(&Evaluator::Pods, &quota, &asks),
        Err(
            "exceeded quota: q, requested: requests.example.com/gpu=2, used: requests.example.com/gpu=0, limited: \
             requests.example.com/gpu=1"
                .to_owned()
        )
    );
}

#[test]
fn services_are_charged_for_what_changes() {
    let services = Evaluator::of("", "services").unwrap();
    let limits = json!({"services": "5", "services.nodeports": "2", "services.loadbalancers": "0"});
    let quota = quota(
        limits,
        json!({"services": "1", "services.nodeports": "1", "services.loadbalancers": "0"}),
    );
    let service = |kind: &str| json!({"spec": {"type": kind, "ports": [{"port": 1}]}});
    let changed = write(&services, &quota, &service("NodePort"), Some(&service("ClusterIP"))).unwrap();
    assert_eq!(
        changed,
        json!({"services": "1", "services.nodeports": "2", "services.loadbalancers": "0"})
    );
    let same = write(&services, &quota, &service("NodePort"), Some(&service("NodePort"))).unwrap();
    assert_eq!(same, Value::Null, "nothing to charge");
    assert_eq!(
        create(&services, &quota, &service("LoadBalancer")),
        Err(
            "exceeded quota: q, requested: services.loadbalancers=1, used: services.loadbalancers=0, limited: \
             services.loadbalancers=0"
                .to_owned()
        )
    );
}

#[test]
fn claims_count_by_class() {
    let claims = Evaluator::of("", "persistentvolumeclaims").unwrap();
    let limits = json!({"gold.storageclass.storage.k8s.io/requests.storage": "1Gi", "persistentvolumeclaims": "3"});
    let quota = quota(
        limits,
        json!({"gold.storageclass.storage.k8s.io/requests.storage": "0", "persistentvolumeclaims": "0"}),
    );
    let claim =
        |class: &str| json!({"spec": {"storageClassName": class, "resources": {"requests": {"storage": "2Gi"}}}});
    assert!(create(&claims, &quota, &claim("gold")).is_err());
    let silver = create(&claims, &quota, &claim("silver")).unwrap();
    assert_eq!(silver["persistentvolumeclaims"], "1");
}

#[test]
fn names_lead_to_resources() {
    for (name, resource) in [
        ("requests.cpu", Some(("", "pods"))),
        ("pods", Some(("", "pods"))),
        ("services.nodeports", Some(("", "services"))),
        ("count/deployments.apps", Some(("apps", "deployments"))),
        ("count/configmaps", Some(("", "configmaps"))),
        ("secrets", Some(("", "secrets"))),
        (
            "x.storageclass.storage.k8s.io/persistentvolumeclaims",
            Some(("", "persistentvolumeclaims")),
        ),
        ("count/events", None),
        ("nonsense", None),
    ] {
        assert_eq!(Evaluator::counted(name), resource, "{name}");
    }
}
