//! A small memory of what resolvers answered, bounded in number and time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use parking_lot::Mutex;

const MOST: usize = 2000;
/// No answer is kept longer, whatever it says: a host's resolver keeps its own.
const LONGEST: Duration = Duration::from_secs(30);

/// What was asked, with what makes answers differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) name: Name,
    pub(crate) kind: RecordType,
    /// The client wants signatures, and wants them unchecked.
    pub(crate) dnssec: (bool, bool),
}

struct Kept {
    answer: Message,
    since: Instant,
    until: Instant,
}

#[derive(Default)]
pub(crate) struct Cache {
    kept: Mutex<HashMap<Question, Kept>>,
}

impl Cache {
    /// An answer that still holds, with the time that it has left.
    pub(crate) fn get(&self, question: &Question, now: Instant) -> Option<Message> {
        let kept = self.kept.lock();
        let found = kept.get(question).filter(|kept| now < kept.until)?;
        let age = u32::try_from(now.duration_since(found.since).as_secs()).unwrap_or(u32::MAX);
        let mut answer = found.answer.clone();
        let Message {
            answers,
            authorities,
            additionals,
            ..
        } = &mut answer;
        for record in answers.iter_mut().chain(authorities).chain(additionals) {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(answer)
    }

    pub(crate) fn put(&self, question: Question, answer: &Message, now: Instant) {
        let Some(keep) = lifetime(answer) else { return };
        let mut kept = self.kept.lock();
        if kept.len() >= MOST {
            kept.retain(|_, kept| now < kept.until);
        }
        if kept.len() >= MOST {
            // Full of what is fresh: somebody asks for ever new names, and remembering them helps nobody.
            kept.clear();
        }
        kept.insert(
            question,
            Kept {
                answer: answer.clone(),
                since: now,
                until: now + keep,
            },
        );
    }
}

/// How long an answer may be kept; `None` for one that may not.
fn lifetime(answer: &Message) -> Option<Duration> {
    let known = matches!(
        answer.metadata.response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    );
    if answer.metadata.truncation || !known {
        return None;
    }
    let negative = answer.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    let seconds = answer.answers.iter().map(|record| record.ttl).min().or(negative)?;
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::OpCode;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::A;

    use super::*;

    fn question(name: &str) -> Question {
        Question {
            name: Name::from_ascii(name).unwrap(),
            kind: RecordType::A,
            dnssec: (false, false),
        }
    }

    fn answer(ttl: u32) -> Message {
        let mut answer = Message::response(1, OpCode::Query);
        let data = RData::A(A([192, 0, 2, 1].into()));
        answer
            .answers
            .push(Record::from_rdata(Name::from_ascii("a.example.").unwrap(), ttl, data));
        answer
    }

    #[test]
    fn an_answer_ages_and_ends() {
        let (cache, now) = (Cache::default(), Instant::now());
        cache.put(question("a.example."), &answer(10), now);
        let aged = cache
            .get(&question("A.example."), now + Duration::from_secs(4))
            .unwrap();
        assert_eq!(aged.answers[0].ttl, 6);
        assert!(
            cache
                .get(&question("a.example."), now + Duration::from_secs(10))
                .is_none()
        );
        cache.put(question("b.example."), &answer(100_000), now);
        assert!(cache.get(&question("b.example."), now + LONGEST).is_none());
        cache.put(question("c.example."), &answer(0), now);
        assert!(cache.get(&question("c.example."), now).is_none());
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let (cache, now) = (Cache::default(), Instant::now());
        for number in 0..3 * MOST {
            cache.put(question(&format!("n{number}.example.")), &answer(10), now);
        }
        assert!(cache.kept.lock().len() <= MOST);
    }
}
