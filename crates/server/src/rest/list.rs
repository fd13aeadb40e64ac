//! Lists: from the cache when it may be the newest state, from the store when it must be a past one.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use meta::{Revision, Status};
use store::{Key, Range};
use watch::Version;

use super::continuation::Continuation;
use super::get::{not_older, parse_revision};
use super::select::Selected;
use super::{Answer, Call, decrypt, render};
use crate::encryption::is_encrypted;
use crate::status::{of_store, of_watch};
use crate::traces;

/// An object of a list.
pub(crate) struct Item {
    pub(crate) key: Key,
    pub(crate) stored: Bytes,
    pub(crate) revision: Revision,
}

/// A page of a list.
pub(crate) struct Page {
    pub(crate) revision: Revision,
    pub(crate) items: Items,
    pub(crate) next: Option<String>,
    pub(crate) remaining: Option<u64>,
}

/// The objects of a page: shared with the cache, or read from the store.
pub(crate) enum Items {
    Shared(Vec<Arc<Version>>),
    Read(Vec<Item>),
}

impl Items {
    pub(crate) fn len(&self) -> usize {
        match self {
            Items::Shared(items) => items.len(),
            Items::Read(items) => items.len(),
        }
    }

    pub(crate) fn get(&self, at: usize) -> Option<(&Bytes, Revision)> {
        match self {
            Items::Shared(items) => items.get(at).map(|item| (item.bytes(), item.revision())),
            Items::Read(items) => items.get(at).map(|item| (&item.stored, item.revision)),
        }
    }

    fn keys(&self) -> Vec<Key> {
        match self {
            Items::Shared(items) => items.iter().map(|item| item.key().clone()).collect(),
            Items::Read(items) => items.iter().map(|item| item.key.clone()).collect(),
        }
    }
}

/// The `limit`, `continue` and revision parameters.
struct Wish {
    limit: usize,
    from: Source,
}

enum Source {
    /// What the cache has now, after waiting for this revision (`None`: for everything acknowledged; 0: for nothing).
    Cache(Option<Revision>),
    /// Exactly this revision, after this name.
    Exact(Revision, String),
    /// The newest state after this name: a list that lost its revision.
    Inconsistent(String),
}

/// Answers a list.
pub(crate) async fn list(call: &Call) -> Result<Answer, Status> {
    let selected = Selected::parse(call)?;
    match page(call, &selected).await {
        Ok(page) => render::list(call, page).map(Answer::Raw),
        Err(Failure::Expired(token)) => Ok(expired(&token)),
        Err(Failure::Status(status)) => Err(status),
    }
}

/// All that is selected now, in the version that is asked for.
pub(crate) async fn everything(call: &Call, selected: &Selected) -> Result<Page, Status> {
    let page = selected_page(call, selected, Source::Cache(None), 0).await;
    page.map_err(|failure| match failure {
        Failure::Status(status) => status,
        // Only a page of a past revision can say so.
        Failure::Expired(token) => Status::internal(format!("the newest state has expired at {token}")),
    })
}

/// The page with its objects in the version that is asked for.
async fn converted(call: &Call, page: Page) -> Result<Page, Status> {
    if !call.kind.converts() {
        return Ok(page);
    }
    let found = (0..page.items.len()).filter_map(|at| page.items.get(at));
    let (stored, revisions): (Vec<Bytes>, Vec<Revision>) =
        found.map(|(stored, revision)| (stored.clone(), revision)).unzip();
    let shown = call.kind.present(&call.core, &stored).await?;
    let items = page.items.keys().into_iter().zip(shown).zip(revisions);
    let items = items.map(|((key, stored), revision)| Item { key, stored, revision });
    let items = items.collect();
    Ok(Page {
        items: Items::Read(items),
        ..page
    })
}

async fn page(call: &Call, selected: &Selected) -> Result<Page, Failure> {
    let wish = wish(call)?;
    selected_page(call, selected, wish.from, wish.limit).await
}

