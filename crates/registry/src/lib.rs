//! The OCI distribution API over an image store: push, pull, discovery and management.
//!
//! It knows requests and repositories. Who asks, and whether they may, is settled before a request comes here; where
//! the bytes are is the image store's. What the store hasn't is asked of its peers, the other machines of a cluster.

mod answer;
mod blobs;
mod manifests;
mod path;
mod uploads;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use image::{Repository, Store};
use parking_lot::Mutex;

use answer::Failure;
use path::{Query, Target};

/// An answer's body.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// A request's body.
pub type Incoming = UnsyncBoxBody<Bytes, std::io::Error>;

/// Any body as the one type that a registry takes.
pub fn incoming<B>(body: B) -> Incoming
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    body.map_err(|error| std::io::Error::other(error.into())).boxed_unsync()
}

/// The other machines of a cluster, each with a store of its own.
#[async_trait::async_trait]
pub trait Peers: Send + Sync {
    /// The first answer of a peer that has what the path names; `None` when nobody has it.
    async fn ask(&self, method: Method, path_and_query: &str, headers: &HeaderMap) -> Option<Response<Body>>;
}

/// A registry. Clones are the same one.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    name: String,
    peers: Option<Arc<dyn Peers>>,
    read_only: bool,
    uploads: Mutex<HashMap<String, uploads::Slot>>,
}

impl Registry {
    /// Over a store. `name` is the registry's own in images: images of this machine under it are served too, and with
    /// `?ns=HOST` those that were made here under another registry's name.
    pub fn new(store: Store, name: &str) -> Self {
        Self::with(store, name, None, false)
    }

    /// One that asks others for what its store hasn't.
    pub fn with_peers(store: Store, name: &str, peers: Arc<dyn Peers>) -> Self {
        Self::with(store, name, Some(peers), false)
    }

    /// What a peer is asked: reading, of this store alone.
    pub fn read_only(store: Store, name: &str) -> Self {
        Self::with(store, name, None, true)
    }

    fn with(store: Store, name: &str, peers: Option<Arc<dyn Peers>>, read_only: bool) -> Self {
        let shared = Shared {
            store,
            name: name.to_string(),
            peers,
            read_only,
            uploads: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Answers a request for a path below `/v2/`.
    pub async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        match self.answer(request).await {
            Ok(response) => response,
            Err(failure) => failure.into_response(),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let (parts, body) = request.into_parts();
        let reading = matches!(parts.method, Method::GET | Method::HEAD);
        if self.shared.read_only && !reading {
            return Err(Failure::unsupported());
        }
        let query = Query::parse(parts.uri.query());
        let target = Target::parse(parts.uri.path()).ok_or_else(Failure::no_path)?;
        let Some(name) = target.repository() else {
            return Ok(answer::empty(StatusCode::OK));
        };
        let host = query.get("ns").filter(|_| reading).unwrap_or(&self.shared.name);
        let repository = self.shared.store.repository(host, name).map_err(Failure::name)?;
        let call = Call {
            registry: self,
            repository,
            query,
            headers: parts.headers,
        };
        let found = match (&parts.method, target) {
            (&Method::GET | &Method::HEAD, Target::Manifest(_, reference)) => call.get_manifest(reference).await,
            (&Method::PUT, Target::Manifest(_, reference)) => call.put_manifest(reference, body).await,
            (&Method::DELETE, Target::Manifest(_, reference)) => call.delete_manifest(reference).await,
            (&Method::GET | &Method::HEAD, Target::Blob(_, digest)) => call.get_blob(digest).await,
            (&Method::DELETE, Target::Blob(_, digest)) => call.delete_blob(digest).await,
            (&Method::GET, Target::Tags(_)) => call.tags().await,
            (&Method::GET, Target::Referrers(_, digest)) => call.referrers(digest).await,
            (&Method::POST, Target::Uploads(_)) => call.begin_upload(body).await,
            (&Method::GET, Target::Upload(_, id)) => call.upload_status(id).await,
            (&Method::PATCH, Target::Upload(_, id)) => call.add_to_upload(id, body).await,
            (&Method::PUT, Target::Upload(_, id)) => call.end_upload(id, body).await,
            (&Method::DELETE, Target::Upload(_, id)) => call.cancel_upload(id).await,
            _ => Err(Failure::unsupported()),
        };
        let asked = match (found, &self.shared.peers) {
            (Err(failure), Some(peers)) if reading && failure.status == StatusCode::NOT_FOUND => {
                let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
                peers
                    .ask(parts.method.clone(), path, &call.headers)
                    .await
                    .ok_or(failure)
            }
            (found, _) => found,
        }?;
        Ok(if parts.method == Method::HEAD {
            answer::without_body(asked)
        } else {
            asked
        })
    }
}

/// A request that was understood.
struct Call<'a> {
    registry: &'a Registry,
    repository: Repository,
    query: Query,
    headers: HeaderMap,
}

impl Call<'_> {
    /// Runs what touches the disk apart from the tasks that wait for the network.
    async fn blocking<T, F>(&self, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(Repository) -> Result<T, Failure> + Send + 'static,
    {
        let repository = self.repository.clone();
        match tokio::task::spawn_blocking(move || work(repository)).await {
            Ok(result) => result,
            Err(error) => Err(Failure::internal(&error)),
        }
    }

    fn name(&self) -> &str {
        self.repository.name()
    }
}
