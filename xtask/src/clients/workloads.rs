//! Running and changing workloads: scale, set image, rollout.

use super::case::{Case, Stage};
use super::objects::WEB;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "scale",
        run: scale,
    },
    Case {
        name: "set image",
        run: set_image,
    },
    Case {
        name: "rollout status and undo",
        run: rollout_undo,
    },
    Case {
        name: "rollout restart",
        run: rollout_restart,
    },
    Case {
        name: "rollout pause and resume",
        run: rollout_pause,
    },
    Case {
        name: "a rollout that fails",
        run: failing_rollout,
    },
    Case {
        name: "run",
        run: run_pod,
    },
    Case {
        name: "service names",
        run: service_names,
    },
];

const STATUS: &str = "kubectl rollout status deployment/web --timeout=90s";
const IMAGE: &str = "kubectl get deployment web -o jsonpath='{.spec.template.spec.containers[0].image}'";
const IMAGES: &str = "kubectl get pods -l app=web --field-selector=status.phase=Running \
                      -o jsonpath='{range .items[*]}{.spec.containers[0].image}{\"\\n\"}{end}' | sort -u";

fn deploy(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("web.yaml", WEB)?;
    stage.sh("kubectl apply -f web.yaml")?;
    stage.says(STATUS, "successfully rolled out")
}

fn scale(stage: &Stage<'_>) -> anyhow::Result<()> {
    deploy(stage)?;
    stage.says(
        "kubectl scale deployment web --replicas=4",
        "deployment.apps/web scaled",
    )?;
    stage.sh(STATUS)?;
    stage.prints("kubectl get deployment web -o jsonpath='{.status.readyReplicas}'", "4")?;
    let ready = "kubectl get endpointslices -l kubernetes.io/service-name=web \
                 -o jsonpath='{.items[*].endpoints[*].conditions.ready}' | wc -w";
    stage.until(ready, "4")?;
    stage.refuses(
        "kubectl scale deployment web --replicas=1 --current-replicas=2",
        "Expected replicas to be 2, was 4",
    )?;
    stage.sh("kubectl scale deployment web --replicas=0")?;
    stage.until("kubectl get pods -l app=web -o name", "")?;
    stage.until(ready, "0")
}

fn set_image(stage: &Stage<'_>) -> anyhow::Result<()> {
    deploy(stage)?;
    stage.says(
        "kubectl set image deployment/web hello=gantry.local/hello:2",
        "image updated",
    )?;
    stage.says(STATUS, "successfully rolled out")?;
    stage.until(IMAGES, "gantry.local/hello:2")?;
    stage.says("kubectl set env deployment/web COLOUR=blue", "env updated")?;
    stage.says(STATUS, "successfully rolled out")?;
    stage.says(
        "kubectl set resources deployment/web --limits=memory=32Mi",
        "resource requirements updated",
    )?;
    stage.says(STATUS, "successfully rolled out")
}

fn rollout_undo(stage: &Stage<'_>) -> anyhow::Result<()> {
    deploy(stage)?;
    stage.sh("kubectl set image deployment/web hello=gantry.local/hello:2")?;
    stage.sh(STATUS)?;
    stage.says("kubectl rollout history deployment/web", "REVISION")?;
    stage.says(
        "kubectl rollout history deployment/web --revision=2",
        "gantry.local/hello:2",
    )?;
    stage.says("kubectl rollout undo deployment/web", "rolled back")?;
    stage.says(STATUS, "successfully rolled out")?;
    stage.prints(IMAGE, "gantry.local/hello:latest")?;
    stage.until(IMAGES, "gantry.local/hello:latest")?;
    stage.sh("kubectl rollout undo deployment/web --to-revision=2")?;
    stage.sh(STATUS)?;
    stage.prints(IMAGE, "gantry.local/hello:2")?;
    stage.prints("kubectl get replicasets -l app=web -o name | wc -l", "2")
}

