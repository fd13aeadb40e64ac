//! Carries out StorageVersionMigrations: every object of a resource is written once more as it is, by which the server
//! brings it into the form that is stored now: another version, another encryption.

mod plan;

use client::ObjectKey;
use reconcile::{Next, Queue, Reconciler};
use serde_json::{Value, json};

use self::plan::{Condition, running};
use crate::discover::{self, Resource};
use crate::world::{Migration, World};
use crate::write::{Kind, Patch, Writer};

/// So many objects are listed at once.
const PAGE: usize = 500;
/// What a resource must be able to do.
const VERBS: [&str; 3] = ["update", "patch", "list"];

/// The migrator; keys are migrations.
pub(crate) struct Controller {
    world: World,
    writer: Writer,
    migration: Kind,
    definition: Kind,
}

/// How a migration ends.
enum End {
    Succeeded,
    Failed(String),
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let queue: Queue<ObjectKey> = Queue::default();
        let keys = queue.clone();
        world.migrations.subscribe(move |change| keys.add(change.key.clone()));
        let controller = Self {
            world: world.clone(),
            writer,
            migration: Kind::new(
                "storagemigration.k8s.io/v1",
                "StorageVersionMigration",
                "storageversionmigrations",
            ),
            definition: Kind::new(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                "customresourcedefinitions",
            ),
        };
        (controller, queue)
    }

    /// The resource that a migration is about; why it can't be migrated, or none while that may change.
    async fn resource(&self, migration: &Migration) -> Result<Result<Option<Resource>, String>, kube::Error> {
        let found = discover::resources(&self.writer).await?;
        let resource = found.resources.into_iter().find(|resource| {
            let group = resource
                .kind
                .api_version
                .rsplit_once('/')
                .map_or("", |(group, _)| group);
            group == migration.group && resource.kind.plural == migration.resource
        });
        Ok(match resource {
            Some(resource) if VERBS.iter().all(|verb| resource.can(verb)) => Ok(Some(resource)),
            Some(resource) => Err(format!(
                "resource {:?} does not support discovery operations: [{}]",
                resource.kind.plural,
                VERBS.join(" ")
            )),
            // A definition may be on its way.
            None if migration.is_young() || !found.silent.is_empty() => Ok(None),
            None => Err("resource does not exist in discovery".to_owned()),
        })
    }

    /// Writes everything once more. Objects that somebody else writes meanwhile are in the new form already.
    async fn migrate(&self, key: &ObjectKey, status: &mut Value, resource: &Resource) -> Result<End, kube::Error> {
        let path = resource.kind.path(None);
        let mut token = String::new();
        let mut done = 0;
        loop {
            let more = if token.is_empty() {
                String::new()
            } else {
                format!("&continue={token}")
            };
            let list = self.writer.get(&format!("{path}?limit={PAGE}{more}")).await?;
            let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let metadata = &list["metadata"];
            if token.is_empty() {
                let left = metadata["remainingItemCount"]
                    .as_u64()
                    .and_then(|left| usize::try_from(left).ok());
                let total = items.len() + left.unwrap_or(0);
                // A migration that was broken off goes on with what it began with.
                if status["resourceVersion"].as_str().unwrap_or_default().is_empty() {
                    status["resourceVersion"] = metadata["resourceVersion"].clone();
                }
                self.tell(key, status, &[running(total, total)]).await?;
            }
            for item in items {
                let own = &item["metadata"];
                let text = |field: &str| own[field].as_str().unwrap_or_default();
                let object = ObjectKey {
                    namespace: own["namespace"].as_str().map(Into::into),
                    name: text("name").into(),
                };
                let same = json!({"apiVersion": resource.kind.api_version, "kind": resource.kind.kind,
                    "metadata": {"resourceVersion": text("resourceVersion"), "uid": text("uid")}});
                match self.writer.patch(&resource.kind, &object, Patch::Merge, &same).await {
                    Ok(_) => {}
                    Err(error) if client::is_conflict(&error) || client::is_not_found(&error) => {}
                    Err(error) if client::is_transient(&error) => return Err(error),
                    Err(error) => return Ok(End::Failed(error.to_string())),
                }
                done += 1;
            }
            match metadata["continue"].as_str().filter(|token| !token.is_empty()) {
                Some(next) => next.clone_into(&mut token),
                None => break,
            }
        }
        self.tell(key, status, &[running(0, done)]).await?;
        Ok(End::Succeeded)
    }

    /// Sets conditions. Nobody else writes this status.
    async fn tell(&self, key: &ObjectKey, status: &mut Value, conditions: &[Condition]) -> Result<(), kube::Error> {
        plan::set(status, conditions, meta::time::now());
        let body = json!({"status": status});
        self.writer
            .patch_sub(&self.migration, key, "status", Patch::Merge, &body)
            .await?;
        Ok(())
    }

    /// The definition of a custom resource; none for built-in ones.
    async fn definition(&self, migration: &Migration) -> Result<Option<Value>, kube::Error> {
        let name = format!("{}.{}", migration.resource, migration.group);
        match self.writer.get(&format!("{}/{name}", self.definition.path(None))).await {
            Err(error) if client::is_not_found(&error) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Nothing is stored in another version any more, unless the definition has changed meanwhile.
    async fn tell_definition(&self, before: &Value) -> Result<(), kube::Error> {
        let name = before["metadata"]["name"].as_str().unwrap_or_default();
        let Some(body) = plan::stored_versions(before) else {
            return Ok(());
        };
        let patched = self
            .writer
            .patch_sub(
                &self.definition,
                &ObjectKey::cluster(name),
                "status",
                Patch::Merge,
                &body,
            )
            .await;
        match patched {
            Err(error) if client::is_conflict(&error) || client::is_not_found(&error) => Ok(()),
            other => other.map(drop),
        }
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "storage-version-migrator"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let Some(migration) = self.world.migrations.get(key).filter(|migration| !migration.ended) else {
            return Ok(Next::Change);
        };
        let mut status = migration.status.clone();
        let end = match self.resource(&migration).await? {
            Ok(None) => return Ok(Next::After(std::time::Duration::from_secs(2))),
            Ok(Some(resource)) => {
                let definition = self.definition(&migration).await?;
                let end = self.migrate(key, &mut status, &resource).await?;
                if let (End::Succeeded, Some(definition)) = (&end, &definition) {
                    self.tell_definition(definition).await?;
                }
                end
            }
            Err(why) => End::Failed(why),
        };
        let condition = match end {
            End::Succeeded => Condition::new("Succeeded", "StorageVersionMigrationSucceeded", "Migration completed"),
            End::Failed(why) => {
                let why = format!("migration encountered unhandled error: {why}");
                Condition::new("Failed", "StorageVersionMigrationFailed", &why)
            }
        };
        self.tell(key, &mut status, &[condition]).await?;
        Ok(Next::Change)
    }
}
