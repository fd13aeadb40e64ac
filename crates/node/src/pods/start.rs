//! Starting one container: image, environment, mounts, configuration, engine, post-start hook.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use engine::{ContainerId, ContainerSpec, Engine, Exit, LogSpec, RootFs};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use sha2::{Digest as _, Sha256};

use super::observed::{Observed, Run, RunState};
use super::status::Facts;
use super::{Context, events, hooks};
use crate::bundle::{self, Bind, ConfigError, env::Surroundings};
use crate::images;
use crate::slots::Slot;
use crate::volumes::Volumes;

/// Names of the notes that the engine keeps with a container, by which it is found again.
pub(crate) mod label {
    pub(crate) const POD_UID: &str = "pod-uid";
    pub(crate) const CONTAINER: &str = "container";
    pub(crate) const ATTEMPT: &str = "attempt";
    pub(crate) const IMAGE: &str = "image";
    pub(crate) const IMAGE_ID: &str = "image-id";
}

/// How much of a termination message is kept (API reference, `terminationMessagePath`).
const MESSAGE_LIMIT: usize = 4096;
const MESSAGE_LINES: usize = 80;
const LOG_MAX_SIZE: u64 = 10 << 20;
const LOG_MAX_FILES: u32 = 5;

/// Why a container did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Its event was told where it failed.
    #[error("{0}")]
    Pull(String),
    #[error("Container image {0:?} is not present with pull policy of Never")]
    NeverPull(String),
    #[error("{0}")]
    BadName(String),
    #[error("{0}")]
    Inspect(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Create(String),
    #[error("{0}")]
    Run(String),
}

impl StartError {
    pub(crate) fn is_pull(&self) -> bool {
        matches!(self, StartError::Pull(_))
    }

    pub(crate) fn is_config(&self) -> bool {
        matches!(self, StartError::Config(_))
    }

    pub(crate) fn event(&self) -> &'static str {
        match self {
            StartError::NeverPull(_) => "ErrImageNeverPull",
            StartError::BadName(_) | StartError::Inspect(_) => "InspectFailed",
            _ => "Failed",
        }
    }

    pub(crate) fn event_text(&self, container: &Container) -> String {
        match self {
            StartError::Pull(_) => "Error: ErrImagePull".to_string(),
            StartError::NeverPull(_) | StartError::BadName(_) => self.to_string(),
            StartError::Inspect(_) => format!(
                "Failed to inspect image {:?}: {self}",
                container.image.as_deref().unwrap_or_default()
            ),
            other => format!("Error: {other}"),
        }
    }

    /// The reason of the waiting state.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            StartError::Pull(_) => PULL_FAILED,
            StartError::NeverPull(_) => "ErrImageNeverPull",
            StartError::BadName(_) => "InvalidImageName",
            StartError::Inspect(_) => "ImageInspectError",
            StartError::Config(_) => "CreateContainerConfigError",
            StartError::Create(_) => "CreateContainerError",
            StartError::Run(_) => "RunContainerError",
        }
    }

    /// Whether `reason` is that of the same trouble as this one.
    pub(crate) fn same_kind(&self, reason: &str) -> bool {
        reason == self.reason() || self.is_pull() && reason == BACK_OFF
    }
}

/// Why a container waits after a pull failed, first and then until the next try.
pub(crate) const PULL_FAILED: &str = "ErrImagePull";
pub(crate) const BACK_OFF: &str = "ImagePullBackOff";

/// Whether a waiting reason may go away when an image comes.
pub(crate) fn is_image_reason(reason: &str) -> bool {
    matches!(reason, PULL_FAILED | BACK_OFF | "ErrImageNeverPull")
}

