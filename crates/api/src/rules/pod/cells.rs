//! The row of a pod: how many containers are ready, what the pod is doing in one word, how often it restarted.

use jiff::Timestamp;
use serde_json::Value;

use crate::rules::column::{self, or, text, wide};
use crate::rules::view::View as _;
use crate::rules::{Column, age};

/// The columns of pods.
pub(crate) const COLUMNS: &[Column] = &[
    age::NAME,
    text("Ready", "How many of the pod's containers are ready, of how many."),
    text("Status", "What the pod is doing, or why it isn't."),
    text("Restarts", "How often containers were restarted, and when last."),
    age::AGE,
    wide("IP", "The pod's first address."),
    wide("Node", "The node that the pod is bound to."),
    wide("Nominated Node", "The node on which other pods make room for this one."),
    wide(
        "Readiness Gates",
        "How many of the pod's readiness gates are open, of how many.",
    ),
];

/// A pod's row.
pub(crate) fn row(pod: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (pod.at("spec"), pod.at("status"));
    let summary = Summary::of(pod);
    let ip = status.list("podIPs").first().map_or("", |entry| entry.text("ip"));
    vec![
        column::name(pod),
        format!("{}/{}", summary.ready, summary.containers).into(),
        summary.word.into(),
        summary.restarts.show(now).into(),
        age::cell(pod, now),
        or(ip, "<none>").into(),
        or(spec.text("nodeName"), "<none>").into(),
        or(status.text("nominatedNodeName"), "<none>").into(),
        gates(spec, status).into(),
    ]
}

fn gates(spec: &Value, status: &Value) -> String {
    let gates = spec.list("readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates
        .iter()
        .filter(|gate| condition(status, gate.text("conditionType")) == "True")
        .count();
    format!("{open}/{}", gates.len())
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a str {
    let found = status
        .list("conditions")
        .iter()
        .find(|condition| condition.text("type") == kind);
    found.map_or("", |condition| condition.text("status"))
}

/// Restarts counted, and the last time one ended.
#[derive(Clone, Copy, Default)]
struct Restarts<'a> {
    count: i64,
    last: &'a str,
}

impl<'a> Restarts<'a> {
    fn add(&mut self, container: &'a Value) {
        self.count += container.int("restartCount").unwrap_or(0);
        let ended = container.at("lastState").at("terminated").text("finishedAt");
        // RFC 3339 in UTC to the second sorts as text.
        if ended > self.last {
            self.last = ended;
        }
    }

    fn show(&self, now: Timestamp) -> String {
        if self.count == 0 || self.last.is_empty() {
            return self.count.to_string();
        }
        format!("{} ({} ago)", self.count, age::since(self.last, now))
    }
}

struct Summary<'a> {
    ready: usize,
    containers: usize,
    word: String,
    restarts: Restarts<'a>,
}

impl<'a> Summary<'a> {
    fn of(pod: &'a Value) -> Self {
        let (spec, status) = (pod.at("spec"), pod.at("status"));
        let sidecars = spec
            .list("initContainers")
            .iter()
            .filter(|container| is_sidecar(container))
            .count();
        let phase = status.text("phase");
        let mut summary = Summary {
            ready: 0,
            containers: spec.list("containers").len() + sidecars,
            word: or(status.text("reason"), phase).to_owned(),
            restarts: Restarts::default(),
        };
        let gated = |c: &Value| c.text("type") == "PodScheduled" && c.text("reason") == "SchedulingGated";
        if status.list("conditions").iter().any(gated) {
            "SchedulingGated".clone_into(&mut summary.word);
        }
        let (initializing, sidecar_restarts) = summary.count_init(spec, status);
        if !initializing || condition(status, "Initialized") == "True" {
            summary.restarts = sidecar_restarts;
            summary.count_main(status);
        }
        if pod.at("metadata").has("deletionTimestamp") {
            if status.text("reason") == "NodeLost" {
                "Unknown".clone_into(&mut summary.word);
            } else if !matches!(phase, "Failed" | "Succeeded") {
                "Terminating".clone_into(&mut summary.word);
            }
        }
        summary
    }

    /// Goes through the init containers up to the one that is at work; says whether there is one, and what sidecars
    /// restarted.
    fn count_init(&mut self, spec: &Value, status: &'a Value) -> (bool, Restarts<'a>) {
        let mut sidecar_restarts = Restarts::default();
        let init = spec.list("initContainers");
        for (index, container) in status.list("initContainerStatuses").iter().enumerate() {
            self.restarts.add(container);
            let name = container.text("name");
            let sidecar = init.iter().any(|c| c.text("name") == name && is_sidecar(c));
            if sidecar {
                sidecar_restarts.add(container);
            }
            let (ended, waiting) = (
                container.at("state").at("terminated"),
                container.at("state").at("waiting"),
            );
            if !ended.is_null() && ended.int("exitCode").unwrap_or(0) == 0 {
                continue;
            }
            if sidecar && container.is("started") {
                self.ready += usize::from(container.is("ready"));
                continue;
            }
            self.word = if !ended.is_null() {
                format!("Init:{}", why_ended(ended))
            } else if !matches!(waiting.text("reason"), "" | "PodInitializing") {
                format!("Init:{}", waiting.text("reason"))
            } else {
                format!("Init:{index}/{}", init.len())
            };
            return (true, sidecar_restarts);
        }
        (false, sidecar_restarts)
    }

    fn count_main(&mut self, status: &'a Value) {
        let mut running = false;
        let mut failure = None;
        for container in status.list("containerStatuses").iter().rev() {
            self.restarts.add(container);
            let state = container.at("state");
            let (ended, waiting) = (state.at("terminated"), state.at("waiting"));
            if !waiting.lacks("reason") {
                waiting.text("reason").clone_into(&mut self.word);
            } else if !ended.is_null() {
                self.word = why_ended(ended);
                if ended.int("exitCode").unwrap_or(0) != 0 {
                    failure = Some(self.word.clone());
                }
            } else if container.is("ready") && state.has("running") {
                running = true;
                self.ready += 1;
            }
        }
        if self.word == "Completed" {
            if running && condition(status, "Ready") == "True" {
                "Running".clone_into(&mut self.word);
            } else if let Some(failure) = failure {
                self.word = failure;
            } else if running {
                "NotReady".clone_into(&mut self.word);
            }
        }
    }
}

fn is_sidecar(container: &Value) -> bool {
    container.text("restartPolicy") == "Always"
}

fn why_ended(ended: &Value) -> String {
    let reason = ended.text("reason");
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match ended.int("signal") {
        Some(signal) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", ended.int("exitCode").unwrap_or(0)),
    }
}
