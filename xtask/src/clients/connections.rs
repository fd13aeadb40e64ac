//! Connections into pods and to nodes: attach, port-forward, cp, debug, proxy, top; each over the protocols of current
//! and of older clients.

use anyhow::ensure;

use super::case::{Case, Stage};

const WEB: &str = include_str!("manifests/files.yaml");
const BOX: &str = include_str!("manifests/box.yaml");

/// kubectl speaks SPDY then, as it did before version 1.31.
const SPDY: &str = "export KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false KUBECTL_PORT_FORWARD_WEBSOCKETS=false; ";
const RUN: &str = "kubectl run --image=gantry.local/tools:1 --restart=Never --quiet";

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "run -i --rm",
        run: run_in,
    },
    Case {
        name: "run -it --rm",
        run: run_terminal,
    },
    Case {
        name: "attach",
        run: attach,
    },
    Case {
        name: "exec over SPDY",
        run: exec_spdy,
    },
    Case {
        name: "port-forward",
        run: port_forward,
    },
    Case { name: "cp", run: copy },
    Case {
        name: "debug",
        run: debug,
    },
    Case {
        name: "debug --copy-to and node",
        run: debug_copies,
    },
    Case {
        name: "proxy",
        run: proxy,
    },
    Case {
        name: "a node's own pages",
        run: kubelet,
    },
    Case { name: "top", run: top },
];

fn run_in(stage: &Stage<'_>) -> anyhow::Result<()> {
    for (name, how) in [("ws", ""), ("spdy", SPDY)] {
        let run = |pod: &str, command: &str| format!("{RUN} {pod}-{name} -i --rm -- {command}");
        stage.prints(&format!("{how}echo hello | {}", run("cat", "cat")), "hello")?;
        let failed = stage.try_sh(&format!(
            "{how}echo | {}",
            run("fail", "sh -c 'read x; echo no >&2; exit 3'")
        ))?;
        ensure!(failed.code == 3, "the exit code is {}", failed.code);
        let size = 5_000_000;
        let count = format!("{how}head -c {size} /dev/zero | {}", run("in", "wc -c"));
        stage.prints(&count, &size.to_string())?;
        // A client that is slower than the container misses nothing.
        let slow = run("out", &format!("sh -c 'read x; head -c {size} /dev/zero'"));
        stage.prints(&format!("{how}echo | {slow} | (sleep 2; wc -c)"), &size.to_string())?;
    }
    stage.until("kubectl get pods -o name", "")
}

fn run_terminal(stage: &Stage<'_>) -> anyhow::Result<()> {
    for (name, how) in [("ws", ""), ("spdy", SPDY)] {
        let keys = "(sleep 4; echo 'echo $((40 + 2)); tty; stty size'; sleep 1; echo 'exit 4'; sleep 2)";
        let command = format!("stty rows 33 cols 99; {how}{RUN} term-{name} -it --rm -- sh");
        let done = stage.try_sh(&format!("{keys} | script -qec \"{command}\" /dev/null"))?;
        for expected in ["42", "/dev/", "33 99"] {
            ensure!(done.text.contains(expected), "the terminal does not show {expected:?}");
        }
        ensure!(done.code == 4, "the exit code is {}", done.code);
    }
    Ok(())
}

fn attach(stage: &Stage<'_>) -> anyhow::Result<()> {
    let ticking = BOX.replace(
        "echo ready; sleep 3600",
        "while sleep 0.2; do echo tick; echo tock >&2; done",
    );
    stage.write("box.yaml", &ticking)?;
    stage.sh("kubectl apply -f box.yaml && kubectl wait --for=condition=Ready pod/box --timeout=60s")?;
    for how in ["", SPDY] {
        let heard = stage.try_sh(&format!("{how}timeout 3 kubectl attach box 2>errors"))?;
        let ticks = heard.out.matches("tick").count();
        ensure!(
            heard.code == 124 && ticks >= 5,
            "{ticks} ticks, and code {}",
            heard.code
        );
        let errors = stage.sh("cat errors")?;
        ensure!(errors.matches("tock").count() >= 5, "the errors are {errors:?}");
    }
    // Who goes leaves the container as it is.
    stage.prints(
        "kubectl get pod box -o jsonpath='{.status.containerStatuses[0].restartCount}'",
        "0",
    )?;
    stage.refuses("kubectl attach absent", "pods \"absent\" not found")?;
    stage.refuses("kubectl attach box -c absent", "absent")
}

