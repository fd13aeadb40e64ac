//! The cluster's registry: the OCI distribution specification's own conformance suite, with a token as a person has it.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use super::case::{Case, Stage};
use super::tools;

/// The suite has no releases; this is the version that is run.
const SUITE: &str = "github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111";

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "registry conformance",
        run: conformance,
    },
    Case {
        name: "registry access",
        run: access,
    },
];

/// Push, pull, discovery and management, with the suite's own settings.
fn conformance(stage: &Stage<'_>) -> anyhow::Result<()> {
    let suite = installed(&stage.pass.root.join("target/clients/distribution"))?;
    writer(stage)?;
    stage.sh("kubectl get configmap kube-root-ca.crt -o 'jsonpath={.data.ca\\.crt}' > ca.pem")?;
    let line = format!(
        "SSL_CERT_FILE=$PWD/ca.pem OCI_REGISTRY={SERVER} OCI_TLS=enabled OCI_USERNAME=token OCI_PASSWORD=$(kubectl create token pusher) \
         OCI_REPO1=conformance/one OCI_REPO2=conformance/two OCI_RESULTS_DIR=$PWD/results {}",
        suite.display()
    );
    let done = stage.try_sh(&line)?;
    let report = stage.try_sh("cat results/report.* results/*.txt 2>/dev/null | tail -80")?;
    ensure!(done.code == 0, "the suite failed:\n{}\n{}", done.text, report.text);
    Ok(())
}

/// Who isn't logged in sees nothing; who may read may not write.
fn access(stage: &Stage<'_>) -> anyhow::Result<()> {
    let curl = format!("curl -sk -o /dev/null -w '%{{http_code}}' https://{SERVER}/v2");
    stage.prints(&format!("{curl}/"), "401")?;
    stage.sh("kubectl create serviceaccount reader")?;
    let token = "-u token:$(kubectl create token reader)";
    stage.prints(&format!("{curl}/ {token}"), "200")?;
    stage.prints(&format!("{curl}/some/thing/tags/list {token}"), "403")?;
    let name = &stage.namespace;
    let binding = format!(
        "kubectl create clusterrolebinding {name}-reader \
                   --clusterrole=gantry:registry-reader \
                   --serviceaccount={name}:reader"
    );
    stage.sh(&binding)?;
    stage.until(&format!("{curl}/some/thing/tags/list {token}"), "404")?;
    stage.prints(&format!("{curl}/some/thing/blobs/uploads/ -X POST {token}"), "403")?;
    stage.prints(&format!("{curl}/ -u token:wrong"), "401")?;
    stage
        .sh(&format!("kubectl delete clusterrolebinding {name}-reader"))
        .map(drop)
}

/// `host:port` of the API.
const SERVER: &str = "$(kubectl config view --minify -o jsonpath='{.clusters[0].cluster.server}' | sed 's,https://,,')";

fn writer(stage: &Stage<'_>) -> anyhow::Result<()> {
    let name = &stage.namespace;
    stage.sh("kubectl create serviceaccount pusher")?;
    stage.sh(&format!(
        "kubectl create clusterrolebinding {name}-pusher --clusterrole=gantry:registry-writer --serviceaccount={name}:pusher"
    ))?;
    let may =
        format!("kubectl auth can-i post /v2/conformance/one/blobs/uploads/ --as=system:serviceaccount:{name}:pusher");
    stage.until(&may, "yes")?;
    Ok(())
}

/// Built once by the Go client.
fn installed(dir: &Path) -> anyhow::Result<std::path::PathBuf> {
    let program = dir.join("conformance");
    if !program.exists() {
        std::fs::create_dir_all(dir)?;
        tools::run(Command::new("go").args(["install", SUITE]).env("GOBIN", dir))?;
    }
    Ok(program)
}
