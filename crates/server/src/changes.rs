//! Following kinds by level: who follows is told that something has changed, never what, and looks for itself.

use std::sync::Arc;

use futures::future::select_all;
use watch::{Cache, Selection, Watcher};

use crate::core::Core;

/// The changes of some kinds' objects. What is looked at after it was opened misses none.
pub(crate) struct Changes(Vec<Followed>);

struct Followed {
    cache: Arc<Cache>,
    watcher: Watcher,
}

impl Changes {
    /// Those of built-in kinds of a group, from now on; none when one of them isn't kept.
    pub(crate) fn of(core: &Core, group: &str, plurals: &[&str]) -> Option<Changes> {
        let followed = plurals.iter().map(|plural| {
            let cache = core.kinds.any(group, plural)?.cache().ok()?.clone();
            let (_, watcher) = cache.list_and_watch(Selection::default()).ok()?;
            Some(Followed { cache, watcher })
        });
        followed.collect::<Option<_>>().map(Changes)
    }

    /// Waits until something has changed since the last time; many changes at once are one. False when no more will come,
    /// because the server stops.
    pub(crate) async fn next(&mut self, core: &Core) -> bool {
        let first = select_all(self.0.iter_mut().map(|one| Box::pin(one.watcher.next())));
        let (changed, at) = tokio::select! {
            () = core.stopping.cancelled() => return false,
            (changed, at, _) = first => (changed.map(drop), at),
        };
        match changed {
            Ok(()) => {}
            // So much has changed that the watch fell behind: it begins anew.
            Err(watch::Error::Expired { .. }) => match self.0[at].cache.list_and_watch(Selection::default()) {
                Ok((_, watcher)) => self.0[at].watcher = watcher,
                Err(_) => return false,
            },
            Err(_) => return false,
        }
        for one in &mut self.0 {
            while let Ok(Some(_)) = one.watcher.try_next() {}
        }
        true
    }
}
