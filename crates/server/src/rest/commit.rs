//! The one place where a request's outcome is written to the store.

use std::time::Duration;

use bytes::Bytes;
use meta::{Revision, Status, failpoint};
use store::{Compare, Key, Op, Outcome, Txn};

use crate::core::Core;
use crate::kinds::Kind;
use crate::status::{of_store, of_watch};
use crate::traces::{self, Span};

/// What is written in the same transaction as an object: reservations of addresses and ports.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    pub(crate) compares: Vec<Compare>,
    pub(crate) ops: Vec<Op>,
}

impl Extra {
    /// Writes a record that must not be there yet.
    pub(crate) fn claim(&mut self, key: Key, value: Bytes) {
        self.compares.push(Compare {
            key: key.clone(),
            revision: Revision(0),
        });
        self.ops.push(Op::Put { key, value, ttl: None });
    }

    /// Removes a record.
    pub(crate) fn release(&mut self, key: Key) {
        self.ops.push(Op::Delete { key });
    }
}

/// How a commit ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Committed {
    /// Durable, at this revision.
    Done(Revision),
    /// The object isn't at the expected revision any more.
    Moved,
    /// Something else that was claimed is taken.
    Taken,
}

/// Writes an object that is at `expected` now (0: that isn't there).
pub(crate) async fn put(
    core: &Core,
    kind: &Kind,
    key: Key,
    expected: Revision,
    stored: Bytes,
    extra: Extra,
) -> Result<Committed, Status> {
    let ttl = ttl(core, kind);
    let op = Op::Put {
        key: key.clone(),
        value: stored,
        ttl,
    };
    let span = span(
        core,
        kind,
        &key,
        if expected == Revision(0) {
            "Create"
        } else {
            "GuaranteedUpdate"
        },
    );
    let committed = run(core, key, expected, op, extra).await?;
    drop(span);
    settle(core, kind, &committed).await?;
    Ok(committed)
}

/// Removes an object that is at `expected` now.
pub(crate) async fn delete(
    core: &Core,
    kind: &Kind,
    key: Key,
    expected: Revision,
    extra: Extra,
) -> Result<Committed, Status> {
    let span = span(core, kind, &key, "Delete");
    let committed = run(core, key.clone(), expected, Op::Delete { key }, extra).await?;
    drop(span);
    settle(core, kind, &committed).await?;
    Ok(committed)
}

/// The span of a transaction, by kube-apiserver's name where the store is kube-apiserver's.
fn span(core: &Core, kind: &Kind, key: &Key, what: &str) -> Span {
    let mut span = traces::enter(what).audited();
    if span.is_on() {
        span.rename(&format!("{what} {}", core.store_name()));
        span.set("key", key);
        span.set("type", &kind.row.kind);
        span.set("group", &kind.resource.group);
        span.set("resource", &kind.resource.resource);
    }
    span
}

/// What later requests are decided by is in the caches before the client learns that it is written: who reads its own
/// binding or namespace is never refused for a cache that lags.
async fn settle(core: &Core, kind: &Kind, committed: &Committed) -> Result<(), Status> {
    let Committed::Done(revision) = committed else {
        return Ok(());
    };
    let policy = kind.resource.group == "rbac.authorization.k8s.io";
    let looked_up = match kind.resource.resource.as_str() {
        "namespaces" | "serviceaccounts" | "services" | "resourcequotas" | "limitranges" => {
            kind.resource.group.is_empty()
        }
        "priorityclasses" | "runtimeclasses" | "storageclasses" | "ingressclasses" => true,
        _ => policy,
    };
    let configures = kind.resource.group == crate::admission::GROUP;
    if looked_up || configures {
        kind.cache()?.wait_until(*revision).await.map_err(of_watch)?;
    }
    if configures {
        core.admission.compile(core);
    }
    if policy && core.is_ready() {
        core.compile_policy();
    }
    Ok(())
}

async fn run(core: &Core, key: Key, expected: Revision, op: Op, extra: Extra) -> Result<Committed, Status> {
    failpoint::try_hit("server.write.before-commit").map_err(Status::internal)?;
    let mut txn = Txn {
        compares: vec![Compare {
            key,
            revision: expected,
        }],
        ops: vec![op],
    };
    txn.compares.extend(extra.compares);
    txn.ops.extend(extra.ops);
    let outcome = core.store.commit(txn).await.map_err(of_store)?;
    failpoint::try_hit("server.write.after-commit").map_err(Status::internal)?;
    Ok(match outcome {
        Outcome::Done { revision } => Committed::Done(revision),
        Outcome::Conflict { current, .. } => {
            let found = current
                .first()
                .and_then(Option::as_ref)
                .map_or(Revision(0), |record| record.revision);
            if found == expected {
                Committed::Taken
            } else {
                Committed::Moved
            }
        }
    })
}

/// Events are forgotten after a while.
fn ttl(core: &Core, kind: &Kind) -> Option<Duration> {
    (kind.resource.resource == "events").then_some(core.config.event_ttl)
}
