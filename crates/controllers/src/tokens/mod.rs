//! Removes bootstrap tokens when they have expired. That an expired one is refused does not depend on it.

mod plan;

use client::ObjectKey;
use jiff::Timestamp;
use reconcile::{Next, Queue, Reconciler};
use serde_json::json;

use crate::world::World;
use crate::write::{Kind, Writer};

use self::plan::Fate;

/// The token cleaner; keys are secrets.
pub(crate) struct Controller {
    world: World,
    writer: Writer,
    kind: Kind,
}

impl Controller {
    pub(crate) fn new(world: &World, writer: Writer) -> (Self, Queue<ObjectKey>) {
        let queue = Queue::default();
        let keys = queue.clone();
        world.tokens.subscribe(move |change| {
            if change.after.is_some() {
                keys.add(change.key.clone());
            }
        });
        let kind = Kind::new("v1", "Secret", "secrets");
        (
            Self {
                world: world.clone(),
                writer,
                kind,
            },
            queue,
        )
    }
}

impl Reconciler for Controller {
    type Key = ObjectKey;
    type Error = kube::Error;

    fn name(&self) -> &'static str {
        "token-cleaner"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, kube::Error> {
        let Some(token) = self.world.tokens.get(key) else {
            return Ok(Next::Change);
        };
        match plan::fate(token.expiration.as_deref(), Timestamp::now()) {
            Fate::Stays => Ok(Next::Change),
            Fate::Expires(left) => Ok(Next::After(left)),
            Fate::Goes => {
                tracing::info!(token = %key, "a bootstrap token has expired");
                self.writer.delete(&self.kind, key, &token.uid, json!({})).await?;
                Ok(Next::Change)
            }
        }
    }
}
