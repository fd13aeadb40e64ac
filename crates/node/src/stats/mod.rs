//! What the machine and its containers use. Counters are read every few seconds and kept for a minute, so that whoever
//! asks gets the present usage over a window, and asking twice changes nothing.

mod host;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::{ContainerId, State};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use crate::pods::Context;
use crate::pods::start::label;
use host::Host;
pub(crate) use host::boot_time;

/// How often counters are read.
const PERIOD: Duration = Duration::from_secs(10);
/// A rate is over at least that long, if the container is that old.
const WINDOW: SignedDuration = SignedDuration::from_secs(10);
/// How many readings are kept.
const KEPT: usize = 4;

/// Counters at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    at: Timestamp,
    cpu_ns: u64,
}

/// What something uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// When it was looked at.
    pub(crate) at: Timestamp,
    /// How long before that the rate begins.
    pub(crate) window: SignedDuration,
    /// Billionths of a processor.
    pub(crate) cpu_nanocores: u64,
    /// Processor time since the start.
    pub(crate) cpu_ns: u64,
    pub(crate) memory_usage: u64,
    pub(crate) memory_working_set: u64,
    pub(crate) pids: u64,
    pub(crate) started: Timestamp,
}

/// A container's usage.
#[derive(Clone, Debug)]
pub(crate) struct ContainerUsage {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) usage: Usage,
}

/// A pod with the usage of its running containers.
#[derive(Clone, Debug)]
pub(crate) struct PodUsage {
    pub(crate) pod: Arc<Pod>,
    pub(crate) containers: Vec<ContainerUsage>,
}

/// The last readings.
#[derive(Default)]
pub(crate) struct Samples(Mutex<History>);

#[derive(Default)]
struct History {
    host: VecDeque<Sample>,
    containers: HashMap<ContainerId, VecDeque<Sample>>,
}

/// Reads all counters again and again, until cancelled.
pub(crate) async fn run(ctx: Arc<Context>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Timestamp::now();
        let host = Sample {
            at: now,
            cpu_ns: Host::read().cpu_ns,
        };
        let mut containers = HashMap::new();
        for container in ctx.engine.containers() {
            if matches!(container.state, State::Running(_))
                && let Ok(stats) = ctx.engine.stats(&container.id).await
            {
                let sample = Sample {
                    at: Timestamp::now(),
                    cpu_ns: stats.cpu_ns,
                };
                containers.insert(container.id, sample);
            }
        }
        let mut history = ctx.samples.0.lock().unwrap_or_else(PoisonError::into_inner);
        push(&mut history.host, host);
        history.containers.retain(|id, _| containers.contains_key(id));
        for (id, sample) in containers {
            push(history.containers.entry(id).or_default(), sample);
        }
    }
}

fn push(samples: &mut VecDeque<Sample>, sample: Sample) {
    samples.push_back(sample);
    while samples.len() > KEPT {
        samples.pop_front();
    }
}

/// The rate up to `now` since the newest reading that is a window old, or else the oldest, or else the start.
fn rate(samples: Option<&VecDeque<Sample>>, now: Sample, started: Sample) -> (SignedDuration, u64) {
    let mut old_enough = samples.into_iter().flatten().rev();
    let base = old_enough
        .find(|sample| now.at.duration_since(sample.at) >= WINDOW)
        .or_else(|| samples.and_then(VecDeque::front))
        .filter(|sample| sample.at > started.at && sample.cpu_ns <= now.cpu_ns)
        .copied()
        // A container that is older than all readings of this process was there before it.
        .unwrap_or(started);
    let window = now.at.duration_since(base.at);
    let nanoseconds = u64::try_from(window.as_nanos()).unwrap_or(0).max(1);
    let spent = u128::from(now.cpu_ns.saturating_sub(base.cpu_ns));
    let rate = spent * 1_000_000_000 / u128::from(nanoseconds);
    (window, u64::try_from(rate).unwrap_or(u64::MAX))
}

