//! Deleting, with each cascade.

use super::case::{Case, Stage};
use super::objects::WEB;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "delete --cascade=background",
        run: background,
    },
    Case {
        name: "delete --cascade=foreground",
        run: foreground,
    },
    Case {
        name: "delete --cascade=orphan",
        run: orphan,
    },
    Case {
        name: "delete with a grace period",
        run: grace,
    },
    Case {
        name: "delete of a namespace",
        run: namespace,
    },
];

const REST: &str = "kubectl get replicasets,pods -o name | wc -l";

fn deploy(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("web.yaml", WEB)?;
    stage.sh("kubectl apply -f web.yaml")?;
    stage.says(
        "kubectl rollout status deployment/web --timeout=60s",
        "successfully rolled out",
    )?;
    stage.prints(REST, "3")
}

fn background(stage: &Stage<'_>) -> anyhow::Result<()> {
    deploy(stage)?;
    stage.says(
        "kubectl delete deployment web --cascade=background",
        "deployment.apps \"web\" deleted",
    )?;
    stage.refuses("kubectl get deployment web", "NotFound")?;
    stage.until(REST, "0")
}

fn foreground(stage: &Stage<'_>) -> anyhow::Result<()> {
    deploy(stage)?;
    stage.sh("kubectl delete deployment web --cascade=foreground --timeout=60s")?;
    // The owner goes last.
    stage.prints(REST, "0")
}

fn orphan(stage: &Stage<'_>) -> anyhow::Result<()> {
    deploy(stage)?;
    stage.sh("kubectl delete deployment web --cascade=orphan --timeout=60s")?;
    stage.sh("sleep 2")?;
    stage.prints(REST, "3")?;
    let owners =
        |kind: &str| format!("kubectl get {kind} -o jsonpath='{{.items[*].metadata.ownerReferences[*].kind}}'");
    stage.prints(&owners("replicasets"), "")?;
    stage.prints(&owners("pods"), "ReplicaSet ReplicaSet")?;
    stage.sh("kubectl delete replicasets --all --cascade=orphan --timeout=60s")?;
    stage.sh("sleep 2")?;
    stage.prints(REST, "2")?;
    stage.prints(&owners("pods"), "")?;
    // A new owner of the same shape adopts them.
    stage.sh("kubectl apply -f web.yaml")?;
    stage.until(&owners("pods"), "ReplicaSet ReplicaSet")?;
    stage.prints(REST, "3")?;
    stage.sh("kubectl delete deployment web --timeout=60s")?;
    stage.until(REST, "0")
}

fn grace(stage: &Stage<'_>) -> anyhow::Result<()> {
    let pod = include_str!("manifests/box.yaml");
    let stubborn = pod.replace("echo ready; sleep 3600", "trap '' TERM; while :; do sleep 0.2; done");
    stage.write("box.yaml", &stubborn.replace("PeriodSeconds: 1", "PeriodSeconds: 30"))?;
    stage.sh("kubectl apply -f box.yaml")?;
    stage.sh("kubectl wait --for=condition=Ready pod/box --timeout=60s")?;
    stage.sh("kubectl delete pod box --wait=false")?;
    stage.prints(
        "kubectl get pod box -o jsonpath='{.metadata.deletionGracePeriodSeconds}'",
        "30",
    )?;
    stage.says("kubectl get pod box", "Terminating")?;
    // A shorter grace period replaces the longer one.
    stage.sh("kubectl delete pod box --grace-period=1 --timeout=10s")?;
    stage.refuses("kubectl get pod box", "NotFound")?;
    stage.sh("kubectl apply -f box.yaml")?;
    stage.sh("kubectl wait --for=condition=Ready pod/box --timeout=60s")?;
    stage.says("kubectl delete pod box --now --timeout=10s", "deleted")?;
    stage.sh("kubectl apply -f box.yaml")?;
    stage.says(
        "kubectl delete pod box --force --grace-period=0 --timeout=10s",
        "force deleted",
    )?;
    stage.refuses("kubectl get pod box", "NotFound")
}

fn namespace(stage: &Stage<'_>) -> anyhow::Result<()> {
    let other = format!("{}-2", stage.namespace);
    stage.sh(&format!("kubectl create namespace {other}"))?;
    stage.sh(&format!(
        "kubectl wait --for=create serviceaccount/default -n {other} --timeout=30s"
    ))?;
    stage.write("web.yaml", WEB)?;
    stage.sh(&format!("kubectl apply -n {other} -f web.yaml"))?;
    stage.sh(&format!(
        "kubectl rollout status -n {other} deployment/web --timeout=60s"
    ))?;
    stage.sh(&format!("kubectl delete namespace {other} --timeout=90s"))?;
    stage.refuses(&format!("kubectl get namespace {other}"), "NotFound")?;
    stage.prints(&format!("kubectl get all -n {other} -o name"), "")?;
    stage.refuses(&format!("kubectl create configmap late -n {other}"), "not found")
}
