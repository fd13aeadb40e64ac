//! What calls to etcd end with when they don't succeed, and what that means to who uses the store.

use std::error::Error as StdError;

use tonic::{Code, ConnectError, Status};

use crate::{Error, MAX_TXN_BYTES};

/// Why there is no answer, or not the one that was hoped for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing was done: nobody got the request, or a member that had no leader.
    Unreached(String),
    /// It may have been done: the answer is lost, or etcd itself doesn't know.
    Lost(String),
    /// etcd has refused it, by its own words.
    Refused(Code, String),
}

impl Failure {
    /// What a status tells of what happened to the request.
    ///
    /// etcd's texts are part of its API: its own client tells errors by them (`api/v3rpc/rpctypes/error.go`).
    pub(crate) fn of(status: &Status) -> Self {
        let text = told(status);
        if unconnected(status) || text == "etcdserver: no leader" {
            return Self::Unreached(text);
        }
        match status.code() {
            // Of these, etcd says all but the last before it begins.
            Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated
            | Code::DataLoss => Self::Refused(status.code(), text),
            _ => Self::Lost(text),
        }
    }

    /// Whether another member may do better.
    pub(crate) fn elsewhere(&self) -> bool {
        !matches!(self, Self::Refused(..))
    }

    /// Whether the revision that was asked for is compacted.
    pub(crate) fn is_compacted(&self) -> bool {
        self.says("required revision has been compacted")
    }

    /// Whether the revision that was asked for has not happened yet.
    pub(crate) fn is_future(&self) -> bool {
        self.says("required revision is a future revision")
    }

    /// Whether a put named a lease that has ended.
    pub(crate) fn is_lease_gone(&self) -> bool {
        self.says("requested lease not found")
    }

    fn says(&self, words: &str) -> bool {
        matches!(self, Self::Refused(_, text) if text.ends_with(words))
    }

    /// The error of a read, or of a write of so many bytes.
    pub(crate) fn error(self, written: Option<usize>) -> Error {
        if self.says("database space exceeded") {
            return Error::NoSpace;
        }
        if self.says("request is too large") {
            return Error::TooLarge {
                what: "bytes for etcd (--max-request-bytes)",
                size: written.unwrap_or_default(),
                limit: MAX_TXN_BYTES,
            };
        }
        match self {
            Self::Lost(text) if written.is_some() => Error::Unknown(text),
            Self::Unreached(text) | Self::Lost(text) => Error::Unavailable(text),
            Self::Refused(_, text) => Error::Unavailable(format!("it refuses: {text}")),
        }
    }
}

/// Whether no connection was there: then nothing was sent.
fn unconnected(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The status' text, with its causes as far as they say something new.
fn told(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) && more != "transport error" {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
