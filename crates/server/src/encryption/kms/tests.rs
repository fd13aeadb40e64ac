//! A plug-in that the tests hold in their hands, and the clock with it.

use super::*;

const KEY: &str = "/registry/core/secrets/default/x";

#[derive(Default)]
struct State {
    key_id: String,
    healthz: String,
    fails: bool,
    calls: Vec<&'static str>,
}

/// The plug-in, and how far the clock has been set forward.
#[derive(Clone)]
struct Fake(Arc<Mutex<State>>, Arc<Mutex<Duration>>);

impl Fake {
    fn new() -> Fake {
        let fake = Fake(Arc::default(), Arc::default());
        fake.set(|state| {
            state.key_id = "one".to_owned();
            state.healthz = "ok".to_owned();
        });
        fake
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock());
    }

    /// What happens when a time has passed and the status is asked for.
    async fn later(&self, plugin: &Plugin, time: Duration) {
        *self.1.lock() += time;
        let _ = plugin.check_within(Duration::ZERO).await;
    }

    fn calls(&self, name: &str) -> usize {
        self.0.lock().calls.iter().filter(|call| **call == name).count()
    }

    fn call(&self, name: &'static str) -> Result<String, TransformError> {
        let mut state = self.0.lock();
        state.calls.push(name);
        if state.fails {
            return Err(TransformError::of_call("out of order", "Unavailable"));
        }
        Ok(state.key_id.clone())
    }
}

/// Not much of a cipher: the key's name, and the bytes turned over.
fn turned(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

#[async_trait]
impl Service for Fake {
    async fn status(&self) -> Result<StatusResponse, TransformError> {
        let key_id = self.call("status")?;
        Ok(StatusResponse {
            version: "v2".to_owned(),
            healthz: self.0.lock().healthz.clone(),
            key_id,
        })
    }

    async fn encrypt(&self, request: EncryptRequest) -> Result<EncryptResponse, TransformError> {
        let key_id = self.call("encrypt")?;
        Ok(EncryptResponse {
            ciphertext: turned(&request.plaintext),
            annotations: BTreeMap::from([("key.example.com".to_owned(), key_id.clone().into_bytes())]),
            key_id,
        })
    }

    async fn decrypt(&self, request: DecryptRequest) -> Result<DecryptResponse, TransformError> {
        self.call("decrypt")?;
        assert_eq!(request.annotations["key.example.com"], request.key_id.as_bytes());
        Ok(DecryptResponse {
            plaintext: turned(&request.ciphertext),
        })
    }
}

async fn plugin(fake: &Fake) -> Arc<Plugin> {
    let (began, passed) = (Instant::now(), Arc::clone(&fake.1));
    let clock = Box::new(move || began + *passed.lock());
    let plugin = Plugin::new("test", Box::new(fake.clone()), Arc::default(), Arc::default(), clock);
    let _ = plugin.check().await;
    plugin
}

async fn opened(plugin: &Plugin, stored: &[u8]) -> Result<bool, String> {
    let (value, is_stale) = plugin.open(KEY, stored).await.map_err(|error| error.to_string())?;
    assert_eq!(value, "{}");
    Ok(is_stale)
}

#[tokio::test]
async fn the_plug_in_is_asked_once_a_seed() {
    let fake = Fake::new();
    let writer = plugin(&fake).await;
    let stored: Vec<Vec<u8>> = (0..3).map(|_| writer.seal(KEY, b"{}").unwrap()).collect();
    assert_ne!(stored[0], stored[1]);
    for stored in &stored {
        assert_eq!(opened(&writer, stored).await, Ok(false));
    }
    assert_eq!((fake.calls("encrypt"), fake.calls("decrypt")), (1, 0));
    // Another server, or this one after it was started again, has another seed, and the key is the same.
    let reader = plugin(&fake).await;
    for stored in &stored {
        assert_eq!(opened(&reader, stored).await, Ok(false));
    }
    assert_eq!((fake.calls("encrypt"), fake.calls("decrypt")), (2, 1));
    let moved = reader.open("/registry/core/secrets/default/y", &stored[0]).await;
    assert_eq!(moved.unwrap_err().to_string(), "cipher: message authentication failed");
}

#[tokio::test]
async fn another_key_makes_what_was_written_stale() {
    let fake = Fake::new();
    let plugin = plugin(&fake).await;
    let old = plugin.seal(KEY, b"{}").unwrap();
    for _ in 0..5 {
        fake.later(&plugin, POLL).await;
    }
    assert_eq!(opened(&plugin, &old).await, Ok(false));
    assert_eq!(fake.calls("encrypt"), 1);
    fake.set(|state| state.key_id = "two".to_owned());
    fake.later(&plugin, POLL).await;
    assert_eq!(opened(&plugin, &old).await, Ok(true));
    let new = plugin.seal(KEY, b"{}").unwrap();
    assert_eq!(opened(&plugin, &new).await, Ok(false));
    assert_eq!((fake.calls("encrypt"), fake.calls("decrypt")), (2, 0));
}

#[tokio::test]
async fn writes_end_a_while_after_the_plug_in_and_reads_go_on() {
    let fake = Fake::new();
    let plugin = plugin(&fake).await;
    let stored = plugin.seal(KEY, b"{}").unwrap();
    fake.set(|state| state.fails = true);
    fake.later(&plugin, WRITE_FOR).await;
    plugin.seal(KEY, b"{}").unwrap();
    fake.later(&plugin, Duration::from_secs(1)).await;
    assert!(plugin.seal(KEY, b"{}").is_err());
    assert_eq!(opened(&plugin, &stored).await, Ok(false));
    assert!(plugin.check().await.unwrap_err().contains("out of order"));
    fake.set(|state| state.fails = false);
    fake.later(&plugin, POLL_BAD).await;
    plugin.check().await.unwrap();
    plugin.seal(KEY, b"{}").unwrap();
}

#[tokio::test]
async fn what_can_not_be_decrypted_is_asked_for_once_in_a_while() {
    let fake = Fake::new();
    let stored = plugin(&fake).await.seal(KEY, b"{}").unwrap();
    fake.set(|state| state.fails = true);
    let reader = plugin(&fake).await;
    for _ in 0..5 {
        let error = opened(&reader, &stored).await.unwrap_err();
        assert_eq!(error, "failed to decrypt DEK, error: out of order");
    }
    assert_eq!(fake.calls("decrypt"), 1);
    fake.set(|state| state.fails = false);
    let healed = Arc::clone(&reader.healed);
    *fake.1.lock() += FAILED_FOR;
    reader.check().await.unwrap();
    healed.notified().await;
    assert_eq!(opened(&reader, &stored).await, Ok(false));
}

#[tokio::test]
async fn what_a_plug_in_may_not_say_is_told() {
    for (key_id, healthz, expected) in [
        ("", "ok", "got invalid KMSv2 KeyID: keyID is empty"),
        ("one", "on fire", "got unexpected healthz status: on fire"),
    ] {
        let fake = Fake::new();
        fake.set(|state| {
            state.key_id = key_id.to_owned();
            state.healthz = healthz.to_owned();
        });
        let plugin = plugin(&fake).await;
        let error = plugin.check().await.unwrap_err();
        assert_eq!(error, format!("kmsv2 Provider test is not healthy, error: {expected}"));
    }
    let source = |annotation: &str| Source {
        key_id: "one".to_owned(),
        encrypted: vec![1],
        annotations: BTreeMap::from([(annotation.to_owned(), Vec::new())]),
    };
    assert!(source("a.example.com").check().is_ok());
    assert!(source("plain").check().is_err());
}
