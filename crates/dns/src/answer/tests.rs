//! No packet whatever may bring the parser or the zone down.

use proptest::prelude::*;

use super::*;
use crate::records::{Kind, Service};

fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local");
    zone.put(
        "default",
        "web",
        Service {
            kind: Kind::Cluster(vec!["10.96.0.7".parse().unwrap()]),
            ports: Vec::new(),
        },
    );
    zone.put(
        "default",
        "away",
        Service {
            kind: Kind::External("away.default.svc.cluster.local".into()),
            ports: Vec::new(),
        },
    );
    zone.put_host("Registry.example.", vec!["10.96.0.1".parse().unwrap()]);
    zone
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.queries.push(Query::query(
        Name::from_labels(name.trim_end_matches('.').split('.').map(str::as_bytes)).unwrap(),
        kind,
    ));
    message.to_vec().unwrap()
}

/// Whatever comes out must be a message that others can read.
fn check(packet: &[u8]) {
    if let Outcome::Answered(answer, _) = outcome(packet, &zone()) {
        for limit in [None, Some(512), Some(12)] {
            if let Some(bytes) = encode(&answer, limit) {
                Message::from_vec(&bytes).unwrap();
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
        check(&packet);
    }

    #[test]
    fn questions_with_bytes_changed(
        name in "[a-z_]{1,8}(\\.[a-z0-9-]{1,12}){0,3}\\.(svc|pod)\\.cluster\\.local\\.",
        kind in any::<u16>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut packet = question(&name, RecordType::from(kind));
        check(&packet);
        for (at, byte) in changes {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        check(&packet);
        check(&packet[..cut.index(packet.len())]);
    }
}

#[test]
fn what_is_no_question_gets_no_answer_or_an_error() {
    let zone = zone();
    assert!(matches!(outcome(&[], &zone), Outcome::Ignored));
    assert!(matches!(outcome(&[0; 5], &zone), Outcome::Ignored));
    let mut answer = question("web.default.svc.cluster.local.", RecordType::A);
    answer[2] |= 0x80;
    assert!(
        matches!(outcome(&answer, &zone), Outcome::Ignored),
        "an answer is not answered"
    );
    let packet = question("web.default.svc.cluster.local.", RecordType::A);
    let Outcome::Answered(answer, None) = outcome(&packet[..packet.len() - 3], &zone) else {
        panic!("answered")
    };
    assert_eq!(
        (answer.metadata.id, answer.metadata.response_code),
        (7, ResponseCode::FormErr)
    );
}

#[test]
fn an_alias_of_itself_ends() {
    let packet = question("away.default.svc.cluster.local.", RecordType::A);
    let Outcome::Answered(answer, None) = outcome(&packet, &zone()) else {
        panic!("answered")
    };
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(answer.answers.len(), 0);
}

#[test]
fn a_name_outside_of_the_domain_is_answered_here_and_its_neighbours_are_not() {
    let ask = |name: &str, kind| outcome(&question(name, kind), &zone());
    let Outcome::Answered(answer, None) = ask("registry.EXAMPLE.", RecordType::A) else {
        panic!("answered")
    };
    assert!(answer.metadata.authoritative);
    assert_eq!(answer.answers[0].data, RData::A(A([10, 96, 0, 1].into())));
    // It exists, but not for IPv6; clients may remember that for a while.
    let Outcome::Answered(answer, None) = ask("registry.example.", RecordType::AAAA) else {
        panic!("answered")
    };
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.answers.is_empty());
    assert_eq!(answer.authorities[0].name.to_string(), "registry.example.");
    for other in ["example.", "other.registry.example.", "other.example."] {
        assert!(matches!(ask(other, RecordType::A), Outcome::Forward(_)), "{other}");
    }
}