/// What the machine uses.
pub(crate) fn of_host(ctx: &Context) -> Usage {
    let host = Host::read();
    let now = Sample {
        at: Timestamp::now(),
        cpu_ns: host.cpu_ns,
    };
    let started = boot_time();
    let history = ctx.samples.0.lock().unwrap_or_else(PoisonError::into_inner);
    let zero = Sample { at: started, cpu_ns: 0 };
    let (window, cpu_nanocores) = rate(Some(&history.host), now, zero);
    Usage {
        at: now.at,
        window,
        cpu_nanocores,
        cpu_ns: host.cpu_ns,
        memory_usage: host.memory_usage,
        memory_working_set: host.memory_working_set,
        pids: 0,
        started,
    }
}

/// What each pod's running containers use. A pod that has none is not in it.
pub(crate) async fn of_pods(ctx: &Context) -> Vec<PodUsage> {
    let mut all: HashMap<String, PodUsage> = HashMap::new();
    for container in ctx.engine.containers() {
        let State::Running(started) = container.state else {
            continue;
        };
        let note = |key: &str| {
            let found = container.labels.iter().find(|(name, _)| name == key);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let Some(pod) = ctx.pods.of_uid(&note(label::POD_UID)) else {
            continue;
        };
        let Ok(stats) = ctx.engine.stats(&container.id).await else {
            // It ended meanwhile.
            continue;
        };
        let now = Sample {
            at: Timestamp::now(),
            cpu_ns: stats.cpu_ns,
        };
        let zero = Sample {
            at: started.started_at,
            cpu_ns: 0,
        };
        let (window, cpu_nanocores) = {
            let history = ctx.samples.0.lock().unwrap_or_else(PoisonError::into_inner);
            rate(history.containers.get(&container.id), now, zero)
        };
        let usage = Usage {
            at: now.at,
            window,
            cpu_nanocores,
            cpu_ns: stats.cpu_ns,
            memory_usage: stats.memory_usage,
            memory_working_set: stats.memory_working_set,
            pids: stats.pids,
            started: started.started_at,
        };
        let of_pod = all.entry(note(label::POD_UID)).or_insert_with(|| PodUsage {
            pod,
            containers: Vec::new(),
        });
        of_pod.containers.push(ContainerUsage {
            name: note(label::CONTAINER),
            image: note(label::IMAGE),
            id: container.id,
            usage,
        });
    }
    let mut list: Vec<PodUsage> = all.into_values().collect();
    for usage in &mut list {
        usage.containers.sort_by(|a, b| a.name.cmp(&b.name));
    }
    list.sort_by(|a, b| a.key().cmp(&b.key()));
    list
}

impl PodUsage {
    /// Namespace and name.
    pub(crate) fn key(&self) -> (&str, &str) {
        let meta = &self.pod.metadata;
        (
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        )
    }

    /// A sum over the containers.
    pub(crate) fn sum(&self, of: impl Fn(&Usage) -> u64) -> u64 {
        self.containers.iter().map(|container| of(&container.usage)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: i64, cpu_seconds: u64) -> Sample {
        Sample {
            at: Timestamp::from_second(1_000 + second).unwrap(),
            cpu_ns: cpu_seconds * 1_000_000_000,
        }
    }

    #[test]
    fn a_rate_is_over_the_newest_whole_window() {
        let samples: VecDeque<Sample> = [sample(0, 0), sample(10, 10), sample(20, 10)].into();
        let at = |second, cpu| rate(Some(&samples), sample(second, cpu), sample(-100, 0));
        assert_eq!(at(25, 15), (SignedDuration::from_secs(15), 333_333_333));
        assert_eq!(at(30, 20), (SignedDuration::from_secs(10), 1_000_000_000));
    }

    #[test]
    fn a_young_container_is_measured_from_its_start() {
        let young = rate(None, sample(4, 2), sample(0, 0));
        assert_eq!(young, (SignedDuration::from_secs(4), 500_000_000));
        let samples: VecDeque<Sample> = [sample(3, 1)].into();
        let once_read = rate(Some(&samples), sample(5, 2), sample(0, 0));
        assert_eq!(once_read, (SignedDuration::from_secs(2), 500_000_000));
    }
}
