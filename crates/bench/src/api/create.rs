//! Creates: the objects that the other measurements work on, and as many as possible against the clock.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::objects::Series;
use super::{Bench, load};
use crate::http_client::Call;

/// However slow the server is: then there are not enough objects, which is an error.
const FILLING: Duration = Duration::from_secs(300);

/// Makes the objects to read, list and change: all of them.
pub(super) async fn fill(bench: &Bench<'_>) -> anyhow::Result<Value> {
    let count = u64::from(bench.args.objects);
    let made = creates(bench, &bench.objects.set, bench.clients(), count, FILLING)
        .await?
        .all_or_error()?;
    anyhow::ensure!(
        made.succeeded == count,
        "only {} of {count} objects could be made in {} s",
        made.succeeded,
        FILLING.as_secs()
    );
    Ok(made.to_json())
}

/// Makes objects until the time is over.
pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Value> {
    let most = u64::from(bench.args.max_creates);
    Ok(
        creates(bench, &bench.objects.created, bench.clients(), most, bench.duration())
            .await?
            .to_json(),
    )
}

/// Makes members of a series with so many clients.
pub(super) async fn creates(
    bench: &Bench<'_>,
    series: &Series,
    clients: usize,
    most: u64,
    limit: Duration,
) -> anyhow::Result<load::Load> {
    load::run(&bench.target, clients, limit, |_| {
        let (series, path, body) = (series.clone(), bench.objects.path.clone(), bench.objects.body());
        move || {
            let number = series.next(most)?;
            Some(Call {
                method: Method::POST,
                path: path.clone(),
                body: body(&series.name(number), 0),
            })
        }
    })
    .await
}
