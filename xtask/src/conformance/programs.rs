//! The Go programs: the suite, its runner, and those that its images hold. Each is built by the ordinary Go client in a
//! module that is made for it in the cache, and kept there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use super::KUBERNETES;

const ETCD: &str = "3.7.0";
const SAMPLE_APISERVER: &str = "0.29.2";
const COREDNS: &str = "1.12.4";

/// What the DNS server in an image does: no more than the suite configures.
const COREDNS_MAIN: &str = r#"package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/log"
)

func main() {
	dnsserver.Directives = []string{"errors", "log", "hosts"}
	coremain.Run()
}
"#;

/// The suite and what belongs to it.
pub(super) struct Suite {
    /// The program with all specs.
    pub(super) specs: PathBuf,
    /// Ginkgo's command, which runs specs in several processes.
    pub(super) runner: PathBuf,
    /// The sources of Kubernetes, as the Go client keeps them.
    pub(super) sources: PathBuf,
    module: Module,
}

/// A Go module of ours that needs others.
pub(super) struct Module {
    dir: PathBuf,
}

/// Builds what is missing of the suite; the first time that takes most of an hour of two cores.
pub(super) fn suite(cache: &Path) -> anyhow::Result<Suite> {
    let sources = source(&format!("k8s.io/kubernetes@v{KUBERNETES}"))?;
    let module = Module::new(cache, "suite", &kubernetes_module(&sources)?)?;
    let specs = cache.join("e2e.test");
    module.build(
        // Some specs go by the version that the suite says it has.
        &["test", "-c", "-vet=off", &version_flags()],
        "k8s.io/kubernetes/test/e2e",
        &specs,
    )?;
    let runner = cache.join("ginkgo");
    module.build(&["build"], "github.com/onsi/ginkgo/v2/ginkgo", &runner)?;
    Ok(Suite {
        specs,
        runner,
        sources,
        module,
    })
}

/// Kubernetes' API server, for those who ask the real one.
pub(super) fn apiserver(cache: &Path) -> anyhow::Result<PathBuf> {
    let sources = source(&format!("k8s.io/kubernetes@v{KUBERNETES}"))?;
    let module = Module::new(cache, "suite", &kubernetes_module(&sources)?)?;
    let program = cache.join("kube-apiserver");
    module.build(
        &["build", &version_flags()],
        "k8s.io/kubernetes/cmd/kube-apiserver",
        &program,
    )?;
    Ok(program)
}

/// What tells a program which release it is.
fn version_flags() -> String {
    let version = "k8s.io/component-base/version";
    let (major, minor) = version_parts();
    format!(
        "-ldflags=-s -w -X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    )
}

fn version_parts() -> (&'static str, &'static str) {
    let (major, rest) = KUBERNETES.split_once('.').unwrap_or((KUBERNETES, ""));
    (major, rest.split('.').next().unwrap_or_default())
}

impl Suite {
    /// A static program out of Kubernetes' sources.
    pub(super) fn program(&self, package: &str, to: &Path) -> anyhow::Result<()> {
        self.module.build(&["build", "-ldflags=-s -w"], package, to)
    }
}

/// etcd, for the aggregated server.
pub(super) fn etcd(cache: &Path, to: &Path) -> anyhow::Result<()> {
    let module = Module::new(cache, "etcd", &format!("require go.etcd.io/etcd/server/v3 v{ETCD}\n"))?;
    module.build(&["build", "-ldflags=-s -w"], "go.etcd.io/etcd/server/v3", to)
}

/// The server that is aggregated.
pub(super) fn sample_apiserver(cache: &Path, to: &Path) -> anyhow::Result<()> {
    let needs = format!("require k8s.io/sample-apiserver v{SAMPLE_APISERVER}\n");
    let module = Module::new(cache, "sample-apiserver", &needs)?;
    module.build(&["build", "-ldflags=-s -w"], "k8s.io/sample-apiserver", to)
}

/// The DNS server that pods of the suite are told to ask.
pub(super) fn coredns(cache: &Path, to: &Path) -> anyhow::Result<()> {
    let needs = format!("require github.com/coredns/coredns v{COREDNS}\n");
    let module = Module::new(cache, "coredns", &needs)?;
    fs::write(module.dir.join("main.go"), COREDNS_MAIN).context("writing main.go")?;
    module.build(&["build", "-ldflags=-s -w"], ".", to)
}

/// Where the Go client keeps a module's sources.
fn source(module: &str) -> anyhow::Result<PathBuf> {
    let output = Command::new("go")
        .args(["mod", "download", "-json", module])
        .stderr(Stdio::inherit())
        .output()
        .context("running go, which must be installed")?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).context("reading go's answer")?;
    let dir = answer["Dir"]
        .as_str()
        .with_context(|| format!("go has no {module}: {answer}"))?;
    Ok(PathBuf::from(dir))
}

/// What a module needs to use Kubernetes' main module: that, and its parts at their published versions instead of in its
/// own tree.
fn kubernetes_module(sources: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(sources.join("go.mod")).context("reading Kubernetes' go.mod")?;
    let parts = KUBERNETES.strip_prefix("1.").unwrap_or(KUBERNETES);
    let mut module = format!("require k8s.io/kubernetes v{KUBERNETES}\n\nreplace (\n");
    for line in text.lines() {
        if let Some((name, _)) = line.trim().split_once(" => ./staging/") {
            module.push_str(&format!("\t{name} => {name} v0.{parts}\n"));
        }
    }
    module.push_str(")\n");
    Ok(module)
}

// === impl Module ===

impl Module {
    fn new(cache: &Path, name: &str, needs: &str) -> anyhow::Result<Self> {
        let dir = cache.join("modules").join(name);
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let file = dir.join("go.mod");
        if !file.exists() {
            let text = format!("module {name}\n\ngo 1.26.0\n\n{needs}");
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(Self { dir })
    }

    /// Builds a package, unless that has been done. A build that is broken off leaves nothing under the program's name.
    fn build(&self, arguments: &[&str], package: &str, to: &Path) -> anyhow::Result<()> {
        if to.exists() {
            return Ok(());
        }
        println!("building {package}");
        let part = to.with_extension("part");
        let mut command = Command::new("go");
        command.args(arguments).args(["-mod=mod", "-trimpath", "-o"]).arg(&part);
        command.arg(package).env("CGO_ENABLED", "0").current_dir(&self.dir);
        let built = command.status().context("running go, which must be installed")?;
        ensure!(built.success(), "{package} doesn't build");
        fs::rename(&part, to).with_context(|| format!("naming {}", to.display()))
    }
}
