//! Objects, lists and events in the format that the client wants. JSON is spliced together from stored bytes; the other
//! formats are transcoded from that by the schema table.

use std::sync::Arc;

use api::codec::protobuf;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use meta::{Revision, Status};
use serde_json::{Value, json};
use watch::{Delivery, Slot, Version};

use super::list::{Items, Page};
use super::table::{self, Include};
use super::{Call, answer};
use crate::encryption::is_encrypted;
use crate::http::Body;
use crate::http::negotiate::{JSON, PROTOBUF, Shape, Wanted, Wire, YAML};
use crate::kinds::Kind;
use crate::{object, wire};

/// The slots of versions' encodings: the message of an object.
const OBJECT_MESSAGE: u16 = 0;
/// Lists are sent in pieces of about this size.
const PIECE: usize = 64 * 1024;

/// One stored object.
pub(crate) fn object(call: &Call, stored: &Bytes, revision: Revision) -> Result<Bytes, Status> {
    let kind = &call.kind;
    match call.wanted.shape {
        Shape::Object if call.wanted.wire == Wire::Protobuf => {
            let message = wire::message(kind, &kind.outward(stored)?)?;
            Ok(wire::body(kind, &message, revision))
        }
        Shape::Object => encode(
            object::spliced(&kind.head, &kind.outward(stored)?, revision),
            call.wanted,
        ),
        Shape::Partial => encode(table::partial_bytes(stored, revision)?, call.wanted),
        Shape::Table => {
            let row = table::row(kind, stored, revision, Include::parse(call)?)?;
            let metadata = json!({"resourceVersion": revision.to_string()});
            tree(&table::table(kind, metadata, vec![row], true), call.wanted)
        }
    }
}

/// Any tree that has its kind and version.
pub(crate) fn tree(tree: &Value, wanted: Wanted) -> Result<Bytes, Status> {
    match wanted.wire {
        Wire::Json if wanted.pretty => serde_json::to_vec_pretty(tree)
            .map(Bytes::from)
            .map_err(Status::internal),
        _ => encode(serde_json::to_vec(tree).map_err(Status::internal)?.into(), wanted),
    }
}

fn encode(json: Bytes, wanted: Wanted) -> Result<Bytes, Status> {
    match wanted.wire {
        Wire::Json if wanted.pretty => {
            let tree: Value = serde_json::from_slice(&json).map_err(Status::internal)?;
            serde_json::to_vec_pretty(&tree)
                .map(Bytes::from)
                .map_err(Status::internal)
        }
        Wire::Json => Ok(json),
        Wire::Yaml => wire::yaml(&json),
        Wire::Protobuf => wire::protobuf(&json),
    }
}

