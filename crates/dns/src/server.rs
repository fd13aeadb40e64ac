//! The server: packets and connections in, answers out.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, ResponseCode};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::answer::{self, Outcome};
use crate::forward::Forwarder;
use crate::resolv::Source;
use crate::zone::Zone;

/// Requests that wait for resolvers at once, and connections at once: what is beyond is refused.
const MOST_FORWARDED: usize = 1000;
const MOST_CONNECTIONS: usize = 500;
const IDLE: Duration = Duration::from_secs(10);
const LARGEST_REQUEST: usize = 4096;

/// How the server is run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens, over UDP and TCP. With port 0 the kernel picks one, the same for both.
    pub listen: Vec<SocketAddr>,
    /// Other addresses that lead here, such as the service's: never taken for a resolver.
    pub own: Vec<SocketAddr>,
    /// The file that names the host's resolvers.
    pub resolv_conf: PathBuf,
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
#[error("listening on {address} for DNS")]
pub struct Error {
    /// Where.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// What the server has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests over UDP.
    pub udp: u64,
    /// Requests over TCP.
    pub tcp: u64,
    /// Answers without error.
    pub no_error: u64,
    /// Answers that there is no such name.
    pub no_such_name: u64,
    /// Answers that something failed.
    pub failed: u64,
    /// Other answers: refused, malformed.
    pub other: u64,
    /// Requests that were not of the zone.
    pub forwarded: u64,
    /// Of those, the ones that were known already.
    pub cache_hits: u64,
    /// Questions that no resolver answered.
    pub resolver_failures: u64,
}

/// A running server; it stops when this value is dropped.
pub struct Dns {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    changes: Mutex<()>,
    _stop: DropGuard,
}

struct Shared {
    zone: ArcSwap<Zone>,
    forwarder: Forwarder,
    waiting: Semaphore,
    connections: Arc<Semaphore>,
    udp: AtomicU64,
    tcp: AtomicU64,
    forwarded: AtomicU64,
    codes: [AtomicU64; 4],
}

