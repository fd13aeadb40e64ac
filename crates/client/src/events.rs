//! Events as users know them from `kubectl describe`: told once, counted when they repeat, written in the background.
//!
//! A recorder never delays its caller and never fails it: when the API is away, events are lost.

use std::time::Duration;

use hashbrown::HashMap;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::sync::mpsc;

use crate::Backoff;

/// How many repeated events are remembered, so that they are counted instead of written anew.
const REMEMBERED: usize = 4096;
/// How many events may wait for the API.
const WAITING: usize = 4096;

/// Whether an event tells of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// As planned.
    Normal,
    /// Trouble.
    Warning,
}

/// The object that an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Regarding {
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; none for cluster objects, whose events go to `default`.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The part of it, such as `spec.containers{web}`; mostly empty.
    pub field_path: Option<String>,
}

/// Tells events under a component's name.
#[derive(Clone, Debug)]
pub struct Recorder(mpsc::Sender<Told>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Told {
    about: Regarding,
    kind: EventType,
    reason: String,
    message: String,
}

struct Writer {
    client: Client,
    component: String,
    host: Option<String>,
    known: HashMap<Told, (String, i32)>,
}

// === impl Recorder ===

impl Recorder {
    /// A recorder for `component` (`deployment-controller`, `kubelet`), on `host` where that matters. Its writer task
    /// ends with the last clone.
    pub fn new(client: Client, component: &str, host: Option<&str>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let writer = Writer {
            client,
            component: component.to_owned(),
            host: host.map(str::to_owned),
            known: HashMap::new(),
        };
        tokio::spawn(writer.run(receiver));
        Self(sender)
    }

    /// Tells that all is as planned.
    pub fn normal(&self, about: &Regarding, reason: &str, message: impl Into<String>) {
        self.tell(about, EventType::Normal, reason, message.into());
    }

    /// Tells of trouble.
    pub fn warning(&self, about: &Regarding, reason: &str, message: impl Into<String>) {
        self.tell(about, EventType::Warning, reason, message.into());
    }

    fn tell(&self, about: &Regarding, kind: EventType, reason: &str, message: String) {
        let told = Told {
            about: about.clone(),
            kind,
            reason: reason.to_owned(),
            message,
        };
        if self.0.try_send(told).is_err() {
            tracing::debug!(reason, name = %about.name, "event dropped: too many wait for the API");
        }
    }
}

// === impl Regarding ===

impl Regarding {
    /// The object `kind` in `namespace`.
    pub fn new(api_version: &str, kind: &str, namespace: Option<&str>, name: &str, uid: &str) -> Self {
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            uid: uid.to_owned(),
            field_path: None,
        }
    }

    /// The same, about one part of the object.
    #[must_use]
    pub fn field(mut self, path: impl Into<String>) -> Self {
        self.field_path = Some(path.into());
        self
    }
}

// === impl Writer ===

impl Writer {
    async fn run(mut self, mut receiver: mpsc::Receiver<Told>) {
        while let Some(told) = receiver.recv().await {
            let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
            for _ in 0..5 {
                match self.write(&told).await {
                    Err(error) if crate::is_transient(&error) => tokio::time::sleep(backoff.next_delay()).await,
                    Err(error) => {
                        tracing::debug!(%error, reason = told.reason, "event refused");
                        break;
                    }
                    Ok(()) => break,
                }
            }
        }
    }

    async fn write(&mut self, told: &Told) -> Result<(), kube::Error> {
        let namespace = told.about.namespace.clone().unwrap_or_else(|| "default".into());
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let now = Timestamp::now();
        if let Some((name, count)) = self.known.get(told) {
            let next = count.saturating_add(1);
            let patch = serde_json::json!({ "count": next, "lastTimestamp": Time(now) });
            match events.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => {
                    let name = name.clone();
                    self.known.insert(told.clone(), (name, next));
                    return Ok(());
                }
                // It has expired, or went with its namespace: tell it anew.
                Err(error) if crate::is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let name = format!("{}.{:x}", told.about.name, now.as_nanosecond());
        events
            .create(&PostParams::default(), &self.event(told, &namespace, &name, now))
            .await?;
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(told.clone(), (name, 1));
        Ok(())
    }

    fn event(&self, told: &Told, namespace: &str, name: &str, now: Timestamp) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some(told.about.api_version.clone()),
                kind: Some(told.about.kind.clone()),
                namespace: told.about.namespace.clone(),
                name: Some(told.about.name.clone()),
                uid: Some(told.about.uid.clone()),
                field_path: told.about.field_path.clone(),
                ..ObjectReference::default()
            },
            type_: Some(match told.kind {
                EventType::Normal => "Normal".into(),
                EventType::Warning => "Warning".into(),
            }),
            reason: Some(told.reason.clone()),
            message: Some(told.message.clone()),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            source: Some(EventSource {
                component: Some(self.component.clone()),
                host: self.host.clone(),
            }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(self.host.clone().unwrap_or_default()),
            ..Event::default()
        }
    }
}
