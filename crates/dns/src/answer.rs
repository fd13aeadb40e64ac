//! From a question to an answer out of the zone, in messages of hickory-proto. No input or output here: this is what
//! hostile packets meet first, and what the property tests feed.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::zone::{Found, SCHEMA, Target, Zone};

/// Seconds that clients may keep an answer.
pub(crate) const TTL: u32 = 5;
/// What we take and give over UDP to who says that it can.
const PAYLOAD: u16 = 1232;
const PLAIN_PAYLOAD: u16 = 512;
/// How many names may stand for each other in a row.
const LONGEST_ALIAS: usize = 8;

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is answered. `Some` query: an alias leads out of the zone, and its target is to be asked for.
    Answered(Box<Message>, Option<Query>),
    /// It is not of this zone: ask the host's resolvers.
    Forward(Box<Message>),
    /// It is no request that deserves an answer.
    Ignored,
}

/// Looks at a packet.
pub(crate) fn outcome(packet: &[u8], zone: &Zone) -> Outcome {
    let request = match Message::from_vec(packet) {
        Ok(request) => request,
        Err(_) => return malformed(packet),
    };
    if request.metadata.message_type != MessageType::Query {
        return Outcome::Ignored;
    }
    let refuse = |code| Outcome::Answered(Box::new(reply(&request, code)), None);
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return refuse(ResponseCode::BADVERS);
    }
    if request.metadata.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    let [query] = request.queries.as_slice() else {
        return refuse(ResponseCode::FormErr);
    };
    if query.query_class() != DNSClass::IN {
        return refuse(ResponseCode::Refused);
    }
    if matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
        return refuse(ResponseCode::Refused);
    }
    let query = query.clone();
    let labels = labels(query.name());
    if let Some(below) = zone.below(&labels) {
        return in_zone(&request, &query, zone.find(below), zone);
    }
    if let Some(addresses) = zone.host(&labels) {
        return Outcome::Answered(Box::new(of_host(&request, &query, addresses, zone)), None);
    }
    if query.query_type() == RecordType::PTR
        && let Ok(network) = query.name().parse_arpa_name()
        && network.prefix_len() == network.max_prefix_len()
    {
        let names = zone.names_of(network.addr());
        if !names.is_empty() {
            let mut answer = reply(&request, ResponseCode::NoError);
            answer.metadata.authoritative = true;
            let names = names.iter().filter_map(|labels| name(labels));
            answer
                .answers
                .extend(names.map(|target| record(query.name(), RData::PTR(PTR(target)))));
            return Outcome::Answered(Box::new(answer), None);
        }
    }
    Outcome::Forward(Box::new(request))
}

/// An answer with nothing in it yet but the question.
pub(crate) fn reply(request: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
    answer.metadata.recursion_desired = request.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.checking_disabled = request.metadata.checking_disabled;
    answer.metadata.response_code = code;
    answer.queries.clone_from(&request.queries);
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD).set_rcode_high(code.high());
        answer.edns = Some(edns);
    }
    answer
}

/// The largest answer over UDP that the client takes.
pub(crate) fn payload_limit(request_edns: Option<&Edns>) -> usize {
    let asked = request_edns.map_or(PLAIN_PAYLOAD, Edns::max_payload);
    usize::from(asked.clamp(PLAIN_PAYLOAD, PAYLOAD))
}

/// An answer as bytes, cut to a size when a limit is given.
pub(crate) fn encode(answer: &Message, limit: Option<usize>) -> Option<Vec<u8>> {
    let bytes = answer.to_vec().ok()?;
    if limit.is_none_or(|limit| bytes.len() <= limit) {
        return Some(bytes);
    }
    // The additional section is a service to the client only; without it the answer may fit.
    let mut smaller = answer.clone();
    smaller.additionals.clear();
    let bytes = smaller.to_vec().ok()?;
    if limit.is_none_or(|limit| bytes.len() <= limit) {
        return Some(bytes);
    }
    smaller.answers.clear();
    smaller.authorities.clear();
    smaller.metadata.truncation = true;
    smaller.to_vec().ok()
}

/// A packet that is no message: who sent it is told, as far as its header can be made out.
fn malformed(packet: &[u8]) -> Outcome {
    let (Some(&[high, low]), Some(flags)) = (packet.first_chunk::<2>(), packet.get(2)) else {
        return Outcome::Ignored;
    };
    let is_response = flags & 0x80 != 0;
    if is_response || packet.len() < 12 {
        return Outcome::Ignored;
    }
    let id = u16::from_be_bytes([high, low]);
    Outcome::Answered(
        Box::new(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)),
        None,
    )
}

