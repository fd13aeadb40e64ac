//! The API inside of the process: the same path as over the network, without TLS and HTTP framing, for one user.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};

use crate::core::Core;
use crate::handle::{Identity, handle};
use crate::http::Body;
use crate::http::body::incoming;
use crate::user::User;

/// A tower service that answers requests as one user. Clones are cheap.
#[derive(Clone)]
pub struct Service {
    core: Arc<Core>,
    user: Arc<User>,
}

impl Service {
    pub(crate) fn new(core: Arc<Core>, user: User) -> Service {
        Service {
            core,
            user: Arc::new(user),
        }
    }

    /// Whose requests these are.
    pub fn user(&self) -> &User {
        &self.user
    }
}

impl<B> tower::Service<Request<B>> for Service
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let (core, identity) = (Arc::clone(&self.core), Identity::InProcess(Arc::clone(&self.user)));
        Box::pin(async move { Ok(handle(core, parts, incoming(body), identity).await) })
    }
}
