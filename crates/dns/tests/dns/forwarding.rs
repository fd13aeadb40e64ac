//! Names outside of the cluster: from the host's resolvers, whatever they do.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use dns::{Config, Dns};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tokio::net::UdpSocket;

use crate::world::*;

fn write(path: &Path, resolvers: &[SocketAddr], age: u64) {
    let lines: String = resolvers
        .iter()
        .map(|address| format!("nameserver {address}\n"))
        .collect();
    fs::write(path, lines).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
}

#[tokio::test]
async fn other_names_are_asked_of_the_resolver_and_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    write(&path, &[resolver().await], 100);
    let dns = start(&path).await;
    for _ in 0..3 {
        let found = look_up(&dns, "WWW.example.com.", RecordType::A).await;
        assert_eq!(found, (ResponseCode::NoError, vec!["192.0.2.53".to_owned()]));
    }
    let answer = ask(&dns, &question("missing.example.com.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    let (_, data) = look_up(&dns, "away.default.svc.cluster.local.", RecordType::A).await;
    assert_eq!(
        data,
        ["192.0.2.53", "www.example.com."],
        "an external name comes with its address"
    );
    let large = ask_tcp(&dns, &question("large.example.com.", RecordType::TXT)).await;
    assert_eq!(large.answers.len(), 20, "asked again over TCP");
    assert!(
        ask(&dns, &question("large.example.com.", RecordType::TXT))
            .await
            .metadata
            .truncation
    );
    let counters = dns.counters();
    assert!(counters.cache_hits >= 3, "{counters:?}");
    assert_eq!(counters.forwarded, 6);
}

#[tokio::test]
async fn a_silent_resolver_costs_one_wait_and_the_next_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    let silent = UdpSocket::bind(LOCALHOST).await.unwrap();
    write(&path, &[silent.local_addr().unwrap(), resolver().await], 100);
    let dns = start(&path).await;
    let start = Instant::now();
    assert_eq!(look_up(&dns, "www.example.com.", RecordType::A).await.1, ["192.0.2.53"]);
    assert!(start.elapsed() < Duration::from_secs(5));
    let start = Instant::now();
    let answer = ask(&dns, &question("missing.example.com.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "the silent one is asked last now"
    );
}

#[tokio::test]
async fn without_a_resolver_it_fails_at_once_and_a_new_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    let dns = start(&path).await;
    let request = question("www.example.com.", RecordType::A);
    let start = Instant::now();
    assert_eq!(ask(&dns, &request).await.metadata.response_code, ResponseCode::ServFail);
    assert!(start.elapsed() < Duration::from_secs(1));
    write(&path, &[resolver().await], 0);
    assert_eq!(ask(&dns, &request).await.answers.len(), 1);
    assert_eq!(dns.counters().resolver_failures, 1);
}

#[tokio::test]
async fn a_resolver_that_asks_us_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    // Each side of this relay is an address that nobody knows as ours.
    let relay = UdpSocket::bind(LOCALHOST).await.unwrap();
    write(&path, &[relay.local_addr().unwrap()], 100);
    let config = Config {
        listen: vec![LOCALHOST],
        own: Vec::new(),
        resolv_conf: path,
    };
    let dns = Dns::start(config, zone()).await.unwrap();
    let server = dns.addresses()[0];
    let passed = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = passed.clone();
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        loop {
            let (read, client) = relay.recv_from(&mut buffer).await.unwrap();
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if let Some(answer) = send_udp(server, &buffer[..read]).await {
                relay.send_to(&answer, client).await.unwrap();
            }
        }
    });
    let start = Instant::now();
    let answer = ask(&dns, &question("www.example.com.", RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!(start.elapsed() < Duration::from_secs(3));
    let passed = passed.load(std::sync::atomic::Ordering::Relaxed);
    assert!(passed <= 2, "{passed} questions went round");
}