fn exec_spdy(stage: &Stage<'_>) -> anyhow::Result<()> {
    start(stage, "box.yaml", BOX, "pod/box")?;
    let on = |line: &str| format!("{SPDY}{line}");
    stage.prints(&on("kubectl exec box -- echo hello"), "hello")?;
    let done = stage.try_sh(&on("kubectl exec box -- sh -c 'echo out; echo err >&2; exit 7'"))?;
    ensure!(
        done.code == 7 && done.out == "out\n",
        "code {}, {:?}",
        done.code,
        done.text
    );
    stage.prints(
        &on("head -c 3000000 /dev/zero | kubectl exec -i box -- wc -c"),
        "3000000",
    )?;
    let sums = "head -c 1000000 /dev/urandom > random; \
                [ \"$(kubectl exec -i box -- cat < random | sha256sum)\" = \"$(sha256sum < random)\" ] && echo same";
    stage.prints(&on(sums), "same")?;
    let sized = "(sleep 4) | script -qec \"stty rows 41 cols 101; kubectl exec -it box -- sh -c 'sleep 1; stty size'\" /dev/null";
    stage.says(&on(sized), "41 101")?;
    stage.refuses(&on("kubectl exec box -- nothing"), "nothing")
}

fn start(stage: &Stage<'_>, file: &str, text: &str, what: &str) -> anyhow::Result<()> {
    stage.write(file, text)?;
    stage.sh(&format!("kubectl apply -f {file}"))?;
    stage.sh(&format!("kubectl wait --for=condition=Ready {what} --timeout=60s"))?;
    Ok(())
}

/// A client that sends all it has, closes its side and then reads; busybox's nc and bash can't.
const HALF_CLOSE: &str = "import socket, sys\n\
    s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n\
    s.sendall(b'x' * 1000000)\n\
    s.shutdown(socket.SHUT_WR)\n\
    print(s.makefile().read().strip())\n";

fn port_forward(stage: &Stage<'_>) -> anyhow::Result<()> {
    start(stage, "files.yaml", WEB, "pod --selector app=files")?;
    stage.sh("kubectl rollout status deployment/files --timeout=60s")?;
    stage.write("half.py", HALF_CLOSE)?;
    for how in ["", SPDY] {
        for target in [
            "deployment/files",
            "service/files",
            "$(kubectl get pods -l app=files -o name)",
        ] {
            let port = if target.starts_with("service") { 80 } else { 8080 };
            let forward = format!(
                "rm -f forwarded; {how}kubectl port-forward {target} :{port} > forwarded 2>&1 & PF=$!; trap 'kill $PF' EXIT; \
                 until grep -q Forwarding forwarded; do sleep 0.1; done; \
                 URL=$(sed -n 's,Forwarding from \\(127[^ ]*\\) .*,http://\\1,p' forwarded); "
            );
            stage.prints(&format!("{forward} curl -sS $URL/hello.txt"), "hello from files")?;
        }
        let forward = format!(
            "rm -f forwarded; {how}kubectl port-forward deployment/files 18099:8080 18098:8081 18097:9 > forwarded 2>&1 & PF=$!; \
             trap 'kill $PF' EXIT; until grep -q 18097 forwarded; do sleep 0.1; done; "
        );
        let many = "for i in $(seq 30); do curl -sS http://127.0.0.1:18099/big -o big.$i & done; wait $(jobs -p | grep -v $PF); \
                    sha256sum big.* | cut -d' ' -f1 | sort | uniq -c | awk '{print $1}'; rm big.*";
        stage.prints(&format!("{forward}{many}"), "30")?;
        stage.prints(&format!("{forward}python3 half.py 18098"), "1000000")?;
        let refused = "curl -sS --max-time 5 http://127.0.0.1:18097/; sleep 0.5; cat forwarded";
        stage.says(&format!("{forward}{refused}"), "refused")?;
    }
    Ok(())
}