/// Starts a run of a container.
#[expect(
    clippy::too_many_arguments,
    reason = "each is a different part of the worker, borrowed apart"
)]
pub(crate) async fn container(
    ctx: &Context,
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    attempt: u32,
    slot: &Slot,
    volumes: &Volumes,
    facts: &Facts,
    joined_pid: Option<String>,
) -> Result<Run, StartError> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let id = container_id(uid, &container.name, attempt)?;
    let name = container.image.clone().unwrap_or_default();
    // It was here a moment ago; what took it away since is no reason of its own.
    let image = images::find(ctx, &name)
        .await?
        .ok_or_else(|| StartError::Create(format!("image {name:?} was removed meanwhile")))?;
    let services = ctx.services.variables(pod);
    let around = Surroundings {
        pod,
        host_ip: &facts.host_ip,
        pod_ips: &facts.pod_ips,
        services: &services,
    };
    let env = bundle::env::resolve(&ctx.objects, &around, container).await?;
    let mut binds = volumes.binds(container, &env)?;
    let files = PodFiles { ctx, pod, spec, uid };
    binds.extend(files.binds(container, attempt, facts, &binds)?);
    let hostname = hostname(pod, spec);
    let config = bundle::build(&bundle::Input {
        pod,
        spec,
        container,
        image: &image,
        env: &env,
        binds: &binds,
        hostname: &hostname,
        seccomp_profiles: &ctx.seccomp_profiles,
        joined_pid: joined_pid.as_deref(),
    })?;
    let log = log_path(&ctx.paths.pod(uid), &container.name, attempt);
    make_parent(&log)?;
    let scratch = ctx.paths.pod(uid).join("rootfs").join(id.as_str());
    let image_name = image.reference.to_string();
    let image_id = repo_digest(&image);
    let request = ContainerSpec {
        id: id.clone(),
        sandbox: slot.id.clone(),
        spec: config,
        rootfs: RootFs::Overlay {
            lowers: image.layers,
            upper: scratch.join("upper"),
            work: scratch.join("work"),
        },
        log: Some(LogSpec {
            path: log,
            max_size: LOG_MAX_SIZE,
            max_files: LOG_MAX_FILES,
        }),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        labels: labels(uid, container, attempt, &image_name, &image_id),
    };
    let about = events::about_container(pod, &container.name);
    meta::failpoint::hit("node.container.configured");
    // A run that an earlier life of this process left half made.
    if ctx.engine.state(&id).is_ok() {
        ctx.engine
            .delete(&id)
            .await
            .map_err(|error| StartError::Create(error.to_string()))?;
    }
    ctx.engine
        .create(request)
        .await
        .map_err(|error| StartError::Create(error.to_string()))?;
    meta::failpoint::hit("node.container.created");
    ctx.events
        .normal(&about, "Created", format!("Container created: {}", container.name));
    let started = match ctx.engine.start(&id).await {
        Ok(started) => started,
        Err(error) => {
            // A program that isn't there: the run counts, as one that failed at once.
            let exit = match ctx.engine.state(&id) {
                Ok(engine::State::Exited(exit)) => exit,
                _ => {
                    let _ = ctx.engine.delete(&id).await;
                    return Err(StartError::Run(error.to_string()));
                }
            };
            ctx.events.warning(&about, "Failed", format!("Error: {error}"));
            let state = RunState::Exited(exit, Some(error.to_string()));
            return Ok(Run {
                id,
                attempt,
                state,
                image: image_name,
                image_id,
            });
        }
    };
    meta::failpoint::hit("node.container.started");
    ctx.events
        .normal(&about, "Started", format!("Container started: {}", container.name));
    tell_withheld(ctx, &about, container, started.withheld);
    let run = Run {
        id,
        attempt,
        state: RunState::Running(started),
        image: image_name,
        image_id,
    };
    hooks::post_start(ctx, pod, container, &run, facts.pod_ips.first().map(String::as_str)).await;
    Ok(run)
}

/// What a container asked for and this host doesn't let it have.
fn tell_withheld(ctx: &Context, about: &client::Regarding, container: &Container, withheld: engine::Withheld) {
    let name = &container.name;
    let why = "this node lacks the privilege CAP_SYS_RESOURCE";
    if withheld.oom_score {
        let text = format!("Container {name} runs with a higher OOM score than its QoS class has: {why}");
        ctx.events.warning(about, "OOMScoreNotLowered", text);
    }
    if withheld.limits {
        let text = format!("Container {name} runs with lower resource limits than it wants: {why}");
        ctx.events.warning(about, "LimitsNotRaised", text);
    }
}

/// What a pod's status calls the image: its digest at the registry that it came from, or its id when it came from none.
fn repo_digest(image: &image::Image) -> String {
    match image.origin {
        image::Origin::Local => image.id.clone(),
        image::Origin::Pulled => format!(
            "{}/{}@{}",
            image.reference.registry(),
            image.reference.repository(),
            image.target
        ),
    }
}

/// The same pod, container and attempt always have the same id, so that a repeated step finds the first one's work.
fn container_id(uid: &str, name: &str, attempt: u32) -> Result<ContainerId, StartError> {
    let digest = Sha256::digest(format!("{uid}/{name}/{attempt}"));
    ContainerId::new(hex::encode(digest)).map_err(|error| StartError::Create(error.to_string()))
}

fn labels(uid: &str, container: &Container, attempt: u32, image: &str, image_id: &str) -> Vec<(String, String)> {
    [
        (label::POD_UID, uid.to_string()),
        (label::CONTAINER, container.name.clone()),
        (label::ATTEMPT, attempt.to_string()),
        (label::IMAGE, image.to_string()),
        (label::IMAGE_ID, image_id.to_string()),
    ]
    .map(|(key, value)| (key.to_string(), value))
    .to_vec()
}

