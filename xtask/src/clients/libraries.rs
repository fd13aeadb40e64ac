//! Other people's libraries and programs at a minute of real work each, all at the same time, while the server is killed
//! and comes back: client-go and controller-runtime, the Python client, kube-rs, Helm 4 and 3, both kubectls.
//!
//! Each works in a namespace of its own and says itself whether it missed anything.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::case::Tally;
use super::house::House;
use super::tools::{self, Kubectl};

/// How long each works.
const LENGTH: Duration = Duration::from_secs(60);
/// After this time the server is killed.
const MIDDLE: Duration = Duration::from_secs(25);
const HELM: [(&str, &str); 2] = [
    ("Helm 4", "helm.sh/helm/v4/cmd/helm@v4.3.1"),
    ("Helm 3", "helm.sh/helm/v3/cmd/helm@v3.22.0"),
];
const PYTHON_CLIENT: &str = "kubernetes==37.*";

/// The names under which they are counted.
const NAMES: [&str; 8] = [
    "client-go: watch and informer",
    "controller-runtime: reconciler",
    "Python client: watch",
    "kube-rs: watcher, reflector, Controller",
    "Helm 4: chart",
    "Helm 3: chart",
    "kubectl of the API's version through a restart",
    "older kubectl through a restart",
];

/// A program at work.
struct Worker {
    name: &'static str,
    command: Command,
}

/// Whether any of them is to run.
pub(crate) fn wanted(tally: &Tally<'_>) -> bool {
    NAMES.iter().any(|name| tally.wants(name))
}

/// Runs all that are wanted.
pub(crate) fn run(
    house: &House,
    kubectls: &[Kubectl],
    target: &Path,
    root: &Path,
    tally: &mut Tally<'_>,
) -> anyhow::Result<()> {
    let wanted: Vec<&'static str> = NAMES.into_iter().filter(|name| tally.wants(name)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    println!("\nat work for {} s, the server killed meanwhile", LENGTH.as_secs());
    let workers = prepare(house, kubectls, target, root, &wanted)?;
    let running: Vec<_> = workers
        .into_iter()
        .map(|mut worker| {
            worker.command.stdin(Stdio::null());
            (worker.name, std::thread::spawn(move || worker.command.output()))
        })
        .collect();
    std::thread::sleep(MIDDLE);
    let killed = house.kill_server()?;
    for (name, thread) in running {
        tally.count(name, || {
            let output = thread.join().map_err(|_| anyhow::anyhow!("its thread panicked"))?;
            judge(&output.context("running it")?)
        });
    }
    ensure!(
        house.server()? != killed,
        "the server was not killed, so this shows nothing"
    );
    Ok(())
}

fn judge(output: &Output) -> anyhow::Result<()> {
    let told = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    let end: Vec<&str> = complained.lines().rev().take(30).collect();
    let end: Vec<&str> = end.into_iter().rev().collect();
    ensure!(output.status.success(), "{}{}", told, end.join("\n"));
    println!("        {}", told.lines().last().unwrap_or_default());
    Ok(())
}

