//! How a trace goes on from process to process: the headers of the W3C's trace context, and its baggage.
//!
//! <https://www.w3.org/TR/trace-context/>

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::otlp::SAMPLED;

pub(super) const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// No `tracestate` has more members, and none is longer than what a server must be able to pass on.
const MEMBERS: usize = 32;
const LONGEST_STATE: usize = 512;
const LONGEST_BAGGAGE: usize = 8192;

/// A span elsewhere, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) trace: [u8; 16],
    pub(super) span: u64,
    pub(super) sampled: bool,
    pub(super) state: String,
}

impl Remote {
    /// The span that a request was sent by; none when it doesn't say so as it should.
    pub(super) fn of(headers: &HeaderMap) -> Option<Remote> {
        let text = headers.get(PARENT)?.to_str().ok()?;
        let mut parts = text.split('-');
        let mut part = |length: usize| parts.next().filter(|part| part.len() == length);
        let version = number(part(2)?)?;
        let (trace, span, flags) = (part(32)?, part(16)?, number(part(2)?)?);
        // Later versions may say more; this one doesn't.
        let more = parts.next().is_some();
        if version == 0xff || (version == 0 && (more || flags > 3)) {
            return None;
        }
        let (high, low) = (number(&trace[..16])?, number(&trace[16..])?);
        let span = number(span)?;
        if (high == 0 && low == 0) || span == 0 {
            return None;
        }
        let mut id = [0; 16];
        id[..8].copy_from_slice(&high.to_be_bytes());
        id[8..].copy_from_slice(&low.to_be_bytes());
        Some(Remote {
            trace: id,
            span,
            sampled: flags & u64::from(SAMPLED) != 0,
            state: state(headers),
        })
    }
}

/// Lower-case hexadecimal digits.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(text, 16).ok().filter(|_| digits)
}

/// What others have noted of the trace; nothing when it can't be read.
fn state(headers: &HeaderMap) -> String {
    let Some(text) = headers.get(STATE).and_then(|value| value.to_str().ok()) else {
        return String::new();
    };
    let mut members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    let good = |member: &str| {
        member
            .split_once('=')
            .is_some_and(|(key, value)| !key.is_empty() && !value.is_empty())
    };
    let fits = text.len() <= LONGEST_STATE && text.split(',').count() <= MEMBERS;
    match fits && members.all(good) {
        true => text.to_owned(),
        false => String::new(),
    }
}

/// What a request has for whoever is asked on its behalf.
pub(super) fn baggage(headers: &HeaderMap) -> Option<HeaderValue> {
    headers
        .get(BAGGAGE)
        .filter(|value| value.len() <= LONGEST_BAGGAGE)
        .cloned()
}

/// `traceparent` as a span sends it.
pub(super) fn parent(trace: &[u8; 16], span: u64, sampled: bool) -> String {
    format!("00-{}-{span:016x}-{:02x}", hex::encode(trace), u8::from(sampled))
}

/// Puts a span into the headers of a request that goes out.
pub(super) fn inject(headers: &mut HeaderMap, parent: &str, state: &str, baggage: Option<&HeaderValue>) {
    let Ok(parent) = HeaderValue::from_str(parent) else {
        return;
    };
    headers.insert(PARENT, parent);
    match HeaderValue::from_str(state) {
        Ok(state) if !state.is_empty() => headers.insert(STATE, state),
        _ => headers.remove(STATE),
    };
    if let Some(baggage) = baggage {
        headers.insert(BAGGAGE, baggage.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(parent: &str) -> Option<Remote> {
        let mut headers = HeaderMap::new();
        headers.insert(PARENT, parent.parse().unwrap());
        Remote::of(&headers)
    }

    #[test]
    fn a_parent_comes_and_goes() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let found = remote(text).unwrap();
        assert!(found.sampled && found.span == 0xb7ad_6b71_6920_3331);
        assert_eq!(parent(&found.trace, found.span, true), text);
        assert!(
            !remote("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02")
                .unwrap()
                .sampled
        );
        // A later version is read as far as it is known.
        assert!(
            remote("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-09-more")
                .unwrap()
                .sampled
        );
    }

    #[test]
    fn what_is_no_parent_counts_for_nothing() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-04",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(remote(text), None, "{text}");
        }
    }

    #[test]
    fn a_state_that_cannot_be_read_is_left_out() {
        let state = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(STATE, text.parse().unwrap());
            super::state(&headers)
        };
        assert_eq!(state("a=1,b@c=2"), "a=1,b@c=2");
        assert_eq!(state("a"), "");
        assert_eq!(state(&"a=1,".repeat(33)), "");
    }
}
