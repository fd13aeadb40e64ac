//! A repository on a host: manifests, blobs, uploads.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use super::session::{Ask, Session, nothing};
use super::transport::{Outgoing, full};
use super::url;
use crate::blob;
use crate::error::{Error, Result, invalid, network};
use crate::spec::{DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST};

/// No manifest is larger (the specification wants registries to take 4 MiB).
const MAX_MANIFEST: usize = 4 << 20;

/// A repository, asked by somebody at one host.
#[derive(Clone)]
pub(crate) struct Registry {
    pub(crate) session: Arc<Session>,
    repository: String,
}

/// A manifest or an index.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) bytes: Bytes,
    pub(crate) media_type: String,
    pub(crate) digest: String,
}

impl Registry {
    pub(crate) fn new(session: Arc<Session>, repository: &str) -> Self {
        Self {
            session,
            repository: repository.to_string(),
        }
    }

    /// For messages.
    pub(crate) fn host(&self) -> &str {
        &self.session.endpoint.host
    }

    fn scope(&self, actions: &str) -> String {
        format!("repository:{}:{actions}", self.repository)
    }

    fn uri(&self, path: &str) -> Result<Uri> {
        let base = self.session.endpoint.base.to_string();
        let uri = url::parse(
            &format!("{}/{}/{path}", base.trim_end_matches('/'), self.repository),
            self.host(),
        )?;
        match &self.session.endpoint.namespace {
            Some(namespace) => url::with_query(&uri, &[("ns", namespace)]),
            None => Ok(uri),
        }
    }

    async fn ask(&self, method: Method, path: &str, headers: HeaderMap) -> Result<Response<Incoming>> {
        let ask = Ask {
            method,
            uri: self.uri(path)?,
            headers,
            scope: &self.scope("pull"),
            body: &nothing,
        };
        self.session.send(&ask).await
    }

