//! What streams: logs and exec.

use anyhow::ensure;

use super::case::{Case, Stage};

const BOX: &str = include_str!("manifests/box.yaml");
const LINES: &str = include_str!("manifests/lines.yaml");
const CRASH: &str = include_str!("manifests/crash.yaml");

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "logs",
        run: logs,
    },
    Case {
        name: "logs -f",
        run: logs_follow,
    },
    Case {
        name: "logs --previous",
        run: logs_previous,
    },
    Case {
        name: "exec",
        run: exec,
    },
    Case {
        name: "exec -it",
        run: exec_terminal,
    },
];

fn logs(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("lines.yaml", LINES)?;
    stage.sh("kubectl apply -f lines.yaml")?;
    stage.sh("kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/lines --timeout=60s")?;
    stage.says("kubectl logs lines", "Defaulted container \"count\"")?;
    stage.prints("kubectl logs lines -c count | wc -l", "11")?;
    stage.prints("kubectl logs lines -c other", "from the other")?;
    stage.prints("kubectl logs lines -c count --tail=2", "line 10\nto stderr")?;
    stage.prints("kubectl logs lines -c count --tail=0", "")?;
    stage.prints("kubectl logs lines -c count --limit-bytes=6", "line 1")?;
    stage.prints("kubectl logs lines --all-containers | wc -l", "12")?;
    stage.says("kubectl logs lines -c count --timestamps --tail=1", "Z to stderr")?;
    stage.prints("kubectl logs lines -c count --since=1h | wc -l", "11")?;
    let since = "T=$(kubectl logs lines -c count --timestamps | sed -n '/line 8/s/ .*//p'); ";
    // The time's seconds count, not its fractions: some earlier lines may be of the same second.
    let after = stage.sh(&format!("{since} kubectl logs lines -c count --since-time=$T | wc -l"))?;
    let after: usize = after.trim().parse()?;
    ensure!(
        (3..11).contains(&after),
        "{after} of 11 lines are newer than the eighth's second"
    );
    stage.sh("sleep 2")?;
    stage.prints("kubectl logs lines -c count --since=1s | wc -l", "0")?;
    stage.refuses(
        "kubectl logs lines -c nothing",
        "container nothing is not valid for pod lines",
    )?;
    stage.refuses("kubectl logs nothing", "pods \"nothing\" not found")
}

fn logs_follow(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("lines.yaml", LINES)?;
    stage.sh("kubectl apply -f lines.yaml")?;
    let follow = "kubectl logs -f lines -c count --pod-running-timeout=60s";
    stage.sh("kubectl wait --for=condition=Ready pod/lines --timeout=30s || true")?;
    let text = stage.sh(follow)?;
    let lines: Vec<&str> = text.lines().collect();
    let mut expected: Vec<String> = (1..=10).map(|i| format!("line {i}")).collect();
    expected.push("to stderr".to_string());
    ensure!(lines == expected, "followed: {lines:?}");
    // Following what never ends shows what comes and goes on until it is told to stop.
    stage.write(
        "box.yaml",
        &BOX.replace("echo ready; sleep 3600", "while sleep 0.2; do echo tick; done"),
    )?;
    stage.sh("kubectl apply -f box.yaml")?;
    stage.sh("kubectl wait --for=condition=Ready pod/box --timeout=60s")?;
    let ticking = stage.try_sh("timeout 3 kubectl logs -f box --tail=1")?;
    let ticks = ticking.out.matches("tick").count();
    ensure!(
        ticking.code == 124 && ticks >= 5,
        "{ticks} ticks, and it ended with {}",
        ticking.code
    );
    Ok(())
}

fn logs_previous(stage: &Stage<'_>) -> anyhow::Result<()> {
    start_box(stage)?;
    stage.refuses(
        "kubectl logs box --previous",
        "previous terminated container \"box\" in pod \"box\" not found",
    )?;
    stage.write("crash.yaml", CRASH)?;
    stage.sh("kubectl apply -f crash.yaml")?;
    stage.sh("kubectl wait --for=jsonpath='{.status.containerStatuses[0].restartCount}'=1 pod/crash --timeout=60s")?;
    stage.until("kubectl logs crash", "run 2")?;
    stage.prints("kubectl logs crash --previous", "run 1")?;
    let code = "{.status.containerStatuses[0].lastState.terminated.exitCode}";
    stage.prints(&format!("kubectl get pod crash -o jsonpath='{code}'"), "3")
}

fn start_box(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.write("box.yaml", BOX)?;
    stage.sh("kubectl apply -f box.yaml")?;
    stage.sh("kubectl wait --for=condition=Ready pod/box --timeout=60s")?;
    Ok(())
}

fn exec(stage: &Stage<'_>) -> anyhow::Result<()> {
    start_box(stage)?;
    stage.prints("kubectl exec box -- echo hello", "hello")?;
    stage.prints("kubectl exec box -- hostname", "box")?;
    let done = stage.try_sh("kubectl exec box -- sh -c 'echo out; echo err >&2; exit 7'")?;
    ensure!(done.code == 7, "the exit code is {}", done.code);
    ensure!(
        done.out == "out\n" && done.text.contains("err\n"),
        "the streams are {:?}",
        done.text
    );
    ensure!(
        done.text.contains("command terminated with exit code 7"),
        "the code isn't said"
    );
    stage.prints("echo from here | kubectl exec -i box -- cat", "from here")?;
    let size = 3_000_000;
    stage.prints(
        &format!("head -c {size} /dev/zero | kubectl exec -i box -- wc -c"),
        &size.to_string(),
    )?;
    stage.prints(
        &format!("kubectl exec box -- head -c {size} /dev/zero | wc -c"),
        &size.to_string(),
    )?;
    let sums = "head -c 1000000 /dev/urandom > random; \
                [ \"$(kubectl exec -i box -- cat < random | sha256sum)\" = \"$(sha256sum < random)\" ] && echo same";
    stage.prints(sums, "same")?;
    stage.refuses("kubectl exec box -- nothing", "nothing")?;
    stage.refuses("kubectl exec absent -- true", "pods \"absent\" not found")?;
    stage.refuses(
        "kubectl exec box -c absent -- true",
        "container absent is not valid for pod box",
    )
}

/// `script` gives kubectl a terminal.
fn exec_terminal(stage: &Stage<'_>) -> anyhow::Result<()> {
    start_box(stage)?;
    let on_terminal = |setup: &str, command: &str, keys: &str| {
        format!("({keys}) | script -qec \"{setup}kubectl exec -it box -- {command}\" /dev/null")
    };
    stage.says(&on_terminal("", "tty", "sleep 2"), "/dev/pts/")?;
    stage.says(
        &on_terminal("stty rows 41 cols 101; ", "sh -c 'sleep 1; stty size'", "sleep 4"),
        "41 101",
    )?;
    let done = stage.try_sh(&on_terminal("", "sh -c 'exit 5'", "sleep 2"))?;
    ensure!(done.code == 5, "the exit code is {}", done.code);
    let typed = "sleep 2; echo 'echo $((40 + 2)) $TERM'; sleep 1; echo exit";
    stage.says(&on_terminal("export TERM=xterm; ", "sh", typed), "42")?;
    // Control-C reaches the program, not the connection.
    let interrupted = on_terminal(
        "",
        "sh -c 'trap \\\"echo caught; exit 3\\\" INT; while :; do sleep 0.2; done'",
        "sleep 3; printf '\\003'; sleep 2",
    );
    let done = stage.try_sh(&interrupted)?;
    ensure!(
        done.text.contains("caught") && done.code == 3,
        "control-C: code {}",
        done.code
    );
    Ok(())
}
