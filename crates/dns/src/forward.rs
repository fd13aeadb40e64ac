//! Questions that are not ours: asked of the host's resolvers, one after the other until one answers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::answer;
use crate::cache::{Cache, Question};
use crate::resolv::{Resolver, Resolvers, Source};

const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A resolver that failed is asked after the others for this long.
const SHUNNED: Duration = Duration::from_secs(10);
const ROUNDS: usize = 2;
const PAYLOAD: u16 = 1232;
/// The last label of names by which we find out whether a resolver asks us.
const LOOP_LABEL: &str = "gantry-loop";

/// Asks other resolvers, and remembers their answers for a while.
pub(crate) struct Forwarder {
    source: Source,
    cache: Cache,
    /// Marks probes as ours.
    nonce: u64,
    pub(crate) cache_hits: AtomicU64,
    pub(crate) failures: AtomicU64,
}

impl Forwarder {
    pub(crate) fn new(source: Source) -> Forwarder {
        Forwarder {
            source,
            cache: Cache::default(),
            nonce: rand::random(),
            cache_hits: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// The answer to a request that is not of the zone.
    pub(crate) async fn answer(&self, request: &Message) -> Message {
        let Some(query) = request.queries.first() else {
            return answer::reply(request, ResponseCode::FormErr);
        };
        if self.is_probe(query.name()) {
            return answer::reply(request, ResponseCode::Refused);
        }
        let dnssec_ok = request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let found = self.ask(query, (dnssec_ok, request.metadata.checking_disabled)).await;
        let Some(found) = found else {
            return answer::reply(request, ResponseCode::ServFail);
        };
        let mut reply = answer::reply(request, found.metadata.response_code);
        if let Some(edns) = &mut reply.edns {
            edns.set_dnssec_ok(dnssec_ok);
        }
        reply.metadata.authentic_data = found.metadata.authentic_data;
        reply.answers = found.answers;
        reply.authorities = found.authorities;
        reply.additionals = found.additionals;
        reply
    }

    /// What the resolvers know about a question; `None` when none of them answers.
    pub(crate) async fn ask(&self, query: &Query, dnssec: (bool, bool)) -> Option<Message> {
        let question = Question {
            name: query.name().to_lowercase(),
            kind: query.query_type(),
            dnssec,
        };
        if let Some(known) = self.cache.get(&question, Instant::now()) {
            self.cache_hits.fetch_add(1, Ordering::Relaxed);
            return Some(known);
        }
        let (resolvers, fresh) = self.source.current();
        if fresh {
            self.probe(&resolvers).await;
        }
        let mut last = None;
        for _ in 0..ROUNDS {
            for resolver in in_order(&resolvers) {
                match exchange(resolver.address, query, dnssec).await {
                    Ok(found)
                        if matches!(
                            found.metadata.response_code,
                            ResponseCode::NoError | ResponseCode::NXDomain
                        ) =>
                    {
                        *resolver.failed.lock() = None;
                        self.cache.put(question, &found, Instant::now());
                        return Some(found);
                    }
                    Ok(found) => last = Some(found),
                    Err(error) => {
                        tracing::debug!(resolver = %resolver.address, %error, "a resolver does not answer");
                        *resolver.failed.lock() = Some(Instant::now());
                    }
                }
            }
            // Each refused: asking again would change nothing.
            if last.is_some() {
                break;
            }
        }
        self.failures.fetch_add(1, Ordering::Relaxed);
        last
    }

    /// Asks each new resolver for a name that only we know: if the question comes back to us, it asks us, and asking it
    /// would go round for ever. One that takes long isn't waited for.
    async fn probe(&self, resolvers: &Arc<Resolvers>) {
        let mut probes = tokio::task::JoinSet::new();
        for (index, resolver) in resolvers.list.iter().enumerate() {
            let Ok(name) = Name::from_ascii(format!("{:016x}-{index}.{LOOP_LABEL}.", self.nonce)) else {
                continue;
            };
            let address = resolver.address;
            probes.spawn(async move {
                let _ = exchange(address, &Query::query(name, RecordType::A), (false, false)).await;
            });
        }
        let _ = timeout(Duration::from_millis(300), async {
            while probes.join_next().await.is_some() {}
        })
        .await;
        probes.detach_all();
    }

    /// Notes the resolver that sent our own probe back.
    fn is_probe(&self, name: &Name) -> bool {
        let text = name.to_lowercase().to_ascii();
        let Some(first) = text.strip_suffix(&format!(".{LOOP_LABEL}.")) else {
            return false;
        };
        if let Some(index) = first
            .strip_prefix(&format!("{:016x}-", self.nonce))
            .and_then(|index| index.parse().ok())
        {
            let (resolvers, _) = self.source.current();
            if let Some(resolver) = resolvers.list.get::<usize>(index) {
                tracing::warn!(resolver = %resolver.address, "this resolver asks the cluster's DNS: it is left out");
                *resolver.loops.lock() = true;
            }
        }
        true
    }
}

/// The resolvers to ask: those that failed lately last, those that ask us not at all.
fn in_order(resolvers: &Resolvers) -> Vec<&Resolver> {
    let now = Instant::now();
    let shunned = |resolver: &&Resolver| {
        let failed = *resolver.failed.lock();
        failed.is_some_and(|at| now.duration_since(at) < SHUNNED)
    };
    let mut order: Vec<&Resolver> = resolvers
        .list
        .iter()
        .filter(|resolver| !*resolver.loops.lock())
        .collect();
    order.sort_by_key(shunned);
    order
}

/// One question to one resolver, over TCP when the answer is too large for UDP.
async fn exchange(address: SocketAddr, query: &Query, dnssec: (bool, bool)) -> io::Result<Message> {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = dnssec.1;
    message.queries.push(query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD).set_dnssec_ok(dnssec.0);
    message.edns = Some(edns);
    let bytes = message.to_vec().map_err(io::Error::other)?;
    let answer = timeout(ANSWER_WITHIN, over_udp(address, &bytes, &message)).await??;
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    timeout(ANSWER_WITHIN, over_tcp(address, &bytes, &message)).await?
}

/// Each question from a port of its own, so that it is hard to answer in the resolver's place.
async fn over_udp(address: SocketAddr, bytes: &[u8], asked: &Message) -> io::Result<Message> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let read = socket.recv(&mut buffer).await?;
        if let Some(answer) = read_answer(buffer.get(..read).unwrap_or_default(), asked) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(address: SocketAddr, bytes: &[u8], asked: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(address).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    read_answer(&buffer, asked)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not the answer to the question"))
}

/// A packet as the answer to what was asked; `None` for any other.
fn read_answer(packet: &[u8], asked: &Message) -> Option<Message> {
    let answer = Message::from_vec(packet).ok()?;
    let same_question = match (answer.queries.as_slice(), asked.queries.as_slice()) {
        ([one], [other]) => one.name() == other.name() && one.query_type() == other.query_type(),
        // Some leave the question out of an error.
        ([], _) => answer.metadata.response_code != ResponseCode::NoError,
        _ => false,
    };
    let is_answer = answer.metadata.message_type == MessageType::Response && answer.metadata.id == asked.metadata.id;
    (is_answer && same_question).then_some(answer)
}
