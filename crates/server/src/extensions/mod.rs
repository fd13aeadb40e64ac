//! Custom resources while the server runs: definitions are watched, their names settled, their resources served before
//! they are called established, and their objects deleted before they go. Like everything else it writes by requests
//! of its own; only what is served is changed directly.

mod conversion;
mod finalize;
mod plan;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use meta::{Revision, Status};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use watch::Scope;

use crate::changes::Changes;
use crate::core::Core;
use crate::internal;
use crate::kinds::{Kind, open_all};
use crate::object;

pub(crate) use conversion::Converter;

pub(crate) const GROUP: &str = "apiextensions.k8s.io";
pub(crate) const PLURAL: &str = "customresourcedefinitions";
const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// What is installed, by the names of definitions.
#[derive(Default)]
pub(crate) struct Extensions {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    installed: HashMap<String, Installed>,
    /// The definitions whose objects are being deleted.
    ending: HashSet<String>,
}

struct Installed {
    /// What it was made from: the spec, the accepted names, and whether it is being deleted.
    origin: [u8; 32],
    prefix: String,
    kinds: Vec<Arc<Kind>>,
}

/// A definition as the cache has it.
struct Definition {
    tree: Value,
    stored: Bytes,
    revision: Revision,
}

/// Serves what is defined already, and follows the definitions until the server stops.
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
            tracing::warn!(error = %status.message, "custom resources could not be brought up to date");
        }
        if !changes.next(&core).await {
            return;
        }
    }
}

/// Brings what is served, and what the definitions say of it, up to date.
async fn sync(core: &Arc<Core>) -> Result<(), Status> {
    let all = definitions(core)?;
    let mut state = core.extensions.state.lock().await;
    let mut writes = Vec::new();
    for one in &all {
        let others: Vec<&Value> = all
            .iter()
            .filter(|other| other.tree["metadata"]["name"] != one.tree["metadata"]["name"])
            .map(|other| &other.tree)
            .collect();
        let planned = plan::status(&one.tree, &others);
        let mut wanted = one.tree.clone();
        if let Some(status) = &planned {
            wanted["status"] = status.clone();
        }
        install(core, &mut state, one, &wanted).await?;
        if let Some(status) = planned {
            writes.push((object::name(&one.tree).to_owned(), one.revision, status));
        }
    }
    forget(core, &mut state, &all);
    serve(core, &state);
    for one in all.iter().filter(|one| plan::is_ending(&one.tree)) {
        let name = object::name(&one.tree);
        if state.ending.insert(name.to_owned()) {
            tokio::spawn(finalize::run(Arc::clone(core), name.to_owned()));
        }
    }
    drop(state);
    for (name, revision, status) in writes {
        let patch = json!({"metadata": {"resourceVersion": revision.to_string()}, "status": status});
        let path = format!("{PATH}/{name}/status");
        match internal::send(core, Method::PATCH, &path, "application/merge-patch+json", &patch).await {
            // Somebody was faster, and it comes again.
            Err(status) if matches!(status.code, 404 | 409) => {}
            result => {
                result?;
            }
        }
    }
    Ok(())
}

fn definitions(core: &Core) -> Result<Vec<Definition>, Status> {
    let kind = core.kinds.any(GROUP, PLURAL).ok_or_else(Status::no_such_resource)?;
    let snapshot = kind.cache()?.list(&Scope::All);
    snapshot
        .iter()
        .map(|version| {
            Ok(Definition {
                tree: kind.tree(version.bytes(), version.revision())?,
                stored: version.bytes().clone(),
                revision: version.revision(),
            })
        })
        .collect()
}

/// Makes the kinds of a definition, if they aren't made of just this.
async fn install(core: &Core, state: &mut State, one: &Definition, wanted: &Value) -> Result<(), Status> {
    let name = object::name(wanted);
    let (group, plural) = (&wanted["spec"]["group"], &wanted["spec"]["names"]["plural"]);
    let (group, plural) = (group.as_str().unwrap_or_default(), plural.as_str().unwrap_or_default());
    if core.kinds.is_builtin(group, plural) {
        tracing::warn!(%name, "a definition is of a resource that is built in, which stays as it is");
        return Ok(());
    }
    if !plan::is_true(wanted, "NamesAccepted") && !plan::is_true(wanted, "Established") {
        return Ok(());
    }
    let terminating = wanted["metadata"].get("deletionTimestamp").is_some();
    let text = json!([wanted["spec"], wanted["status"]["acceptedNames"], terminating]).to_string();
    let origin: [u8; 32] = Sha256::digest(text).into();
    if state
        .installed
        .get(name)
        .is_some_and(|installed| installed.origin == origin)
    {
        return Ok(());
    }
    let rows = api::custom::resources(wanted, &one.stored);
    let Some(prefix) = rows.first().map(|row| row.key_prefix()) else {
        state.installed.remove(name);
        return Ok(());
    };
    let converter = Converter::of(wanted);
    let kinds = open_all(&rows, &core.hub, converter.as_ref()).await;
    let kinds = kinds.map_err(crate::status::of_watch)?;
    let installed = Installed { origin, prefix, kinds };
    state.installed.insert(name.to_owned(), installed);
    Ok(())
}

/// Gives up what is defined no more.
fn forget(core: &Core, state: &mut State, all: &[Definition]) {
    let there: HashSet<&str> = all.iter().map(|one| object::name(&one.tree)).collect();
    state.installed.retain(|name, installed| {
        let stays = there.contains(name.as_str());
        if !stays {
            core.hub.forget(&installed.prefix);
        }
        stays
    });
    state.ending.retain(|name| there.contains(name.as_str()));
}

fn serve(core: &Core, state: &State) {
    let mut kinds: Vec<Arc<Kind>> = state.installed.values().flat_map(|one| one.kinds.clone()).collect();
    kinds.sort_by(|a, b| {
        let versions = || api::custom::compare_versions(&b.row.version, &a.row.version);
        let groups = a.row.group.cmp(&b.row.group);
        groups.then_with(versions).then_with(|| a.row.plural.cmp(&b.row.plural))
    });
    core.kinds.serve_custom(kinds);
}
