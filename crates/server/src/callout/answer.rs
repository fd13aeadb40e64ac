//! Answers that are none: what an HTTP status without a body of ours means, in the words of Kubernetes' client.

use http::StatusCode;
use meta::Status;

/// So much of an unexpected answer is told.
const SHOWN: usize = 2048;

/// Whether an answer has the body that was asked for.
pub(super) fn judge(code: StatusCode, body: &[u8]) -> Result<(), String> {
    if code.is_success() {
        return Ok(());
    }
    if let Ok(status) = serde_json::from_slice::<Status>(body)
        && !status.message.is_empty()
    {
        return Err(status.message);
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
    let text = match text.trim() {
        "" => "unknown",
        text => text,
    };
    Err(match code.as_u16() {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 | 415 => text.to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        406 if text == "unknown" => {
            "the server was unable to respond with a content type that the client supports".to_owned()
        }
        406 => text.to_owned(),
        409 => "the server reported a conflict".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned()
        }
        500.. => format!("an error on the server ({text:?}) has prevented the request from succeeding"),
        other => {
            format!("the server responded with the status code {other} but did not return more information")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told() {
        assert_eq!(judge(StatusCode::OK, b"x"), Ok(()));
        let why = judge(StatusCode::NOT_FOUND, b"404 page not found").unwrap_err();
        assert_eq!(why, "the server could not find the requested resource");
        let why = judge(StatusCode::INTERNAL_SERVER_ERROR, b"broken\n").unwrap_err();
        assert_eq!(
            why,
            "an error on the server (\"broken\") has prevented the request from succeeding"
        );
        let status = Status::bad_request("no such thing").to_json();
        assert_eq!(judge(StatusCode::BAD_REQUEST, &status).unwrap_err(), "no such thing");
    }
}
