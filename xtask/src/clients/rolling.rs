//! A rolling restart that nobody notices: ten replicas, a new connection for each request, from the host to the
//! NodePort and from a pod to the ClusterIP. No request may fail.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::case::{Case, Stage};
use super::objects::WEB;

pub(crate) const CASES: &[Case] = &[Case {
    name: "a rolling restart without a failed request",
    run: restart,
}];

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many requests each side must have made, so that the count says something.
const ENOUGH: usize = 100;
/// Asks until there is a file, then says how it went.
const CLIENT: &str = "ok=0; failed=0; while [ ! -e /tmp/stop ]; do \
                      if printf 'GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n' | nc -w 5 ADDRESS 80 | grep -q 'Hello from'; then ok=$((ok + 1)); \
                      else failed=$((failed + 1)); echo failed at $(date); fi; done; \
                      echo counted $ok $failed; touch /tmp/done; sleep 3600";

/// How the requests of one client went.
#[derive(Default)]
struct Count {
    ok: usize,
    failures: Vec<String>,
}

fn restart(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("web.yaml", &WEB.replace("replicas: 2", "replicas: 10"))?;
    stage.sh("kubectl apply -f web.yaml")?;
    stage.sh("kubectl rollout status deployment/web --timeout=120s")?;
    let address = stage.sh("kubectl get service web -o jsonpath='{.spec.clusterIP}'")?;
    let port = stage.sh("kubectl get service web -o jsonpath='{.spec.ports[0].nodePort}'")?;
    let node =
        stage.sh("kubectl get nodes -o jsonpath='{.items[0].status.addresses[?(@.type==\"InternalIP\")].address}'")?;
    let node: SocketAddr = format!("{node}:{port}").parse().context("the node's address")?;
    let client = CLIENT.replace("ADDRESS", address.trim());
    stage.write(
        "box.yaml",
        &include_str!("manifests/box.yaml").replace("echo ready; sleep 3600", &client),
    )?;
    stage.sh("kubectl apply -f box.yaml")?;
    stage.sh("kubectl wait --for=condition=Ready pod/box --timeout=60s")?;
    let stop = AtomicBool::new(false);
    let (result, host) = std::thread::scope(|scope| {
        let host = scope.spawn(|| ask_until(node, &stop));
        let result = roll(stage);
        stop.store(true, Ordering::Relaxed);
        (result, host.join())
    });
    let host = host.map_err(|_| anyhow::anyhow!("the host's client died"))?;
    result?;
    stage.sh("kubectl exec box -- touch /tmp/stop")?;
    stage.until("kubectl exec box -- ls /tmp/done", "/tmp/done")?;
    let pod = stage.sh("kubectl logs box")?;
    judge(&host, &pod)
}

fn roll(stage: &Stage<'_>) -> anyhow::Result<()> {
    let names = "kubectl get pods -l app=web -o jsonpath='{range .items[*]}{.metadata.name}{\"\\n\"}{end}' | sort";
    stage.sh(&format!("sleep 1; {names} > before"))?;
    stage.sh("kubectl rollout restart deployment/web")?;
    stage.sh("kubectl rollout status deployment/web --timeout=170s")?;
    // Until the last old pod is gone, not only out of service.
    stage.until(&format!("{names} | comm -12 before - | wc -l"), "0")?;
    stage.sh("sleep 1").map(drop)
}

fn judge(host: &Count, pod: &str) -> anyhow::Result<()> {
    let counted = pod
        .lines()
        .find_map(|line| line.strip_prefix("counted "))
        .context("the pod's client didn't count")?;
    let (ok, failed) = counted.split_once(' ').context("the pod's count")?;
    let (ok, failed): (usize, usize) = (ok.parse()?, failed.trim().parse()?);
    println!("        requests answered: {} from the host, {ok} from a pod", host.ok);
    let first: Vec<&String> = host.failures.iter().take(5).collect();
    ensure!(
        host.failures.is_empty(),
        "{} of the host's requests failed: {first:?}",
        host.failures.len()
    );
    ensure!(failed == 0, "{failed} of the pod's requests failed:\n{pod}");
    ensure!(
        host.ok >= ENOUGH && ok >= ENOUGH,
        "too few requests: {} from the host, {ok} from the pod",
        host.ok
    );
    Ok(())
}

fn ask_until(address: SocketAddr, stop: &AtomicBool) -> Count {
    let mut count = Count::default();
    while !stop.load(Ordering::Relaxed) {
        match ask(address) {
            Ok(()) => count.ok += 1,
            Err(error) => count.failures.push(format!("after {} good ones: {error:#}", count.ok)),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    count
}

fn ask(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).context("connecting")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
        .context("asking")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("reading the answer")?;
    ensure!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("Hello from "),
        "answer {answer:?}"
    );
    Ok(())
}
