//! Blobs: reading them, whole or in part, and taking them out of a repository.

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderValue, Response, StatusCode};

use crate::answer::{self, Failure};
use crate::{Body, Call};

impl Call<'_> {
    pub(crate) async fn get_blob(&self, digest: &str) -> Result<Response<Body>, Failure> {
        let wanted = digest.to_string();
        let found = self.blocking(move |repository| Ok(repository.blob(&wanted)?)).await?;
        let (path, size) = found.ok_or_else(|| Failure::blob_unknown(digest))?;
        let range = self.headers.get(RANGE).and_then(|value| value.to_str().ok());
        let (status, from, length) = match range.map(|range| part(range, size)) {
            None | Some(Part::All) => (StatusCode::OK, 0, size),
            Some(Part::Some(from, length)) => (StatusCode::PARTIAL_CONTENT, from, length),
            Some(Part::Outside) => {
                let failure = Failure::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "SIZE_INVALID",
                    "the blob ends before",
                );
                return Err(failure.with("content-range", format!("bytes */{size}")));
            }
        };
        let mut response = Response::new(answer::file(path, from, length));
        *response.status_mut() = status;
        answer::set(&mut response, "docker-content-digest", digest);
        if status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {from}-{}/{size}", from + length - 1);
            answer::set(&mut response, CONTENT_RANGE.as_str(), &range);
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        Ok(response)
    }

    pub(crate) async fn delete_blob(&self, digest: &str) -> Result<Response<Body>, Failure> {
        let wanted = digest.to_string();
        let there = self
            .blocking(move |repository| Ok(repository.remove_blob(&wanted)?))
            .await?;
        if there {
            Ok(answer::empty(StatusCode::ACCEPTED))
        } else {
            Err(Failure::blob_unknown(digest))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    All,
    /// From, and how many.
    Some(u64, u64),
    Outside,
}

/// One range of bytes (RFC 9110); what isn't understood means the whole.
fn part(range: &str, size: u64) -> Part {
    let Some((from, to)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Part::All;
    };
    let number = |text: &str| text.trim().parse::<u64>();
    match (from.trim().is_empty(), number(from), number(to)) {
        (true, _, Ok(last)) if last > 0 && size > 0 => {
            let length = last.min(size);
            Part::Some(size - length, length)
        }
        (false, Ok(from), _) if from >= size => Part::Outside,
        (false, Ok(from), Ok(to)) if to >= from => Part::Some(from, to.min(size - 1) - from + 1),
        (false, Ok(from), Err(_)) if to.trim().is_empty() => Part::Some(from, size - from),
        _ => Part::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (range, wanted) in [
            ("bytes=0-", Part::Some(0, 10)),
            ("bytes=4-6", Part::Some(4, 3)),
            ("bytes=4-99", Part::Some(4, 6)),
            ("bytes=-3", Part::Some(7, 3)),
            ("bytes=-99", Part::Some(0, 10)),
            ("bytes=10-", Part::Outside),
            ("bytes=6-4", Part::All),
            ("bytes=0-1,3-4", Part::All),
            ("lines=1-2", Part::All),
        ] {
            assert_eq!(part(range, 10), wanted, "{range}");
        }
    }
}
