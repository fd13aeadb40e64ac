//! Server and node in the foreground, with this test as their service manager: it starts either again when it dies, and
//! can have them fail at named points. One pod lives there all the time; others come and go behind a Service.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Child;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use testkit::cluster::Cluster;
use testkit::leaks::Snapshot;
use testkit::seed::Seed;

use crate::stage::{self, HELLO, PATIENCE, REPORT, http, until};
use crate::web;

/// Files that are meant to grow or to come and go: objects, logs, signs of life.
const OWN: [&str; 2] = ["/data/server/", "/data/run/"];

pub(crate) struct House {
    pub(crate) client: Client,
    /// How often a process has died since somebody set this to 0.
    pub(crate) deaths: u32,
    cluster: Cluster,
    id: String,
    children: BTreeMap<&'static str, Child>,
    /// Died and not started again since the last `restart`.
    died: Vec<&'static str>,
    service: SocketAddr,
}

impl House {
    pub(crate) async fn start() -> Self {
        let cluster = stage::cluster();
        let children = ["server", "node"]
            .map(|role| (role, cluster.foreground(role, "")))
            .into();
        let client = until("credentials", async || {
            let there = cluster.kubeconfig().exists();
            there.then_some(()).ok_or("none".to_owned())
        });
        client.await;
        let client = stage::client(&cluster).await;
        let nodes: Api<Node> = Api::all(client.clone());
        until("the node is ready", async || {
            let list = nodes
                .list(&Default::default())
                .await
                .map_err(|error| error.to_string())?;
            let ready = |node: &Node| {
                let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
                conditions
                    .into_iter()
                    .any(|condition| condition.type_ == "Ready" && condition.status == "True")
            };
            list.iter().any(ready).then_some(()).ok_or(format!("{list:?}"))
        })
        .await;
        stage::add_images(&cluster);
        stage::create_pod(&client, &stage::report_pod("resident", &["lines", "1000000", "100"])).await;
        stage::running(&client, "resident").await;
        let service = web::expose(&client, "ClusterIP").await;
        Self {
            id: cluster.id(),
            client,
            deaths: 0,
            cluster,
            children,
            died: Vec::new(),
            service,
        }
    }

    /// Starts again what has died.
    pub(crate) fn tend(&mut self) {
        for (role, child) in &mut self.children {
            if let Some(status) = child.try_wait().unwrap() {
                println!("  the {role} ended: {status}");
                self.deaths += 1;
                self.died.push(role);
                *child = self.cluster.foreground(role, "");
            }
        }
    }

    /// Whether it has died since its last `restart`.
    pub(crate) fn has_died(&mut self, role: &str) -> bool {
        self.tend();
        self.died.contains(&role)
    }

