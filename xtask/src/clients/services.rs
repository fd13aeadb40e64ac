//! Services and names, by what a pod and the host see of them: host ports, health checks, affinity, external addresses,
//! names of pods, aliases.

use anyhow::{Context as _, ensure};

use super::case::{Case, Stage};
use super::objects::WEB;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "host ports lead to pods and are given once",
        run: host_ports,
    },
    Case {
        name: "a balancer's health check sees local pods",
        run: health_check,
    },
    Case {
        name: "a client keeps its endpoint",
        run: affinity,
    },
    Case {
        name: "names of pods, ports and aliases",
        run: names,
    },
    Case {
        name: "datagrams and external addresses",
        run: datagrams,
    },
];

const PORTS: &str = include_str!("manifests/host-ports.yaml");
const NAMED: &str = include_str!("manifests/named.yaml");
/// One request, by nc: Debian's static busybox dies when its wget asks its resolver.
const ASK: &str = "printf 'GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n' | nc -w 5";

fn boxed(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("box.yaml", include_str!("manifests/box.yaml"))?;
    stage.sh("kubectl apply -f box.yaml")?;
    stage
        .sh("kubectl wait --for=condition=Ready pod/box --timeout=60s")
        .map(drop)
}

fn node_address(stage: &Stage<'_>) -> anyhow::Result<String> {
    let path = "{.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
    Ok(stage
        .sh(&format!("kubectl get nodes -o jsonpath='{path}'"))?
        .trim()
        .to_owned())
}

fn host_ports(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("ports.yaml", PORTS)?;
    stage.sh("kubectl apply -f ports.yaml")?;
    stage.sh("kubectl wait --for=condition=Ready pod/open pod/inner --timeout=60s")?;
    boxed(stage)?;
    let node = node_address(stage)?;
    let ask = "curl -sS --max-time 5";
    for address in [node.as_str(), "127.0.0.1"] {
        stage.says(&format!("{ask} http://{address}:18431/"), "Hello from open")?;
    }
    stage.says(
        &format!("kubectl exec box -- sh -c \"{ASK} {node} 18431\""),
        "Hello from open",
    )?;
    stage.says(&format!("{ask} http://127.0.0.1:18432/"), "Hello from inner")?;
    stage.refuses(&format!("{ask} http://{node}:18432/"), "curl")?;
    // Another pod can't have the port, and gets it when it is free.
    stage.sh("sed 's/name: open/name: late/' ports.yaml | kubectl apply -f -")?;
    let message = "{.status.conditions[?(@.type==\"PodScheduled\")].message}";
    let scheduled = format!("kubectl get pod late -o jsonpath='{message}' | grep -c 'free ports for the requested'");
    stage.until(&scheduled, "1")?;
    stage.sh("kubectl delete pod open")?;
    stage.sh("kubectl wait --for=condition=Ready pod/late --timeout=60s")?;
    stage.says(&format!("{ask} http://{node}:18431/"), "Hello from late")?;
    stage.sh("kubectl delete pod late inner")?;
    stage.refuses(&format!("{ask} http://{node}:18431/"), "curl").map(drop)
}

fn health_check(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write(
        "web.yaml",
        &WEB.replace("type: NodePort", "type: LoadBalancer\n  externalTrafficPolicy: Local"),
    )?;
    stage.sh("kubectl apply -f web.yaml")?;
    stage.sh("kubectl rollout status deployment/web --timeout=60s")?;
    let port = stage.sh("kubectl get service web -o jsonpath='{.spec.healthCheckNodePort}'")?;
    let port: u16 = port.trim().parse().context("the port of the health check")?;
    ensure!((30000..=32767).contains(&port), "the health check's port is {port}");
    let code = format!("curl -s -o answer -w '%{{http_code}}' --max-time 5 http://127.0.0.1:{port}/");
    stage.until(&code, "200")?;
    stage.says("cat answer", "\"localEndpoints\":2")?;
    stage.sh("kubectl scale deployment/web --replicas=0")?;
    stage.until(&code, "503")?;
    // The source is kept: the pod would see the host's own address.
    stage.sh("kubectl delete service web")?;
    stage
        .refuses(&format!("curl -sS --max-time 2 http://127.0.0.1:{port}/"), "curl")
        .map(drop)
}

