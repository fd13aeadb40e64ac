//! Deletes: everything that was made, against the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::{Bench, load};
use crate::http_client::Call;

/// What is left then, the removal of the namespace takes.
const LIMIT: Duration = Duration::from_secs(300);

/// Deletes all objects.
pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Value> {
    let objects = &bench.objects;
    let series = [&objects.set, &objects.created, &objects.watched];
    let names = series
        .iter()
        .flat_map(|series| (0..series.made()).map(|number| series.name(number)));
    let names: Arc<[String]> = names.collect();
    let next = Arc::new(AtomicUsize::new(0));
    let deleted = load::run(&bench.target, bench.clients(), LIMIT, |_| {
        let (names, next, path) = (names.clone(), next.clone(), objects.path.clone());
        move || {
            let name = names.get(next.fetch_add(1, Ordering::Relaxed))?;
            Some(Call {
                method: Method::DELETE,
                path: format!("{path}/{name}"),
                body: bytes::Bytes::new(),
            })
        }
    })
    .await?;
    Ok(deleted.to_json())
}
