//! Failures of the store and the caches as clients are told of them.

use meta::Status;

/// What a client is told when the store fails.
pub(crate) fn of_store(error: store::Error) -> Status {
    match error {
        store::Error::Compacted { .. } => compacted(),
        store::Error::Future { newest } => Status::timeout(format!("Too large resource version, current: {newest}"), 1),
        store::Error::TooLarge { .. } => Status::too_large(error),
        store::Error::Unavailable(_) | store::Error::NoSpace | store::Error::Closed => {
            Status::service_unavailable(error.to_string())
        }
        other => {
            tracing::error!(error = %other, "the store failed");
            Status::internal(other)
        }
    }
}

/// What a client is told when a cache can't go on.
pub(crate) fn of_watch(error: watch::Error) -> Status {
    match error {
        watch::Error::Expired { after, oldest } => {
            Status::expired(format!("too old resource version: {after} ({oldest})"))
        }
        watch::Error::Closed => Status::service_unavailable("the server is stopping"),
        watch::Error::Store(error) => of_store(error),
    }
}

/// The revision is no longer there.
pub(crate) fn compacted() -> Status {
    Status::expired("The resourceVersion for the provided list is too old.")
}
