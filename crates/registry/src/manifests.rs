//! Manifests, tags and referrers.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LINK, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::json;

use crate::answer::{self, Failure};
use crate::{Body, Call, Incoming};

/// The specification wants registries to take at least 4 MiB.
const MAX_MANIFEST: usize = 4 << 20;
/// The most tags in one answer.
const MAX_TAGS: usize = 10_000;

impl Call<'_> {
    pub(crate) async fn get_manifest(&self, reference: &str) -> Result<Response<Body>, Failure> {
        let wanted = reference.to_string();
        let found = self
            .blocking(move |repository| Ok(repository.manifest(&wanted)?))
            .await?;
        let stored = found.ok_or_else(|| Failure::manifest_unknown(reference))?;
        let length = stored.bytes.len();
        let mut response = Response::new(answer::full(stored.bytes));
        answer::set(&mut response, CONTENT_TYPE.as_str(), &stored.media_type);
        answer::set(&mut response, "docker-content-digest", &stored.digest);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        Ok(response)
    }

    pub(crate) async fn put_manifest(&self, reference: &str, body: Incoming) -> Result<Response<Body>, Failure> {
        let body = Limited::new(body, MAX_MANIFEST).collect().await;
        let bytes = body.map_err(|error| too_large(&*error))?.to_bytes();
        let media_type = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_string();
        if media_type.is_empty() {
            let text = "Content-Type must say what the manifest is";
            return Err(Failure::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", text));
        }
        let (wanted, tags) = (
            reference.to_string(),
            self.query.all("tag").map(str::to_string).collect::<Vec<_>>(),
        );
        let given = tags.clone();
        let stored = self
            .blocking(move |repository| Ok(repository.put_manifest(&wanted, &given, &media_type, &bytes)?))
            .await?;
        let mut response = answer::empty(StatusCode::CREATED);
        let location = format!("/v2/{}/manifests/{}", self.name(), stored.digest);
        answer::set(&mut response, LOCATION.as_str(), &location);
        answer::set(&mut response, "docker-content-digest", &stored.digest);
        if let Some(subject) = &stored.subject {
            answer::set(&mut response, "oci-subject", subject);
        }
        for tag in tags {
            if let Ok(value) = HeaderValue::from_str(&tag) {
                response.headers_mut().append("oci-tag", value);
            }
        }
        Ok(response)
    }

    pub(crate) async fn delete_manifest(&self, reference: &str) -> Result<Response<Body>, Failure> {
        let wanted = reference.to_string();
        let there = self
            .blocking(move |repository| Ok(repository.remove_manifest(&wanted)?))
            .await?;
        if there {
            Ok(answer::empty(StatusCode::ACCEPTED))
        } else {
            Err(Failure::manifest_unknown(reference))
        }
    }

    /// Tags in order, `n` at most, those behind `last`.
    pub(crate) async fn tags(&self) -> Result<Response<Body>, Failure> {
        let (exists, mut tags) = self
            .blocking(|repository| Ok((repository.exists()?, repository.tags()?)))
            .await?;
        if !exists {
            return Err(Failure::new(
                StatusCode::NOT_FOUND,
                "NAME_UNKNOWN",
                "there is no such repository",
            ));
        }
        if let Some(last) = self.query.get("last") {
            tags.retain(|tag| tag.as_str() > last);
        }
        let most = match self.query.get("n").map(str::parse::<usize>) {
            None => MAX_TAGS,
            Some(Ok(n)) => n.min(MAX_TAGS),
            Some(Err(_)) => {
                let text = "n must be a number";
                return Err(Failure::new(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", text));
            }
        };
        let more = tags.len() > most;
        tags.truncate(most);
        let document = json!({"name": self.name(), "tags": tags});
        let mut response = answer::json_of(StatusCode::OK, "application/json", &document);
        if let (true, Some(last)) = (more, tags.last()) {
            let next = format!("</v2/{}/tags/list?n={most}&last={last}>; rel=\"next\"", self.name());
            answer::set(&mut response, LINK.as_str(), &next);
        }
        Ok(response)
    }

    pub(crate) async fn referrers(&self, digest: &str) -> Result<Response<Body>, Failure> {
        let wanted = digest.to_string();
        let kind = self.query.get("artifactType").map(str::to_string);
        let filtered = kind.is_some();
        let index = self
            .blocking(move |repository| Ok(repository.referrers(&wanted, kind.as_deref())?))
            .await?;
        let mut response = answer::json_of(StatusCode::OK, "application/vnd.oci.image.index.v1+json", &index);
        if filtered {
            answer::set(&mut response, "oci-filters-applied", "artifactType");
        }
        Ok(response)
    }
}

fn too_large(error: &(dyn std::error::Error + 'static)) -> Failure {
    if error.is::<LengthLimitError>() {
        let text = "a manifest has at most 4 MiB";
        return Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", text);
    }
    Failure::body(&error)
}
