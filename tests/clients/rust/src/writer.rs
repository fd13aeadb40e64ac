//! Changes that are made exactly once, also when the answer to one was lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};

/// Versions of an object until it is deleted and made again.
pub(crate) const LIFETIME: u32 = 8;
/// How long a change is tried, and how long its consequences are waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(30);

/// Which life of an object, and which version of it.
pub(crate) type Marks = (u32, u32);

/// The marks that a writer put on an object.
pub(crate) fn marks(object: &ConfigMap) -> Option<Marks> {
    let data = object.data.as_ref()?;
    Some((data.get("life")?.parse().ok()?, data.get("version")?.parse().ok()?))
}

/// Creates, updates and deletes one object until the deadline; answers how many changes were made. The object's last
/// life stays.
pub(crate) async fn write(
    api: Api<ConfigMap>,
    name: String,
    labels: BTreeMap<String, String>,
    deadline: Instant,
) -> anyhow::Result<usize> {
    let mut changes = 0;
    for life in 1.. {
        for version in 1..=LIFETIME {
            surely(&api, &name, Some((life, version)), &labels)
                .await
                .with_context(|| format!("version {version} of life {life} of {name}"))?;
            changes += 1;
        }
        if Instant::now() > deadline {
            break;
        }
        surely(&api, &name, None, &labels)
            .await
            .with_context(|| format!("deleting {name}"))?;
        changes += 1;
    }
    Ok(changes)
}

/// Brings the object to these marks, or away.
async fn surely(
    api: &Api<ConfigMap>,
    name: &str,
    wanted: Option<Marks>,
    labels: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let give_up = Instant::now() + PATIENCE;
    while let Err(error) = change(api, name, wanted, labels).await {
        if Instant::now() > give_up {
            return Err(error.into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        // The change may have been made though the answer was lost.
        if let Ok(found) = api.get_opt(name).await
            && found.as_ref().and_then(marks) == wanted
        {
            break;
        }
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

async fn change(
    api: &Api<ConfigMap>,
    name: &str,
    wanted: Option<Marks>,
    labels: &BTreeMap<String, String>,
) -> kube::Result<()> {
    let Some((life, version)) = wanted else {
        return api.delete(name, &DeleteParams::default()).await.map(drop);
    };
    let data = BTreeMap::from([
        ("life".to_owned(), life.to_string()),
        ("version".to_owned(), version.to_string()),
    ]);
    if version == 1 {
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(labels.clone()),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        };
        return api.create(&PostParams::default(), &object).await.map(drop);
    }
    match version % 3 {
        0 => {
            let mut object = api.get(name).await?;
            object.data = Some(data);
            let name = object.name_any();
            api.replace(&name, &PostParams::default(), &object).await.map(drop)
        }
        1 => {
            let patch = Patch::Merge(serde_json::json!({ "data": data }));
            api.patch(name, &PatchParams::default(), &patch).await.map(drop)
        }
        _ => {
            let apply = serde_json::json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data,
            });
            let parameters = PatchParams::apply("kube-work").force();
            api.patch(name, &parameters, &Patch::Apply(apply)).await.map(drop)
        }
    }
}
