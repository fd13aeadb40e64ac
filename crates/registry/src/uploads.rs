//! Uploads: in one request, in two, or in pieces; taken from another repository; taken up again after a restart.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, LOCATION, RANGE};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use image::{Store, Upload};
use tokio::sync::{Mutex, mpsc};

use crate::answer::{self, Failure};
use crate::{Body, Call, Incoming};

/// Pieces that wait for the disk.
const QUEUE: usize = 16;

/// An upload that one request at a time works on.
pub(crate) type Slot = Arc<Mutex<Option<Upload>>>;

impl Call<'_> {
    fn store(&self) -> &Store {
        &self.registry.shared.store
    }

    /// `POST`: a new upload, a whole blob at once (`digest`), or one of another repository (`mount`).
    pub(crate) async fn begin_upload(&self, body: Incoming) -> Result<Response<Body>, Failure> {
        if let Some(digest) = self.query.get("mount")
            && self.mount(digest, self.query.get("from")).await?
        {
            return Ok(self.created(digest));
        }
        let id = uuid::Uuid::new_v4().to_string();
        let (store, name) = (self.store().clone(), id.clone());
        let upload = self.blocking(move |_| Ok(store.new_upload(&name)?)).await?;
        let slot = Arc::new(Mutex::new(Some(upload)));
        if let Some(digest) = self.query.get("digest") {
            self.receive(&slot, body).await?;
            return self.commit(&slot, digest).await;
        }
        self.registry.shared.uploads.lock().insert(id.clone(), slot);
        Ok(self.going_on(StatusCode::ACCEPTED, &id, 0))
    }

    /// A blob that a repository of ours has needs no second sending; which one is the client's to say.
    async fn mount(&self, digest: &str, from: Option<&str>) -> Result<bool, Failure> {
        let Some(from) = from else { return Ok(false) };
        let source = self
            .store()
            .repository(&self.registry.shared.name, from)
            .map_err(Failure::name)?;
        let digest = digest.to_string();
        self.blocking(move |repository| {
            let there = source.blob(&digest)?.is_some();
            if there {
                repository.add_blob(&digest)?;
            }
            Ok(there)
        })
        .await
    }

    pub(crate) async fn upload_status(&self, id: &str) -> Result<Response<Body>, Failure> {
        let slot = self.slot(id).await?;
        let length = slot
            .lock()
            .await
            .as_ref()
            .map(Upload::length)
            .ok_or_else(Failure::upload_unknown)?;
        Ok(self.going_on(StatusCode::NO_CONTENT, id, length))
    }

    pub(crate) async fn add_to_upload(&self, id: &str, body: Incoming) -> Result<Response<Body>, Failure> {
        let slot = self.slot(id).await?;
        self.in_order(id, &slot).await?;
        let length = self.receive(&slot, body).await?;
        Ok(self.going_on(StatusCode::ACCEPTED, id, length))
    }

    pub(crate) async fn end_upload(&self, id: &str, body: Incoming) -> Result<Response<Body>, Failure> {
        let slot = self.slot(id).await?;
        let digest = self
            .query
            .get("digest")
            .ok_or_else(|| Failure::digest("the digest is missing"))?;
        self.in_order(id, &slot).await?;
        self.receive(&slot, body).await?;
        let done = self.commit(&slot, digest).await;
        self.registry.shared.uploads.lock().remove(id);
        done
    }

    pub(crate) async fn cancel_upload(&self, id: &str) -> Result<Response<Body>, Failure> {
        let slot = self.slot(id).await?;
        let upload = slot.lock().await.take().ok_or_else(Failure::upload_unknown)?;
        self.blocking(move |_| Ok(upload.cancel()?)).await?;
        self.registry.shared.uploads.lock().remove(id);
        Ok(answer::empty(StatusCode::NO_CONTENT))
    }

    async fn slot(&self, id: &str) -> Result<Slot, Failure> {
        if let Some(slot) = self.registry.shared.uploads.lock().get(id) {
            return Ok(slot.clone());
        }
        let (store, name) = (self.store().clone(), id.to_string());
        let found = self.blocking(move |_| Ok(store.open_upload(&name)?)).await?;
        let upload = found.ok_or_else(Failure::upload_unknown)?;
        let mut uploads = self.registry.shared.uploads.lock();
        let slot = uploads
            .entry(id.to_string())
            .or_insert_with(|| Arc::new(Mutex::new(Some(upload))));
        Ok(slot.clone())
    }

    /// A piece must begin where the one before it ended.
    async fn in_order(&self, id: &str, slot: &Slot) -> Result<(), Failure> {
        let Some(range) = self.headers.get(CONTENT_RANGE) else {
            return Ok(());
        };
        let length = slot
            .lock()
            .await
            .as_ref()
            .map(Upload::length)
            .ok_or_else(Failure::upload_unknown)?;
        let text = range.to_str().unwrap_or_default();
        let text = text.strip_prefix("bytes ").unwrap_or(text);
        let begins = text
            .split('-')
            .next()
            .and_then(|begin| begin.trim().parse::<u64>().ok());
        if begins == Some(length) {
            return Ok(());
        }
        let message = format!("the next piece must begin at {length}");
        let failure = Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message);
        Err(failure
            .with("location", self.upload_location(id))
            .with("range", range_of(length)))
    }

    /// Writes a body to the end of an upload, and returns the upload's length.
    async fn receive(&self, slot: &Slot, mut body: Incoming) -> Result<u64, Failure> {
        let mut held = slot.lock().await;
        let mut upload = held.take().ok_or_else(Failure::upload_unknown)?;
        let (sender, mut pieces) = mpsc::channel::<Bytes>(QUEUE);
        let writing = tokio::task::spawn_blocking(move || {
            let mut result = Ok(());
            while let Some(piece) = pieces.blocking_recv() {
                result = upload.write(&piece);
                if result.is_err() {
                    break;
                }
            }
            (upload, result)
        });
        let mut broken = None;
        while let Some(frame) = body.frame().await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(piece)) => {
                    if sender.send(piece).await.is_err() {
                        break;
                    }
                }
                // Trailers mean nothing here.
                Ok(Err(_)) => {}
                Err(error) => {
                    broken = Some(Failure::body(&error));
                    break;
                }
            }
        }
        drop(sender);
        let (upload, result) = writing.await.map_err(|error| Failure::internal(&error))?;
        let length = upload.length();
        // What came stays: the client may go on from there.
        *held = Some(upload);
        result?;
        broken.map_or(Ok(length), Err)
    }

    async fn commit(&self, slot: &Slot, digest: &str) -> Result<Response<Body>, Failure> {
        let upload = slot.lock().await.take().ok_or_else(Failure::upload_unknown)?;
        let wanted = digest.to_string();
        self.blocking(move |repository| Ok(upload.commit(&repository, &wanted)?))
            .await?;
        Ok(self.created(digest))
    }

    fn created(&self, digest: &str) -> Response<Body> {
        let mut response = answer::empty(StatusCode::CREATED);
        answer::set(
            &mut response,
            LOCATION.as_str(),
            &format!("/v2/{}/blobs/{digest}", self.name()),
        );
        answer::set(&mut response, "docker-content-digest", digest);
        response
    }

    fn upload_location(&self, id: &str) -> String {
        format!("/v2/{}/blobs/uploads/{id}", self.name())
    }

    fn going_on(&self, status: StatusCode, id: &str, length: u64) -> Response<Body> {
        let mut response = answer::empty(status);
        answer::set(&mut response, LOCATION.as_str(), &self.upload_location(id));
        answer::set(&mut response, RANGE.as_str(), &range_of(length));
        answer::set(&mut response, "docker-upload-uuid", id);
        response
    }
}

/// The bytes that are here; the specification has no way to write none.
fn range_of(length: u64) -> String {
    format!("0-{}", length.saturating_sub(1))
}
