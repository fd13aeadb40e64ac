//! A server with some services, a client, and a resolver to forward to.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use dns::{Config, Dns, Endpoint, Kind, Port, Protocol, Service, Zone};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

pub(crate) const LOCALHOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const WAIT: Duration = Duration::from_secs(15);

fn port(name: Option<&str>, protocol: Protocol, port: u16) -> Port {
    Port {
        name: name.map(str::to_owned),
        protocol,
        port,
    }
}

fn endpoint(address: &str, hostname: Option<&str>) -> Endpoint {
    Endpoint {
        addresses: vec![address.parse().unwrap()],
        hostname: hostname.map(str::to_owned),
        ports: vec![port(Some("http"), Protocol::Tcp, 8080)],
    }
}

pub(crate) fn headless(endpoints: Vec<Endpoint>) -> Service {
    Service {
        kind: Kind::Headless(endpoints),
        ports: vec![port(Some("http"), Protocol::Tcp, 80)],
    }
}

pub(crate) fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local");
    let ports = vec![port(Some("http"), Protocol::Tcp, 80), port(None, Protocol::Udp, 53)];
    zone.put(
        "default",
        "web",
        Service {
            kind: Kind::Cluster(vec!["10.96.0.7".parse().unwrap()]),
            ports: ports.clone(),
        },
    );
    let both = vec!["10.96.0.8".parse().unwrap(), "fd00::8".parse().unwrap()];
    zone.put(
        "default",
        "dual",
        Service {
            kind: Kind::Cluster(both),
            ports,
        },
    );
    let endpoints = vec![
        endpoint("10.42.0.2", Some("db-0")),
        endpoint("10.42.0.3", Some("db-1")),
        endpoint("10.42.0.4", None),
    ];
    zone.put("default", "db", headless(endpoints));
    zone.put("default", "nobody", headless(Vec::new()));
    zone.put(
        "default",
        "away",
        Service {
            kind: Kind::External("www.example.com".into()),
            ports: Vec::new(),
        },
    );
    zone.put(
        "default",
        "alias",
        Service {
            kind: Kind::External("web.default.svc.cluster.local".into()),
            ports: Vec::new(),
        },
    );
    zone
}

pub(crate) async fn start(resolv_conf: &Path) -> Dns {
    let config = Config {
        listen: vec![LOCALHOST],
        own: Vec::new(),
        resolv_conf: resolv_conf.to_owned(),
    };
    Dns::start(config, zone()).await.unwrap()
}

pub(crate) fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message
        .queries
        .push(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

pub(crate) async fn send_udp(server: SocketAddr, bytes: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind(LOCALHOST).await.unwrap();
    socket.send_to(bytes, server).await.unwrap();
    let mut buffer = vec![0; 65_535];
    let read = timeout(WAIT, socket.recv(&mut buffer)).await.ok()?.unwrap();
    buffer.truncate(read);
    Some(buffer)
}

/// Asks over UDP.
pub(crate) async fn ask(dns: &Dns, message: &Message) -> Message {
    let bytes = send_udp(dns.addresses()[0], &message.to_vec().unwrap())
        .await
        .expect("an answer");
    let answer = Message::from_vec(&bytes).unwrap();
    assert_eq!(answer.metadata.id, message.metadata.id);
    assert_eq!(answer.queries, message.queries);
    answer
}

pub(crate) async fn ask_tcp(dns: &Dns, message: &Message) -> Message {
    let mut stream = TcpStream::connect(dns.addresses()[0]).await.unwrap();
    let bytes = message.to_vec().unwrap();
    stream.write_u16(bytes.len() as u16).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut buffer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut buffer).await.unwrap();
    Message::from_vec(&buffer).unwrap()
}

/// The data of the answers, as text, sorted.
pub(crate) async fn look_up(dns: &Dns, name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
    let answer = ask(dns, &question(name, kind)).await;
    if answer.answers.is_empty() {
        assert_eq!(
            answer.authorities.len(),
            1,
            "a negative answer bears the zone's SOA: {answer}"
        );
        assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
    }
    let mut data: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
    assert!(answer.answers.iter().all(|record| record.ttl <= 30));
    data.sort();
    (answer.metadata.response_code, data)
}

/// A resolver: knows `www.example.com`, a name with a large answer, and nothing else.
pub(crate) async fn resolver() -> SocketAddr {
    let udp = UdpSocket::bind(LOCALHOST).await.unwrap();
    let address = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        loop {
            let (read, client) = udp.recv_from(&mut buffer).await.unwrap();
            let mut answer = resolve(&Message::from_vec(&buffer[..read]).unwrap());
            if answer.answers.len() > 10 {
                answer.answers.clear();
                answer.metadata.truncation = true;
            }
            udp.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let mut buffer = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut buffer).await.unwrap();
            let bytes = resolve(&Message::from_vec(&buffer).unwrap()).to_vec().unwrap();
            stream.write_u16(bytes.len() as u16).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    address
}

fn resolve(request: &Message) -> Message {
    let mut answer = Message::response(request.metadata.id, OpCode::Query);
    answer.queries.clone_from(&request.queries);
    let name = request.queries[0].name().clone();
    match name.to_ascii().to_lowercase().as_str() {
        "www.example.com." => {
            answer
                .answers
                .push(Record::from_rdata(name, 20, RData::A(A([192, 0, 2, 53].into()))));
        }
        "large.example.com." => {
            let text = |number| RData::TXT(TXT::new(vec![format!("{number}-{}", "x".repeat(200))]));
            answer
                .answers
                .extend((0..20).map(|number| Record::from_rdata(name.clone(), 20, text(number))));
        }
        _ => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    answer
}

pub(crate) fn with_payload(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.edns = Some(edns);
    message
}
