//! A namespace for one measurement, which goes away however the measurement ends: well, badly or by an interrupt.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use kube::runtime::{conditions, wait::await_condition};
use kube::{Api, Client};
use serde_json::json;

use crate::report;

/// How long it may take to go.
const REMOVAL: Duration = Duration::from_secs(120);

/// Makes the namespace, does the work in it, and removes it.
pub(crate) async fn within<T, F>(client: &Client, purpose: &str, work: impl FnOnce(String) -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let name = format!("gantry-bench-{purpose}-{}", unique());
    let api: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    api.create(&PostParams::default(), &namespace)
        .await
        .with_context(|| format!("making the namespace {name}"))?;
    let result = tokio::select! {
        result = work(name.clone()) => result,
        interrupt = tokio::signal::ctrl_c() => interrupt.map_err(Into::into).and_then(|()| bail!("interrupted")),
    };
    if let Err(error) = remove(&api, &name).await {
        report::progress(format!("the namespace {name} is not gone: {error:#}"));
    }
    result
}

/// Waits until pods can be made: they need the account that the namespace gets by itself.
pub(crate) async fn accounts(client: &Client, namespace: &str, limit: Duration) -> anyhow::Result<()> {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let there = await_condition(api, "default", |account: Option<&ServiceAccount>| account.is_some());
    tokio::time::timeout(limit, there)
        .await
        .context("the namespace got no default service account in time")??;
    Ok(())
}

async fn remove(api: &Api<Namespace>, name: &str) -> anyhow::Result<()> {
    report::progress(format!("removing the namespace {name}"));
    let uid = api.get(name).await?.metadata.uid.unwrap_or_default();
    api.delete(name, &DeleteParams::background()).await?;
    let gone = await_condition(api.clone(), name, conditions::is_deleted(&uid));
    tokio::time::timeout(REMOVAL, gone)
        .await
        .context("it is still terminating")??;
    Ok(())
}

fn unique() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", std::process::id(), since.as_micros() & 0xffff_ffff)
}