fn rollout_restart(stage: &Stage<'_>) -> anyhow::Result<()> {
    deploy(stage)?;
    let names = "kubectl get pods -l app=web -o jsonpath='{range .items[*]}{.metadata.name}{\"\\n\"}{end}' | sort";
    stage.sh(&format!("{names} > before"))?;
    stage.says(
        "kubectl rollout restart deployment/web",
        "deployment.apps/web restarted",
    )?;
    stage.says(STATUS, "successfully rolled out")?;
    stage.until(&format!("{names} | comm -12 before - | wc -l"), "0")?;
    stage.until("kubectl get pods -l app=web -o name | wc -l", "2")
}

fn rollout_pause(stage: &Stage<'_>) -> anyhow::Result<()> {
    deploy(stage)?;
    stage.says("kubectl rollout pause deployment/web", "paused")?;
    stage.sh("kubectl set image deployment/web hello=gantry.local/hello:2")?;
    stage.sh("sleep 1")?;
    stage.prints("kubectl get replicasets -l app=web -o name | wc -l", "1")?;
    stage.says("kubectl rollout resume deployment/web", "resumed")?;
    stage.says(STATUS, "successfully rolled out")?;
    stage.until(IMAGES, "gantry.local/hello:2")
}

fn failing_rollout(stage: &Stage<'_>) -> anyhow::Result<()> {
    deploy(stage)?;
    stage.sh("kubectl set image deployment/web hello=gantry.local/nothing:1")?;
    stage.refuses("kubectl rollout status deployment/web --timeout=4s", "timed out")?;
    let reason = "kubectl get pods -l app=web -o jsonpath='{.items[*].status.containerStatuses[*].state.waiting.reason}' \
                  | grep -cE '^(ErrImagePull|ImagePullBackOff)$'";
    stage.until(reason, "1")?;
    stage.prints(
        "kubectl get deployment web -o jsonpath='{.status.availableReplicas}'",
        "2",
    )?;
    stage.sh("kubectl rollout undo deployment/web")?;
    stage.says(STATUS, "successfully rolled out")
}

fn run_pod(stage: &Stage<'_>) -> anyhow::Result<()> {
    let image = "--image=gantry.local/tools:1 --restart=Never";
    stage.sh(&format!("kubectl run once {image} -- sh -c 'echo $((6 * 7))'"))?;
    stage.sh("kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/once --timeout=60s")?;
    stage.prints("kubectl logs once", "42")?;
    stage.sh(&format!("kubectl run fails {image} -- sh -c 'exit 9'"))?;
    stage.sh("kubectl wait --for=jsonpath='{.status.phase}'=Failed pod/fails --timeout=60s")?;
    let code = "{.status.containerStatuses[0].state.terminated.exitCode}";
    stage.prints(&format!("kubectl get pod fails -o jsonpath='{code}'"), "9")
}

fn service_names(stage: &Stage<'_>) -> anyhow::Result<()> {
    deploy(stage)?;
    stage.write("box.yaml", include_str!("manifests/box.yaml"))?;
    stage.sh("kubectl apply -f box.yaml")?;
    stage.sh("kubectl wait --for=condition=Ready pod/box --timeout=60s")?;
    let namespace = &stage.namespace;
    for name in [
        "web",
        &format!("web.{namespace}"),
        &format!("web.{namespace}.svc.cluster.local"),
    ] {
        // Debian's static busybox dies when its wget asks its resolver; its nc doesn't.
        let ask = format!("printf 'GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n' | nc -w 5 {name} 80");
        stage.says(&format!("kubectl exec box -- sh -c \"{ask}\""), "Hello from web-")?;
    }
    let token = "/var/run/secrets/kubernetes.io/serviceaccount";
    stage.says(&format!("kubectl exec box -- cat {token}/namespace"), namespace)?;
    stage.says(&format!("kubectl exec box -- cat {token}/ca.crt"), "BEGIN CERTIFICATE")?;
    stage.says(
        "kubectl exec box -- nslookup kubernetes.default.svc.cluster.local",
        "10.222.0.1",
    )?;
    stage.sh("kubectl exec box -- sh -c 'nc -w 5 kubernetes.default 443 </dev/null'")?;
    Ok(())
}