impl Dns {
    /// Starts listening and answering.
    pub async fn start(config: Config, zone: Zone) -> Result<Dns, Error> {
        let mut sockets = Vec::new();
        for address in &config.listen {
            sockets.push(bind(*address).await.map_err(|source| Error {
                address: *address,
                source,
            })?);
        }
        let addresses: Vec<SocketAddr> = sockets.iter().map(|(_, _, address)| *address).collect();
        let own = addresses.iter().chain(&config.own).copied().collect();
        let shared = Arc::new(Shared {
            zone: ArcSwap::from_pointee(zone),
            forwarder: Forwarder::new(Source::new(&config.resolv_conf, own)),
            waiting: Semaphore::new(MOST_FORWARDED),
            connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            udp: AtomicU64::new(0),
            tcp: AtomicU64::new(0),
            forwarded: AtomicU64::new(0),
            codes: Default::default(),
        });
        let stop = CancellationToken::new();
        for (udp, tcp, _) in sockets {
            let (datagrams, connections) = (shared.clone(), shared.clone());
            tokio::spawn(
                stop.clone()
                    .run_until_cancelled_owned(datagrams.serve_datagrams(Arc::new(udp))),
            );
            tokio::spawn(
                stop.clone()
                    .run_until_cancelled_owned(connections.serve_connections(tcp, stop.clone())),
            );
        }
        Ok(Dns {
            shared,
            addresses,
            changes: Mutex::new(()),
            _stop: stop.drop_guard(),
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Changes the zone. Questions see it as it was before or as it is after, never between.
    pub fn update(&self, change: impl FnOnce(&mut Zone)) {
        let _one_at_a_time = self.changes.lock();
        let mut zone = Zone::clone(&self.shared.zone.load());
        change(&mut zone);
        self.shared.zone.store(Arc::new(zone));
    }

    /// What it has done.
    pub fn counters(&self) -> Counters {
        let shared = &self.shared;
        let [no_error, no_such_name, failed, other] = shared.codes.each_ref().map(|code| code.load(Ordering::Relaxed));
        Counters {
            udp: shared.udp.load(Ordering::Relaxed),
            tcp: shared.tcp.load(Ordering::Relaxed),
            no_error,
            no_such_name,
            failed,
            other,
            forwarded: shared.forwarded.load(Ordering::Relaxed),
            cache_hits: shared.forwarder.cache_hits.load(Ordering::Relaxed),
            resolver_failures: shared.forwarder.failures.load(Ordering::Relaxed),
        }
    }
}

/// Both sockets of an address. A port that the kernel picked for one may be taken for the other: then again.
async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    let mut tries = 0;
    loop {
        let udp = UdpSocket::bind(address).await?;
        let picked = udp.local_addr()?;
        match TcpListener::bind(picked).await {
            Ok(tcp) => return Ok((udp, tcp, picked)),
            Err(_) if address.port() == 0 && tries < 10 => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

impl Shared {
    async fn serve_datagrams(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; LARGEST_REQUEST];
        loop {
            // An error here tells of an earlier answer that could not be delivered; there is nothing to do about it.
            let Ok((read, client)) = socket.recv_from(&mut buffer).await else {
                continue;
            };
            self.udp.fetch_add(1, Ordering::Relaxed);
            let packet = buffer.get(..read).unwrap_or_default();
            match answer::outcome(packet, &self.zone.load()) {
                Outcome::Ignored => {}
                Outcome::Answered(answer, None) => {
                    self.count(&answer);
                    // What the client takes is in the request, of which the answer has the mark only.
                    let limit = payload_of(packet);
                    if let Some(bytes) = answer::encode(&answer, Some(limit)) {
                        let _ = socket.send_to(&bytes, client).await;
                    }
                }
                slow => {
                    let (shared, socket, limit) = (self.clone(), socket.clone(), payload_of(packet));
                    tokio::spawn(async move {
                        let answer = shared.finish(slow).await;
                        if let Some(bytes) = answer.and_then(|answer| answer::encode(&answer, Some(limit))) {
                            let _ = socket.send_to(&bytes, client).await;
                        }
                    });
                }
            }
        }
    }

    async fn serve_connections(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "accepting a DNS connection failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(permit) = self.connections.clone().try_acquire_owned() else {
                continue;
            };
            let shared = self.clone();
            tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
                let _permit = permit;
                let _ = shared.serve_connection(stream).await;
            }));
        }
    }

    async fn serve_connection(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let length = timeout(IDLE, stream.read_u16()).await??;
            let mut packet = vec![0; usize::from(length)];
            timeout(IDLE, stream.read_exact(&mut packet)).await??;
            self.tcp.fetch_add(1, Ordering::Relaxed);
            let outcome = answer::outcome(&packet, &self.zone.load());
            let Some(answer) = self.finish(outcome).await else {
                return Ok(());
            };
            let limit = Some(usize::from(u16::MAX));
            let Some(bytes) = answer::encode(&answer, limit) else {
                return Ok(());
            };
            let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
            timeout(
                IDLE,
                stream.write_all(&[&length.to_be_bytes(), bytes.as_slice()].concat()),
            )
            .await??;
        }
    }

    /// Gets what an outcome lacks from the resolvers.
    async fn finish(&self, outcome: Outcome) -> Option<Message> {
        let answer = match outcome {
            Outcome::Ignored => return None,
            Outcome::Answered(answer, None) => *answer,
            Outcome::Answered(mut answer, Some(query)) => {
                let _permit = self.waiting.try_acquire().ok()?;
                if let Some(found) = self.forwarder.ask(&query, (false, false)).await {
                    answer.answers.extend(found.answers);
                }
                *answer
            }
            Outcome::Forward(request) => {
                self.forwarded.fetch_add(1, Ordering::Relaxed);
                match self.waiting.try_acquire() {
                    Ok(_permit) => self.forwarder.answer(&request).await,
                    Err(_) => answer::reply(&request, ResponseCode::ServFail),
                }
            }
        };
        self.count(&answer);
        Some(answer)
    }

    fn count(&self, answer: &Message) {
        let [no_error, no_such_name, failed, other] = &self.codes;
        let counter = match answer.metadata.response_code {
            ResponseCode::NoError => no_error,
            ResponseCode::NXDomain => no_such_name,
            ResponseCode::ServFail => failed,
            _ => other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The largest answer that a request allows.
fn payload_of(packet: &[u8]) -> usize {
    let request = Message::from_vec(packet).ok();
    answer::payload_limit(request.as_ref().and_then(|request| request.edns.as_ref()))
}
