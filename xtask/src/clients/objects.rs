//! Making and changing objects: apply in both ways, diff, edit, label, annotate, patch.

use anyhow::ensure;

use super::case::{Case, Stage};

/// A Deployment of two pods and its Service.
pub(crate) const WEB: &str = include_str!("manifests/web.yaml");
const SETTINGS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {one: '1', two: '2'}\n";

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "apply",
        run: apply,
    },
    Case {
        name: "apply --server-side",
        run: apply_server_side,
    },
    Case {
        name: "diff",
        run: diff,
    },
    Case {
        name: "edit",
        run: edit,
    },
    Case {
        name: "label",
        run: label,
    },
    Case {
        name: "annotate",
        run: annotate,
    },
    Case {
        name: "create and patch",
        run: create_and_patch,
    },
];

fn apply(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("web.yaml", WEB)?;
    stage.says("kubectl apply -f web.yaml", "deployment.apps/web created")?;
    stage.says("kubectl apply -f web.yaml", "deployment.apps/web unchanged")?;
    stage.says("kubectl apply -f web.yaml", "service/web unchanged")?;
    stage.write("web.yaml", &WEB.replace("replicas: 2", "replicas: 3"))?;
    stage.says("kubectl apply -f web.yaml", "deployment.apps/web configured")?;
    stage.sh("kubectl rollout status deployment/web --timeout=60s")?;
    stage.write("map.yaml", SETTINGS)?;
    stage.sh("kubectl apply -f map.yaml")?;
    stage.write("map.yaml", &SETTINGS.replace(", two: '2'", ""))?;
    stage.sh("kubectl apply -f map.yaml")?;
    stage.prints(
        "kubectl get configmap settings -o jsonpath='{.data}'",
        "{\"one\":\"1\"}",
    )?;
    stage.says("kubectl apply -f web.yaml --dry-run=server", "(server dry run)")?;
    // Lists are checked by the old document about the API.
    stage.says("kubectl get configmaps -o json | kubectl replace -f -", "replaced")?;
    stage.says("kubectl get configmaps -o yaml | kubectl apply -f -", "configmap/")?;
    stage.write("wrong.yaml", &WEB.replace("replicas: 2", "replicsa: 2"))?;
    stage.refuses("kubectl apply -f wrong.yaml", "unknown field \"spec.replicsa\"")?;
    stage.write("invalid.yaml", &WEB.replace("replicas: 2", "replicas: -2"))?;
    stage.refuses("kubectl apply -f invalid.yaml", "must be greater than or equal to 0")?;
    stage.says("kubectl delete -f web.yaml", "service \"web\" deleted")
}

fn apply_server_side(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("web.yaml", WEB)?;
    stage.says(
        "kubectl apply --server-side -f web.yaml",
        "deployment.apps/web serverside-applied",
    )?;
    // What changes nothing writes nothing.
    stage.sh("kubectl rollout status deployment/web --timeout=60s")?;
    stage.sh("sleep 1")?;
    let version = "kubectl get deployment web -o jsonpath='{.metadata.resourceVersion}'";
    let before = stage.sh(version)?;
    stage.sh("kubectl apply --server-side -f web.yaml")?;
    stage.prints(version, before.trim())?;
    stage.says(
        "kubectl get deployment web -o yaml --show-managed-fields",
        "manager: kubectl",
    )?;
    stage.write("three.yaml", &WEB.replace("replicas: 2", "replicas: 3"))?;
    let other = "kubectl apply --server-side --field-manager=other -f three.yaml";
    stage.refuses(other, "conflict with \"kubectl\": .spec.replicas")?;
    stage.says(&format!("{other} --force-conflicts"), "serverside-applied")?;
    stage.prints("kubectl get deployment web -o jsonpath='{.spec.replicas}'", "3")?;
    stage.refuses(
        "kubectl apply --server-side -f web.yaml",
        "conflict with \"other\": .spec.replicas",
    )?;
    // What both own stays when one lets go of it; what one alone owns goes.
    let labelled = |labels: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: shared, labels: {{{labels}}}}}\ndata: {{k: v}}\n")
    };
    stage.write("map.yaml", &labelled("a: x, b: x"))?;
    stage.sh("kubectl apply --server-side --field-manager=first -f map.yaml")?;
    stage.write("map.yaml", &labelled("b: x"))?;
    stage.sh("kubectl apply --server-side --field-manager=second -f map.yaml")?;
    stage.write("map.yaml", &labelled(""))?;
    stage.sh("kubectl apply --server-side --field-manager=first -f map.yaml")?;
    stage.prints(
        "kubectl get configmap shared -o jsonpath='{.metadata.labels}'",
        "{\"b\":\"x\"}",
    )
}

fn diff(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("web.yaml", WEB)?;
    stage.sh("kubectl apply -f web.yaml")?;
    stage.prints("kubectl diff -f web.yaml", "")?;
    stage.write("web.yaml", &WEB.replace("replicas: 2", "replicas: 5"))?;
    for mode in ["", "--server-side --force-conflicts"] {
        let done = stage.try_sh(&format!("kubectl diff {mode} -f web.yaml"))?;
        ensure!(done.code == 1, "`kubectl diff {mode}` ended with {}", done.code);
        ensure!(
            done.text.contains("-  replicas: 2") && done.text.contains("+  replicas: 5"),
            "no difference shown"
        );
    }
    stage.prints("kubectl get deployment web -o jsonpath='{.spec.replicas}'", "2")
}