/// A page of what is selected, in the version that is asked for.
async fn selected_page(call: &Call, selected: &Selected, from: Source, limit: usize) -> Result<Page, Failure> {
    if !selected.wants_converted(&call.kind) {
        let page = stored_page(call, selected, from, limit).await?;
        return Ok(converted(call, page).await?);
    }
    let all = stored_page(call, &Selected::default(), from, 0).await?;
    let all = converted(call, all).await?;
    let Items::Read(mut items) = all.items else {
        return Err(Status::internal("converted objects are in the cache").into());
    };
    items.retain(|item| selected.fits(&call.kind, &item.stored));
    let more = limit > 0 && items.len() > limit;
    if more {
        items.truncate(limit);
    }
    let last = items.last().filter(|_| more);
    Ok(Page {
        next: last.map(|item| token(call, Some(all.revision), &item.key)),
        remaining: None,
        revision: all.revision,
        items: Items::Read(items),
    })
}

/// A page of what is selected by what is stored, as it is stored.
async fn stored_page(call: &Call, selected: &Selected, from: Source, limit: usize) -> Result<Page, Failure> {
    match from {
        Source::Exact(revision, after) => from_store(call, selected, Some(revision), &after, limit).await,
        Source::Inconsistent(after) => from_store(call, selected, None, &after, limit).await,
        Source::Cache(revision) => {
            let mut span = traces::enter("cacher.GetList").audited();
            span.set("type", &call.kind.resource.resource);
            match revision {
                None => {
                    call.kind.cache()?.fresh().await.map_err(of_watch)?;
                }
                Some(Revision(0)) => {}
                Some(revision) => not_older(call, revision).await?,
            }
            span.event("Ready");
            match from_cache(call, selected, limit)? {
                Ok(page) => {
                    span.count("count", page.items.len());
                    Ok(page)
                }
                // The store is asked whether it can be read by now.
                Err(Encrypted) => from_store(call, selected, None, "", limit).await,
            }
        }
    }
}

fn wish(call: &Call) -> Result<Wish, Status> {
    let limit = call.query.integer("limit")?.unwrap_or(0);
    let limit = usize::try_from(limit).map_err(|_| Status::bad_request("limit must not be negative"))?;
    let given = call.query.get("resourceVersion").unwrap_or_default();
    let how = call.query.get("resourceVersionMatch").unwrap_or_default();
    let go_on = call.query.get("continue").unwrap_or_default();
    check(given, how, go_on)?;
    if !go_on.is_empty() {
        let token = Continuation::decode(go_on)?;
        let after = token.after().to_owned();
        let from = token
            .revision()
            .map_or(Source::Inconsistent(after.clone()), |revision| {
                Source::Exact(revision, after)
            });
        return Ok(Wish { limit, from });
    }
    let revision = if given.is_empty() {
        None
    } else {
        Some(parse_revision(given)?)
    };
    let from = match (revision, how) {
        (Some(revision), "Exact") => Source::Exact(revision, String::new()),
        // Without a match, a page of a named revision is of exactly that one.
        (Some(revision), "") if limit > 0 && revision.0 > 0 => Source::Exact(revision, String::new()),
        (revision, _) => Source::Cache(revision),
    };
    Ok(Wish { limit, from })
}

