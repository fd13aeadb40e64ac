//! That a member is told which trace a call belongs to, by a listener that reads no more than a request's head.

use std::convert::Infallible;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::etcd::Options;
use crate::etcd::members::Members;
use crate::etcd::proto::{RangeRequest, RangeResponse};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn a_member_is_told_which_trace_a_call_belongs_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let options = Options {
        endpoints: vec![format!("http://{}", listener.local_addr().expect("an address"))],
        ..Options::default()
    };
    let (told, mut heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let told = told.clone();
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let _ = told.send(request.headers().get("traceparent").cloned());
                let mut answer = hyper::Response::new(String::new());
                // Out of range: nobody tries again after that.
                answer.headers_mut().insert("grpc-status", 11.into());
                async move { Ok::<_, Infallible>(answer) }
            });
            let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    let members = Members::new(&options).expect("members");
    let call = || members.once::<_, RangeResponse>("/etcdserverpb.KV/Range", RangeRequest::default());
    assert!(call().await.is_err());
    assert_eq!(heard.recv().await, Some(None));
    assert!(crate::traced(PARENT.to_owned(), call()).await.is_err());
    let parent = heard.recv().await.flatten();
    assert_eq!(parent.expect("a parent"), PARENT);
}
