//! `bench pods`: how long a pod takes to be ready and to be gone, one at a time and many at once, and what it costs.
//!
//! Times are those of the client's clock: from just before the request until the watch event that shows the state. The
//! pods have one container and no probes, so ready means that the process runs and the API says so.

mod events;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::args::PodsArgs;
use crate::{connect, memory, namespace, report};
use events::{Events, Moment};

/// Between a step and the next: the clearing up after one pod isn't counted to the next one, and a process that has only
/// just begun gets the time to say how it takes SIGTERM. Without that, as the first of its namespace, it hears none.
const PAUSE: Duration = Duration::from_millis(100);
/// Before memory is read, for allocators and page caches to come to rest.
const REST: Duration = Duration::from_secs(2);

/// Measures it all.
pub(crate) async fn run(args: &PodsArgs) -> anyhow::Result<Value> {
    let client = connect::client(&connect::config(&args.cluster).await?)?;
    let setting = report::setting(&client).await;
    let results = namespace::within(&client, "pods", |namespace| measure(args, client.clone(), namespace)).await?;
    Ok(json!({"bench": "pods", "setting": setting, "image": args.image, "results": results}))
}

async fn measure(args: &PodsArgs, client: Client, namespace: String) -> anyhow::Result<Value> {
    let limit = Duration::from_secs(args.timeout);
    namespace::accounts(&client, &namespace, limit).await?;
    let api: Api<Pod> = Api::namespaced(client, &namespace);
    let events = Events::start(api.clone()).await?;
    let mut bench = Bench {
        args,
        api,
        events,
        limit,
    };
    let one_by_one = bench.one_by_one().await?;
    let burst = bench.burst().await?;
    Ok(json!({"one_at_a_time": one_by_one, "burst": burst}))
}

struct Bench<'a> {
    args: &'a PodsArgs,
    api: Api<Pod>,
    events: Events,
    limit: Duration,
}

/// What happened to a group of pods, each time since its own request.
#[derive(Default)]
struct Group {
    answered: Vec<Duration>,
    scheduled: Vec<Duration>,
    ready: Vec<Duration>,
    gone: Vec<Duration>,
}

impl Group {
    fn to_json(&self) -> Value {
        json!({
            "create_answered": report::of_samples(&self.answered),
            "create_to_scheduled": report::of_samples(&self.scheduled),
            "create_to_ready": report::of_samples(&self.ready),
            "delete_to_gone": report::of_samples(&self.gone),
        })
    }
}

impl Bench<'_> {
    async fn one_by_one(&mut self) -> anyhow::Result<Value> {
        let mut group = Group::default();
        for number in 0..self.args.count {
            let names = [format!("one-{number}")];
            self.up(&names, &mut group).await?;
            tokio::time::sleep(PAUSE).await;
            self.down(&names, &mut group).await?;
            tokio::time::sleep(PAUSE).await;
        }
        let told = group.to_json();
        report::progress(format!("one at a time: {told}"));
        Ok(told)
    }

    async fn burst(&mut self) -> anyhow::Result<Value> {
        let names: Vec<String> = (0..self.args.burst).map(|number| format!("burst-{number}")).collect();
        let mut group = Group::default();
        tokio::time::sleep(REST).await;
        let before = memory::sample(&self.args.processes);
        let ready = self.up(&names, &mut group).await?;
        tokio::time::sleep(REST).await;
        let with = memory::sample(&self.args.processes);
        let gone = self.down(&names, &mut group).await?;
        tokio::time::sleep(REST).await;
        let after = memory::sample(&self.args.processes);
        let mut told = group.to_json();
        told["all_ready_ms"] = report::of_duration(ready);
        told["all_gone_ms"] = report::of_duration(gone);
        if let (Some(before), Some(with)) = (before, with) {
            told["memory"] = json!({
                "before": before,
                "with_pods": with,
                "after": after,
                "pss_kb_per_pod": with.pss_kb_per(&before, self.args.burst).map(report::millis),
            });
        }
        report::progress(format!("{} at once: {told}", names.len()));
        Ok(told)
    }

    /// Creates pods, all at once, and waits until all are ready; answers how long that took together.
    async fn up(&mut self, names: &[String], group: &mut Group) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let this = &*self;
        let creating = names.iter().map(|name| async move {
            let pod = this.pod(name)?;
            let asked = Instant::now();
            this.api
                .create(&PostParams::default(), &pod)
                .await
                .with_context(|| format!("creating the pod {name}"))?;
            anyhow::Ok((name.clone(), (asked, asked.elapsed())))
        });
        let asked: BTreeMap<String, (Instant, Duration)> = try_join_all(creating).await?.into_iter().collect();
        group.answered.extend(asked.values().map(|(_, answered)| *answered));
        let moments = self.events.until(asked.keys(), Moment::Ready, self.limit).await?;
        for (name, (at, _)) in &asked {
            group
                .scheduled
                .extend(moments.of(name, Moment::Scheduled).map(|seen| seen.duration_since(*at)));
            group
                .ready
                .extend(moments.of(name, Moment::Ready).map(|seen| seen.duration_since(*at)));
        }
        Ok(moments
            .last(Moment::Ready)
            .map_or(Duration::ZERO, |last| last.duration_since(began)))
    }

    /// Deletes pods, all at once, and waits until all are gone; answers how long that took together.
    async fn down(&mut self, names: &[String], group: &mut Group) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let api = &self.api;
        let deleting = names.iter().map(|name| async move {
            let asked = Instant::now();
            api.delete(name, &DeleteParams::default())
                .await
                .with_context(|| format!("deleting the pod {name}"))?;
            anyhow::Ok((name.clone(), asked))
        });
        let asked: BTreeMap<String, Instant> = try_join_all(deleting).await?.into_iter().collect();
        let moments = self.events.until(asked.keys(), Moment::Gone, self.limit).await?;
        for (name, at) in &asked {
            group
                .gone
                .extend(moments.of(name, Moment::Gone).map(|seen| seen.duration_since(*at)));
        }
        Ok(moments
            .last(Moment::Gone)
            .map_or(Duration::ZERO, |last| last.duration_since(began)))
    }

    fn pod(&self, name: &str) -> anyhow::Result<Pod> {
        if self.args.image.is_empty() {
            bail!("--image is empty");
        }
        Ok(serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"app": "gantry-bench"}},
            "spec": {
                "terminationGracePeriodSeconds": self.args.grace,
                "containers": [{"name": "main", "image": self.args.image, "imagePullPolicy": "IfNotPresent"}],
            },
        }))?)
    }
}
