//! On whose behalf the store is called, when that is traced: a store elsewhere is told, and goes on with the trace. It is
//! a text here, which nobody reads.

tokio::task_local! {
    static PARENT: String;
}

/// Calls a store as a part of a trace: `parent` is what the W3C's trace context has as `traceparent`.
pub async fn traced<F: Future>(parent: String, call: F) -> F::Output {
    PARENT.scope(parent, call).await
}

/// What the caller said.
pub(crate) fn parent() -> Option<String> {
    PARENT.try_with(Clone::clone).ok()
}
