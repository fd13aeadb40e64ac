//! Looking around: describe, explain, and `get` of everything that there is.

use anyhow::ensure;

use super::case::{Case, Stage};
use super::objects::WEB;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "get of every kind",
        run: get_every_kind,
    },
    Case {
        name: "get in every form",
        run: get_in_every_form,
    },
    Case {
        name: "describe",
        run: describe,
    },
    Case {
        name: "explain",
        run: explain,
    },
    Case {
        name: "explain with descriptions",
        run: descriptions,
    },
    Case {
        name: "wait",
        run: wait,
    },
    Case {
        name: "api-versions and cluster-info",
        run: about,
    },
];

fn get_every_kind(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("web.yaml", WEB)?;
    stage.sh("kubectl apply -f web.yaml")?;
    let kinds = stage.sh("kubectl api-resources --verbs=list -o name")?;
    let kinds: Vec<&str> = kinds.split_whitespace().collect();
    ensure!(kinds.len() >= 40, "only {} kinds can be listed: {kinds:?}", kinds.len());
    let mut wrong = Vec::new();
    for kind in kinds {
        for form in ["", "-o wide", "-o name"] {
            let done = stage.try_sh(&format!("kubectl get {kind} --all-namespaces {form}"))?;
            // A program's words at the beginning of a line, not names that contain them.
            let complains = |line: &str| line.to_lowercase().starts_with("error") || line.contains("<invalid>");
            if let Some(line) = done.text.lines().find(|line| complains(line) || done.code != 0) {
                wrong.push(format!("kubectl get {kind} {form}: {line}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn get_in_every_form(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("web.yaml", WEB)?;
    stage.sh("kubectl apply -f web.yaml")?;
    stage.sh("kubectl rollout status deployment/web --timeout=60s")?;
    stage.prints(
        "kubectl get deployment web -o jsonpath='{.status.availableReplicas}'",
        "2",
    )?;
    stage.prints("kubectl get deployment web -o go-template='{{.spec.replicas}}'", "2")?;
    stage.says("kubectl get deployment web", "2/2")?;
    stage.says("kubectl get pods -l app=web -o wide", "Running")?;
    stage.prints("kubectl get pods -l app=other -o name", "")?;
    stage.prints(
        "kubectl get pods --field-selector=status.phase=Running -o name | wc -l",
        "2",
    )?;
    stage.says("kubectl get deployment web -o yaml", "kind: Deployment")?;
    stage.says("kubectl get all", "replicaset.apps/web-")?;
    stage.says("kubectl get pods --show-labels", "app=web")?;
    stage.says("kubectl get pods -o custom-columns=IP:.status.podIP", "10.221.")?;
    stage.prints("kubectl get pods --chunk-size=1 -o name | wc -l", "2")?;
    stage.prints("kubectl get pods --sort-by=.metadata.name -o name | wc -l", "2")?;
    stage.says("kubectl events --for=deployment/web", "ScalingReplicaSet")?;
    let watched = stage.try_sh("timeout 2 kubectl get pods --watch")?;
    ensure!(
        watched.code == 124 && watched.text.contains("web-"),
        "a watch ended with {}",
        watched.code
    );
    stage.refuses(
        "kubectl get deployment nothing",
        "Error from server (NotFound): deployments.apps \"nothing\" not found",
    )?;
    stage.refuses(
        "kubectl get nonsense",
        "the server doesn't have a resource type \"nonsense\"",
    )
}

fn describe(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("web.yaml", WEB)?;
    stage.sh("kubectl apply -f web.yaml")?;
    stage.sh("kubectl rollout status deployment/web --timeout=60s")?;
    stage.says(
        "kubectl describe deployment web",
        "2 desired | 2 updated | 2 total | 2 available | 0 unavailable",
    )?;
    stage.says("kubectl describe deployment web", "ScalingReplicaSet")?;
    for part in [
        "Status:           Running",
        "gantry.local/hello:latest",
        "Successfully assigned",
        "Started",
    ] {
        // Events are shown when one object is described.
        stage.says(
            "kubectl describe $(kubectl get pods -l app=web -o name | head -n 1)",
            part,
        )?;
    }
    stage.says("kubectl describe service web", "10.221.")?;
    stage.says("kubectl describe replicasets", "2 current / 2 desired")?;
    for part in ["Allocated resources", "KubeletReady", "Non-terminated Pods"] {
        stage.says("kubectl describe nodes", part)?;
    }
    stage.says("kubectl describe namespace default", "Active")?;
    stage.says("kubectl describe serviceaccount default", "default")?;
    stage.says("kubectl describe configmap kube-root-ca.crt", "BEGIN CERTIFICATE")?;
    stage.says("kubectl describe clusterrole view", "pods")
}

fn explain(stage: &Stage<'_>) -> anyhow::Result<()> {
    for part in ["FIELD: containers", "-required-", "livenessProbe"] {
        stage.says("kubectl explain pod.spec.containers", part)?;
    }
    stage.says(
        "kubectl explain deployment.spec.strategy.rollingUpdate --recursive",
        "maxSurge",
    )?;
    stage.says("kubectl explain networkpolicies.spec.podSelector", "matchLabels")?;
    stage.refuses("kubectl explain pods.spec.nonsense", "does not exist")?;
    let kinds = stage.sh("kubectl api-resources --verbs=list -o name")?;
    let mut wrong = Vec::new();
    for kind in kinds.split_whitespace() {
        // kubectl takes what follows the first group whose resource is a prefix for a field: these names are in the core
        // group too, which comes first, so that the other group's must be asked for by their version.
        let asked = match kind {
            "events.events.k8s.io" => "events --api-version=events.k8s.io/v1",
            "nodes.metrics.k8s.io" => "nodes --api-version=metrics.k8s.io/v1beta1",
            "pods.metrics.k8s.io" => "pods --api-version=metrics.k8s.io/v1beta1",
            kind => kind,
        };
        let done = stage.try_sh(&format!("kubectl explain {asked}"))?;
        if done.code != 0 || !done.text.contains("KIND:") {
            wrong.push(format!("kubectl explain {kind}: {}", done.text.trim()));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn descriptions(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.says("kubectl explain pods", "Pod is a collection of containers")?;
    stage.says("kubectl explain deployment.spec.replicas", "Number of desired pods")
}

fn wait(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("web.yaml", WEB)?;
    stage.sh("kubectl apply -f web.yaml")?;
    stage.says(
        "kubectl wait --for=condition=Available deployment/web --timeout=60s",
        "condition met",
    )?;
    stage.says(
        "kubectl wait --for=condition=Ready pods -l app=web --timeout=60s",
        "condition met",
    )?;
    stage.says(
        "kubectl wait --for=jsonpath='{.status.readyReplicas}'=2 deployment/web --timeout=60s",
        "condition met",
    )?;
    stage.refuses(
        "kubectl wait --for=condition=Nonsense deployment/web --timeout=1s",
        "timed out",
    )?;
    stage.sh("kubectl delete deployment web --wait=false")?;
    stage.sh("kubectl wait --for=delete deployment/web --timeout=60s")?;
    stage.sh("kubectl wait --for=delete pods -l app=web --timeout=60s")?;
    stage.prints("kubectl get pods -o name", "")
}

fn about(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.says("kubectl version", "Server Version: v1.37")?;
    stage.says("kubectl cluster-info", "is running at")?;
    stage.says("kubectl api-versions", "apps/v1")?;
    stage.says("kubectl get --raw /readyz", "ok")?;
    stage.says("kubectl auth can-i create pods", "yes")?;
    let everybody = "--as=system:serviceaccount:default:default";
    stage.refuses(&format!("kubectl auth can-i create pods {everybody}"), "no")?;
    stage.refuses(&format!("kubectl get secrets {everybody}"), "Forbidden")?;
    stage.says("kubectl auth whoami", "system:masters")
}