fn check(revision: &str, how: &str, go_on: &str) -> Result<(), Status> {
    let mut errors = Vec::new();
    let path = "resourceVersionMatch";
    if !how.is_empty() {
        if revision.is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(meta::FieldError::forbidden(path, why));
        }
        if !go_on.is_empty() {
            errors.push(meta::FieldError::forbidden(
                path,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if !matches!(how, "Exact" | "NotOlderThan") {
            errors.push(meta::FieldError::not_supported(
                path,
                how,
                &["Exact", "NotOlderThan", ""],
            ));
        }
        if how == "Exact" && revision == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(meta::FieldError::forbidden(path, why));
        }
    }
    if !errors.is_empty() {
        return Err(Status::invalid(
            &meta::GroupKind::new("meta.k8s.io", "ListOptions"),
            "",
            &errors,
        ));
    }
    if !go_on.is_empty() && !matches!(revision, "" | "0") {
        return Err(Status::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    Ok(())
}

/// There is something among what is asked for that could not be decrypted when it came into the cache.
struct Encrypted;

fn from_cache(call: &Call, selected: &Selected, limit: usize) -> Result<Result<Page, Encrypted>, Status> {
    let cache = call.kind.cache()?;
    let snapshot = cache.list(&selected.scope(call));
    let revision = snapshot.revision();
    let everything = selected.is_everything();
    let mut items = Vec::with_capacity(if everything && limit == 0 { snapshot.len() } else { 0 });
    let mut more = false;
    for version in snapshot.iter() {
        if is_encrypted(version.bytes()) {
            return Ok(Err(Encrypted));
        }
        if !selected.matches(version) {
            continue;
        }
        if limit > 0 && items.len() == limit {
            more = true;
            break;
        }
        items.push(Arc::clone(version));
    }
    let last = items.last().map(|version| version.key().clone());
    let next = last.filter(|_| more).map(|key| token(call, Some(revision), &key));
    let remaining = (more && everything).then(|| (snapshot.len() - items.len()) as u64);
    Ok(Ok(Page {
        revision,
        items: Items::Shared(items),
        next,
        remaining,
    }))
}

fn token(call: &Call, revision: Option<Revision>, key: &str) -> String {
    let name = key.strip_prefix(call.kind.prefix()).unwrap_or(key);
    Continuation::new(revision, name).encode()
}

/// Reads a page from the store, as much as it takes to fill it with what is selected.
async fn from_store(
    call: &Call,
    selected: &Selected,
    at: Option<Revision>,
    after: &str,
    limit: usize,
) -> Result<Page, Failure> {
    let prefix = match call.namespace() {
        Some(namespace) => format!("{}{namespace}/", call.kind.prefix()),
        None => call.kind.prefix().to_owned(),
    };
    let mut span = traces::enter("List").audited();
    if span.is_on() {
        span.rename(&format!("List(recursive=true) {}", call.core.store_name()));
        span.set("key", &prefix);
    }
    let mut after = (!after.is_empty()).then(|| Key::from(format!("{}{after}", call.kind.prefix())));
    let (mut items, mut at) = (Vec::new(), at);
    loop {
        let range = Range {
            prefix: prefix.clone(),
            after: after.clone(),
            limit,
            at,
        };
        let page = call.core.store.range(range).await.map_err(|error| match error {
            store::Error::Compacted { .. } if after.is_some() => {
                Failure::Expired(token(call, None, after.as_deref().unwrap_or_default()))
            }
            other => of_store(other).into(),
        })?;
        let revision = page.revision;
        at = Some(revision);
        let count = page.count;
        let mut looked_at = 0;
        for record in page.records {
            if limit > 0 && items.len() == limit {
                break;
            }
            looked_at += 1;
            after = Some(record.key.clone());
            let item = Item {
                stored: decrypt::item(&call.core, &record.key, &record.value).await?,
                key: record.key,
                revision: record.revision,
            };
            if is_selected(call, selected, &item) {
                items.push(item);
            }
        }
        let left = count - looked_at;
        let more = left > 0;
        if !more || (limit > 0 && items.len() >= limit) {
            let next = after.filter(|_| more).map(|key| token(call, Some(revision), &key));
            let remaining = (more && selected.is_everything()).then_some(left);
            return Ok(Page {
                revision,
                items: Items::Read(items),
                next,
                remaining,
            });
        }
    }
}

fn is_selected(call: &Call, selected: &Selected, item: &Item) -> bool {
    if selected.is_everything() {
        return true;
    }
    let projection = call.kind.projection(&item.stored);
    selected.labels.matches(&projection.labels[..]) && selected.fields.matches(&projection.fields[..])
}

/// Why there is no page.
enum Failure {
    Status(Status),
    /// The pages' revision is gone; this token goes on with the newest state instead.
    Expired(String),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure::Status(status)
    }
}

fn expired(token: &str) -> Answer {
    let status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    let mut object = status.to_value();
    object["metadata"]["continue"] = token.into();
    Answer::Tree {
        code: StatusCode::GONE,
        object,
    }
}
