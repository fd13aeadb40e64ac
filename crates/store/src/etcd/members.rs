//! The members of an etcd cluster, and calls to whichever of them answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::channel::mpsc;
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use super::Options;
use super::failure::Failure;
use super::proto::{WatchRequest, WatchResponse};
use crate::{Error, caller};

const WATCH: &str = "/etcdserverpb.Watch/Watch";
/// A call that takes longer is given up; etcd itself gives up after seven seconds.
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
/// etcd ends connections that ask more often than every five seconds, or while nothing is under way; the watch always is.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);
/// Room for answers that nobody has read yet; a watch that is read slowly must not keep other calls waiting.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// All members, one of which is asked until it fails.
pub(crate) struct Members {
    all: Vec<Member>,
    current: AtomicUsize,
}

/// One member. Connections are made when they are needed.
pub(crate) struct Member {
    pub(crate) url: String,
    channel: Channel,
}

impl Members {
    pub(crate) fn new(options: &Options) -> Result<Self, Error> {
        let all: Vec<Member> = options
            .endpoints
            .iter()
            .map(|url| Member::new(url, options))
            .collect::<Result<_, _>>()?;
        if all.is_empty() {
            return Err(Error::Unavailable("no etcd is named".to_owned()));
        }
        Ok(Self {
            all,
            current: AtomicUsize::new(0),
        })
    }

    /// A call that does no harm when it is done twice: it goes on to the next member until one answers.
    pub(crate) async fn repeat<Q, A>(&self, path: &'static str, question: Q) -> Result<A, Failure>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut round = self.round();
        loop {
            match round.member().call(path, question.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => round.go_on(failure)?,
            }
        }
    }

    /// A call that is done once at most: it goes on to the next member only when none was reached.
    pub(crate) async fn once<Q, A>(&self, path: &'static str, question: Q) -> Result<A, Failure>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut round = self.round();
        loop {
            match round.member().call(path, question.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(failure @ Failure::Unreached(_)) => round.go_on(failure)?,
                Err(failure) => {
                    round.leave(&failure);
                    return Err(failure);
                }
            }
        }
    }

    /// Tries members, from the current one on: one more than there are, as a connection that has died is noticed when it
    /// is used.
    pub(crate) fn round(&self) -> Round<'_> {
        Round {
            members: self,
            at: self.current.load(Ordering::Relaxed),
            left: self.all.len(),
        }
    }
}

/// A round through the members, until one does what it is asked.
pub(crate) struct Round<'a> {
    members: &'a Members,
    at: usize,
    left: usize,
}

impl<'a> Round<'a> {
    /// Whose turn it is.
    pub(crate) fn member(&self) -> &'a Member {
        &self.members.all[self.at]
    }

    /// After a failure: on to the next member, when there is one that may do better.
    pub(crate) fn go_on(&mut self, failure: Failure) -> Result<(), Failure> {
        self.leave(&failure);
        if self.left == 0 || !failure.elsewhere() {
            return Err(failure);
        }
        self.left -= 1;
        self.at = (self.at + 1) % self.members.all.len();
        Ok(())
    }

    /// Later rounds begin with the next member, when this one has failed; unless one of them has gone on already.
    fn leave(&self, failure: &Failure) {
        let next = (self.at + 1) % self.members.all.len();
        if next == self.at || !failure.elsewhere() {
            return;
        }
        let current = &self.members.current;
        if current
            .compare_exchange(self.at, next, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            tracing::warn!(
                etcd = self.member().url,
                ?failure,
                "going on with the next member of etcd"
            );
        }
    }
}

impl Member {
    fn new(url: &str, options: &Options) -> Result<Self, Error> {
        let wrong =
            |error: tonic::transport::Error| Error::Unavailable(format!("{url}: {}", meta::causes::chain(&error)));
        let mut endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(wrong)?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        if url.starts_with("https://") {
            let mut tls = ClientTlsConfig::new();
            tls = match &options.ca {
                Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
                None => tls.with_native_roots(),
            };
            if let Some((certificate, key)) = &options.identity {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            endpoint = endpoint.tls_config(tls).map_err(wrong)?;
        }
        Ok(Self {
            url: url.to_owned(),
            channel: endpoint.connect_lazy(),
        })
    }

    /// One question, one answer.
    pub(crate) async fn call<Q, A>(&self, path: &'static str, question: Q) -> Result<A, Failure>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut request = demanding(question);
        request.set_timeout(PATIENCE);
        if let Some(parent) = caller::parent().and_then(|parent| parent.parse().ok()) {
            request.metadata_mut().insert("traceparent", parent);
        }
        let codec = ProstCodec::<Q, A>::default();
        let answered = async {
            let mut grpc = self.grpc().await?;
            let answer = grpc.unary(request, PathAndQuery::from_static(path), codec).await;
            answer.map_err(|status| self.failed(&Failure::of(&status)))
        };
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Failure::Lost(format!(
                "{} doesn't answer within {} s",
                self.url,
                PATIENCE.as_secs()
            ))),
        }
    }

    /// Opens a stream of watches; the first request must be in `requests` already, as etcd says nothing before.
    pub(crate) async fn watch(
        &self,
        requests: mpsc::UnboundedReceiver<WatchRequest>,
    ) -> Result<Streaming<WatchResponse>, Failure> {
        let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
        let opened = async {
            let mut grpc = self.grpc().await?;
            let path = PathAndQuery::from_static(WATCH);
            let stream = grpc.streaming(demanding(requests), path, codec).await;
            stream.map_err(|status| self.failed(&Failure::of(&status)))
        };
        match tokio::time::timeout(PATIENCE, opened).await {
            Ok(stream) => stream.map(tonic::Response::into_inner),
            Err(_) => Err(Failure::Unreached(format!(
                "{} opens no watch within {} s",
                self.url,
                PATIENCE.as_secs()
            ))),
        }
    }

    async fn grpc(&self) -> Result<Grpc<Channel>, Failure> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let unready = |error| Failure::Unreached(format!("{}: {}", self.url, meta::causes::chain(&error)));
        grpc.ready().await.map_err(unready)?;
        Ok(grpc)
    }

    /// With the member's name in what could not be reached.
    fn failed(&self, failure: &Failure) -> Failure {
        match failure {
            Failure::Unreached(text) => Failure::Unreached(format!("{}: {text}", self.url)),
            Failure::Lost(text) => Failure::Lost(format!("{}: {text}", self.url)),
            Failure::Refused(code, text) => Failure::Refused(*code, text.clone()),
        }
    }
}

/// A request to a member that has a leader: one that is cut off from the others answers at once that it has none, and
/// ends its watches, instead of being silent.
fn demanding<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("hasleader", MetadataValue::from_static("true"));
    request
}
