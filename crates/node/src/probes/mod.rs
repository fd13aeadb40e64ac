//! Probes: one task for each run of a container that has any; it tells the pod's worker when its mind changes.

pub(crate) mod action;
mod grpc;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use engine::{ContainerId, Started};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

use crate::pods::observed::Run;
use crate::pods::{Context, Wake, events};

/// What probing came to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The container has started: its startup probe succeeded, or it has none.
    Started { container: String },
    /// Whether it may get traffic.
    Ready { container: String, ready: bool },
    /// It must be ended.
    Failed { container: String, message: String },
}

/// The probing tasks of one pod.
pub(crate) struct Probes {
    ctx: Arc<Context>,
    tell: UnboundedSender<Wake>,
    running: HashMap<String, (ContainerId, AbortHandle)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }
}

impl Probes {
    pub(crate) fn new(ctx: Arc<Context>, tell: UnboundedSender<Wake>) -> Self {
        Self {
            ctx,
            tell,
            running: HashMap::new(),
        }
    }

    /// Probes a run from now on; nothing happens when it is probed already.
    pub(crate) fn watch(&mut self, pod: &Arc<Pod>, container: &Container, run: &Run, started: Started, address: &str) {
        if self.running.get(&container.name).is_some_and(|(id, _)| *id == run.id) {
            return;
        }
        self.stop(&container.name);
        let prober = Prober {
            ctx: self.ctx.clone(),
            tell: self.tell.clone(),
            pod: pod.clone(),
            container: container.clone(),
            id: run.id.clone(),
            started: started.started_at,
            address: address.to_string(),
        };
        let task = tokio::spawn(prober.run());
        self.running
            .insert(container.name.clone(), (run.id.clone(), task.abort_handle()));
    }

    pub(crate) fn stop(&mut self, container: &str) {
        if let Some((_, task)) = self.running.remove(container) {
            task.abort();
        }
    }

    pub(crate) fn stop_all(&mut self) {
        for (_, (_, task)) in self.running.drain() {
            task.abort();
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.stop_all();
    }
}

struct Prober {
    ctx: Arc<Context>,
    tell: UnboundedSender<Wake>,
    pod: Arc<Pod>,
    container: Container,
    id: ContainerId,
    started: Timestamp,
    address: String,
}

impl Prober {
    async fn run(self) {
        let container = &self.container;
        if let Some(probe) = &container.startup_probe {
            self.follow(Kind::Startup, probe).await;
        }
        self.say(Verdict::Started {
            container: container.name.clone(),
        });
        if container.readiness_probe.is_none() {
            self.say(Verdict::Ready {
                container: container.name.clone(),
                ready: true,
            });
        }
        tokio::join!(
            async {
                if let Some(probe) = &container.liveness_probe {
                    self.follow(Kind::Liveness, probe).await;
                }
            },
            async {
                if let Some(probe) = &container.readiness_probe {
                    self.follow(Kind::Readiness, probe).await;
                }
            },
        );
    }

    /// Probes until there is nothing more to say: a startup probe that succeeded, any but a readiness probe that
    /// failed for good.
    async fn follow(&self, kind: Kind, probe: &Probe) {
        let period = seconds(probe.period_seconds, 10);
        let needed = if kind == Kind::Readiness {
            probe.success_threshold.unwrap_or(1).max(1)
        } else {
            1
        };
        let allowed = probe.failure_threshold.unwrap_or(3).max(1);
        let delay = jiff::SignedDuration::from_secs(i64::from(probe.initial_delay_seconds.unwrap_or(0)));
        let first = (self.started + delay).duration_since(Timestamp::now());
        tokio::time::sleep(Duration::try_from(first).unwrap_or_default()).await;
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut good, mut bad) = (0, 0);
        let mut ready = None;
        loop {
            ticks.tick().await;
            match self.once(probe).await {
                Ok(()) => (good, bad) = (good + 1, 0),
                Err(output) => {
                    (good, bad) = (0, bad + 1);
                    self.unhealthy(kind, &output);
                }
            }
            let container = self.container.name.clone();
            match kind {
                Kind::Startup if good >= needed => return,
                Kind::Readiness => {
                    let now = if good >= needed {
                        Some(true)
                    } else if bad >= allowed {
                        Some(false)
                    } else {
                        ready
                    };
                    if let Some(value) = now.filter(|_| now != ready) {
                        ready = now;
                        self.say(Verdict::Ready {
                            container,
                            ready: value,
                        });
                    }
                }
                _ if bad >= allowed => {
                    let message = format!(
                        "Container {container} failed {} probe, will be restarted",
                        kind.name().to_lowercase()
                    );
                    self.say(Verdict::Failed { container, message });
                    // The worker ends this task with the container.
                    std::future::pending::<()>().await;
                }
                _ => {}
            }
        }
    }

    async fn once(&self, probe: &Probe) -> Result<(), String> {
        let limit = seconds(probe.timeout_seconds, 1);
        let action = async {
            if let Some(exec) = &probe.exec {
                let command = exec.command.as_deref().unwrap_or_default();
                action::exec(&self.ctx.engine, &self.id, command, limit).await.map(drop)
            } else if let Some(get) = &probe.http_get {
                action::http_get(get, &self.container, &self.address, limit).await
            } else if let Some(socket) = &probe.tcp_socket {
                action::tcp_connect(socket, &self.container, &self.address, limit).await
            } else if let Some(call) = &probe.grpc {
                grpc::check(call, &self.address, limit).await
            } else {
                Err("a probe of this kind is not supported".to_string())
            }
        };
        action.await
    }

    fn unhealthy(&self, kind: Kind, output: &str) {
        let about = events::about_container(&self.pod, &self.container.name);
        self.ctx
            .events
            .warning(&about, "Unhealthy", format!("{} probe failed: {output}", kind.name()));
    }

    fn say(&self, verdict: Verdict) {
        let _ = self.tell.send(Wake::Probe(verdict));
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(
        value
            .and_then(|value| u64::try_from(value).ok())
            .filter(|value| *value > 0)
            .unwrap_or(default),
    )
}
