//! APIServices of what this server serves itself: one for each version of each group, made and taken away with it.

mod plan;

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use http::Method;
use meta::Status;
use serde_json::json;
use watch::Scope;

use crate::changes::Changes;
use crate::core::Core;
use crate::internal;
pub(crate) use plan::priorities;
use plan::{GROUP, Step};

const PLURAL: &str = "apiservices";
const PATH: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
/// How many are written at the same time.
const AT_ONCE: usize = 32;

/// Registers what is served now, and follows the APIServices until the server stops: those that are missing come back.
pub(crate) async fn start(core: &Arc<Core>) -> Result<(), Status> {
    sync(core).await?;
    tokio::spawn(follow(Arc::clone(core)));
    Ok(())
}

async fn follow(core: Arc<Core>) {
    let Some(mut changes) = Changes::of(&core, GROUP, &[PLURAL]) else {
        return;
    };
    loop {
        if let Err(status) = sync(&core).await {
            tracing::warn!(error = %status.message, "APIServices could not be brought up to date");
        }
        tokio::select! {
            more = changes.next(&core) => if !more { return },
            () = core.kinds.changed() => {}
        }
    }
}

/// Brings the APIServices up to date with what is served.
async fn sync(core: &Arc<Core>) -> Result<(), Status> {
    core.hub.fresh().await.map_err(crate::status::of_watch)?;
    let there = core.cached_trees(GROUP, PLURAL, &Scope::All)?;
    let served = core.kinds.now();
    let rows = served.all().iter().map(|kind| &*kind.row);
    futures::stream::iter(plan::steps(rows, &there))
        .map(|step| carry_out(core, step))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn carry_out(core: &Arc<Core>, step: Step) -> Result<(), Status> {
    let result = match step {
        Step::Create(service) => internal::send(core, Method::POST, PATH, "application/json", &service).await,
        Step::Change(name, spec) => {
            let (path, patch) = (format!("{PATH}/{name}"), json!({ "spec": spec }));
            internal::send(core, Method::PATCH, &path, "application/merge-patch+json", &patch).await
        }
        Step::Delete(name) => {
            let path = format!("{PATH}/{name}");
            internal::send(core, Method::DELETE, &path, "application/json", &json!({})).await
        }
    };
    match result {
        // Somebody was faster, and it comes again.
        Err(status) if matches!(status.code, 404 | 409) => Ok(()),
        result => result,
    }
}