fn edit(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("map.yaml", SETTINGS)?;
    stage.sh("kubectl create -f map.yaml")?;
    stage.says(
        "KUBE_EDITOR=\"sed -i s/one:/three:/\" kubectl edit configmap settings",
        "configmap/settings edited",
    )?;
    stage.prints("kubectl get configmap settings -o jsonpath='{.data.three}'", "1")?;
    stage.prints("kubectl get configmap settings -o jsonpath='{.data.one}'", "")?;
    stage.says("KUBE_EDITOR=true kubectl edit configmap settings", "no changes made")?;
    stage.write("web.yaml", WEB)?;
    stage.sh("kubectl create -f web.yaml")?;
    stage.write("editor", "sed -i 's/replicas: 2/replicas: 1/' \"$1\"\n")?;
    stage.says(
        "KUBE_EDITOR='sh editor' kubectl edit deployment web",
        "deployment.apps/web edited",
    )?;
    stage.until("kubectl get deployment web -o jsonpath='{.status.replicas}'", "1")
}

fn label(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("map.yaml", SETTINGS)?;
    stage.sh("kubectl create -f map.yaml")?;
    stage.says(
        "kubectl label configmap settings tier=front",
        "configmap/settings labeled",
    )?;
    stage.prints("kubectl get configmaps -l tier=front -o name", "configmap/settings")?;
    stage.prints(
        "kubectl get configmaps -l 'tier in (front,back),!old' -o name",
        "configmap/settings",
    )?;
    stage.prints("kubectl get configmaps -l tier!=front,name -o name", "")?;
    stage.refuses(
        "kubectl label configmap settings tier=back",
        "already has a value (front)",
    )?;
    stage.sh("kubectl label configmap settings tier=back --overwrite")?;
    stage.prints(
        "kubectl get configmap settings -o jsonpath='{.metadata.labels.tier}'",
        "back",
    )?;
    stage.says("kubectl label configmap settings tier-", "configmap/settings unlabeled")?;
    stage.prints("kubectl get configmap settings -o jsonpath='{.metadata.labels}'", "")?;
    stage.refuses(
        "kubectl label configmap settings 'tier=not valid'",
        "a valid label must be",
    )?;
    stage.says("kubectl label nodes --all case=label", "labeled")?;
    stage.says("kubectl label nodes --all case-", "unlabeled")
}

fn annotate(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("map.yaml", SETTINGS)?;
    stage.sh("kubectl create -f map.yaml")?;
    stage.says(
        "kubectl annotate configmap settings why='it is wanted'",
        "configmap/settings annotated",
    )?;
    stage.prints(
        "kubectl get configmap settings -o jsonpath='{.metadata.annotations.why}'",
        "it is wanted",
    )?;
    stage.says(
        "kubectl annotate configmap settings why-",
        "configmap/settings annotated",
    )?;
    stage.prints(
        "kubectl get configmap settings -o jsonpath='{.metadata.annotations}'",
        "",
    )
}

fn create_and_patch(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.sh("kubectl create deployment web --image=gantry.local/hello:latest --replicas=1")?;
    stage.refuses(
        "kubectl create deployment web --image=x",
        "deployments.apps \"web\" already exists",
    )?;
    stage.sh("kubectl create secret generic key --from-literal=password=swordfish")?;
    stage.prints(
        "kubectl get secret key -o jsonpath='{.data.password}' | base64 -d",
        "swordfish",
    )?;
    stage.sh("kubectl create configmap files --from-literal=a=b")?;
    stage.sh("kubectl create serviceaccount robot")?;
    stage.says("kubectl create token robot", "ey")?;
    stage.sh("kubectl create role reader --verb=get --resource=pods")?;
    stage.sh("kubectl create rolebinding reader --role=reader --serviceaccount=$(kubectl config view --minify -o jsonpath='{..namespace}'):robot")?;
    stage.says("kubectl auth can-i get pods --as=system:serviceaccount:$(kubectl config view --minify -o jsonpath='{..namespace}'):robot", "yes")?;
    for (kind, body) in [
        (
            "strategic",
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"hello","env":[{"name":"A","value":"1"}]}]}}}}"#,
        ),
        ("merge", r#"{"metadata":{"labels":{"by":"merge"}}}"#),
        ("json", r#"[{"op":"replace","path":"/spec/replicas","value":2}]"#),
    ] {
        stage.says(
            &format!("kubectl patch deployment web --type={kind} -p '{body}'"),
            "deployment.apps/web patched",
        )?;
    }
    let paths = "{.spec.template.spec.containers[0].image} {.metadata.labels.by} {.spec.replicas}";
    let line = format!("kubectl get deployment web -o jsonpath='{paths}'");
    stage.prints(&line, "gantry.local/hello:latest merge 2")?;
    stage.says(
        "kubectl replace -f <(kubectl get deployment web -o yaml | sed 's/replicas: 2/replicas: 1/')",
        "replaced",
    )
}