fn affinity(stage: &Stage<'_>) -> anyhow::Result<()> {
    let spec = "type: NodePort\n  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 3}}";
    let web = WEB
        .replace("type: NodePort", spec)
        .replace("replicas: 2", "replicas: 4");
    stage.write("web.yaml", &web)?;
    stage.sh("kubectl apply -f web.yaml")?;
    stage.sh("kubectl rollout status deployment/web --timeout=60s")?;
    boxed(stage)?;
    let asks = |count| {
        format!(
            "kubectl exec box -- sh -c \"for i in $(seq {count} | tr '\\n' ' '); do {ASK} web 80 | grep -o 'Hello from web-[a-z0-9-]*'; done\" | sort -u | wc -l"
        )
    };
    stage.prints(&asks(15), "1")?;
    // After a pause longer than the timeout another one may be drawn; with twelve pauses of none the same, affinity
    // would have outlived its time.
    let draw = format!("kubectl exec box -- sh -c \"{ASK} web 80\" | grep -o 'Hello from web-[a-z0-9-]*'");
    stage
        .sh(&format!(
            "for i in 1 2 3 4 5 6 7 8; do {draw}; sleep 3.5; done | sort -u | wc -l | grep -vx 1"
        ))
        .map(drop)
}

fn names(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("named.yaml", &NAMED.replace("NAMESPACE", &stage.namespace))?;
    stage.sh("kubectl apply -f named.yaml")?;
    stage.sh("kubectl wait --for=condition=Ready pod/one pod/two --timeout=60s")?;
    boxed(stage)?;
    let namespace = &stage.namespace;
    let ip = |pod: &str| stage.sh(&format!("kubectl get pod {pod} -o jsonpath='{{.status.podIP}}'"));
    let (one, two) = (ip("one")?, ip("two")?);
    let zone = format!("{namespace}.svc.cluster.local");
    let look = |kind: &str, name: &str| format!("kubectl exec box -- nslookup -type={kind} {name}");
    stage.says(&look("a", &format!("first.set.{zone}")), one.trim())?;
    stage.says(&look("a", &format!("set.{zone}")), two.trim())?;
    let srv = stage.sh(&look("srv", &format!("_http._tcp.set.{zone}")))?;
    let dashed = two.trim().replace('.', "-");
    for target in [format!("8080 first.set.{zone}"), format!("8080 {dashed}.set.{zone}")] {
        ensure!(srv.contains(&target), "no {target:?} in {srv}");
    }
    stage.says(
        &format!("kubectl exec box -- nslookup {}", one.trim()),
        &format!("first.set.{zone}"),
    )?;
    stage.says(&look("a", &format!("alias.{zone}")), one.trim())?;
    stage.says(&look("cname", &format!("alias.{zone}")), &format!("first.set.{zone}"))?;
    // The pod knows itself by its full name.
    stage.says("kubectl exec one -- cat /etc/hosts", &format!("first.set.{zone}"))?;
    // One that isn't ready is published where that is asked for, and only there.
    stage.sh("kubectl wait --for=jsonpath='{.status.phase}'=Running pod/slow --timeout=60s")?;
    let slow = ip("slow")?;
    stage.says(&look("a", &format!("all.{zone}")), slow.trim())?;
    stage
        .refuses(&look("a", &format!("ready.{zone}")), "NXDOMAIN")
        .map(drop)
}

fn datagrams(stage: &Stage<'_>) -> anyhow::Result<()> {
    let udp = "apiVersion: v1\nkind: Service\nmetadata: {name: names}\nspec:\n  externalIPs: [198.51.100.77]\n  ports: [{port: 5353, targetPort: 53, protocol: UDP}, {name: web, port: 81, targetPort: 8080}]\n  selector: {app: web}\n";
    stage.write("web.yaml", WEB)?;
    stage.sh("kubectl apply -f web.yaml")?;
    stage.sh("kubectl rollout status deployment/web --timeout=60s")?;
    stage.write("udp.yaml", &udp.replace("{port: 5353,", "{name: dns, port: 5353,"))?;
    stage.sh("kubectl apply -f udp.yaml")?;
    boxed(stage)?;
    stage.says(
        &format!("kubectl exec box -- sh -c \"{ASK} 198.51.100.77 81\""),
        "Hello from web-",
    )?;
    stage.says("curl -sS --max-time 5 http://198.51.100.77:81/", "Hello from web-")?;
    // The cluster's own DNS is a UDP service, and the box its client.
    let full = format!("web.{}.svc.cluster.local.", stage.namespace);
    stage.says(&format!("kubectl exec box -- nslookup {full}"), "Address")
}
