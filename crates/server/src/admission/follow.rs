//! Keeps what is compiled of webhooks and policies up to date: whenever a configuration changes, also by another server on
//! the same store.

use std::sync::Arc;

use watch::Selection;

use super::webhook::GROUP;
use super::{policy, webhook};
use crate::core::Core;

/// Compiles now, and follows every source until the server stops.
pub(crate) fn follow(core: &Arc<Core>) {
    for plural in webhook::SOURCES.into_iter().chain(policy::SOURCES) {
        tokio::spawn(one(Arc::clone(core), plural));
    }
}

async fn one(core: Arc<Core>, plural: &'static str) {
    let Some(kind) = core.kinds.any(GROUP, plural) else {
        return;
    };
    let Ok(cache) = kind.cache() else { return };
    loop {
        let Ok((_, mut watcher)) = cache.list_and_watch(Selection::default()) else {
            return;
        };
        loop {
            core.admission.compile(&core);
            let changed = tokio::select! {
                () = core.stopping.cancelled() => return,
                changed = watcher.next() => changed,
            };
            match changed {
                Ok(_) => while let Ok(Some(_)) = watcher.try_next() {},
                Err(watch::Error::Expired { .. }) => break,
                Err(_) => return,
            }
        }
    }
}