    /// Ends a process and starts it anew with failpoints.
    pub(crate) async fn restart(&mut self, role: &'static str, gently: bool, failpoints: &str) {
        self.tend();
        let child = self.children.get_mut(role).unwrap();
        let pid = Pid::from_child(child);
        let _ = kill_process(pid, if gently { Signal::TERM } else { Signal::KILL });
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < PATIENCE, "the {role} does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if !failpoints.is_empty() {
            println!(
                "  {role} with {failpoints}{}",
                if gently { ", after SIGTERM" } else { "" }
            );
        }
        *child = self.cluster.foreground(role, failpoints);
        self.died.retain(|died| *died != role);
    }

    pub(crate) fn kill(&mut self, role: &str) {
        let _ = self.children.get_mut(role).unwrap().kill();
    }

    /// Kills a shim of a pod, if it has one just now.
    pub(crate) fn kill_shim(&mut self, seed: &mut Seed, name: &str) {
        let shims: Vec<i32> = processes(&self.id)
            .into_iter()
            .filter(|process| process.pod == name && process.is_program)
            .map(|process| process.parent)
            .collect();
        if !shims.is_empty() {
            println!("  one of the shims {shims:?}");
            let _ = kill_process(Pid::from_raw(*seed.pick(&shims)).unwrap(), Signal::KILL);
        }
    }

    /// A web server with an init container, a companion and volumes.
    pub(crate) async fn create(&mut self, name: &str) {
        let mount = json!([{"name": "memory", "mountPath": "/memory"}, {"name": "root", "mountPath": "/root"}]);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {
                "terminationGracePeriodSeconds": 2,
                "initContainers": [{"name": "first", "image": REPORT, "args": ["exit", "0"]}],
                "containers": [
                    {"name": "web", "image": HELLO, "volumeMounts": mount},
                    {"name": "companion", "image": REPORT, "args": ["stop"], "volumeMounts": mount},
                ],
                "volumes": [
                    {"name": "memory", "emptyDir": {"medium": "Memory"}},
                    {"name": "root", "configMap": {"name": "kube-root-ca.crt"}},
                ],
            },
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let pods = self.pods();
        until("the pod is created", async || {
            self.tend();
            match pods.create(&PostParams::default(), &pod).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    pub(crate) async fn delete(&mut self, name: &str) {
        let pods = self.pods();
        until("the pod is told to go", async || {
            self.tend();
            match pods.delete(name, &DeleteParams::default()).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    /// Deletes a pod without waiting for its node.
    pub(crate) async fn forget(&mut self, name: &str) {
        let at_once = DeleteParams::default().grace_period(0);
        match self.pods().delete(name, &at_once).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("forgetting {name}: {error}"),
        }
    }

    /// Waits until the pod is ready, its Service leads to it, and each of its containers has one process.
    pub(crate) async fn serves(&mut self, name: &str) {
        let pods = self.pods();
        until(&format!("{name} serves"), async || {
            self.tend();
            let pod = pods.get(name).await.map_err(|error| error.to_string())?;
            if !is_ready(&pod) {
                return Err(format!("{:?}", pod.status));
            }
            let programs = processes(&self.id)
                .into_iter()
                .filter(|process| process.pod == name && process.is_program);
            let count = programs.count();
            if count != 2 {
                return Err(format!("{count} processes"));
            }
            let service = self.service;
            let page = tokio::task::spawn_blocking(move || http(service)).await.unwrap()?;
            page.contains(&format!("Hello from {name}")).then_some(()).ok_or(page)
        })
        .await;
    }

    /// Whether what was asked for has come about, as far as the API says.
    pub(crate) async fn is_done(&mut self, name: &str) -> bool {
        match self.pods().get_opt(name).await {
            Ok(Some(pod)) => pod.metadata.deletion_timestamp.is_none() && is_ready(&pod),
            Ok(None) => true,
            Err(_) => false,
        }
    }

    pub(crate) async fn gone(&mut self, name: &str) {
        let pods = self.pods();
        until(&format!("{name} is gone"), async || {
            self.tend();
            match pods.get_opt(name).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(pod) => Err(format!("{:?}", pod.status)),
            }
        })
        .await;
    }

    /// All that the instance has, when nothing changes any more.
    pub(crate) async fn settled(&mut self) -> BTreeMap<String, usize> {
        let mut last = self.tally();
        let began = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let now = self.tally();
            if now == last {
                return now;
            }
            assert!(began.elapsed() < PATIENCE, "it doesn't come to rest");
            last = now;
        }
    }

    /// Waits until the instance has what it had before.
    pub(crate) async fn converges(&mut self, baseline: &BTreeMap<String, usize>) {
        until("it is as it was before", async || {
            self.tend();
            let now = self.tally();
            let differs = |line: &&String| now.get(*line) != baseline.get(*line);
            let lines: std::collections::BTreeSet<&String> =
                now.keys().chain(baseline.keys()).filter(differs).collect();
            let show = |line: &&String| {
                let count = |tally: &BTreeMap<String, usize>| tally.get(*line).copied().unwrap_or(0);
                format!("{} were {}: {line}", count(&now), count(baseline))
            };
            match lines.is_empty() {
                true => Ok(()),
                false => Err(format!("{:#?}", lines.iter().map(show).collect::<Vec<_>>())),
            }
        })
        .await;
    }

    fn tally(&self) -> BTreeMap<String, usize> {
        let marks = [
            format!("g{}cp", self.id),
            format!("gantry-{}", self.id),
            self.cluster.data().display().to_string(),
        ];
        Snapshot::take(&marks.each_ref().map(String::as_str)).tally(&OWN)
    }

    /// The process of the pod that isn't concerned, and when it started.
    pub(crate) fn resident(&self) -> Vec<(i32, String)> {
        let all = processes(&self.id).into_iter();
        all.filter(|process| process.pod == "resident" && process.is_program)
            .map(|process| (process.pid, process.started))
            .collect()
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// A process in an instance's cgroups.
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// In the kernel's ticks; tells it from a later one of the same number.
    pub(crate) started: String,
    /// Whose it is, by its host name's file.
    pub(crate) pod: String,
    /// It is a container's program, not a shim or a parked process.
    pub(crate) is_program: bool,
}

/// The processes in an instance's containers.
pub(crate) fn processes(id: &str) -> Vec<Process> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        if !read("cgroup").contains(&format!("gantry-{id}/")) {
            continue;
        }
        // Fields 4 and 22 of proc(5), counted from the name's end.
        let stat = read("stat");
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .collect();
        found.push(Process {
            pid,
            parent: fields.get(1).and_then(|field| field.parse().ok()).unwrap_or(0),
            started: fields.get(19).copied().unwrap_or_default().to_owned(),
            pod: read("root/etc/hostname").trim().to_owned(),
            is_program: read("cmdline").starts_with("/bin/"),
        });
    }
    found
}