    /// The manifest or index behind a tag or a digest, checked against the digest where one is known.
    pub(crate) async fn manifest(&self, reference: &str) -> Result<Found> {
        let mut headers = HeaderMap::new();
        let accept = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST].join(", ");
        headers.insert(
            ACCEPT,
            HeaderValue::from_str(&accept).map_err(|error| network(self.host(), &error))?,
        );
        let answer = self
            .ask(Method::GET, &format!("manifests/{reference}"), headers)
            .await?;
        let what = format!("manifest {reference} of {}", self.repository);
        if answer.status() != StatusCode::OK {
            return Err(self.session.refusal(&what, answer).await);
        }
        let header = |name: &str| {
            let value = answer.headers().get(name)?.to_str().ok()?;
            Some(value.to_string())
        };
        let media_type = header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_string();
        let told = header("docker-content-digest");
        let body = Limited::new(answer.into_body(), MAX_MANIFEST).collect().await;
        let bytes = body.map_err(|error| network(self.host(), &*error))?.to_bytes();
        let digest = match reference.contains(':') {
            true => reference.to_string(),
            // A tag's digest is ours to work out; what the registry says of it must be the same.
            false => told
                .filter(|told| blob::parts_of(told).is_ok())
                .unwrap_or_else(|| blob::digest_of(&bytes)),
        };
        blob::verify(&bytes, &digest)?;
        Ok(Found {
            bytes,
            media_type,
            digest,
        })
    }

    /// A blob's bytes from an offset on. The answer says from where it really begins.
    pub(crate) async fn blob(&self, digest: &str, from: u64) -> Result<(u64, Response<Incoming>)> {
        let mut headers = HeaderMap::new();
        if from > 0 {
            let range = HeaderValue::from_str(&format!("bytes={from}-"));
            headers.insert(RANGE, range.map_err(|error| network(self.host(), &error))?);
        }
        let answer = self.ask(Method::GET, &format!("blobs/{digest}"), headers).await?;
        match answer.status() {
            StatusCode::OK => Ok((0, answer)),
            StatusCode::PARTIAL_CONTENT => {
                let range = answer
                    .headers()
                    .get(CONTENT_RANGE)
                    .and_then(|value| value.to_str().ok());
                let begins = range
                    .and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok())
                    .ok_or_else(|| {
                        self.session
                            .said(StatusCode::PARTIAL_CONTENT, "an answer without Content-Range".into())
                    })?;
                Ok((begins, answer))
            }
            _ => Err(self
                .session
                .refusal(&format!("blob {digest} of {}", self.repository), answer)
                .await),
        }
    }

    /// Whether the repository has a blob.
    pub(crate) async fn has_blob(&self, digest: &str) -> Result<bool> {
        self.has(&format!("blobs/{digest}")).await
    }

    async fn has(&self, path: &str) -> Result<bool> {
        let ask = Ask {
            method: Method::HEAD,
            uri: self.uri(path)?,
            headers: HeaderMap::new(),
            scope: &self.scope("pull,push"),
            body: &nothing,
        };
        let answer = self.session.send(&ask).await?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.session.refusal(path, answer).await),
        }
    }

    /// Pushes a blob in one piece; with `mount`, the registry may take it from another repository of its own.
    pub(crate) async fn push_blob(&self, digest: &str, path: &Path, size: u64, mount: Option<&str>) -> Result<()> {
        let scope = match mount {
            Some(from) => format!("{} repository:{from}:pull", self.scope("pull,push")),
            None => self.scope("pull,push"),
        };
        let mut uri = self.uri("blobs/uploads/")?;
        if let Some(from) = mount {
            uri = url::with_query(&uri, &[("mount", digest), ("from", from)])?;
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let ask = Ask {
            method: Method::POST,
            uri: uri.clone(),
            headers,
            scope: &scope,
            body: &nothing,
        };
        let answer = self.session.send(&ask).await?;
        let what = format!("pushing blob {digest} to {}", self.repository);
        match answer.status() {
            StatusCode::CREATED => return Ok(()),
            StatusCode::ACCEPTED => {}
            _ => return Err(self.session.refusal(&what, answer).await),
        }
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| self.session.said(answer.status(), format!("{what}: no Location")))?;
        let to = url::with_query(&url::resolve(&uri, location)?, &[("digest", digest)])?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let body = || file_body(path);
        let ask = Ask {
            method: Method::PUT,
            uri: to,
            headers,
            scope: &scope,
            body: &body,
        };
        let answer = self.session.send(&ask).await?;
        match answer.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
            _ => Err(self.session.refusal(&what, answer).await),
        }
    }

    /// Pushes a manifest under a tag or its digest.
    pub(crate) async fn push_manifest(&self, reference: &str, media_type: &str, bytes: Bytes) -> Result<()> {
        let mut headers = HeaderMap::new();
        let media_type = HeaderValue::from_str(media_type).map_err(|error| invalid("media type", error))?;
        headers.insert(CONTENT_TYPE, media_type);
        let body = || Ok(full(bytes.clone()));
        let ask = Ask {
            method: Method::PUT,
            uri: self.uri(&format!("manifests/{reference}"))?,
            headers,
            scope: &self.scope("pull,push"),
            body: &body,
        };
        let answer = self.session.send(&ask).await?;
        match answer.status() {
            StatusCode::CREATED | StatusCode::ACCEPTED | StatusCode::OK => Ok(()),
            _ => {
                let what = format!("pushing manifest {reference} to {}", self.repository);
                Err(self.session.refusal(&what, answer).await)
            }
        }
    }
}

/// A file, read as it is sent.
fn file_body(path: &Path) -> Result<Outgoing> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path).map_err(|source| Error::Io {
        doing: "opening",
        path: path.to_path_buf(),
        source,
    })?;
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = vec![0; 256 << 10];
            let frame = match file.read(&mut piece) {
                Ok(0) => return,
                Ok(read) => {
                    piece.truncate(read);
                    Ok(http_body::Frame::data(Bytes::from(piece)))
                }
                Err(error) => Err(error),
            };
            let failed = frame.is_err();
            if sender.blocking_send(frame).is_err() || failed {
                return;
            }
        }
    });
    let stream = futures::stream::unfold(receiver, |mut receiver| async move {
        let frame = receiver.recv().await?;
        Some((frame, receiver))
    });
    Ok(http_body_util::StreamBody::new(stream).boxed_unsync())
}