/// The containers of a pod that the engine knows.
pub(crate) fn containers_of(engine: &Engine, uid: &str) -> Vec<ContainerId> {
    let of_pod = |c: &engine::Container| {
        c.labels
            .iter()
            .any(|(key, value)| key == label::POD_UID && value == uid)
    };
    engine
        .containers()
        .into_iter()
        .filter(of_pod)
        .map(|container| container.id)
        .collect()
}

/// Removes a run and its writable layer; its log stays until the pod goes.
pub(crate) async fn forget(ctx: &Context, uid: &str, id: &ContainerId) {
    if let Err(error) = ctx.engine.delete(id).await {
        tracing::warn!(%id, %error, "removing an old container");
        return;
    }
    let scratch = ctx.paths.pod(uid).join("rootfs").join(id.as_str());
    let _ = tokio::fs::remove_dir_all(scratch).await;
}

/// Where a run's log is, below the pod's directory.
pub(crate) fn log_path(pod_dir: &Path, container: &str, attempt: u32) -> PathBuf {
    pod_dir.join("logs").join(container).join(format!("{attempt}.log"))
}

fn message_path(pod_dir: &Path, container: &str, attempt: u32) -> PathBuf {
    pod_dir.join("termination").join(container).join(attempt.to_string())
}

/// What a container said last: its message file, or the end of its log where the policy says so.
pub(crate) fn termination_message(
    ctx: &Context,
    pod: &Pod,
    container: &Container,
    observed: &Observed,
    exit: &Exit,
) -> Option<String> {
    let attempt = observed.current.as_ref()?.attempt;
    let dir = ctx.paths.pod(pod.metadata.uid.as_deref()?);
    let bytes = std::fs::read(message_path(&dir, &container.name, attempt)).unwrap_or_default();
    if !bytes.is_empty() {
        return Some(String::from_utf8_lossy(&bytes[..bytes.len().min(MESSAGE_LIMIT)]).into_owned());
    }
    let from_logs = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    if !from_logs || exit.code == 0 {
        return None;
    }
    let text = crate::stream::logs::last_lines(
        &log_path(&dir, &container.name, attempt),
        MESSAGE_LINES,
        MESSAGE_LIMIT / 2,
    );
    Some(text).filter(|text| !text.is_empty())
}

/// The pod's name for itself.
pub(crate) fn hostname(pod: &Pod, spec: &PodSpec) -> String {
    if let Some(name) = &spec.hostname_override {
        return name.clone();
    }
    let name = spec.hostname.clone().filter(|name| !name.is_empty());
    let mut name = name.or(pod.metadata.name.clone()).unwrap_or_default();
    name.truncate(63);
    name.truncate(name.trim_end_matches(['-', '.']).len());
    name
}

fn make_parent(path: &Path) -> Result<(), StartError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(parent).map_err(|error| StartError::Create(format!("making {}: {error}", parent.display())))
}

/// The files that every container has of its pod: hosts, resolv.conf, its termination message.
struct PodFiles<'a> {
    ctx: &'a Context,
    pod: &'a Pod,
    spec: &'a PodSpec,
    uid: &'a str,
}

impl PodFiles<'_> {
    fn binds(
        &self,
        container: &Container,
        attempt: u32,
        facts: &Facts,
        taken: &[Bind],
    ) -> Result<Vec<Bind>, StartError> {
        let dir = self.ctx.paths.pod(self.uid);
        let mut binds = Vec::new();
        let etc = dir.join("etc");
        let hosts = self.ctx.names.hosts(self.pod, self.spec, facts);
        let resolv = self.ctx.names.resolv_conf(self.pod, self.spec);
        for (name, text) in [
            ("hosts", hosts),
            ("resolv.conf", resolv),
            ("hostname", format!("{}\n", hostname(self.pod, self.spec))),
        ] {
            let Some(text) = Some(text).filter(|text| !text.is_empty()) else {
                continue;
            };
            let path = etc.join(name);
            write(&path, text.as_bytes(), 0o644)?;
            binds.push((path, format!("/etc/{name}")));
        }
        let target = container
            .termination_message_path
            .clone()
            .unwrap_or_else(|| "/dev/termination-log".to_string());
        let message = message_path(&dir, &container.name, attempt);
        write(&message, b"", 0o666)?;
        binds.push((message, target));
        let free = |target: &String| !taken.iter().any(|bind| bind.target == *target);
        let bind = |(source, target)| Bind {
            source,
            target,
            read_only: false,
            propagation: None,
        };
        Ok(binds.into_iter().filter(|(_, target)| free(target)).map(bind).collect())
    }
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), StartError> {
    make_parent(path)?;
    // In place: running containers have this very file mounted.
    std::fs::write(path, content)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)))
        .map_err(|error| StartError::Create(format!("writing {}: {error}", path.display())))
}
