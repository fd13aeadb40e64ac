//! Stopping: a container within its grace period, and a pod with everything that it had.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use tokio::time::Instant;

use super::observed::Run;
use super::plan::is_sidecar;
use super::worker::{Wake, Worker, find};
use super::{Context, events, hooks, start};
use client::Backoff;

/// After new connections go elsewhere, those that were just being made are still answered.
const LINGER: Duration = Duration::from_millis(200);
/// How long a killed container may take to be gone.
const KILLED: Duration = Duration::from_secs(10);

/// Asks a container to end, and ends it when its time is over: preStop hook, the image's stop signal, SIGKILL.
pub(crate) async fn container(
    ctx: &Context,
    pod: &Pod,
    container: &Container,
    run: &Run,
    address: Option<&str>,
    grace: Duration,
) {
    let deadline = Instant::now() + grace;
    if !grace.is_zero() {
        hooks::pre_stop(ctx, pod, container, run, address, grace).await;
        let signal = stop_signal(ctx, container, run).await;
        if let Err(error) = ctx.engine.signal(&run.id, signal).await {
            tracing::debug!(id = %run.id, %error, "the stop signal");
        }
        // Even a long hook leaves the program two seconds.
        let deadline = deadline.max(Instant::now() + Duration::from_secs(2));
        if tokio::time::timeout_at(deadline, ctx.engine.wait(&run.id))
            .await
            .is_ok()
        {
            return;
        }
    }
    if let Err(error) = ctx.engine.signal(&run.id, libc::SIGKILL).await {
        tracing::debug!(id = %run.id, %error, "killing");
    }
    if tokio::time::timeout(KILLED, ctx.engine.wait(&run.id)).await.is_err() {
        tracing::warn!(id = %run.id, "a killed container is still there");
    }
}

/// The signal that the pod names, else the image's, else SIGTERM.
async fn stop_signal(ctx: &Context, container: &Container, run: &Run) -> i32 {
    let own = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.stop_signal.clone());
    let name = match own {
        Some(name) => name,
        None => {
            let (store, id) = (ctx.images.clone(), run.image_id.clone());
            let image = tokio::task::spawn_blocking(move || store.resolve(&id)).await;
            image
                .ok()
                .and_then(Result::ok)
                .flatten()
                .map(|image| image.config.config.stop_signal)
                .unwrap_or_default()
        }
    };
    signal_number(&name).unwrap_or(libc::SIGTERM)
}

fn signal_number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = name.strip_prefix("SIG").unwrap_or(name);
    let known = [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("KILL", libc::SIGKILL),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("PIPE", libc::SIGPIPE),
        ("ALRM", libc::SIGALRM),
        ("TERM", libc::SIGTERM),
        ("CONT", libc::SIGCONT),
        ("WINCH", libc::SIGWINCH),
        ("PWR", libc::SIGPWR),
    ];
    if let Some(offset) = name.strip_prefix("RTMIN+") {
        return Some(34 + offset.parse::<i32>().ok()?).filter(|number| *number <= 64);
    }
    known
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

/// Ends a pod: its share of services, its containers, its traces here, and last its object in the API.
pub(super) async fn terminate(mut worker: Worker) {
    let ctx = worker.ctx.clone();
    worker.facts.terminating = true;
    let address = worker
        .facts
        .pod_ips
        .first()
        .cloned()
        .or_else(|| worker.slot.as_ref()?.address.map(|a| a.to_string()));
    let any_running = worker.world.values().any(|observed| observed.running().is_some());
    if any_running {
        worker.publish();
        if let Some(address) = address.as_deref().and_then(|address| address.parse().ok())
            && ctx.services.drain(address).await
        {
            tokio::time::sleep(LINGER).await;
        }
        stop_all(&mut worker, address.as_deref()).await;
    }
    meta::failpoint::hit("node.pod.stopped");
    let final_state =
        worker.facts.failure.is_some() || worker.world.values().all(|observed| observed.current.is_some());
    if !worker.gone && final_state {
        worker.publish();
        worker.publisher.flushed().await;
    }
    clean_up(&mut worker).await;
    if let Some(address) = address.and_then(|address| address.parse().ok()) {
        ctx.services.drained(address);
    }
    if !worker.gone {
        delete_object(&ctx, &mut worker).await;
    }
}

/// Main containers first, then sidecars in the reverse of their order. A shorter grace period, told meanwhile, holds
/// at once.
async fn stop_all(worker: &mut Worker, address: Option<&str>) {
    let began = Instant::now();
    let sidecars: Vec<String> = worker
        .pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .filter(|container| is_sidecar(container))
        .map(|container| container.name.clone())
        .collect();
    let main: Vec<String> = worker
        .world
        .keys()
        .filter(|name| !sidecars.contains(name))
        .cloned()
        .collect();
    let mut rounds = vec![main];
    rounds.extend(sidecars.into_iter().rev().map(|name| vec![name]));
    for round in rounds {
        let running: BTreeMap<String, Run> = round
            .into_iter()
            .filter_map(|name| {
                let observed = worker
                    .world
                    .get(&name)
                    .filter(|observed| observed.running().is_some())?;
                Some((name, observed.current.clone()?))
            })
            .collect();
        if running.is_empty() {
            continue;
        }
        stop_round(worker, &running, address, began).await;
    }
}

