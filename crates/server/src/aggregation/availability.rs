//! Looking after a remote: whether it can be used, written into its APIService's conditions. It is looked at when its
//! Service or that one's endpoints have changed, and otherwise every half a minute.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::Method;
use meta::{ObjectKey, Status};
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use watch::Scope;

use super::plan::{self, Found};
use super::remote::{self, Question, Remote, authority};
use super::{GROUP, PLURAL};
use crate::core::Core;
use crate::internal;
use crate::user::{MASTERS, User};

/// A remote that is well is looked at again after this time.
const AGAIN: Duration = Duration::from_secs(30);
/// One that isn't, after this time, and then after twice that, and so on.
const SOON: Duration = Duration::from_millis(250);
/// An answer takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many addresses are asked; one that answers is enough.
const ATTEMPTS: usize = 5;
/// So often a write is tried again when somebody else has written.
const TRIES: usize = 5;

/// What the way to a remote looks like in the caches.
#[derive(PartialEq)]
struct Way {
    service: Option<Value>,
    slices: Vec<Value>,
}

/// Looks after a remote until it is another one's turn, or the server stops.
pub(super) async fn tend(core: Arc<Core>, remote: Arc<Remote>, end: CancellationToken) {
    let mut places = core.aggregation.places.subscribe();
    let mut delay = SOON;
    loop {
        places.mark_unchanged();
        let (way, well) = match look(&core, &remote).await {
            Ok(looked) => looked,
            Err(status) => {
                tracing::warn!(service = %remote.name, error = %status.message, "an APIService can't be looked after");
                (None, false)
            }
        };
        let next = if well { AGAIN } else { delay };
        delay = if well { SOON } else { (delay * 2).min(AGAIN) };
        let at = tokio::time::Instant::now() + next;
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                () = core.stopping.cancelled() => return,
                () = tokio::time::sleep_until(at) => break,
                changed = places.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if Way::now(&core, &remote).ok() != way {
                        delay = SOON;
                        break;
                    }
                }
            }
        }
    }
}

/// Looks at a remote once, and writes down what was found: the way as it was seen, and whether all is well.
async fn look(core: &Arc<Core>, remote: &Remote) -> Result<(Option<Way>, bool), Status> {
    core.hub.fresh().await.map_err(crate::status::of_watch)?;
    let way = Way::now(core, remote)?;
    let obstacle = plan::obstacle(&remote.service, way.service.as_ref(), &way.slices);
    // While there is nobody to ask, only a change can help; asking again soon would not.
    let waits = obstacle.is_some();
    let found = match obstacle {
        Some(found) => found,
        None => probe(core, remote).await,
    };
    write(core, remote, &found).await?;
    Ok((Some(way), found.available || waits))
}

impl Way {
    fn now(core: &Core, remote: &Remote) -> Result<Way, Status> {
        let (namespace, name) = (remote.service.namespace.as_str(), remote.service.name.as_str());
        let service = core.cached_tree("", "services", &ObjectKey::namespaced(namespace, name));
        let kind = core.kinds.any("discovery.k8s.io", "endpointslices");
        let kind = kind.ok_or_else(Status::no_such_resource)?;
        let mut slices = Vec::new();
        for version in kind.cache()?.list(&Scope::namespace(namespace)).iter() {
            if version.projection().label("kubernetes.io/service-name") == Some(name) {
                slices.push(kind.tree(version.bytes(), version.revision())?);
            }
        }
        Ok(Way { service, slices })
    }
}

/// Asks for the version's own document, at several addresses at once.
async fn probe(core: &Core, remote: &Remote) -> Found {
    let places = match &remote.endpoint {
        Ok(endpoint) => endpoint.places(core).await,
        Err(why) => Err(why.clone()),
    };
    let mut places = match places {
        Ok(places) => places,
        Err(why) => return Found::failed(why),
    };
    places.shuffle(&mut rand::rng());
    places.truncate(ATTEMPTS);
    let asker = User {
        name: "system:kube-aggregator".to_owned(),
        groups: vec![MASTERS.to_owned()],
        ..User::default()
    };
    let path = remote.path();
    let mut asked: FuturesUnordered<_> = places
        .iter()
        .map(|place| {
            let question = Question {
                path: &path,
                accept: "application/json, */*",
                known: None,
                user: &asker,
                patience: PATIENCE,
            };
            let url = format!("https://{}{path}", authority(place));
            async move {
                let why = match remote.ask_at(core, place, &question).await {
                    Ok(answer) if matches!(answer.code.as_u16(), 200..300) => return Ok(()),
                    Ok(answer) => format!("bad status from {url}: {}", answer.code.as_u16()),
                    Err(why) => format!("Get {url:?}: {why}"),
                };
                Err(format!("failing or missing response from {url}: {why}"))
            }
        })
        .collect();
    let mut last = "no address was asked".to_owned();
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(()) => return Found::passed(),
            Err(why) => last = why,
        }
    }
    Found::failed(last)
}

/// Writes what was found into the APIService's status, if it isn't there yet and it is still the same one.
async fn write(core: &Arc<Core>, remote: &Remote, found: &Found) -> Result<(), Status> {
    let key = ObjectKey::cluster(remote.name.as_str());
    let path = format!("/apis/{GROUP}/v1/{PLURAL}/{}/status", remote.name);
    for _ in 0..TRIES {
        let Some(service) = core.fresh_tree(GROUP, PLURAL, &key).await? else {
            return Ok(());
        };
        if remote::origin(&service) != remote.origin {
            return Ok(());
        }
        let now = meta::time::now();
        let Some(conditions) = plan::conditions(&service["status"]["conditions"], found, &now) else {
            return Ok(());
        };
        let patch = json!({
            "metadata": {"resourceVersion": service["metadata"]["resourceVersion"]},
            "status": {"conditions": conditions},
        });
        match internal::send(core, Method::PATCH, &path, "application/merge-patch+json", &patch).await {
            Err(status) if status.code == 404 => return Ok(()),
            Err(status) if status.code == 409 => {}
            Ok(()) => {
                let losses = &core.aggregation.losses;
                losses.note(
                    &remote.name,
                    &service["status"]["conditions"],
                    &patch["status"]["conditions"],
                );
                return Ok(());
            }
            result => return result,
        }
    }
    Ok(())
}
