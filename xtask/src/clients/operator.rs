//! An operator that people run, as they install it: CloudNativePG from the Go module registry, with its release's own
//! manifest. It brings custom resources, webhooks whose certificates it makes itself, and an election among its replicas.
//!
//! Its databases' own pods don't come up here: their image is at a registry that isn't reached, and it isn't what is
//! shown.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::case::{Case, Stage};
use super::tools;

pub(crate) const CASES: &[Case] = &[Case {
    name: "operator: CloudNativePG",
    run: cloudnative_pg,
}];

const MODULE: &str = "github.com/cloudnative-pg/cloudnative-pg";
const VERSION: &str = "1.27.0";
/// What the release's image holds, as far as the operator looks at it.
const DOCKERFILE: &str = "FROM scratch\nCOPY manager /manager\nCOPY manager /operator/manager_amd64\n\
    USER 65532:65532\nENTRYPOINT [\"/manager\"]\n";
/// Who leads.
const HOLDER: &str = "kubectl -n cnpg-system get lease db9c8771.cnpg.io -o jsonpath='{.spec.holderIdentity}'";

fn cloudnative_pg(stage: &Stage<'_>) -> anyhow::Result<()> {
    let module = module()?;
    install(stage, &module)?;
    let done = works(stage).and_then(|()| fails_over(stage));
    // Its kinds are the whole cluster's: they go whatever came of it.
    let removed = stage.sh("kubectl delete -f operator.yaml --ignore-not-found --timeout=120s");
    done?;
    removed?;
    stage.until("kubectl get crds -o name | grep -c cnpg || true", "0")
}

/// Where the module's files lie.
fn module() -> anyhow::Result<PathBuf> {
    let download = ["mod", "download", "-json", &format!("{MODULE}@v{VERSION}")].map(str::to_owned);
    let output = Command::new("go").args(download).output().context("running go")?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).context("go's answer")?;
    let dir = answer["Dir"].as_str().with_context(|| format!("{MODULE}: {answer}"))?;
    Ok(PathBuf::from(dir))
}

/// The image under the name that the manifest has, and the manifest: two replicas, so that there is something to elect,
/// and no pull of an image that is here.
fn install(stage: &Stage<'_>, module: &Path) -> anyhow::Result<()> {
    let image = stage.path("operator");
    std::fs::create_dir_all(&image).with_context(|| format!("making {}", image.display()))?;
    let mut build = Command::new("go");
    build
        .args(["build", "-trimpath", "-ldflags=-s -w", "-o"])
        .arg(image.join("manager"))
        .arg("./cmd/manager")
        .env("CGO_ENABLED", "0")
        .current_dir(module);
    tools::run(&mut build)?;
    stage.write("operator/Dockerfile", DOCKERFILE)?;
    stage.sh(&format!(
        "gantry image build -t ghcr.io/cloudnative-pg/cloudnative-pg:{VERSION} operator"
    ))?;
    let release = module.join(format!("releases/cnpg-{VERSION}.yaml"));
    let manifest = std::fs::read_to_string(&release).with_context(|| format!("reading {}", release.display()))?;
    let ours = manifest
        .replace("imagePullPolicy: Always", "imagePullPolicy: IfNotPresent")
        .replace("\n  replicas: 1\n", "\n  replicas: 2\n");
    ensure!(ours.contains("replicas: 2"), "the manifest has changed its form");
    stage.write("operator.yaml", &ours)?;
    stage.sh("kubectl apply --server-side -f operator.yaml")?;
    stage.sh("kubectl -n cnpg-system rollout status deployment/cnpg-controller-manager --timeout=150s")?;
    stage.says(
        "kubectl -n cnpg-system wait lease/db9c8771.cnpg.io --for=create --timeout=30s",
        "db9c8771",
    )?;
    Ok(())
}

/// Its webhooks fill in and refuse, its controller makes what a cluster is made of, and all of that goes with it.
fn works(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("one.yaml", &cluster("one", "1Gi"))?;
    stage.says("kubectl apply -f one.yaml", "cluster.postgresql.cnpg.io/one created")?;
    stage.prints(
        "kubectl get cluster one -o jsonpath='{.spec.postgresql.parameters.wal_level}'",
        "logical",
    )?;
    stage.refuses(
        "kubectl patch cluster one --type merge -p '{\"spec\":{\"instances\":0}}'",
        "spec.instances: Invalid value: 0: spec.instances in body should be greater than or equal to 1",
    )?;
    stage.refuses(
        "kubectl patch cluster one --type merge -p '{\"spec\":{\"postgresql\":{\"parameters\":{\"wal_level\":\"no\"}}}}'",
        "unrecognized `wal_level` value - allowed values: `logical`, `replica`, `minimal`",
    )?;
    stage.write("bad.yaml", &cluster("bad", "1Gx"))?;
    stage.refuses("kubectl apply -f bad.yaml", "Size value isn't valid")?;
    made(stage, "one")?;
    stage.says("kubectl get clusters", "Setting up primary")?;
    stage.says("kubectl explain cluster.spec.instances", "Number of instances required")?;
    stage.sh("kubectl delete cluster one --timeout=60s")?;
    stage.until("kubectl get services,jobs,pdb,roles -o name | wc -l", "0")
}

/// The leader is killed; another replica leads, and does the work.
fn fails_over(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.sh(HOLDER)?;
    let pod = before.split('_').next().unwrap_or_default();
    stage.sh(&format!(
        "kubectl -n cnpg-system delete pod {pod} --grace-period=0 --force"
    ))?;
    stage.until(&format!("[ \"$({HOLDER})\" != '{before}' ] && echo another"), "another")?;
    stage.sh("kubectl -n cnpg-system rollout status deployment/cnpg-controller-manager --timeout=150s")?;
    stage.write("two.yaml", &cluster("two", "1Gi"))?;
    stage.sh("kubectl apply -f two.yaml")?;
    made(stage, "two")?;
    stage.sh("kubectl delete cluster two --timeout=60s").map(drop)
}

/// Waits for what the operator makes for a cluster.
fn made(stage: &Stage<'_>, name: &str) -> anyhow::Result<()> {
    let kinds = [
        "service/{}-rw",
        "service/{}-ro",
        "secret/{}-app",
        "role/{}",
        "pdb/{}-primary",
        "job/{}-1-initdb",
    ];
    for kind in kinds {
        let object = kind.replace("{}", name);
        stage.sh(&format!("kubectl wait {object} --for=create --timeout=60s"))?;
    }
    Ok(())
}

fn cluster(name: &str, size: &str) -> String {
    format!(
        "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata:\n  name: {name}\nspec:\n  instances: 3\n  storage:\n    \
         size: {size}\n"
    )
}
