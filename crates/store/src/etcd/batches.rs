//! From etcd's events to the store's batches: one for each revision.

use std::sync::Arc;

use meta::Revision;

use super::prefix::{Prefix, revision};
use super::proto::{self, EventType};
use crate::{Batch, Change, Event};

/// The batches of one answer of a watch. etcd puts all events of a revision into one answer, unless it is asked for
/// fragments, and answers and events come in the order of revisions.
///
/// What is in the range of the watch and not the store's, which is the mark and what is put beside it, becomes a batch
/// without events: it tells how far the watch is. What is not after `last` is left out.
pub(crate) fn batches(prefix: &Prefix, last: Revision, events: Vec<proto::Event>) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut open: Vec<Event> = Vec::new();
    let mut at = last;
    for event in events {
        let kind = event.kind;
        let Some(kv) = event.kv else { continue };
        let revision = revision(kv.mod_revision);
        if revision <= last {
            continue;
        }
        if revision != at {
            close(&mut batches, last, at, &mut open);
            at = revision;
        }
        let Some(key) = prefix.strip(&kv.key) else { continue };
        let change = if kind == EventType::Delete as i32 {
            Change::Delete
        } else {
            Change::Put(kv.value.into())
        };
        open.push(Event { key, change });
    }
    close(&mut batches, last, at, &mut open);
    batches
}

fn close(batches: &mut Vec<Batch>, last: Revision, at: Revision, open: &mut Vec<Event>) {
    if at > last {
        batches.push(Batch {
            revision: at,
            events: Arc::from(std::mem::take(open)),
        });
    }
}
