//! Which node's tunnel is open: the newest one counts, because a node that redials has lost the old one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::{Error, Link};

/// The open tunnels by node name.
#[derive(Clone, Default)]
pub struct Registry {
    inner: Arc<Mutex<Inner>>,
    opened: Arc<Notify>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    links: HashMap<String, (u64, Link)>,
}

/// Keeps a tunnel registered; dropping it removes exactly that tunnel, never a newer one of the same node.
pub struct Registration {
    registry: Registry,
    node: String,
    id: u64,
}

impl Registry {
    /// Makes `link` the way to `node`.
    pub fn register(&self, node: &str, link: Link) -> Registration {
        let mut inner = self.lock();
        inner.next += 1;
        let id = inner.next;
        inner.links.insert(node.to_owned(), (id, link));
        drop(inner);
        self.opened.notify_waiters();
        Registration {
            registry: self.clone(),
            node: node.to_owned(),
            id,
        }
    }

    /// The open tunnel of a node.
    pub fn get(&self, node: &str) -> Result<Link, Error> {
        match self.lock().links.get(node) {
            Some((_, link)) if !link.is_closed() => Ok(link.clone()),
            _ => Err(Error::NotConnected(node.to_owned())),
        }
    }

    /// The same, for one who can wait: a node is back a moment after either end was started anew.
    pub async fn get_within(&self, node: &str, patience: Duration) -> Result<Link, Error> {
        let found = async {
            loop {
                let opened = self.opened.notified();
                match self.get(node) {
                    Ok(link) => return link,
                    Err(_) => opened.await,
                }
            }
        };
        let found = tokio::time::timeout(patience, found).await;
        found.map_err(|_| Error::NotConnected(node.to_owned()))
    }

    /// The nodes whose tunnels are open.
    pub fn nodes(&self) -> Vec<String> {
        let inner = self.lock();
        let open = inner.links.iter().filter(|(_, (_, link))| !link.is_closed());
        open.map(|(node, _)| node.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        if inner.links.get(&self.node).is_some_and(|(id, _)| *id == self.id) {
            inner.links.remove(&self.node);
        }
    }
}
