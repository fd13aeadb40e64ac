//! Wiring of the image registry: over this machine's store, behind the API's door, with the other nodes as peers.

use std::sync::Arc;

use anyhow::Context as _;
use cli::Instance;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use registry::{Body, Peers, Registry};
use server::Server;

/// Serves it with the server.
pub(crate) fn mount(instance: &Instance, own_node: &str, server: &Server) -> anyhow::Result<()> {
    let dir = node::image_dir(instance.dir());
    let store = image::Store::open(&dir).with_context(|| format!("opening {}", dir.display()))?;
    let peers = Nodes {
        tunnels: server.tunnels(),
        own: own_node.to_owned(),
    };
    let own = Registry::with_peers(store, node::REGISTRY, Arc::new(peers));
    server.mount_registry(Arc::new(move |request| {
        let own = own.clone();
        let request = request.map(registry::incoming);
        Box::pin(async move { own.handle(request).await })
    }));
    Ok(())
}

/// The nodes whose tunnels are open. This machine's own has the same store, so it isn't asked.
struct Nodes {
    tunnels: tunnel::Registry,
    own: String,
}

#[async_trait::async_trait]
impl Peers for Nodes {
    async fn ask(&self, method: Method, path_and_query: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        let nodes = self.tunnels.nodes().into_iter().filter(|node| *node != self.own);
        let mut answers: FuturesUnordered<_> = nodes
            .filter_map(|node| {
                let link = self.tunnels.get(&node).ok()?;
                let mut request = Request::builder()
                    .method(method.clone())
                    .uri(format!("http://{node}{path_and_query}"))
                    .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
                    .ok()?;
                let range = headers.get(http::header::RANGE).cloned();
                request
                    .headers_mut()
                    .extend(range.map(|range| (http::header::RANGE, range)));
                Some(async move { link.send(request).await })
            })
            .collect();
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(answer) if answer.status().is_success() => {
                    return Some(answer.map(|body| body.map_err(std::io::Error::other).boxed_unsync()));
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "asking a node for an image"),
            }
        }
        None
    }
}
