//! The gRPC health checking protocol, the question and the answer of one call: `grpc.health.v1.Health/Check`.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::GRPCAction;
use tokio::time::timeout;

use super::action::connect;

/// An answer is a few bytes.
const MOST: usize = 4096;
const SERVING: u64 = 1;

/// Asks a service whether it is well.
pub(crate) async fn check(action: &GRPCAction, address: &str, limit: Duration) -> Result<(), String> {
    let port = u16::try_from(action.port).map_err(|_| format!("no port {}", action.port))?;
    let service = action.service.as_deref().unwrap_or_default();
    let ask = async {
        let stream = connect(address, port, limit).await?;
        let fail = |error: hyper::Error| format!("error: health rpc probe failed: {error}");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(fail)?;
        let driver = tokio::spawn(connection);
        let request = Request::post(format!("http://{address}:{port}/grpc.health.v1.Health/Check"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, "kube-probe/1.37")
            .body(Full::new(question(service)))
            .map_err(|error| error.to_string())?;
        let (head, body) = sender.send_request(request).await.map_err(fail)?.into_parts();
        let body = Limited::new(body, MOST).collect().await;
        driver.abort();
        let body = body.map_err(|error| format!("error: health rpc probe failed: {error}"))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        judge(&head.headers, &trailers, &body.to_bytes(), service)
    };
    match timeout(limit, ask).await {
        Ok(result) => result,
        Err(_) => Err(format!(
            "timeout: failed to connect service \"{address}:{port}\" within {}s: context deadline exceeded",
            limit.as_secs()
        )),
    }
}

/// A message with its length before it; its one field is the service's name.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut out = BytesMut::with_capacity(message.len() + 5);
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap_or_default());
    out.put_slice(&message);
    out.freeze()
}

fn put_varint(out: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// The call's own outcome is in the trailers, or among the headers when there is nothing else.
fn judge(headers: &HeaderMap, trailers: &HeaderMap, body: &[u8], service: &str) -> Result<(), String> {
    let word = |name: &str| {
        let value = trailers.get(name).or_else(|| headers.get(name));
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    match word("grpc-status") {
        "0" => {}
        "12" => {
            return Err(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".into(),
            );
        }
        "" => return Err("error: health rpc probe failed: no gRPC status".into()),
        _ => return Err(format!("error: health rpc probe failed: {}", word("grpc-message"))),
    }
    match status(body) {
        Some(SERVING) => Ok(()),
        status => {
            let name = match status {
                Some(2) => "NOT_SERVING",
                Some(3) => "SERVICE_UNKNOWN",
                _ => "UNKNOWN",
            };
            Err(format!("service unhealthy (responded with {name:?}) {service}")
                .trim_end()
                .to_string())
        }
    }
}

/// The status in an answer's message: field 1, a number; 0 when it isn't there.
fn status(body: &[u8]) -> Option<u64> {
    let length = u32::from_be_bytes(body.get(1..5)?.try_into().ok()?) as usize;
    let message = body.get(5..5 + length)?;
    match message {
        [] => Some(0),
        [0x08, number, ..] => Some(u64::from(*number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn questions_are_protobuf() {
        assert_eq!(question("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(question("db").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
        assert_eq!(question(&"x".repeat(200))[5..8], [0x0a, 0xc8, 1]);
    }

    #[test]
    fn only_serving_is_good() {
        let none = HeaderMap::new();
        let ok = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
        let judged = |trailers: &HeaderMap, body: &[u8]| judge(&none, trailers, body, "");
        assert_eq!(judged(&ok, &[0, 0, 0, 0, 2, 8, 1]), Ok(()));
        assert!(judged(&ok, &[0, 0, 0, 0, 2, 8, 2]).unwrap_err().contains("NOT_SERVING"));
        assert!(judged(&ok, &[0, 0, 0, 0, 0]).unwrap_err().contains("UNKNOWN"));
        assert!(judged(&none, &[0, 0, 0, 0, 2, 8, 1]).is_err());
        let unimplemented = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("12"))]);
        assert!(judged(&unimplemented, &[]).unwrap_err().contains("does not implement"));
    }
}
