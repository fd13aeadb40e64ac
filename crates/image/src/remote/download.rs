//! Downloads of single files, for ADD: redirects followed, straight into a file.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{LAST_MODIFIED, LOCATION, USER_AGENT};
use http::{Request, Uri};
use http_body_util::BodyExt as _;

use super::hosts::Tls;
use super::session::AGENT;
use super::transport::{Transport, full};
use super::url;
use crate::error::{At as _, Error, Result, network};

/// As browsers have it.
const REDIRECTS: usize = 10;
/// How long a server may be silent before it goes on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Downloads a file; answers when it was last changed, in seconds, if the server says so.
pub async fn download(from: &str, to: &mut File) -> Result<Option<i64>> {
    let transport = Transport::new(&Tls::default())?;
    let mut uri = url::parse(from, from)?;
    for _ in 0..REDIRECTS {
        let request = Request::get(&uri).header(USER_AGENT, AGENT).body(full(Bytes::new()));
        let answer = transport.send(request.map_err(|error| network(from, &error))?).await?;
        let status = answer.status();
        let location = answer.headers().get(LOCATION).filter(|_| status.is_redirection());
        if let Some(place) = location {
            let place = place.to_str().map_err(|error| network(from, &error))?;
            uri = url::resolve(&uri, place)?;
            continue;
        }
        if !status.is_success() {
            return Err(broken(&uri, format!("it answers {status}")));
        }
        let changed = answer
            .headers()
            .get(LAST_MODIFIED)
            .and_then(|value| value.to_str().ok());
        let changed = changed.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
        let mut body = answer.into_body();
        loop {
            let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
            let Some(frame) = frame.map_err(|_| broken(&uri, "it has stopped sending".to_string()))? else {
                break;
            };
            let frame = frame.map_err(|error| network(&uri.to_string(), &error))?;
            if let Ok(data) = frame.into_data() {
                to.write_all(&data).at("writing the download of", from)?;
            }
        }
        return Ok(changed.map(|time| time.timestamp().as_second()));
    }
    Err(broken(&uri, format!("more than {REDIRECTS} redirects")))
}

fn broken(uri: &Uri, reason: String) -> Error {
    Error::Network {
        host: uri.to_string(),
        reason,
    }
}
