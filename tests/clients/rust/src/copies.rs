//! A controller that keeps a Secret for each labelled ConfigMap; in the end all must be up to date, and those of
//! deleted ones gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio::task::JoinSet;

use crate::writer::{PATIENCE, marks, write};

const WRITERS: usize = 3;

struct Context {
    secrets: Api<Secret>,
    reconciled: AtomicUsize,
}

/// Writes, lets the controller copy, compares.
pub(crate) async fn work(client: Client, namespace: &str, length: Duration) -> anyhow::Result<String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    let context = Arc::new(Context {
        secrets: secrets.clone(),
        reconciled: AtomicUsize::new(0),
    });
    let controller = Controller::new(api.clone(), watcher::Config::default().labels("by=copied"))
        .owns(secrets.clone(), watcher::Config::default())
        .run(
            reconcile,
            |_, _, _| Action::requeue(Duration::from_millis(200)),
            context.clone(),
        )
        .for_each(|_| std::future::ready(()));
    let working = async {
        let labels = BTreeMap::from([("by".to_owned(), "copied".to_owned())]);
        let deadline = Instant::now() + length;
        let mut writers = JoinSet::new();
        for n in 0..WRITERS {
            writers.spawn(write(api.clone(), format!("copied-{n}"), labels.clone(), deadline));
        }
        while let Some(done) = writers.join_next().await {
            done??;
        }
        let give_up = Instant::now() + PATIENCE;
        while let Err(difference) = compare(&api, &secrets).await {
            ensure!(Instant::now() < give_up, "{difference:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(format!(
            "{} reconciliations, all copies up to date",
            context.reconciled.load(Ordering::Relaxed)
        ))
    };
    tokio::select! {
        () = controller => bail!("the controller ended"),
        result = working => result,
    }
}

async fn reconcile(object: Arc<ConfigMap>, context: Arc<Context>) -> kube::Result<Action> {
    let Some((life, version)) = marks(&object) else {
        return Ok(Action::await_change());
    };
    let copy = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": object.name_any(),
            "ownerReferences": object.controller_owner_ref(&()).into_iter().collect::<Vec<_>>(),
        },
        "stringData": { "life": life.to_string(), "version": version.to_string() },
    });
    let parameters = PatchParams::apply("copier").force();
    context
        .secrets
        .patch(&object.name_any(), &parameters, &Patch::Apply(copy))
        .await?;
    context.reconciled.fetch_add(1, Ordering::Relaxed);
    Ok(Action::await_change())
}

async fn compare(api: &Api<ConfigMap>, secrets: &Api<Secret>) -> anyhow::Result<()> {
    for n in 0..WRITERS {
        let name = format!("copied-{n}");
        let (object, copy) = (api.get(&name).await?, secrets.get(&name).await?);
        let owned = copy
            .owner_references()
            .iter()
            .any(|owner| Some(&owner.uid) == object.uid().as_ref());
        ensure!(owned, "the copy of {name} belongs to an earlier life");
        for (key, value) in object.data.iter().flatten() {
            let copied = copy.data.as_ref().and_then(|data| data.get(key));
            ensure!(
                copied.is_some_and(|copied| copied.0 == value.as_bytes()),
                "the copy of {name} has another {key} than {value:?}"
            );
        }
    }
    Ok(())
}
