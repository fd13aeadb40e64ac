//! The connection to a plug-in: gRPC over a socket of the file system.

use std::time::Duration;

use async_trait::async_trait;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::Service;
use super::api::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse};
use crate::encryption::TransformError;

/// A plug-in at a socket. A call fails at once when nobody listens: who calls is often the one feed of all caches.
pub(super) struct Client {
    channel: Channel,
    timeout: Duration,
}

impl Client {
    /// For `unix:///PATH`, or `unix:///@NAME` without a file. It connects when it is first used.
    pub(super) fn new(endpoint: &str, timeout: Duration) -> Client {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        let path = match path.strip_prefix("/@") {
            Some(name) => format!("\0{name}"),
            None => path.to_owned(),
        };
        let connect = tower::service_fn(move |_: http::Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The name is only what the requests say; the way is the socket.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect);
        Client { channel, timeout }
    }

    async fn call<Q, A>(&self, method: &'static str, request: Q) -> Result<A, TransformError>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        let answered = tokio::time::timeout(self.timeout, async {
            let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(meta::causes::chain(&error));
            grpc.ready().await.map_err(unavailable)?;
            let codec = ProstCodec::<Q, A>::default();
            let path = PathAndQuery::from_static(method);
            grpc.unary(tonic::Request::new(request), path, codec).await
        });
        match answered.await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(told(&status)),
            Err(_) => Err(TransformError::of_call(
                "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
                "DeadlineExceeded",
            )),
        }
    }
}

#[async_trait]
impl Service for Client {
    async fn status(&self) -> Result<StatusResponse, TransformError> {
        self.call("/v2.KeyManagementService/Status", StatusRequest {}).await
    }

    async fn encrypt(&self, request: EncryptRequest) -> Result<EncryptResponse, TransformError> {
        self.call("/v2.KeyManagementService/Encrypt", request).await
    }

    async fn decrypt(&self, request: DecryptRequest) -> Result<DecryptResponse, TransformError> {
        self.call("/v2.KeyManagementService/Decrypt", request).await
    }
}

fn told(status: &tonic::Status) -> TransformError {
    // Rust's and Go's names of the codes are the same, but for one letter.
    let code = match status.code() {
        tonic::Code::Ok => "OK",
        tonic::Code::Cancelled => "Canceled",
        tonic::Code::InvalidArgument => "InvalidArgument",
        tonic::Code::DeadlineExceeded => "DeadlineExceeded",
        tonic::Code::NotFound => "NotFound",
        tonic::Code::PermissionDenied => "PermissionDenied",
        tonic::Code::ResourceExhausted => "ResourceExhausted",
        tonic::Code::FailedPrecondition => "FailedPrecondition",
        tonic::Code::Unimplemented => "Unimplemented",
        tonic::Code::Internal => "Internal",
        tonic::Code::Unavailable => "Unavailable",
        tonic::Code::Unauthenticated => "Unauthenticated",
        _ => "Unknown",
    };
    TransformError::of_call(format!("rpc error: code = {code} desc = {}", status.message()), code)
}
