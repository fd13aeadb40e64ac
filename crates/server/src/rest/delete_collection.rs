//! Delete everything that a selector means.

use http::StatusCode;
use meta::Status;
use serde_json::{Value, json};

use super::options::DeleteOptions;
use super::select::Selected;
use super::{Answer, Call, delete, list};
use crate::object;

/// Answers a DELETE of a collection: with the list of what was there.
pub(crate) async fn delete_collection(call: &Call) -> Result<Answer, Status> {
    let options = DeleteOptions::parse(call)?;
    let selected = Selected::parse(call)?;
    let found = list::everything(call, &selected).await?;
    let mut items: Vec<Value> = Vec::new();
    for (stored, revision) in (0..found.items.len()).filter_map(|at| found.items.get(at)) {
        let tree = call.kind.tree(stored, revision)?;
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
        "metadata": {"resourceVersion": call.kind.cache()?.revision().to_string()}, "items": items,
    });
    Ok(Answer::Tree {
        code: StatusCode::OK,
        object: list,
    })
}
