//! Delete everything that a selector means.

use http::StatusCode;
use meta::Status;
use serde_json::{Value, json};

use super::options::DeleteOptions;
use super::select::Selected;
use super::{Answer, Call, delete};
use crate::object;
use crate::status::of_watch;

/// Answers a DELETE of a collection: with the list of what was there.
pub(crate) async fn delete_collection(call: &Call) -> Result<Answer, Status> {
    let options = DeleteOptions::parse(call)?;
    let selected = Selected::parse(call)?;
    let cache = call.kind.cache()?;
    cache.fresh().await.map_err(of_watch)?;
    let snapshot = cache.list(&selected.scope(call));
    let mut items: Vec<Value> = Vec::new();
    for version in snapshot.iter().filter(|version| selected.matches(version)) {
        let tree = call.kind.tree(version.bytes(), version.revision())?;
        let namespace = object::namespace(&tree).to_owned();
        let namespace = (!namespace.is_empty()).then_some(namespace.as_str());
        match delete::one(call, &call.kind, namespace, object::name(&tree), &options).await {
            Ok(deleted) => items.push(deleted.object),
            // Gone meanwhile is as good.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let list = json!({
        "kind": &*call.kind.row.list_kind, "apiVersion": call.kind.api_version,
        "metadata": {"resourceVersion": cache.revision().to_string()}, "items": items,
    });
    Ok(Answer::Tree {
        code: StatusCode::OK,
        object: list,
    })
}