/// A page of a list as a response.
pub(crate) fn list(call: &Call, page: Page) -> Result<Response<Body>, Status> {
    let wanted = call.wanted;
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(next) = &page.next {
        metadata["continue"] = json!(next);
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    if wanted.shape == Shape::Table {
        let include = Include::parse(call)?;
        let rows = (0..page.items.len()).filter_map(|at| page.items.get(at));
        let rows = rows.map(|(stored, revision)| table::row(&call.kind, stored, revision, include));
        let table = table::table(&call.kind, metadata, rows.collect::<Result<_, _>>()?, true);
        return Ok(answer::full(StatusCode::OK, wanted, tree(&table, wanted)?));
    }
    let partial = wanted.shape == Shape::Partial;
    if wanted.wire == Wire::Protobuf && !partial {
        return Ok(answer::full(StatusCode::OK, wanted, protobuf_list(&call.kind, &page)?));
    }
    let (api_version, list_kind) = match partial {
        true => ("meta.k8s.io/v1", "PartialObjectMetadataList"),
        false => (call.kind.api_version.as_str(), &*call.kind.row.list_kind),
    };
    let head =
        format!("{{\"kind\":\"{list_kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[");
    let pieces = Pieces {
        kind: Arc::clone(&call.kind),
        head: Some(head),
        items: page.items,
        at: 0,
        partial,
        done: false,
    };
    if wanted.wire == Wire::Json && !wanted.pretty && !wanted.gzip {
        let mut response = Response::new(Body::pieces(pieces));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        response
            .headers_mut()
            .insert("cache-control", HeaderValue::from_static("no-cache, private"));
        return Ok(response);
    }
    let mut all = BytesMut::new();
    pieces.for_each(|piece| all.put_slice(&piece));
    Ok(answer::full(StatusCode::OK, wanted, encode(all.freeze(), wanted)?))
}

fn protobuf_list(kind: &Kind, page: &Page) -> Result<Bytes, Status> {
    let mut list = protobuf::list(&protobuf::ListMeta {
        resource_version: page.revision.to_string(),
        continue_token: page.next.clone().unwrap_or_default(),
        remaining: page
            .remaining
            .map(|remaining| i64::try_from(remaining).unwrap_or(i64::MAX)),
    });
    // Encodings of cached versions are kept, as far as there is room.
    let slot = Slot(OBJECT_MESSAGE + kind.version_slot);
    for at in 0..page.items.len() {
        match &page.items {
            Items::Shared(items) => {
                let version = &items[at];
                let message = version.encoded(slot, |version| wire::message(kind, &kind.outward(version.bytes())?))?;
                protobuf::add_item(&mut list, Some(&version.revision().to_string()), &message);
            }
            Items::Read(items) => {
                let message = wire::message(kind, &kind.outward(&items[at].stored)?)?;
                protobuf::add_item(&mut list, Some(&items[at].revision.to_string()), &message);
            }
        }
    }
    Ok(protobuf::envelope(&kind.api_version, &kind.row.list_kind, &list).into())
}

/// A list, piece by piece: what a slow client hasn't taken isn't made.
struct Pieces {
    kind: Arc<Kind>,
    head: Option<String>,
    items: Items,
    at: usize,
    partial: bool,
    done: bool,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut out = BytesMut::with_capacity(4096);
        if let Some(head) = self.head.take() {
            out.put_slice(head.as_bytes());
        }
        while let Some((stored, revision)) = self.items.get(self.at) {
            if self.at > 0 {
                out.put_u8(b',');
            }
            self.at += 1;
            if self.partial {
                out.put_slice(&table::partial_bytes(stored, revision).unwrap_or_default());
            } else {
                // Items of built-in kinds carry no kind of their own.
                let head = self.kind.row.custom.as_ref().map_or("", |_| self.kind.head.as_str());
                let shown = self.kind.outward(stored).unwrap_or_default();
                object::splice(&mut out, head, &shown, revision);
            }
            if out.len() >= PIECE {
                return Some(out.freeze());
            }
        }
        self.done = true;
        out.put_slice(b"]}");
        Some(out.freeze())
    }
}

/// The content type of a watch.
pub(crate) fn stream_type(wanted: Wanted) -> &'static str {
    match wanted.wire {
        Wire::Json => JSON,
        Wire::Yaml => YAML,
        Wire::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
    }
}

/// What a watch is told of an object that can't be decrypted; the list that follows has the reason.
pub(crate) fn unreadable() -> Status {
    Status::internal("unable to transform an object: it can't be decrypted")
}

/// An event about to be encoded.
pub(crate) struct Event<'a> {
    delivery: &'a Delivery,
}

impl<'a> Event<'a> {
    pub(crate) fn of(delivery: &'a Delivery) -> Event<'a> {
        Event { delivery }
    }

    fn kind(&self) -> &'static str {
        match self.delivery.kind() {
            watch::Kind::Added => "ADDED",
            watch::Kind::Modified => "MODIFIED",
            watch::Kind::Deleted => "DELETED",
        }
    }
}

/// Encodes the events of one watch.
pub(crate) struct Encoder {
    kind: Arc<Kind>,
    wanted: Wanted,
    include: Include,
    /// Only the first event of a table watch has the columns.
    columns_sent: bool,
}

