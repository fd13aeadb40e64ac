//! Compiles schemas and levels anew whenever one changes, and says in a schema's status whether its level is there.

use std::sync::Arc;

use http::Method;
use meta::Status;
use serde_json::{Value, json};
use watch::Scope;

use crate::changes::Changes;
use crate::core::Core;
use crate::internal;
use crate::kinds::Kind;
use crate::object::{self, text};

use super::plan::Plan;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const PATH: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";

/// Follows both kinds until the server stops. When this returns, what is there counts, and its status says so: a server
/// that is ready writes nothing of its own accord.
pub(crate) async fn run(core: &Arc<Core>) -> Result<(), watch::Error> {
    say(core, compile(core)).await;
    core.hub.fresh().await?;
    tokio::spawn(follow(Arc::clone(core)));
    Ok(())
}

/// Writes what schemas' statuses lack.
async fn say(core: &Arc<Core>, unsaid: Vec<(String, Value)>) {
    let writes = unsaid.into_iter().map(|(name, condition)| async move {
        let body = json!({"status": {"conditions": [condition]}});
        let path = format!("{PATH}/{name}/status");
        let content = "application/merge-patch+json";
        if let Err(status) = internal::send(core, Method::PATCH, &path, content, &body).await {
            tracing::debug!(schema = name, error = %status.message, "a flow schema's status");
        }
    });
    futures::future::join_all(writes).await;
}

async fn follow(core: Arc<Core>) {
    let Some(mut changes) = Changes::of(&core, GROUP, &["flowschemas", "prioritylevelconfigurations"]) else {
        return;
    };
    loop {
        say(&core, compile(&core)).await;
        if !changes.next(&core).await {
            return;
        }
    }
}

/// Compiles what the caches have; returns the schemas whose status is out of date, with what it should say.
fn compile(core: &Core) -> Vec<(String, Value)> {
    let (Some(schemas), Some(levels)) = (
        core.kinds.any(GROUP, "flowschemas"),
        core.kinds.any(GROUP, "prioritylevelconfigurations"),
    ) else {
        return Vec::new();
    };
    let (schemas, levels) = match (trees(schemas), trees(levels)) {
        (Ok(schemas), Ok(levels)) => (schemas, levels),
        (Err(status), _) | (_, Err(status)) => {
            tracing::warn!(error = %status.message, "flow schemas could not be read");
            return Vec::new();
        }
    };
    let fairness = &core.fairness.plan;
    fairness.store(Arc::new(Plan::compile(&schemas, &levels, &fairness.load())));
    let there = |name: &str| levels.iter().any(|level| object::name(level) == name);
    let unsaid = schemas.iter().filter_map(|schema| {
        let level = text(schema, &["spec", "priorityLevelConfiguration", "name"]);
        let condition = dangling(schema, level, there(level))?;
        Some((object::name(schema).to_owned(), condition))
    });
    unsaid.collect()
}

fn trees(kind: &Arc<Kind>) -> Result<Vec<Value>, Status> {
    let snapshot = kind.cache()?.list(&Scope::All);
    let trees = snapshot
        .iter()
        .map(|version| kind.tree(version.bytes(), version.revision()));
    trees.collect()
}

/// The condition that a schema lacks.
fn dangling(schema: &Value, level: &str, there: bool) -> Option<Value> {
    let (status, reason, end) = match there {
        true => ("False", "Found", "it exists"),
        false => ("True", "NotFound", "there is no such object"),
    };
    let known = schema["status"]["conditions"].as_array().into_iter().flatten();
    let mut known = known.filter(|condition| condition["type"] == "Dangling");
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {} {} {end}",
        meta::quote(level),
        if there { "and" } else { "but" },
    );
    if known.any(|condition| condition["status"] == status && condition["message"] == *message) {
        return None;
    }
    Some(json!({
        "type": "Dangling", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": meta::time::now(),
    }))
}
