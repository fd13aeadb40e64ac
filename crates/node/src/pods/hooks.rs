//! Lifecycle hooks: postStart and preStop.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};

use super::observed::Run;
use super::{Context, events};
use crate::probes::action;

/// No hook may hang for ever; a stop is bounded by the pod's grace period besides.
const LONGEST: Duration = Duration::from_secs(600);

/// Runs the hook that follows a start. A failure ends the container, as the API reference says.
pub(crate) async fn post_start(ctx: &Context, pod: &Pod, container: &Container, run: &Run, address: Option<&str>) {
    let Some(hook) = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.post_start.as_ref())
    else {
        return;
    };
    if let Err(error) = perform(ctx, container, hook, run, address, LONGEST).await {
        let about = events::about_container(pod, &container.name);
        ctx.events
            .warning(&about, "FailedPostStartHook", format!("PostStartHook failed: {error}"));
        if let Err(error) = ctx.engine.signal(&run.id, libc::SIGKILL).await {
            tracing::warn!(id = %run.id, %error, "ending a container whose hook failed");
        }
    }
}

/// Runs the hook that goes before a stop.
pub(crate) async fn pre_stop(
    ctx: &Context,
    pod: &Pod,
    container: &Container,
    run: &Run,
    address: Option<&str>,
    limit: Duration,
) {
    let Some(hook) = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.pre_stop.as_ref())
    else {
        return;
    };
    if let Err(error) = perform(ctx, container, hook, run, address, limit).await {
        let about = events::about_container(pod, &container.name);
        ctx.events
            .warning(&about, "FailedPreStopHook", format!("PreStopHook failed: {error}"));
    }
}

async fn perform(
    ctx: &Context,
    container: &Container,
    hook: &LifecycleHandler,
    run: &Run,
    address: Option<&str>,
    limit: Duration,
) -> Result<(), String> {
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0)).min(limit)).await;
        return Ok(());
    }
    let address = address.unwrap_or("127.0.0.1");
    if let Some(exec) = &hook.exec {
        action::exec(&ctx.engine, &run.id, exec.command.as_deref().unwrap_or_default(), limit)
            .await
            .map(drop)
    } else if let Some(get) = &hook.http_get {
        action::http_get(get, container, address, limit).await
    } else {
        Ok(())
    }
}
