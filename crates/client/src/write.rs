//! How an answer to a write is read: which refusals mean "already so", which mean "later". It sends nothing itself.

use kube::Error;

fn reason(error: &Error) -> Option<(u16, &str)> {
    match error {
        Error::Api(status) => Some((status.code, status.reason.as_str())),
        _ => None,
    }
}

/// The object is not there.
pub fn is_not_found(error: &Error) -> bool {
    matches!(reason(error), Some((404, _)))
}

/// An object of that name is there already.
pub fn is_exists(error: &Error) -> bool {
    matches!(reason(error), Some((409, "AlreadyExists")))
}

/// A precondition (uid, resourceVersion) did not hold.
pub fn is_conflict(error: &Error) -> bool {
    matches!(reason(error), Some((409, reason)) if reason != "AlreadyExists")
}

/// The revision asked for is compacted away.
pub fn is_gone(error: &Error) -> bool {
    matches!(reason(error), Some((410, _)))
}

/// Worth trying again unchanged: the server is away, busy or failed, rather than refused.
pub fn is_transient(error: &Error) -> bool {
    match reason(error) {
        Some((code, _)) => code == 429 || code >= 500,
        None => !matches!(error, Error::BuildRequest(_) | Error::SerdeError(_)),
    }
}
