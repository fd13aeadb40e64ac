//! The guestbook, whose README's lines are followed, on two nodes: a Gantry of its own.

use std::net::TcpListener;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::case::{Case, Pass, Stage};
use super::house::House;
use super::{readme, tools};

pub(crate) const CASES: &[Case] = &[Case {
    name: "guestbook on two nodes",
    run: on_two_nodes,
}];

/// Apart from those of the Gantry that the other cases have.
const RANGES: [&str; 4] = ["--pod-cidr", "10.223.0.0/16", "--service-cidr", "10.224.0.0/16"];

fn on_two_nodes(stage: &Stage<'_>) -> anyhow::Result<()> {
    tools::program("debootstrap", "debootstrap")?;
    let port = TcpListener::bind("0.0.0.0:0")?.local_addr()?.port();
    let listen = format!("0.0.0.0:{port}");
    let mut up = vec!["--nodes", "2", "--listen", &listen];
    up.extend(RANGES);
    let house = House::start(stage.pass.house.bin(), "guestbook", &up)?;
    let pass = Pass {
        house: &house,
        kubectl: stage.pass.kubectl,
        root: stage.pass.root,
        number: 0,
    };
    pass.run(&Case {
        name: "guestbook",
        run: guestbook,
    })?;
    house.end()
}

/// Which programs run where, once all do.
const SPREAD: &str = "kubectl get pods \
    -o jsonpath='{range .items[*]}{.metadata.labels.app} {.spec.nodeName}{\"\\n\"}{end}' > spread";

/// The README of the guestbook, line by line.
fn guestbook(stage: &Stage<'_>) -> anyhow::Result<()> {
    let example = stage.pass.root.join("examples/guestbook");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(&example)
        .arg(stage.path("guestbook"))
        .status();
    ensure!(
        copied.context("copying the example")?.success(),
        "copying the example failed"
    );
    let text = std::fs::read_to_string(example.join("README.md")).context("reading the guestbook's README")?;
    let [build, run, load, disturb, remove] =
        ["build", "run", "load", "disturb", "remove"].map(|part| lines(&text, part).join("\n"));
    // One shell for all, as a person has it: variables and the job in the background stay.
    let script = [&build, &run, SPREAD, &load, &disturb].join("\n");
    stage.write("script", &format!("set -euo pipefail\ncd guestbook\n{script}\n"))?;
    let done = stage.long("bash script", "1500")?;
    ensure!(done.code == 0, "the README's lines end with {}", done.code);
    let mut last = done.out.lines().rev();
    let (failures, answers) = (last.next().unwrap_or_default(), last.next().unwrap_or_default());
    ensure!(
        failures.trim() == "0",
        "{failures} requests failed: {}",
        stage.sh("cat guestbook/failures")?
    );
    ensure!(
        answers.trim().parse::<u32>().is_ok_and(|count| count > 50),
        "only {answers} answers"
    );
    for app in ["front", "web"] {
        stage.prints(&format!("grep '^{app} ' guestbook/spread | sort -u | wc -l"), "2")?;
    }
    stage.says("cat guestbook/answers", "version 2")?;
    stage.says("cat guestbook/answers", "version 1")?;
    stage.sh(&format!("cd guestbook\n{}", remove))?;
    Ok(())
}

/// The blocks behind a part's mark, up to the next mark.
fn lines<'t>(text: &'t str, part: &str) -> Vec<&'t str> {
    readme::blocks(text, &format!("<!-- cargo xtask clients runs these lines: {part} -->"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_guestbook_has_all_its_parts() {
        let text = include_str!("../../../examples/guestbook/README.md");
        for (part, word) in [
            ("build", "--target web"),
            ("run", "curl"),
            ("load", "while"),
            ("disturb", "set image"),
            ("remove", "rm"),
        ] {
            assert!(
                super::lines(text, part).iter().any(|line| line.contains(word)),
                "{part}"
            );
        }
        assert!(!super::lines(text, "run").iter().any(|line| line.contains("while")));
    }
}
