//! The objects that every cluster has: made on the first start, brought up to date on later ones, by way of the same
//! path as everything else.

mod objects;
mod trust;

use std::net::IpAddr;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use http::Method;
use meta::Status;
use serde_json::{Value, json};

use crate::Error;
use crate::authz::bootstrap::{self as policy, Made};
use crate::authz::rules::Rule;
use crate::core::Core;
use crate::{fairness, internal, object};

pub(crate) use trust::keep as keep_trust;

/// How many objects are made at the same time.
const AT_ONCE: usize = 32;

/// Brings everything up to date.
pub(crate) async fn run(core: &Arc<Core>) -> Result<(), Error> {
    let namespaces = ["default", "kube-system", "kube-public", "kube-node-lease"].map(objects::namespace);
    make(core, namespaces.into()).await?;
    let mut all = policy::made();
    all.extend(objects::cluster(&core.config));
    all.extend(fairness::objects::levels());
    all.extend(fairness::objects::schemas());
    make(core, all).await?;
    trust::put_right(core).await?;
    // Where others can be, they are asked for first.
    if !core.config.shared_store {
        endpoints(core, &[core.config.advertise_address], core.config.listen.port()).await?;
    }
    core.hub.fresh().await?;
    core.compile_policy();
    Ok(())
}

/// Has the `kubernetes` Service lead to these servers.
pub(crate) async fn endpoints(core: &Arc<Core>, servers: &[IpAddr], port: u16) -> Result<(), Error> {
    // A loopback address means nothing to pods, and Kubernetes' rules refuse it in an endpoint.
    let servers: Vec<IpAddr> = servers.iter().copied().filter(|ip| !ip.is_loopback()).collect();
    if servers.is_empty() {
        return Ok(());
    }
    make(core, objects::endpoints(&servers, port)).await
}

async fn make(core: &Arc<Core>, all: Vec<Made>) -> Result<(), Error> {
    futures::stream::iter(all)
        .map(|made| async move { ensure(core, &made).await })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Makes an object, or adds to the one that is there what it lacks.
async fn ensure(core: &Arc<Core>, made: &Made) -> Result<(), Error> {
    let failed = |status: Status| Error::Bootstrap {
        what: format!("{}/{}", made.plural, object::name(&made.object)),
        status: Box::new(status),
    };
    let kind = core
        .kinds
        .any(&made.group, made.plural)
        .ok_or(Error::MissingKind(made.plural))?;
    let namespace = object::namespace(&made.object);
    let collection = match namespace {
        "" => format!("{}/{}", root(&kind.api_version), made.plural),
        _ => format!("{}/namespaces/{namespace}/{}", root(&kind.api_version), made.plural),
    };
    let name = object::name(&made.object);
    let cache = kind.cache().map_err(failed)?;
    let Some(version) = cache.get(&kind.key(Some(namespace), name)) else {
        let mut object = made.object.clone();
        object["apiVersion"] = kind.api_version.clone().into();
        object["kind"] = kind.row.kind.to_string().into();
        let Err(status) = internal::send(core, Method::POST, &collection, "application/json", &object).await else {
            return Ok(());
        };
        // Another server on the same store may have made it meanwhile, and have taken its address with it.
        core.hub.fresh().await?;
        let there = cache.get(&kind.key(Some(namespace), name)).is_some();
        return if there { Ok(()) } else { Err(failed(status)) };
    };
    let current = kind.tree(version.bytes(), version.revision()).map_err(failed)?;
    let Some(patch) = missing(&current, &made.object) else {
        return Ok(());
    };
    let path = format!("{collection}/{}", escape(name));
    internal::send(core, Method::PATCH, &path, "application/merge-patch+json", &patch)
        .await
        .map_err(failed)
}

fn root(api_version: &str) -> String {
    if api_version.contains('/') {
        format!("/apis/{api_version}")
    } else {
        format!("/api/{api_version}")
    }
}

fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F").replace(' ', "%20")
}

/// What the object that is there must get: rules and subjects are added, never taken away; endpoints are replaced.
fn missing(current: &Value, wanted: &Value) -> Option<Value> {
    if current.pointer("/metadata/annotations/rbac.authorization.kubernetes.io~1autoupdate") == Some(&json!("false")) {
        return None;
    }
    for field in ["rules", "subjects"] {
        let list = |object: &Value| object.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut all = list(current);
        let before = all.len();
        for item in list(wanted) {
            let there = match field {
                "rules" => covered(&all, &item),
                _ => all.iter().any(|other| same_subject(other, &item)),
            };
            if !there {
                all.push(item);
            }
        }
        if all.len() > before {
            return Some(json!({field: all}));
        }
    }
    let annotation = |name: &str| &current["metadata"]["annotations"][name];
    if *annotation(fairness::objects::AUTO_UPDATE) == "true" && differs(&current["spec"], &wanted["spec"]) {
        return Some(json!({"spec": wanted["spec"]}));
    }
    for field in ["subsets", "endpoints", "ports"] {
        if let Some(value) = wanted.get(field)
            && current.get(field) != Some(value)
        {
            return Some(json!({field: value}));
        }
    }
    // What somebody else has put beside it does no harm.
    let data = wanted.get("data").filter(|data| differs(&current["data"], data));
    data.map(|data| json!({"data": data}))
}

/// Whether something that is wanted is otherwise, at any depth.
fn differs(current: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| differs(&current[name.as_str()], value)),
        other => current != other,
    }
}

fn covered(rules: &[Value], wanted: &Value) -> bool {
    let parse = |rule: &Value| serde_json::from_value::<Rule>(rule.clone()).unwrap_or_default();
    let have: Vec<Rule> = rules.iter().map(parse).collect();
    parse(wanted)
        .pieces()
        .iter()
        .all(|piece| have.iter().any(|rule| rule.covers(piece)))
}

fn same_subject(a: &Value, b: &Value) -> bool {
    ["kind", "name", "namespace"]
        .iter()
        .all(|field| a.get(field) == b.get(field))
}