fn in_zone(request: &Message, query: &Query, found: Found, zone: &Zone) -> Outcome {
    let mut answer = reply(request, ResponseCode::NoError);
    answer.metadata.authoritative = true;
    let (asked, kind) = (query.name(), query.query_type());
    let mut follow = None;
    match found {
        Found::Nothing => answer.metadata.response_code = ResponseCode::NXDomain,
        Found::Empty => {}
        Found::Version => {
            if wants(kind, RecordType::TXT) {
                answer
                    .answers
                    .push(record(asked, RData::TXT(TXT::new(vec![SCHEMA.to_owned()]))));
            }
        }
        Found::Addresses(addresses) => answer.answers.extend(address_records(asked, kind, &addresses)),
        Found::Alias(target) => follow = alias(&mut answer, query, &target, zone),
        Found::Targets(targets) => {
            if wants(kind, RecordType::SRV) {
                service_records(&mut answer, asked, &targets);
            }
        }
    }
    let authority = || name(zone.domain()).and_then(|domain| authority(&domain, zone));
    if asked.num_labels() as usize == zone.domain().len() && wants(kind, RecordType::SOA) {
        answer.answers.extend(authority());
    }
    if answer.answers.is_empty() {
        answer.authorities.extend(authority());
    }
    Outcome::Answered(Box::new(answer), follow)
}

/// A name outside of the domain is a zone of its own.
fn of_host(request: &Message, query: &Query, addresses: &[IpAddr], zone: &Zone) -> Message {
    let mut answer = reply(request, ResponseCode::NoError);
    answer.metadata.authoritative = true;
    let (asked, kind) = (query.name(), query.query_type());
    answer.answers.extend(address_records(asked, kind, addresses));
    if wants(kind, RecordType::SOA) {
        answer.answers.extend(authority(asked, zone));
    }
    if answer.answers.is_empty() {
        answer.authorities.extend(authority(asked, zone));
    }
    answer
}

/// Answers with the other name, and with what that is: from this zone, or by the query that is returned.
fn alias(answer: &mut Message, query: &Query, target: &str, zone: &Zone) -> Option<Query> {
    let kind = query.query_type();
    let (mut owner, mut target) = (query.name().clone(), absolute(target)?);
    for _ in 0..LONGEST_ALIAS {
        answer.answers.push(record(&owner, RData::CNAME(CNAME(target.clone()))));
        if kind == RecordType::CNAME {
            return None;
        }
        let labels = labels(&target);
        let Some(below) = zone.below(&labels) else {
            return Some(Query::query(target, kind));
        };
        match zone.find(below) {
            Found::Alias(next) => (owner, target) = (target, absolute(&next)?),
            Found::Addresses(addresses) => {
                answer.answers.extend(address_records(&target, kind, &addresses));
                return None;
            }
            Found::Nothing => {
                answer.metadata.response_code = ResponseCode::NXDomain;
                return None;
            }
            _ => return None,
        }
    }
    // A circle, or as good as one.
    answer.answers.clear();
    answer.metadata.response_code = ResponseCode::ServFail;
    None
}

fn service_records(answer: &mut Message, asked: &Name, targets: &[Target]) {
    let weight = u16::try_from(100 / targets.len().clamp(1, 100)).unwrap_or(1);
    for target in targets {
        let Some(host) = name(&target.labels) else { continue };
        answer.answers.push(record(
            asked,
            RData::SRV(SRV::new(0, weight, target.port, host.clone())),
        ));
        answer
            .additionals
            .extend(address_records(&host, RecordType::ANY, &target.addresses));
    }
}

fn address_records(owner: &Name, kind: RecordType, addresses: &[IpAddr]) -> Vec<Record> {
    let data = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) if wants(kind, RecordType::A) => Some(RData::A(A(*address))),
        IpAddr::V6(address) if wants(kind, RecordType::AAAA) => Some(RData::AAAA(AAAA(*address))),
        _ => None,
    });
    data.map(|data| record(owner, data)).collect()
}

fn wants(asked: RecordType, kind: RecordType) -> bool {
    asked == kind || asked == RecordType::ANY
}

/// What tells clients how long to remember that there is nothing.
fn authority(domain: &Name, zone: &Zone) -> Option<Record> {
    let server = Name::from_ascii("ns.dns").ok()?.append_domain(domain).ok()?;
    let contact = Name::from_ascii("hostmaster").ok()?.append_domain(domain).ok()?;
    let soa = SOA::new(server, contact, zone.serial(), 7200, 1800, 86_400, TTL);
    Some(record(domain, RData::SOA(soa)))
}

fn record(owner: &Name, data: RData) -> Record {
    Record::from_rdata(owner.clone(), TTL, data)
}

/// A name's labels in lower case. A label that is no text is kept apart from all that are.
fn labels(name: &Name) -> Vec<String> {
    name.iter()
        .map(|label| String::from_utf8_lossy(label).to_ascii_lowercase())
        .collect()
}

fn name(labels: &[String]) -> Option<Name> {
    let mut name = Name::from_labels(labels.iter().map(String::as_bytes)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn absolute(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests;
