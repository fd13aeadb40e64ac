//! The opaque text by which a client asks for the next page of a list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meta::{Revision, Status};
use serde::{Deserialize, Serialize};

/// Where a list goes on. It is a released format: clients hold it over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Continuation {
    /// The format.
    v: String,
    /// The revision that the pages are of; -1: of whatever is newest, after a 410.
    rv: i64,
    /// The last name of the page before, relative to the resource's prefix.
    after: String,
}

const FORMAT: &str = "gantry/v1";

impl Continuation {
    /// After `key` (without its prefix), at a revision.
    pub(crate) fn new(revision: Option<Revision>, after: &str) -> Continuation {
        let rv = revision.map_or(-1, |revision| i64::try_from(revision.0).unwrap_or(i64::MAX));
        Continuation {
            v: FORMAT.to_owned(),
            rv,
            after: after.to_owned(),
        }
    }

    pub(crate) fn revision(&self) -> Option<Revision> {
        u64::try_from(self.rv).ok().map(Revision)
    }

    pub(crate) fn after(&self) -> &str {
        &self.after
    }

    pub(crate) fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    pub(crate) fn decode(text: &str) -> Result<Continuation, Status> {
        let invalid = |why: &str| Status::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|error| invalid(&error.to_string()))?;
        let token: Continuation = serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
        if token.v != FORMAT {
            return Err(invalid("unknown version"));
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive() {
        let token = Continuation::new(Some(Revision(7)), "default/a");
        assert_eq!(Continuation::decode(&token.encode()).unwrap(), token);
        assert!(Continuation::decode("x").is_err());
        assert_eq!(Continuation::new(None, "a").revision(), None);
    }
}
