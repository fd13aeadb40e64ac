//! Following APIServices by level: which versions are other servers', and a watch over each of them.

use std::collections::HashMap;
use std::sync::Arc;

use meta::Status;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};
use watch::Scope;

use super::remote::{self, Remote, same};
use super::{GROUP, PLURAL, Route, Routes, availability, learn, plan};
use crate::changes::Changes;
use crate::core::Core;

/// What runs for each remote, by its key; it ends when it is dropped.
#[derive(Default)]
struct Tended(HashMap<String, ([u8; 32], DropGuard)>);

/// Passes on what is registered already, and follows the APIServices until the server stops.
pub(crate) async fn start(core: &Arc<Core>) -> Result<(), Status> {
    core.hub.fresh().await.map_err(crate::status::of_watch)?;
    let mut tended = Tended::default();
    sync(core, &mut tended)?;
    tokio::spawn(follow(Arc::clone(core), tended));
    tokio::spawn(follow_places(Arc::clone(core)));
    Ok(())
}

async fn follow(core: Arc<Core>, mut tended: Tended) {
    let Some(mut changes) = Changes::of(&core, GROUP, &[PLURAL]) else {
        return;
    };
    loop {
        if let Err(status) = sync(&core, &mut tended) {
            tracing::warn!(error = %status.message, "APIServices can't be read");
        }
        if !changes.next(&core).await {
            return;
        }
    }
}

/// Tells who looks after remotes that a way may have changed. Most servers have none, and are told nothing.
async fn follow_places(core: Arc<Core>) {
    let services = Changes::of(&core, "", &["services"]);
    let slices = Changes::of(&core, "discovery.k8s.io", &["endpointslices"]);
    let (Some(mut services), Some(mut slices)) = (services, slices) else {
        return;
    };
    loop {
        let more = tokio::select! {
            more = services.next(&core) => more,
            more = slices.next(&core) => more,
        };
        if !more {
            return;
        }
        if !core.aggregation.now().is_empty() {
            core.aggregation.places.send_replace(());
        }
    }
}

/// Brings the routes up to date with the APIServices, and what runs for them.
fn sync(core: &Arc<Core>, tended: &mut Tended) -> Result<(), Status> {
    let there = core.cached_trees(GROUP, PLURAL, &Scope::All)?;
    core.aggregation.change(|routes| Some(replaced(core, routes, &there)));
    let routes = core.aggregation.now();
    tended.0.retain(|key, (origin, _)| {
        let route = routes.by_version.get(key);
        route.is_some_and(|route| route.remote.origin == *origin)
    });
    for (key, route) in &routes.by_version {
        if !tended.0.contains_key(key) {
            let end = CancellationToken::new();
            let remote = &route.remote;
            tokio::spawn(availability::tend(Arc::clone(core), Arc::clone(remote), end.clone()));
            tokio::spawn(learn::tend(Arc::clone(core), Arc::clone(remote), end.clone()));
            tended.0.insert(key.clone(), (remote.origin, end.drop_guard()));
        }
    }
    Ok(())
}

/// The routes that the APIServices ask for. A remote that stays keeps its connections and what is known of it; one whose
/// APIService was changed keeps what is known until it is asked again.
fn replaced(core: &Core, routes: &Routes, there: &[Value]) -> Routes {
    let mut next = Routes {
        generation: routes.generation,
        ..Routes::default()
    };
    for service in there {
        let Some((group, version)) = remote::key(service) else {
            continue;
        };
        let (key, origin) = (format!("{group}/{version}"), remote::origin(service));
        let before = routes.by_version.get(&key);
        let available = plan::is_available(service);
        let kept = before.filter(|route| route.remote.origin == origin);
        let remote = match kept {
            Some(route) => Arc::clone(&route.remote),
            None => match Remote::of(service, origin, &core.pki) {
                Some(remote) => Arc::new(remote),
                None => continue,
            },
        };
        if kept.is_some_and(|route| route.available != available) {
            remote.wake.notify_one();
        }
        let known = before.filter(|route| route.remote.service == remote.service);
        let learned = known.and_then(|route| route.learned.clone());
        let route = Route {
            remote,
            available,
            learned,
        };
        next.by_version.insert(key, route);
    }
    let is_same = |(one, other): (&Route, &Route)| same(&one.remote, &other.remote);
    let as_before = next.by_version.len() == routes.by_version.len()
        && next.by_version.keys().eq(routes.by_version.keys())
        && next.by_version.values().zip(routes.by_version.values()).all(is_same);
    if !as_before {
        next.generation += 1;
    }
    next
}
