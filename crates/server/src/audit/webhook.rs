//! Audit events sent to a service, many at a time: what a kubeconfig file names gets `EventList`s by POST. Sending is tried
//! again with growing pauses; when more has gathered than there is room for, what is new is dropped and counted.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use super::event::Event;
use crate::callout::{Credentials, Endpoint};
use crate::core::Core;
use crate::object::text;
use crate::traces::Caller;

/// So many events wait.
const ROOM: usize = 10_000;
/// So many are sent at once.
const BATCH: usize = 400;
/// How long the first of them waits for others.
const WAIT: Duration = Duration::from_secs(30);
/// How long the service may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause after a failure; each further one is half as long again.
const PAUSE: Duration = Duration::from_secs(10);
/// A batch that failed so often is given up.
const ATTEMPTS: u32 = 5;

/// The service that events are sent to, as a kubeconfig file has it.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    url: String,
    ca: Vec<u8>,
    credentials: Credentials,
    /// How long the first event of a batch waits for others.
    pub max_wait: Duration,
}

impl WebhookSettings {
    /// Reads a kubeconfig file's current context, and the files that it names.
    ///
    /// # Errors
    /// When a file can't be read or names no server, with the field.
    pub fn load(file: &Path) -> Result<WebhookSettings, String> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let config = String::from_utf8(read(file)?).map_err(|error| error.to_string())?;
        let config: Value = serde_saphyr::from_str(&config).map_err(|error| error.to_string())?;
        let named = |list: &str, inner: &str, name: &str| {
            let entries = config[list].as_array().into_iter().flatten();
            let mut found = entries.filter(|entry| name.is_empty() || entry["name"] == name);
            found.next().map(|entry| entry[inner].clone()).unwrap_or_default()
        };
        let context = named("contexts", "context", text(&config, &["current-context"]));
        let cluster = named("clusters", "cluster", text(&context, &["cluster"]));
        let user = match text(&context, &["user"]) {
            "" => Value::Null,
            name => named("users", "user", name),
        };
        let url = text(&cluster, &["server"]).to_owned();
        if url.is_empty() {
            return Err("clusters[0].cluster.server: names no server".to_owned());
        }
        let beside = file.parent().unwrap_or(Path::new("/"));
        let bytes = |of: &Value, field: &str| -> Result<Option<Vec<u8>>, String> {
            let data = format!("{field}-data");
            match (text(of, &[data.as_str()]), text(of, &[field])) {
                ("", "") => Ok(None),
                ("", path) => read(&beside.join(path)).map(Some),
                (encoded, _) => STANDARD
                    .decode(encoded)
                    .map(Some)
                    .map_err(|error| format!("{data}: {error}")),
            }
        };
        let identity = match (bytes(&user, "client-certificate")?, bytes(&user, "client-key")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err("users[0].user: a client-certificate needs its client-key".to_owned()),
        };
        let token = Some(text(&user, &["token"]).to_owned()).filter(|token| !token.is_empty());
        Ok(WebhookSettings {
            url,
            ca: bytes(&cluster, "certificate-authority")?.unwrap_or_default(),
            credentials: Credentials { identity, token },
            max_wait: WAIT,
        })
    }
}

/// The way there.
pub(super) struct Webhook {
    endpoint: Endpoint,
    max_wait: Duration,
    events: mpsc::Sender<Value>,
    /// Taken by the one who sends.
    waiting: Mutex<mpsc::Receiver<Value>>,
    dropped: AtomicU64,
}

impl Webhook {
    pub(super) fn new(settings: WebhookSettings) -> Result<Webhook, String> {
        let config = json!({"url": settings.url, "caBundle": STANDARD.encode(&settings.ca)});
        let (events, waiting) = mpsc::channel(ROOM);
        Ok(Webhook {
            endpoint: Endpoint::compile_with(&config, &settings.credentials)?,
            max_wait: settings.max_wait,
            events,
            waiting: Mutex::new(waiting),
            dropped: AtomicU64::new(0),
        })
    }

    /// Takes an event for the next batch.
    pub(super) fn send(&self, event: &Event) {
        let Ok(value) = serde_json::to_value(event) else { return };
        if self.events.try_send(value).is_err() && self.dropped.fetch_add(1, Ordering::Relaxed).is_multiple_of(1000) {
            tracing::error!(
                room = ROOM,
                "audit events are dropped: the webhook takes them too slowly"
            );
        }
    }

    /// Sends batches until the server stops.
    pub(super) async fn run(&self, core: &Core) {
        let mut waiting = self.waiting.lock().await;
        loop {
            let first = tokio::select! {
                first = waiting.recv() => first,
                () = core.stopping.cancelled() => None,
            };
            let mut batch: Vec<Value> = match first {
                Some(first) => vec![first],
                // What is left goes out before the server does.
                None => std::iter::from_fn(|| waiting.try_recv().ok()).collect(),
            };
            let full = tokio::time::sleep(self.max_wait);
            tokio::pin!(full);
            while batch.len() < BATCH && !core.stopping.is_cancelled() {
                tokio::select! {
                    next = waiting.recv() => batch.extend(next),
                    () = &mut full => break,
                    () = core.stopping.cancelled() => {}
                }
            }
            if !batch.is_empty() {
                self.post(core, batch).await;
            }
            if core.stopping.is_cancelled() && waiting.is_empty() {
                return;
            }
        }
    }

    async fn post(&self, core: &Core, batch: Vec<Value>) {
        let count = batch.len();
        let list = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": batch});
        let body = Bytes::from(list.to_string());
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            let sent = self
                .endpoint
                .post(core, Caller::default(), body.clone(), PATIENCE)
                .await;
            let Err(why) = sent else {
                return;
            };
            if attempt == ATTEMPTS || core.stopping.is_cancelled() {
                tracing::error!(why, count, "audit events could not be sent and are lost");
                return;
            }
            tracing::warn!(why, count, "audit events could not be sent; trying again");
            tokio::select! {
                () = tokio::time::sleep(pause) => pause += pause / 2,
                () = core.stopping.cancelled() => {}
            }
        }
    }
}
