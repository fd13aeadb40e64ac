//! A pod stays for five minutes on a node that is not ready or unreachable, unless it says otherwise.

use async_trait::async_trait;
use meta::Status;
use serde_json::{Value, json};

use super::{Operation, Plugin, Review};

const SECONDS: i64 = 300;
const KEYS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(crate) struct DefaultTolerationSeconds;

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn concerns(&self, review: &Review<'_>) -> bool {
        matches!(review.operation, Operation::Create | Operation::Update) && review.is("", "pods", "")
    }

    async fn mutate(&self, _review: &Review<'_>, pod: &mut Value) -> Result<(), Status> {
        for key in KEYS {
            let list = pod["spec"]["tolerations"].as_array();
            if list.into_iter().flatten().any(|toleration| tolerates(toleration, key)) {
                continue;
            }
            let toleration =
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
            match pod["spec"]["tolerations"].as_array_mut() {
                Some(list) => list.push(toleration),
                None => pod["spec"]["tolerations"] = json!([toleration]),
            }
        }
        Ok(())
    }
}

fn tolerates(toleration: &Value, key: &str) -> bool {
    let text = |field: &str| toleration.get(field).and_then(Value::as_str).unwrap_or_default();
    (text("key") == key || text("key").is_empty()) && matches!(text("effect"), "NoExecute" | "")
}