fn prepare(
    house: &House,
    kubectls: &[Kubectl],
    target: &Path,
    root: &Path,
    wanted: &[&'static str],
) -> anyhow::Result<Vec<Worker>> {
    let mut workers = Vec::new();
    for (number, name) in wanted.iter().copied().enumerate() {
        let namespace = format!("work-{number}");
        // The first kubectl is always there; a second one where the machine has one of another version.
        let kubectl = match name {
            "older kubectl through a restart" => match kubectls.get(1) {
                Some(older) => older,
                None => continue,
            },
            _ => kubectls.first().context("no kubectl")?,
        };
        tools::run(&mut house.kubectl(kubectl, &["create", "namespace", &namespace]))?;
        let program = program(name, target, root)?;
        let mut command = match program {
            Program::Own(program) => program,
            Program::Script(text, helm) => script(text, helm.as_deref(), kubectl),
        };
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{path}", kubectl.dir.display()))
            .env("KUBECONFIG", house.kubeconfig())
            .env("HOME", house.work())
            .env("NAMESPACE", &namespace)
            .env("SECONDS_OF_WORK", LENGTH.as_secs().to_string())
            .env("CHART", root.join("examples/chart"))
            .current_dir(house.work());
        if command.get_program() != "bash" {
            command.args(["--namespace", &namespace, "--seconds", &LENGTH.as_secs().to_string()]);
        }
        workers.push(Worker { name, command });
    }
    Ok(workers)
}

enum Program {
    /// One of `tests/clients`.
    Own(Command),
    /// A script, and the directory of the Helm that it uses.
    Script(&'static str, Option<PathBuf>),
}

fn program(name: &str, target: &Path, root: &Path) -> anyhow::Result<Program> {
    let clients = root.join("tests/clients");
    Ok(match name {
        "client-go: watch and informer" => Program::Own(go_client(target, &clients, "informer")?),
        "controller-runtime: reconciler" => Program::Own(go_client(target, &clients, "reconciler")?),
        "Python client: watch" => {
            let mut command = Command::new(tools::python_with(target, PYTHON_CLIENT)?);
            command.arg(clients.join("python/work.py"));
            Program::Own(command)
        }
        "kube-rs: watcher, reflector, Controller" => {
            let program = tools::cargo_build(root, &["--workspace", "--bin", "kube-work"], "kube-work")?;
            Program::Own(Command::new(program))
        }
        "Helm 4: chart" => Program::Script(HELM_WORK, Some(helm(target, 0)?)),
        "Helm 3: chart" => Program::Script(HELM_WORK, Some(helm(target, 1)?)),
        _ => Program::Script(KUBECTL_WORK, None),
    })
}

fn go_client(target: &Path, clients: &Path, task: &str) -> anyhow::Result<Command> {
    let program = target.join("go-clients");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(".");
    tools::run(build.current_dir(clients.join("go")))?;
    let mut command = Command::new(program);
    command.arg(task);
    Ok(command)
}

/// The directory of a Helm, built by the Go client from its module.
fn helm(target: &Path, which: usize) -> anyhow::Result<PathBuf> {
    let (name, package) = HELM[which];
    let dir = target.join(name.to_lowercase().replace(' ', "-"));
    if !dir.join("helm").exists() {
        tools::run(Command::new("go").args(["install", package]).env("GOBIN", &dir))?;
    }
    Ok(dir)
}

fn script(text: &str, helm: Option<&Path>, kubectl: &Kubectl) -> Command {
    let mut command = Command::new("bash");
    let helm = helm
        .map(|dir| format!("PATH={}:$PATH\n", dir.display()))
        .unwrap_or_default();
    let prelude = format!("PATH={}:$PATH\n{helm}", kubectl.dir.display());
    command.args(["-c", &format!("{prelude}{LOOP}\n{text}\nwork")]);
    command
}

/// Repeats `cycle` until the time is over. The one cycle that the server's death falls into may be started over, as a
/// person would; any other must succeed.
const LOOP: &str = r#"
set -uo pipefail
kubectl() { command kubectl -n "$NAMESPACE" "$@"; }
is() { local said; said=$("${@:2}") || return 1; [ "$said" = "$1" ] || { echo "'${*:2}' says '$said', not '$1'" >&2; return 1; }; }
work() {
    local cycles=0 broken=0 end=$((SECONDS + SECONDS_OF_WORK))
    while [ $SECONDS -lt $end ]; do
        if cycle >&2; then
            cycles=$((cycles + 1))
            continue
        fi
        broken=$((broken + 1))
        if [ $broken -gt 1 ]; then echo "a cycle failed that nothing had disturbed" >&2; exit 1; fi
        for try in $(seq 100); do kubectl get --raw /readyz >&2 && break; sleep 0.2; done
        mend >&2
    done
    [ $cycles -ge 2 ] || { echo "only $cycles whole cycles" >&2; exit 1; }
    echo "$cycles whole cycles, $broken disturbed by the restart"
}
"#;

const HELM_WORK: &str = r#"
helm() { command helm -n "$NAMESPACE" "$@"; }
cycle() {
    helm install web "$CHART" --wait --timeout 60s &&
    is 2 kubectl get deployment web -o 'jsonpath={.status.readyReplicas}' &&
    helm upgrade web "$CHART" --set replicas=3,greeting=Bye --wait --timeout 60s &&
    is 3 kubectl get deployment web -o 'jsonpath={.status.readyReplicas}' &&
    is Bye kubectl get configmap web -o 'jsonpath={.data.greeting}' &&
    helm rollback web 1 --wait --timeout 60s &&
    is Hello kubectl get configmap web -o 'jsonpath={.data.greeting}' &&
    is 2 kubectl get deployment web -o 'jsonpath={.spec.replicas}' &&
    is 3 bash -c 'helm history web -n "$NAMESPACE" -o json | grep -o "\"revision\"" | wc -l' &&
    helm uninstall web --wait &&
    is '' kubectl get deployments,services,poddisruptionbudgets,secrets -l app.kubernetes.io/instance=web -o name
}
mend() { helm uninstall web --ignore-not-found --wait; kubectl delete secrets -l owner=helm; }
"#;

const KUBECTL_WORK: &str = r#"
cycle() {
    kubectl create deployment web --image=gantry.local/hello:latest --port=8080 --replicas=2 &&
    kubectl rollout status deployment/web --timeout=60s &&
    kubectl set env deployment/web VERSION=2 &&
    kubectl rollout status deployment/web --timeout=60s &&
    kubectl scale deployment/web --replicas=3 &&
    kubectl wait deployment/web --for=jsonpath='{.status.readyReplicas}'=3 --timeout=60s &&
    kubectl annotate deployment/web note=here &&
    kubectl get deployment web -o yaml | sed 's/note: here/note: there/' | kubectl apply --server-side --force-conflicts -f - &&
    is there kubectl get deployment web -o 'jsonpath={.metadata.annotations.note}' &&
    kubectl delete deployment web --cascade=foreground --timeout=60s &&
    kubectl wait pods --all --for=delete --timeout=60s &&
    is '' kubectl get replicasets,pods -o name
}
mend() { kubectl delete deployment web --ignore-not-found --timeout=60s; kubectl wait pods --all --for=delete --timeout=60s; }
"#;
