//! Lists: all the objects in one answer, by few clients, as the informers of a starting cluster do it.

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Bench, load};
use crate::http_client::{Call, Connection};

/// A list, as far as it is looked into.
#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

/// Makes sure that a list is whole, then lists until the time is over.
pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Value> {
    let mut connection = Connection::open(&bench.target).await?;
    let body = connection.fetch(Call::get(bench.objects.path.clone())).await?;
    let count = items(&body)?;
    // A namespace has one config map by itself where the cluster's certificate is published.
    let (wanted, extra) = (bench.args.objects as usize, 1);
    anyhow::ensure!(
        (wanted..=wanted + extra).contains(&count),
        "a list holds {count} objects where {wanted} were made"
    );
    let clients = bench.args.list_clients as usize;
    let listed = load::run(&bench.target, clients, bench.duration(), |_| {
        let path = bench.objects.path.clone();
        move || Some(Call::get(path.clone()))
    })
    .await?;
    Ok(listed.to_json())
}

fn items(body: &[u8]) -> anyhow::Result<usize> {
    let list: List<'_> = serde_json::from_slice(body).context("the list's answer")?;
    Ok(list.items.len())
}

#[cfg(test)]
mod tests {
    use super::items;

    #[test]
    fn items_are_counted() {
        assert_eq!(
            items(br#"{"kind":"ConfigMapList","metadata":{},"items":[{"a":[1,2]},{}]}"#).expect("a list"),
            2
        );
        assert!(items(br#"{"kind":"Status"}"#).is_err());
    }
}
