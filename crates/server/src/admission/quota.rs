//! ResourceQuota: a namespace uses no more than it may.
//!
//! What an object costs is written into the quotas' status in the transaction that writes the object: there is no moment
//! in which one is there without the other, whoever dies in between, and a write that fails has cost nothing. Those who
//! are charged in one namespace take turns, so that they don't spoil each other's transactions; a namespace without a
//! quota costs a look into the cache. What is given back when objects go is counted by the quota controller.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use api::quota::{self, Evaluator, Request};
use meta::{Revision, Status};
use parking_lot::Mutex;
use serde_json::Value;
use store::{Compare, Key, Op};
use tokio::sync::{Mutex as Waiting, OwnedMutexGuard};
use watch::Scope;

use super::{Operation, Review};
use crate::kinds::Kind;
use crate::rest::commit::Extra;
use crate::rest::ownership;
use crate::status::of_watch;

/// Who owns what is written to a quota's status here.
const MANAGER: &str = "kube-apiserver";

/// While it is held, nobody else is charged in the namespace.
pub(crate) struct Turn {
    _held: OwnedMutexGuard<()>,
}

/// Charges quotas.
#[derive(Default)]
pub(crate) struct ResourceQuota {
    /// The line of those who wait for their turn, by namespace; gone when nobody waits.
    lines: Mutex<HashMap<String, Weak<Waiting<()>>>>,
}

/// A quota as it is stored now.
struct Stored {
    key: Key,
    revision: Revision,
}

impl ResourceQuota {
    /// Charges for a write, or refuses it; a dry run is only refused.
    pub(crate) async fn charge(
        &self,
        review: &Review<'_>,
        object: &Value,
        extra: &mut Extra,
    ) -> Result<Option<Turn>, Status> {
        if review.namespace.is_empty() || review.operation == Operation::Delete {
            return Ok(None);
        }
        let resource = &review.kind.resource;
        let Some(evaluator) = Evaluator::of(&resource.group, &resource.resource) else {
            return Ok(None);
        };
        let request = Request {
            subresource: review.subresource,
            object,
            old: review.old,
            now: jiff::Timestamp::now(),
        };
        if !evaluator.handles(&request) {
            return Ok(None);
        }
        let Some(kind) = review.core.kinds.any("", "resourcequotas") else {
            return Ok(None);
        };
        let scope = Scope::namespace(review.namespace);
        if kind.cache()?.list(&scope).is_empty() {
            return Ok(None);
        }
        let turn = Turn {
            _held: self.line(review.namespace).lock_owned().await,
        };
        // The one before may be in the store and not in the cache yet.
        kind.cache()?.fresh().await.map_err(of_watch)?;
        let (mut stored, mut quotas) = (Vec::new(), Vec::new());
        for version in kind.cache()?.list(&scope).iter() {
            quotas.push(kind.tree(version.bytes(), version.revision())?);
            stored.push(Stored {
                key: version.key().clone(),
                revision: version.revision(),
            });
        }
        let charged = quota::charge(&evaluator, &quotas, &request).map_err(|why| review.forbidden(why))?;
        if charged.is_empty() || review.is_dry_run() {
            return Ok(None);
        }
        for (index, used) in charged {
            write(kind, &stored[index], &quotas[index], used.to_value(), extra)?;
        }
        Ok(Some(turn))
    }

    fn line(&self, namespace: &str) -> Arc<Waiting<()>> {
        let mut lines = self.lines.lock();
        if let Some(line) = lines.get(namespace).and_then(Weak::upgrade) {
            return line;
        }
        lines.retain(|_, line| line.strong_count() > 0);
        let line = Arc::new(Waiting::new(()));
        lines.insert(namespace.to_owned(), Arc::downgrade(&line));
        line
    }
}

fn write(kind: &Kind, stored: &Stored, quota: &Value, used: Value, extra: &mut Extra) -> Result<(), Status> {
    let mut charged = quota.clone();
    charged["status"]["used"] = used;
    ownership::track(kind, "status", Some(quota), &mut charged, MANAGER);
    extra.compares.push(Compare {
        key: stored.key.clone(),
        revision: stored.revision,
    });
    extra.ops.push(Op::Put {
        key: stored.key.clone(),
        value: kind.stored(&charged)?,
        ttl: None,
    });
    Ok(())
}