fn copy(stage: &Stage<'_>) -> anyhow::Result<()> {
    start(stage, "box.yaml", BOX, "pod/box")?;
    stage.sh("mkdir -p tree/deep && head -c 120000000 /dev/urandom > tree/big && echo small > tree/deep/small")?;
    stage.sh("kubectl cp tree box:/tmp/tree")?;
    let sum = "[ \"$(kubectl exec box -- sha256sum /tmp/tree/big | cut -d' ' -f1)\" = \"$(sha256sum tree/big | cut -d' ' -f1)\" ] && echo same";
    stage.prints(sum, "same")?;
    stage.prints("kubectl exec box -- cat /tmp/tree/deep/small", "small")?;
    stage.sh("kubectl cp box:/tmp/tree back")?;
    stage.prints("diff -r tree back && echo same", "same")?;
    stage.prints("rm -rf back tree; echo done", "done")?;
    // Whether kubectl heard the exit code before it saw the empty archive's end is up to luck.
    let copy = || stage.try_sh("kubectl cp box:/tmp/absent nothing");
    let mut absent = copy()?;
    // Older kubectls read before they know their own streams, and say so when they throw a message away.
    for _ in 0..4 {
        if !absent.text.contains("Unknown stream id 2, discarding message") {
            break;
        }
        absent = copy()?;
    }
    ensure!(absent.text.contains("absent"), "it does not say what is absent");
    stage.refuses("kubectl cp box.yaml box:/absent/there", "")
}

fn debug(stage: &Stage<'_>) -> anyhow::Result<()> {
    start(stage, "box.yaml", BOX, "pod/box")?;
    let debug = "kubectl debug box --image=gantry.local/tools:1 --profile=general";
    stage.prints(
        &format!("echo 'echo in; hostname; exit' | {debug} --container=one -i --quiet --target=box -- sh | tail -2"),
        "in\nbox",
    )?;
    // The target's processes are seen and its files are reached.
    let look = "sh -c 'ps | grep -c \"[s]leep 3600\"; ls /proc/1/root/bin | grep -c busybox'";
    stage.sh(&format!("{debug} --container=two --target=box -- {look}"))?;
    let state = |field: &str| {
        format!(
            "kubectl get pod box -o jsonpath='{{.status.ephemeralContainerStatuses[?(@.name==\"two\")].state.{field}}}'"
        )
    };
    stage.until(&state("terminated.reason"), "Completed")?;
    stage.prints("kubectl logs box -c two", "1\n1")?;
    stage.prints(
        "kubectl get pod box -o jsonpath='{.status.containerStatuses[0].restartCount}'",
        "0",
    )?;
    stage.prints(
        "kubectl get pod box -o jsonpath='{.spec.ephemeralContainers[*].name}'",
        "one two",
    )?;
    let remove = r#"kubectl get pod box -o json | python3 -c 'import json,sys; p = json.load(sys.stdin); p["spec"]["ephemeralContainers"].pop(); print(json.dumps(p))' > less.json; kubectl replace --raw /api/v1/namespaces/$(kubectl config view --minify -o jsonpath='{..namespace}')/pods/box/ephemeralcontainers -f less.json"#;
    stage.refuses(remove, "may not be removed")
}

fn debug_copies(stage: &Stage<'_>) -> anyhow::Result<()> {
    start(stage, "box.yaml", BOX, "pod/box")?;
    stage.sh("kubectl debug box --copy-to=twin --share-processes --image=gantry.local/tools:1 -c tools -- sh -c 'ps; sleep 3600'")?;
    stage.sh("kubectl wait --for=condition=Ready pod/twin --timeout=60s")?;
    stage.says("kubectl logs twin -c tools", "sleep 3600")?;
    let node = "$(kubectl get nodes -o jsonpath='{.items[0].metadata.name}')";
    let made = stage.sh(&format!(
        "kubectl debug node/{node} --image=gantry.local/tools:1 --profile=sysadmin -- ls /host/etc/hostname"
    ))?;
    stage.until(
        "kubectl get pods -o jsonpath='{.items[?(@.spec.hostPID==true)].status.phase}'",
        "Succeeded",
    )?;
    ensure!(made.contains("node-debugger"), "it says {made:?}");
    stage.prints(
        "kubectl logs $(kubectl get pods -o name | grep node-debugger)",
        "/host/etc/hostname",
    )
}

