//! `proxy` of pods, services and nodes: a request is passed on as it is, and so is the answer, upgrades included.
//!
//! The way is the tunnel of a node: it connects to the pod's address, or answers itself what a kubelet would. Only
//! endpoints that no node of ours has are called directly.

mod html;
pub(crate) mod place;
pub(crate) mod stream;
pub(crate) mod transport;

use http::header::{HeaderValue, LOCATION};
use http::{Method, Response, StatusCode, Uri};
use meta::Status;

use super::{Answer, Call};
use crate::http::Body;
use place::Place;

/// Answers any request to `NAME/proxy` and below.
pub(super) async fn handle(call: &Call) -> Result<Answer, Status> {
    let path = below(call);
    if path.is_empty() && matches!(call.method, Method::GET | Method::HEAD) {
        return Ok(Answer::Raw(with_slash(&call.uri)?));
    }
    let place = Place::find(call).await?;
    let uri = match call.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let uri = if uri.starts_with('/') { uri } else { format!("/{uri}") };
    transport::pass(call, &place, &uri).await
}

/// The part of the request's path that is the proxied server's, as the client wrote it.
pub(super) fn below(call: &Call) -> &str {
    // api, version, [namespaces, NAME,] resource, NAME, proxy
    let parts = if call.kind.row.namespaced { 7 } else { 5 };
    rest_of(call.uri.path(), parts)
}

fn rest_of(path: &str, parts: usize) -> &str {
    let mut seen = 0;
    let mut inside = false;
    for (at, byte) in path.bytes().enumerate() {
        match (byte, inside) {
            (b'/', true) => {
                if seen == parts {
                    return &path[at..];
                }
                inside = false;
            }
            (b'/', false) => {}
            (_, false) => {
                seen += 1;
                inside = true;
            }
            (_, true) => {}
        }
    }
    ""
}

/// Relative links of a page are only right below a path that ends with a slash.
fn with_slash(uri: &Uri) -> Result<Response<Body>, Status> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let to = format!("{}/{query}", uri.path());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let to = HeaderValue::from_str(&to).map_err(Status::internal)?;
    response.headers_mut().insert(LOCATION, to);
    Ok(response)
}

/// What is answered when the other side can't be reached.
fn unreachable(why: impl std::fmt::Display) -> Status {
    Status::service_unavailable(format!("error trying to reach service: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_path_stays_as_it_is() {
        let pod = "/api/v1/namespaces/a/pods/https:b:443/proxy";
        for (below, path) in [
            ("", String::from(pod)),
            ("/", format!("{pod}/")),
            ("/a%2Fb//c/", format!("{pod}/a%2Fb//c/")),
        ] {
            assert_eq!(rest_of(&path, 7), below);
        }
        assert_eq!(rest_of("//api/v1/nodes/n/proxy/metrics", 5), "/metrics");
        let moved = with_slash(&"/x/proxy?a=b".parse().unwrap()).unwrap();
        assert_eq!(moved.headers()[LOCATION], "/x/proxy/?a=b");
    }
}