impl Encoder {
    pub(crate) fn new(call: &Call) -> Result<Encoder, Status> {
        if call.wanted.wire == Wire::Yaml {
            return Err(Status::not_acceptable(&[JSON, PROTOBUF]));
        }
        let include = Include::parse(call)?;
        Ok(Encoder {
            kind: Arc::clone(&call.kind),
            wanted: call.wanted,
            include,
            columns_sent: false,
        })
    }

    /// An event of the ring: shared with every other watch of the same format.
    pub(crate) fn event(&mut self, event: Event<'_>) -> Bytes {
        let delivery = event.delivery;
        if self.wanted.shape == Shape::Table {
            return self.line(event.kind(), delivery.object().bytes(), delivery.revision());
        }
        // Two versions of a resource share a cache, so that the version is a part of the slot.
        let format = u16::from(self.wanted.wire == Wire::Protobuf) + 2 * u16::from(self.wanted.shape == Shape::Partial);
        let slot = Slot(format + 4 * self.kind.version_slot);
        let made = delivery.encoded(slot, |delivery| {
            self.try_line(event.kind(), delivery.object().bytes(), delivery.revision())
        });
        made.unwrap_or_else(|status| self.error(&status))
    }

    /// One of the objects that are there already.
    pub(crate) fn initial(&mut self, version: &Version) -> Bytes {
        self.line("ADDED", version.bytes(), version.revision())
    }

    fn line(&mut self, kind: &str, stored: &[u8], revision: Revision) -> Bytes {
        let line = self
            .try_line(kind, stored, revision)
            .unwrap_or_else(|status| self.error(&status));
        self.columns_sent = true;
        line
    }

    fn try_line(&self, kind: &str, stored: &[u8], revision: Revision) -> Result<Bytes, Status> {
        if is_encrypted(stored) {
            return Err(unreadable());
        }
        let object = match self.wanted.shape {
            Shape::Object if self.wanted.wire == Wire::Protobuf => {
                let message = wire::message(&self.kind, &self.kind.outward(stored)?)?;
                return Ok(wire::protobuf_event(kind, &wire::body(&self.kind, &message, revision)));
            }
            Shape::Object => object::spliced(&self.kind.head, &self.kind.outward(stored)?, revision),
            Shape::Partial => table::partial_bytes(stored, revision)?,
            Shape::Table => {
                let row = table::row(&self.kind, stored, revision, self.include)?;
                let metadata = json!({"resourceVersion": revision.to_string()});
                let table = table::table(&self.kind, metadata, vec![row], !self.columns_sent);
                serde_json::to_vec(&table).map_err(Status::internal)?.into()
            }
        };
        self.frame(kind, &object)
    }

    fn frame(&self, kind: &str, object: &[u8]) -> Result<Bytes, Status> {
        if self.wanted.wire == Wire::Protobuf {
            return Ok(wire::protobuf_event(kind, &wire::protobuf(object)?));
        }
        let mut out = BytesMut::with_capacity(object.len() + 40);
        out.put_slice(b"{\"type\":\"");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\",\"object\":");
        out.put_slice(object);
        out.put_slice(b"}\n");
        Ok(out.freeze())
    }

    /// Says how far the watch is; `end` also that all initial objects have been sent.
    pub(crate) fn bookmark(&mut self, revision: Revision, end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.wanted.shape {
            Shape::Object => json!({
                "kind": &*self.kind.row.kind, "apiVersion": self.kind.api_version, "metadata": metadata,
            }),
            Shape::Partial => table::partial(&json!({"metadata": metadata})),
            Shape::Table => {
                let row = json!({"cells": null, "object": table::partial(&json!({"metadata": metadata}))});
                let metadata = json!({"resourceVersion": revision.to_string()});
                table::table(&self.kind, metadata, vec![row], !self.columns_sent)
            }
        };
        let made = self.frame("BOOKMARK", object.to_string().as_bytes());
        made.unwrap_or_else(|status| self.error(&status))
    }

    /// Tells what went wrong inside of a stream.
    pub(crate) fn error(&self, status: &Status) -> Bytes {
        self.frame("ERROR", &status.to_json()).unwrap_or_default()
    }
}
