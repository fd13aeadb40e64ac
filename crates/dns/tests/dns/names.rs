//! The names that the DNS specification of Kubernetes wants, and those that must not be.

use std::path::Path;

use dns::Endpoint;
use hickory_proto::op::{MessageType, OpCode, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::world::*;

const NONE: &[&str] = &[];

#[tokio::test]
async fn records_are_as_specified() {
    let dns = start(Path::new("/nowhere")).await;
    let there = ResponseCode::NoError;
    let missing = ResponseCode::NXDomain;
    let (a, aaaa, srv, ptr) = (RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::PTR);
    let web = "web.default.svc.cluster.local.";
    let cases: &[(&str, RecordType, ResponseCode, &[&str])] = &[
        ("dns-version.cluster.local.", RecordType::TXT, there, &["1.1.0"]),
        (web, a, there, &["10.96.0.7"]),
        ("WEB.Default.svc.CLUSTER.local.", a, there, &["10.96.0.7"]),
        (web, aaaa, there, NONE),
        (web, RecordType::MX, there, NONE),
        ("dual.default.svc.cluster.local.", a, there, &["10.96.0.8"]),
        ("dual.default.svc.cluster.local.", aaaa, there, &["fd00::8"]),
        (
            "_http._tcp.web.default.svc.cluster.local.",
            srv,
            there,
            &["0 100 80 web.default.svc.cluster.local."],
        ),
        ("_tcp.web.default.svc.cluster.local.", srv, there, NONE),
        ("_https._tcp.web.default.svc.cluster.local.", srv, missing, NONE),
        ("_http._udp.web.default.svc.cluster.local.", srv, missing, NONE),
        ("7.0.96.10.in-addr.arpa.", ptr, there, &[web]),
        (
            "db.default.svc.cluster.local.",
            a,
            there,
            &["10.42.0.2", "10.42.0.3", "10.42.0.4"],
        ),
        ("db-1.db.default.svc.cluster.local.", a, there, &["10.42.0.3"]),
        ("10-42-0-4.db.default.svc.cluster.local.", a, there, &["10.42.0.4"]),
        ("db-7.db.default.svc.cluster.local.", a, missing, NONE),
        ("nobody.default.svc.cluster.local.", a, missing, NONE),
        (
            "3.0.42.10.in-addr.arpa.",
            ptr,
            there,
            &["db-1.db.default.svc.cluster.local."],
        ),
        ("10-42-0-9.default.pod.cluster.local.", a, there, &["10.42.0.9"]),
        ("10-42-0-999.default.pod.cluster.local.", a, missing, NONE),
        ("alias.default.svc.cluster.local.", a, there, &["10.96.0.7", web]),
        ("alias.default.svc.cluster.local.", RecordType::CNAME, there, &[web]),
        ("web.other.svc.cluster.local.", a, missing, NONE),
        ("www.example.com.default.svc.cluster.local.", a, missing, NONE),
        ("www.example.com.cluster.local.", a, missing, NONE),
        ("default.svc.cluster.local.", a, there, NONE),
        ("other.svc.cluster.local.", a, missing, NONE),
        ("svc.cluster.local.", a, there, NONE),
        ("cluster.local.", a, there, NONE),
    ];
    for (name, kind, code, data) in cases {
        assert_eq!(
            look_up(&dns, name, *kind).await,
            (*code, data.iter().map(|d| (*d).to_owned()).collect()),
            "{name} {kind}"
        );
    }
}

#[tokio::test]
async fn each_endpoint_of_a_headless_service_has_an_srv_record_with_its_own_port() {
    let dns = start(Path::new("/nowhere")).await;
    let answer = ask(
        &dns,
        &question("_http._tcp.db.default.svc.cluster.local.", RecordType::SRV),
    )
    .await;
    let mut data: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
    data.sort();
    let host = |label: &str| format!("0 33 8080 {label}.db.default.svc.cluster.local.");
    assert_eq!(data, [host("10-42-0-4"), host("db-0"), host("db-1")]);
    assert_eq!(answer.additionals.len(), 3, "and their addresses");
    assert!(answer.metadata.authoritative);
}

#[tokio::test]
async fn a_change_shows_at_once() {
    let dns = start(Path::new("/nowhere")).await;
    dns.update(|zone| {
        zone.remove("default", "web");
        let addresses = vec!["10.42.0.9".parse().unwrap()];
        zone.put(
            "default",
            "nobody",
            headless(vec![Endpoint {
                addresses,
                hostname: None,
                ports: Vec::new(),
            }]),
        );
    });
    let found = look_up(&dns, "web.default.svc.cluster.local.", RecordType::A).await;
    assert_eq!(found.0, ResponseCode::NXDomain);
    let found = look_up(&dns, "nobody.default.svc.cluster.local.", RecordType::A).await;
    assert_eq!(found.1, ["10.42.0.9"]);
}

#[tokio::test]
async fn what_does_not_fit_is_cut_and_whole_over_tcp() {
    let dns = start(Path::new("/nowhere")).await;
    let endpoint = |last: u8| Endpoint {
        addresses: vec![[10, 42, 1, last].into()],
        hostname: Some(format!("a-rather-long-name-{last}")),
        ports: Vec::new(),
    };
    dns.update(|zone| zone.put("default", "many", headless((0..60).map(endpoint).collect())));
    let request = question("many.default.svc.cluster.local.", RecordType::A);
    let cut = ask(&dns, &request).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let larger = ask(&dns, &with_payload(request.clone(), 1232)).await;
    assert_eq!((larger.metadata.truncation, larger.answers.len()), (false, 60));
    assert!(larger.edns.is_some());
    assert_eq!(ask_tcp(&dns, &request).await.answers.len(), 60);
    let counters = dns.counters();
    assert_eq!((counters.udp, counters.tcp, counters.no_error), (2, 1, 3));
}

#[tokio::test]
async fn what_is_no_plain_question_is_refused() {
    let dns = start(Path::new("/nowhere")).await;
    let web = "web.default.svc.cluster.local.";
    assert_eq!(
        ask(&dns, &question(web, RecordType::AXFR)).await.metadata.response_code,
        ResponseCode::Refused
    );
    let mut update = question(web, RecordType::A);
    update.metadata.op_code = OpCode::Notify;
    assert_eq!(ask(&dns, &update).await.metadata.response_code, ResponseCode::NotImp);
    let mut version = with_payload(question(web, RecordType::A), 1232);
    version.edns.as_mut().unwrap().set_version(1);
    let code = ask(&dns, &version).await.metadata.response_code;
    assert_eq!(u16::from(code), u16::from(ResponseCode::BADVERS));
    let mut two = question(web, RecordType::A);
    two.queries.push(two.queries[0].clone());
    assert_eq!(ask(&dns, &two).await.metadata.response_code, ResponseCode::FormErr);
    // Garbage is answered as such where it has a header, and the server lives on.
    let bytes = send_udp(
        dns.addresses()[0],
        &[0x12, 0x34, 1, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
    )
    .await
    .unwrap();
    let answer = hickory_proto::op::Message::from_vec(&bytes).unwrap();
    assert_eq!(
        (answer.metadata.id, answer.metadata.response_code),
        (0x1234, ResponseCode::FormErr)
    );
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    assert_eq!(look_up(&dns, web, RecordType::A).await.1.len(), 1);
}