fn proxy(stage: &Stage<'_>) -> anyhow::Result<()> {
    start(stage, "files.yaml", WEB, "pod --selector app=files")?;
    stage.sh("kubectl rollout status deployment/files --timeout=60s")?;
    let raw = "NS=$(kubectl config view --minify -o jsonpath='{..namespace}'); POD=$(kubectl get pods -l app=files \
               -o jsonpath='{.items[0].metadata.name}'); kubectl get --raw /api/v1/namespaces/$NS";
    for place in [
        "pods/$POD",
        "pods/$POD:8080",
        "pods/http:$POD:8080",
        "services/files:80",
        "services/files:web",
    ] {
        stage.prints(&format!("{raw}/{place}/proxy/hello.txt"), "hello from files")?;
    }
    stage.refuses(&format!("{raw}/services/files:81/proxy/"), "no service port 81 found")?;
    stage.refuses(&format!("{raw}/services/absent/proxy/"), "not found")?;
    stage.refuses(&format!("{raw}/pods/$POD:9/proxy/"), "error trying to reach service")?;
    let proxied = "rm -f proxied; kubectl proxy --port=0 > proxied & PX=$!; trap 'kill $PX' EXIT; until grep -qs Starting proxied; do sleep 0.1; \
                   done; URL=http://$(sed 's/.* //' proxied)/api/v1/namespaces/$(kubectl config view --minify \
                   -o jsonpath='{..namespace}')/services/files:web/proxy; ";
    stage.prints(
        &format!("{proxied} curl -sS -o /dev/null -w '%{{http_code}}' $URL"),
        "301",
    )?;
    stage.prints(
        &format!("{proxied} curl -sS -X POST --data-binary hi $URL/cgi-bin/echo"),
        "POST hi",
    )?;
    stage.prints(&format!("{proxied} curl -sS -X DELETE $URL/cgi-bin/echo"), "DELETE")?;
    let big = "head -c 5000000 /dev/zero | curl -sS -X POST --data-binary @- $URL/cgi-bin/count";
    stage.prints(&format!("{proxied} {big}"), "5000000")
}

fn kubelet(stage: &Stage<'_>) -> anyhow::Result<()> {
    start(stage, "box.yaml", BOX, "pod/box")?;
    let page = |path: &str| {
        format!(
            "kubectl get --raw /api/v1/nodes/$(kubectl get nodes -o jsonpath='{{.items[0].metadata.name}}')/proxy/{path}"
        )
    };
    stage.prints(&page("healthz"), "ok")?;
    stage.says(&page("pods"), "\"kind\":\"PodList\"")?;
    stage.says(&page("configz"), "\"kubeletconfig\"")?;
    stage.says(&page("stats/summary"), "\"podRef\":")?;
    stage.says(&page("metrics"), "kubelet_running_pods")?;
    stage.says(
        &page("metrics/resource"),
        "container_cpu_usage_seconds_total{container=\"box\"",
    )?;
    stage.says(
        &page("metrics/cadvisor"),
        "container_memory_working_set_bytes{container=\"box\"",
    )?;
    stage.says(&page("logs/"), "<pre>")?;
    stage.refuses(&page("logs/..%2f..%2fetc/passwd"), "")?;
    let log = "containerLogs/$(kubectl config view --minify -o jsonpath='{..namespace}')/box/box";
    stage.prints(&page(log), "ready")
}

fn top(stage: &Stage<'_>) -> anyhow::Result<()> {
    let busy = BOX.replace("echo ready; sleep 3600", "while :; do :; done");
    let busy = busy.replace("    resources:\n", "    resources:\n      limits: {cpu: 200m}\n");
    start(stage, "box.yaml", &busy, "pod/box")?;
    stage.sh("sleep 12")?;
    let used = stage.sh("kubectl top pod box --no-headers")?;
    let words: Vec<&str> = used.split_whitespace().collect();
    let cpu: u64 = words[1].trim_end_matches('m').parse()?;
    ensure!((100..=260).contains(&cpu), "a busy pod of 200m uses {cpu}m");
    ensure!(words[2].ends_with("Mi"), "its memory is {}", words[2]);
    stage.says("kubectl top pods --containers", "box")?;
    stage.says("kubectl top pods -l app=box --sum", "box")?;
    stage.says("kubectl top nodes", "%")?;
    stage.refuses("kubectl top pod absent", "not found")?;
    let may = "kubectl create serviceaccount viewer && kubectl create rolebinding viewer --clusterrole=view \
               --serviceaccount=$(kubectl config view --minify -o jsonpath='{..namespace}'):viewer";
    stage.sh(may)?;
    let who = "--as=system:serviceaccount:$(kubectl config view --minify -o jsonpath='{..namespace}'):viewer";
    stage.until(&format!("kubectl auth can-i get pods.metrics.k8s.io {who}"), "yes")
}
