//! A pod's priority is the number that its class stands for.

use async_trait::async_trait;
use meta::{ObjectKey, Status};
use serde_json::Value;
use watch::Scope;

use super::{Operation, Plugin, Review};
use crate::object;

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: &str = "priorityclasses";

pub(crate) struct Priority;

#[async_trait]
impl Plugin for Priority {
    fn concerns(&self, review: &Review<'_>) -> bool {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        match review.operation {
            Operation::Create if review.is("", "pods", "") => true,
            _ => writes && review.is(GROUP, CLASSES, ""),
        }
    }

    async fn mutate(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        if review.kind.resource.resource != "pods" {
            return Ok(());
        }
        let name = object::text(object, &["spec", "priorityClassName"]).to_owned();
        let class = if name.is_empty() {
            default_class(review)?
        } else {
            Some(named(review, &name).await?)
        };
        let (priority, policy) = match &class {
            Some(class) => (
                class["value"].as_i64().unwrap_or(0),
                object::text(class, &["preemptionPolicy"]).to_owned(),
            ),
            None => (0, String::new()),
        };
        let policy = if policy.is_empty() {
            "PreemptLowerPriority"
        } else {
            policy.as_str()
        };
        if let Some(given) = object["spec"]["priority"].as_i64().filter(|given| *given != priority) {
            return Err(review.forbidden(format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
                 computed {priority} from the given PriorityClass name"
            )));
        }
        if let Some(given) = object["spec"]["preemptionPolicy"]
            .as_str()
            .filter(|given| *given != policy)
        {
            return Err(review.forbidden(format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
                 controller computed {policy} from the given PriorityClass name"
            )));
        }
        if let Some(class) = class.filter(|_| name.is_empty()) {
            object["spec"]["priorityClassName"] = object::name(&class).into();
        }
        object["spec"]["priority"] = priority.into();
        object["spec"]["preemptionPolicy"] = policy.into();
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let Some(class) = object.filter(|_| review.kind.resource.resource == CLASSES) else {
            return Ok(());
        };
        if class["globalDefault"] != true {
            return Ok(());
        }
        match default_class(review)? {
            Some(other) if object::name(&other) != object::name(class) => Err(review.forbidden(format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                object::name(&other)
            ))),
            _ => Ok(()),
        }
    }
}

async fn named(review: &Review<'_>, name: &str) -> Result<Value, Status> {
    let key = ObjectKey::cluster(name);
    if let Some(class) = review.core.cached_tree(GROUP, CLASSES, &key) {
        return Ok(class);
    }
    let class = review.core.fresh_tree(GROUP, CLASSES, &key).await?;
    class.ok_or_else(|| review.forbidden(format!("no PriorityClass with name {name} was found")))
}

/// The class for pods that name none: of several, the one with the lowest value.
fn default_class(review: &Review<'_>) -> Result<Option<Value>, Status> {
    let Some(kind) = review.core.kinds.any(GROUP, CLASSES) else {
        return Ok(None);
    };
    let mut found: Option<Value> = None;
    for version in kind.cache()?.list(&Scope::All).iter() {
        let class = kind.tree(version.bytes(), version.revision())?;
        let lower = found
            .as_ref()
            .is_none_or(|found| class["value"].as_i64() < found["value"].as_i64());
        if class["globalDefault"] == true && lower {
            found = Some(class);
        }
    }
    Ok(found)
}
