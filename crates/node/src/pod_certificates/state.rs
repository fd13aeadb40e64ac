//! How far the certificate of one volume source is. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::PodCertificateRequestStatus;

use crate::volumes::pem;

/// A request that isn't seen for so long after it was made has been deleted, and another one is made.
pub(super) const ABANDONED: SignedDuration = SignedDuration::from_mins(10);

/// A request that was made, and the key that it is for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) request: String,
    pub(super) private: Vec<u8>,
    pub(super) at: Timestamp,
}

/// A key with the chain that a signer gave for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Issued {
    pub(super) private: Vec<u8>,
    pub(super) chain: Vec<u8>,
    pub(super) refresh_at: Timestamp,
}

/// What is known of a source's certificate.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    /// The first one was asked for.
    Waiting(Asked),
    /// It is there. While the next one is asked for, it is still shown.
    Issued(Issued, Option<Asked>),
    /// The signer won't, and says why. That is for good.
    Refused(String),
}

/// What a signer says to a request.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// Nothing yet.
    Pending,
    /// Nobody knows the request.
    Missing,
    Refused(String),
    /// A chain, cleaned, and when the next one should be asked for.
    Issued(Vec<u8>, Timestamp),
}

/// Reads a request's status.
pub(super) fn answer(status: &PodCertificateRequestStatus) -> Answer {
    for condition in status.conditions.iter().flatten() {
        let (reason, message) = (&condition.reason, &condition.message);
        let refused = |how: &str| {
            Answer::Refused(format!(
                "PodCertificateRequest was permanently {how}: reason={reason:?} message={message:?}"
            ))
        };
        match condition.type_.as_str() {
            "Denied" => return refused("denied"),
            "Failed" => return refused("failed"),
            "Issued" => return issued(status),
            _ => {}
        }
    }
    Answer::Pending
}

fn issued(status: &PodCertificateRequestStatus) -> Answer {
    let chain = pem::read(status.certificate_chain.as_deref().unwrap_or_default());
    match (chain, &status.begin_refresh_at) {
        (Ok(chain), Some(at)) if !chain.is_empty() => Answer::Issued(pem::write(chain).into_bytes(), at.0),
        _ => Answer::Refused("PodCertificateRequest was issued without a usable certificate".to_owned()),
    }
}

impl State {
    /// The request whose answer is waited for.
    pub(super) fn asked(&self) -> Option<&Asked> {
        match self {
            State::Waiting(asked) | State::Issued(_, Some(asked)) => Some(asked),
            State::Issued(_, None) | State::Refused(_) => None,
        }
    }

    /// Takes an answer in. `None`: another request must be made, as if none had been.
    pub(super) fn answered(self, answer: Answer, now: Timestamp, jitter: SignedDuration) -> Option<State> {
        let (old, asked) = match self {
            State::Waiting(asked) => (None, asked),
            State::Issued(old, Some(asked)) => (Some(old), asked),
            settled => return Some(settled),
        };
        match answer {
            Answer::Issued(chain, refresh_at) => {
                let issued = Issued {
                    private: asked.private,
                    chain,
                    refresh_at: refresh_at + jitter,
                };
                Some(State::Issued(issued, None))
            }
            Answer::Refused(why) => Some(State::Refused(why)),
            Answer::Missing if now > asked.at + ABANDONED => old.map(|old| State::Issued(old, None)),
            Answer::Missing | Answer::Pending => Some(match old {
                Some(old) => State::Issued(old, Some(asked)),
                None => State::Waiting(asked),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const NO_JITTER: SignedDuration = SignedDuration::ZERO;

    fn later(minutes: i64) -> Timestamp {
        NOW + SignedDuration::from_mins(minutes)
    }

    fn asked(request: &str) -> Asked {
        Asked {
            request: request.to_owned(),
            private: request.as_bytes().to_vec(),
            at: NOW,
        }
    }

    fn status(type_: &str, chain: &str) -> PodCertificateRequestStatus {
        let condition = Condition {
            type_: type_.to_owned(),
            reason: "Why".to_owned(),
            message: "so".to_owned(),
            last_transition_time: Time(NOW),
            observed_generation: None,
            status: "True".to_owned(),
        };
        PodCertificateRequestStatus {
            begin_refresh_at: Some(Time(later(30))),
            certificate_chain: Some(chain.to_owned()),
            conditions: Some(vec![condition]),
            ..PodCertificateRequestStatus::default()
        }
    }

    #[test]
    fn a_certificate_is_shown_until_its_successor_is_there() {
        let block = "-----BEGIN CERTIFICATE-----\nQUFB\n-----END CERTIFICATE-----\n";
        let issue = || answer(&status("Issued", &format!("a remark\n{block}")));
        let first = State::Waiting(asked("one")).answered(issue(), NOW, NO_JITTER).unwrap();
        let State::Issued(issued, None) = &first else {
            panic!("{first:?}")
        };
        assert_eq!((&*issued.private, &*issued.chain), (&b"one"[..], block.as_bytes()));
        assert_eq!(issued.refresh_at, later(30));

        let renewing = State::Issued(issued.clone(), Some(asked("two")));
        let waited = renewing.clone().answered(Answer::Pending, later(31), NO_JITTER);
        assert_eq!(waited, Some(renewing.clone()), "the old one is still there");
        let second = renewing.answered(issue(), later(31), NO_JITTER).unwrap();
        assert!(matches!(&second, State::Issued(issued, None) if issued.private == b"two"));
    }

    #[test]
    fn a_request_that_vanished_is_made_again_only_after_a_while() {
        let waiting = State::Waiting(asked("one"));
        let soon = waiting.clone().answered(Answer::Missing, later(9), NO_JITTER);
        assert_eq!(soon, Some(waiting.clone()));
        assert_eq!(waiting.answered(Answer::Missing, later(11), NO_JITTER), None);
    }

    #[test]
    fn a_refusal_is_for_good() {
        for how in ["Denied", "Failed"] {
            let refused = State::Waiting(asked("one")).answered(answer(&status(how, "")), NOW, NO_JITTER);
            let Some(State::Refused(why)) = &refused else {
                panic!("{refused:?}")
            };
            assert!(
                why.contains(&how.to_lowercase()) && why.contains("reason=\"Why\""),
                "{why}"
            );
            assert_eq!(
                refused.clone().unwrap().answered(Answer::Pending, NOW, NO_JITTER),
                refused
            );
        }
        let nothing = answer(&status("Issued", "no certificate"));
        assert!(matches!(nothing, Answer::Refused(_)), "{nothing:?}");
    }
}