async fn stop_round(worker: &mut Worker, running: &BTreeMap<String, Run>, address: Option<&str>, began: Instant) {
    let (ctx, pod) = (worker.ctx.clone(), worker.pod.clone());
    let grace = grace_of(worker).saturating_sub(began.elapsed());
    for name in running.keys() {
        ctx.events.normal(
            &events::about_container(&pod, name),
            "Killing",
            format!("Stopping container {name}"),
        );
    }
    let mut stopping = Box::pin(join_all(running.iter().map(async |(name, run)| {
        if let Some(found) = find(&pod, name) {
            container(&ctx, &pod, &found, run, address, grace).await;
        }
    })));
    let mut shortest = grace;
    let mut sooner: Option<Instant> = None;
    loop {
        let due = async {
            match sooner {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = &mut stopping => break,
            () = due => {
                sooner = None;
                for run in running.values() {
                    let _ = ctx.engine.signal(&run.id, libc::SIGKILL).await;
                }
            }
            Some(wake) = worker.wakes.recv() => {
                worker.note(wake);
                // Whoever asks again with less patience gets it from now on.
                if grace_of(worker) < shortest {
                    shortest = grace_of(worker);
                    sooner = Some(Instant::now() + shortest);
                }
            }
        }
    }
    drop(stopping);
    worker.note(Wake::Resync);
}

/// How long the pod may take, from when it was told. A pod that is gone from the API gets none.
fn grace_of(worker: &Worker) -> Duration {
    let spec = worker
        .pod
        .spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds);
    let seconds = worker.pod.metadata.deletion_grace_period_seconds.or(spec).unwrap_or(30);
    let seconds = if worker.gone { seconds.min(1) } else { seconds };
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Containers, sandbox and files. Repeats what fails, because nobody else would.
async fn clean_up(worker: &mut Worker) {
    let ctx = worker.ctx.clone();
    let uid = worker.pod.metadata.uid.clone().unwrap_or_default();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    loop {
        match remove(&ctx, &uid, worker.slot.as_ref().map(|slot| slot.id.clone())).await {
            Ok(()) => break,
            Err(error) => {
                tracing::warn!(pod = uid, %error, "cleaning up will be tried again");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
    if let Some(slot) = worker.slot.take() {
        ctx.slots.release(slot).await;
    }
}

/// Removes all that a pod has on this node.
pub(crate) async fn remove(ctx: &Context, uid: &str, sandbox: Option<engine::SandboxId>) -> Result<(), String> {
    let mut errors = Vec::new();
    for id in start::containers_of(&ctx.engine, uid) {
        errors.extend(ctx.engine.delete(&id).await.err().map(|error| error.to_string()));
    }
    meta::failpoint::hit("node.pod.containers-removed");
    if let Some(sandbox) = sandbox {
        errors.extend(
            ctx.slots
                .remove_sandbox(&sandbox)
                .await
                .err()
                .map(|error| error.to_string()),
        );
    }
    meta::failpoint::hit("node.pod.sandbox-removed");
    ctx.objects.certificates.forget(uid);
    let (paths, pod) = (ctx.paths.clone(), uid.to_string());
    let left = tokio::task::spawn_blocking(move || crate::volumes::tear_down(&paths, &pod)).await;
    errors.extend(left.into_iter().flatten().map(|error| error.to_string()));
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors.join("; "))
    }
}

/// Ends the pod's object, unless it is another pod of the same name by now.
async fn delete_object(ctx: &Context, worker: &mut Worker) {
    let meta = &worker.pod.metadata;
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), meta.namespace.as_deref().unwrap_or("default"));
    let preconditions = Preconditions {
        uid: meta.uid.clone(),
        resource_version: None,
    };
    let params = DeleteParams {
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    }
    .grace_period(0);
    let name = meta.name.clone().unwrap_or_default();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    loop {
        match api.delete(&name, &params).await {
            Ok(_) => return,
            Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => return,
            Err(error) => {
                tracing::debug!(pod = name, %error, at = %Timestamp::now(), "the pod's object will be deleted again");
                let pause = tokio::time::sleep(backoff.next_delay());
                tokio::select! {
                    () = pause => {}
                    Some(Wake::Gone) = worker.wakes.recv() => return,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (name, number) in [
            ("SIGQUIT", Some(3)),
            ("TERM", Some(15)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("", None),
            ("99", None),
        ] {
            assert_eq!(signal_number(name), number, "{name}");
        }
    }
}
