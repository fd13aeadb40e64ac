//! Encryption at rest: what lies in the store's files, keys that change, and keys that are missing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use meta::Revision;
use serde_json::{Value, json};
use server::{Config, EncryptionSettings, User};
use sha2::{Digest as _, Sha256};
use store::{Range, Store as _, Txn};

use crate::kms::Kms;
use crate::world::World;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const KEYS: &str = "/registry/core/secrets/default/";
const ONE: &str = "{name: one, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}";
const TWO: &str = "{name: two, secret: ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=}";
/// What must not be found in any file.
const HIDDEN: &str = "open sesame";

/// The directory of a configuration, and the file in it.
struct Configured {
    dir: tempfile::TempDir,
    file: PathBuf,
}

impl Configured {
    fn new(providers: &str) -> Configured {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("encryption.yaml");
        let configured = Configured { dir, file };
        configured.write(providers);
        configured
    }

    fn write(&self, providers: &str) {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets, \
             widgets.example.com]\n  providers: {providers}\n"
        );
        let text = text.replace("ONE", ONE).replace("TWO", TWO);
        let new = self.dir.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    fn set(&self, reload: bool) -> impl FnOnce(&mut Config) + use<> {
        let file = self.file.clone();
        move |config| config.encryption = Some(EncryptionSettings { file, reload })
    }
}

fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": HIDDEN}})
}

async fn stored(world: &World, name: &str) -> Bytes {
    let got = world.store.get(&format!("{KEYS}{name}"), None).await.unwrap();
    got.record.unwrap().value
}

/// Whether any file below a directory has some bytes in it.
fn is_found(dir: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_found(&path, bytes);
        }
        let content = std::fs::read(&path).unwrap();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(30), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn secrets_are_not_in_the_stores_files() {
    let base64 = "b3BlbiBzZXNhbWU=";
    let plain = World::new().await;
    plain.post(SECRETS, &secret("a")).await.expect(201);
    assert!(is_found(plain.dir.path(), base64.as_bytes()));

    let configured = Configured::new("[{secretbox: {keys: [ONE]}}]");
    let world = World::configured(configured.set(false)).await;
    let made = world.post(SECRETS, &secret("a")).await.expect(201);
    assert_eq!(made["data"]["password"], base64);
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "not encrypted"}});
    world
        .post("/api/v1/namespaces/default/configmaps", &map)
        .await
        .expect(201);
    let path = format!("{SECRETS}/a");
    let patch = json!({"metadata": {"labels": {"mine": "yes"}}});
    world.patch("merge-patch+json", &path, &patch).await.expect(200);
    assert!(!is_found(world.dir.path(), base64.as_bytes()));
    assert!(is_found(world.dir.path(), b"not encrypted"));
    assert!(stored(&world, "a").await.starts_with(b"k8s:enc:secretbox:v1:one:"));

    // Everything that reads goes by the value: caches, selectors, old revisions, and the next server.
    assert_eq!(world.get(&path).await.expect(200)["data"]["password"], base64);
    let selected = world
        .get(&format!("{SECRETS}?labelSelector=mine%3Dyes"))
        .await
        .expect(200);
    assert_eq!(selected["items"].as_array().unwrap().len(), 1);
    let revision = made["metadata"]["resourceVersion"].as_str().unwrap();
    let old = format!("{SECRETS}?resourceVersion={revision}&resourceVersionMatch=Exact");
    assert_eq!(world.get(&old).await.expect(200)["items"][0], made_item(&made));
    let metrics = world.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.bytes).into_owned();
    assert!(metrics.contains(
        "apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"OK\",\
         transformation_type=\"to_storage\",transformer_prefix=\"k8s:enc:secretbox:v1:\"}"
    ));
    let world = world.again(configured.set(false)).await.unwrap();
    assert_eq!(world.get(&path).await.expect(200)["data"]["password"], base64);
    assert_eq!(world.delete(&path).await.code, 200);
}

/// An object as it stands in a list.
fn made_item(made: &Value) -> Value {
    let mut item = made.clone();
    let fields = item.as_object_mut().unwrap();
    fields.remove("kind");
    fields.remove("apiVersion");
    item
}

#[tokio::test]
async fn a_value_can_not_be_put_in_anothers_place() {
    let configured = Configured::new("[{aesgcm: {keys: [ONE]}}]");
    let world = World::configured(configured.set(false)).await;
    world.post(SECRETS, &secret("mine")).await.expect(201);
    world.post(SECRETS, &secret("other")).await.expect(201);
    let mine = stored(&world, "mine").await;
    let txn = Txn::new().put(format!("{KEYS}other"), mine);
    world.store.commit(txn).await.unwrap();
    let why = "cipher: message authentication failed";
    let refused = world.get(&format!("{SECRETS}/other")).await.expect(500);
    assert_eq!(refused["message"], format!("Internal error occurred: {why}"));
    assert_eq!(refused["reason"], "InternalError");
    let list = world.get(SECRETS).await.expect(500);
    let at = format!("{KEYS}other");
    let told = format!("Internal error occurred: unable to transform key \"{at}\": {why}");
    assert_eq!(list["message"], told);
    // What can be read is, one by one, and so are other resources.
    world.get(&format!("{SECRETS}/mine")).await.expect(200);
    world.get("/api/v1/namespaces/default/configmaps").await.expect(200);
    world.get("/api/v1/namespaces/kube-system/secrets").await.expect(200);
}

#[tokio::test]
async fn an_update_that_changes_nothing_is_written_by_the_new_key() {
    let configured = Configured::new("[{aesgcm: {keys: [ONE]}}, {identity: {}}]");
    let world = World::new().await;
    world.post(SECRETS, &secret("a")).await.expect(201);
    assert!(stored(&world, "a").await.starts_with(b"{"));
    let path = format!("{SECRETS}/a");
    let replace = async |world: &World| {
        let now = world.get(&path).await.expect(200);
        world.put(&path, &now).await.expect(200);
        let after = world.get(&path).await.expect(200);
        now["metadata"]["resourceVersion"] != after["metadata"]["resourceVersion"]
    };
    let mut world = world;
    for (providers, prefix) in [
        ("[{aesgcm: {keys: [ONE]}}, {identity: {}}]", "k8s:enc:aesgcm:v1:one:"),
        ("[{aesgcm: {keys: [TWO, ONE]}}]", "k8s:enc:aesgcm:v1:two:"),
        (
            "[{aescbc: {keys: [TWO]}}, {aesgcm: {keys: [TWO]}}]",
            "k8s:enc:aescbc:v1:two:",
        ),
        ("[{identity: {}}, {aescbc: {keys: [TWO]}}]", "{"),
    ] {
        configured.write(providers);
        world = world.again(configured.set(false)).await.unwrap();
        assert!(replace(&world).await, "{providers}");
        assert!(stored(&world, "a").await.starts_with(prefix.as_bytes()), "{providers}");
        assert!(!replace(&world).await, "{providers}");
    }
}

#[tokio::test]
async fn a_missing_key_is_told_and_found_again() {
    let configured = Configured::new("[{aesgcm: {keys: [ONE]}}]");
    let world = World::configured(configured.set(false)).await;
    world.post(SECRETS, &secret("a")).await.expect(201);
    let path = format!("{SECRETS}/a");
    // Without any configuration, as after a forgotten flag.
    let world = world.again(|_| ()).await.unwrap();
    let refused = world.get(&path).await.expect(500);
    let why = "identity transformer tried to read encrypted data";
    assert_eq!(refused["message"], format!("Internal error occurred: {why}"));

    configured.write("[{aesgcm: {keys: [TWO]}}]");
    let world = world.again(configured.set(true)).await.unwrap();
    let refused = world.get(&path).await.expect(500);
    let why = "no matching key was found for the provided AES transformer";
    assert_eq!(refused["message"], format!("Internal error occurred: {why}"));
    world.get(&format!("{SECRETS}?labelSelector=a%3Db")).await.expect(500);
    world.put(&path, &secret("a")).await.expect(500);
    assert_eq!(world.delete(&path).await.code, 500);
    let watch = format!("{SECRETS}?watch=true&resourceVersion=0&timeoutSeconds=1");
    let events = world.get(&watch).await;
    assert!(String::from_utf8_lossy(&events.bytes).contains("\"type\":\"ERROR\""));
    // New ones are written meanwhile.
    world.post(SECRETS, &secret("b")).await.expect(201);
    world.get(&format!("{SECRETS}/b")).await.expect(200);

    configured.write("[{aesgcm: {keys: [TWO, ONE]}}]");
    until("the key is read again", || async { world.get(&path).await.code == 200 }).await;
    until("the list is complete", || async {
        let list = world.get(&format!("{SECRETS}?resourceVersion=0")).await;
        list.code == 200 && list.json()["items"].as_array().unwrap().len() == 2
    })
    .await;
    // A broken file leaves what holds.
    configured.write("[{aesgcm: {keys: []}}]");
    until("the failure is counted", || async {
        let name = "apiserver_encryption_config_controller_automatic_reloads_total";
        let (failed, done) = (("status", "failure"), ("status", "success"));
        world.figure(name, &[failed]).await.is_some() && world.figure(name, &[done]).await == Some(1.0)
    })
    .await;
    world.get(&path).await.expect(200);
    world.get("/readyz/kms-providers").await;
}

#[tokio::test]
async fn what_can_not_be_read_is_deleted_by_who_insists() {
    let configured = Configured::new("[{aesgcm: {keys: [ONE]}}]");
    let world = World::configured(configured.set(false)).await;
    world.post(SECRETS, &secret("a")).await.expect(201);
    configured.write("[{aesgcm: {keys: [TWO]}}]");
    let world = world.again(configured.set(false)).await.unwrap();
    world.post(SECRETS, &secret("b")).await.expect(201);
    let path = |name: &str| format!("{SECRETS}/{name}");
    let mut insist = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    world.delete_with(&path("a"), &insist).await.expect(500);
    insist["ignoreStoreReadErrorWithClusterBreakingPotential"] = json!(true);
    let told = world.delete_with(&path("b"), &insist).await.expect(409);
    assert!(
        told["message"]
            .as_str()
            .unwrap()
            .contains("the object is decodable from storage")
    );
    let mut graceful = insist.clone();
    graceful["gracePeriodSeconds"] = json!(0);
    let told = world.delete_with(&path("a"), &graceful).await.expect(422);
    assert!(
        told["message"]
            .as_str()
            .unwrap()
            .contains("cannot be set together with .gracePeriodSeconds")
    );
    let mut dry = insist.clone();
    dry["dryRun"] = json!(["All"]);
    world.delete_with(&path("a"), &dry).await.expect(200);
    world.get(SECRETS).await.expect(500);
    // Who may delete may not do this yet.
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "deleter"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["delete"]}]});
    world
        .post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role)
        .await
        .expect(201);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "deleter"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
        "name": "deleter"}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]});
    world
        .post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding)
        .await
        .expect(201);
    let jane = User::new("jane", &[]);
    let refused = world
        .write(jane, Method::DELETE, &path("a"), "application/json", &insist)
        .await;
    let told = refused.expect(403);
    assert!(
        told["message"]
            .as_str()
            .unwrap()
            .contains("unsafe-delete-ignore-read-errors")
    );
    world.delete_with(&path("a"), &insist).await.expect(200);
    assert_eq!(
        world.get(SECRETS).await.expect(200)["items"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn what_can_not_be_used_stops_the_server() {
    let configured = Configured::new("[{aesgcm: {keys: [{name: a, secret: c2hvcnQ=}]}}]");
    let error = World::try_configured(configured.set(false)).await.err().unwrap();
    let expected = format!(
        "the encryption configuration {}: resources[0].providers[0].aesgcm.keys[0].secret: Invalid value: \"REDACTED\": \
         secret is not of the expected length, got 5, expected one of [16 24 32]",
        configured.file.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn custom_resources_are_encrypted_too() {
    let configured = Configured::new("[{aesgcm: {keys: [ONE]}}]");
    let world = World::configured(configured.set(false)).await;
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Cluster",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    world.post(definitions, &definition).await.expect(201);
    let widgets = "/apis/example.com/v1/widgets";
    until("widgets are served", || async { world.get(widgets).await.code == 200 }).await;
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "color": HIDDEN});
    world.post(widgets, &widget).await.expect(201);
    assert_eq!(world.get(&format!("{widgets}/w")).await.expect(200)["color"], HIDDEN);
    let all = world
        .store
        .range(Range::prefix("/registry/example.com/widgets/"))
        .await
        .unwrap();
    assert_eq!(all.records.len(), 1);
    assert!(all.records[0].value.starts_with(b"k8s:enc:aesgcm:v1:one:"));
    assert!(all.records[0].revision > Revision(0));
}

#[tokio::test]
async fn a_plug_in_has_the_keys() {
    let configured = Configured::new("[]");
    let socket = configured.dir.path().join("kms.sock");
    let kms = Kms::start(&socket);
    let providers = format!(
        "[{{kms: {{apiVersion: v2, name: vault, endpoint: 'unix://{}', timeout: 2s}}}}, {{identity: {{}}}}]",
        socket.display()
    );
    configured.write(&providers);
    let world = World::configured(configured.set(true)).await;
    for name in ["a", "b", "c"] {
        world.post(SECRETS, &secret(name)).await.expect(201);
    }
    assert!(stored(&world, "a").await.starts_with(b"k8s:enc:kms:v2:vault:"));
    assert!(!is_found(world.dir.path(), b"b3BlbiBzZXNhbWU="));
    assert_eq!((kms.calls("Encrypt"), kms.calls("Decrypt")), (1, 0));
    assert_eq!(world.get("/healthz/kms-providers").await.bytes, "ok");

    // Another server asks for the seed of the first one, once.
    let world = world.again(configured.set(true)).await.unwrap();
    world.get(&format!("{SECRETS}/c")).await.expect(200);
    assert_eq!((kms.calls("Encrypt"), kms.calls("Decrypt")), (2, 1));
    let path = format!("{SECRETS}/a");
    let now = world.get(&path).await.expect(200);
    let same = world.put(&path, &now).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], now["metadata"]["resourceVersion"]);

    // The key changes: what is written again is written by the new one.
    kms.rotate("two");
    let world = world.again(configured.set(true)).await.unwrap();
    let changed = world.put(&path, &now).await.expect(200);
    assert_ne!(
        changed["metadata"]["resourceVersion"],
        now["metadata"]["resourceVersion"]
    );

    // Without the plug-in nothing can be read, and the server says so; with it again, everything can.
    kms.stop().await;
    let _ = std::fs::remove_file(&socket);
    let world = world.again(configured.set(true)).await.unwrap();
    let refused = world.get(&path).await.expect(500);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.starts_with("Internal error occurred: failed to decrypt DEK, error: rpc error: code = Unavailable")
    );
    assert_eq!(world.post(SECRETS, &secret("d")).await.code, 500);
    assert_eq!(world.get("/healthz/kms-providers").await.code, 500);
    world.get("/api/v1/namespaces/default/configmaps").await.expect(200);
    let _kms = Kms::start(&socket);
    until("the plug-in is found again", || async {
        world.get(SECRETS).await.code == 200 && world.get("/healthz/kms-providers").await.code == 200
    })
    .await;
    until("the cache is whole again", || async {
        world.get(&format!("{SECRETS}?resourceVersion=0")).await.code == 200
    })
    .await;
    world.post(SECRETS, &secret("d")).await.expect(201);
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[tokio::test]
async fn dashboards_see_what_the_plug_in_is_asked_and_which_keys_are_used() {
    let configured = Configured::new("[{identity: {}}]");
    let socket = configured.dir.path().join("kms.sock");
    let kms = Kms::start(&socket);
    configured.write(&format!(
        "[{{kms: {{apiVersion: v2, name: vault, endpoint: 'unix://{}'}}}}, {{identity: {{}}}}]",
        socket.display()
    ));
    let began = jiff::Timestamp::now().as_second() as f64;
    let world = World::configured(configured.set(true)).await;
    for name in ["a", "b"] {
        world.post(SECRETS, &secret(name)).await.expect(201);
    }
    let (one, vault) = (sha256(b"one"), ("provider_name", "vault"));
    let latency = "apiserver_envelope_encryption_kms_operations_latency_seconds";
    let used = "apiserver_envelope_encryption_key_id_hash_total";
    let asked = async |world: &World, method: &str, code: &str| {
        let method = format!("/v2.KeyManagementService/{method}");
        let labels = [vault, ("method_name", method.as_str()), ("grpc_status_code", code)];
        world.figure(&format!("{latency}_count"), &labels).await
    };
    assert_eq!(asked(&world, "Encrypt", "OK").await, Some(1.0));
    assert!(asked(&world, "Status", "OK").await >= Some(1.0));
    assert_eq!(asked(&world, "Decrypt", "OK").await, None);
    let labels = [vault, ("le", "0.0001"), ("grpc_status_code", "OK")];
    assert!(world.figure(&format!("{latency}_bucket"), &labels).await.is_some());
    let written = [
        vault,
        ("key_id_hash", one.as_str()),
        ("transformation_type", "to_storage"),
    ];
    assert_eq!(world.figure(used, &written).await, Some(2.0));
    let last = "apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds";
    assert!(world.figure(last, &written).await >= Some(began));
    let told = "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds";
    assert!(world.figure(told, &written[..2]).await >= Some(began));
    let seeds = "apiserver_envelope_encryption_dek_source_cache_size";
    assert_eq!(world.figure(seeds, &[vault]).await, Some(1.0));
    let misses = "apiserver_storage_envelope_transformation_cache_misses_total";
    assert_eq!(world.figure(misses, &[]).await, Some(0.0));
    let made = "apiserver_storage_data_key_generation_duration_seconds_count";
    assert_eq!(world.figure(made, &[]).await, Some(1.0));
    let filled = "apiserver_envelope_encryption_dek_cache_fill_percent";
    assert_eq!(world.figure(filled, &[]).await, Some(0.0));
    let hash = sha256(&std::fs::read(&configured.file).unwrap());
    let holds = "apiserver_encryption_config_controller_last_config_info";
    assert_eq!(world.figure(holds, &[("hash", hash.as_str())]).await, Some(1.0));
    let durations = "apiserver_storage_transformation_duration_seconds_bucket";
    assert!(world.figure(durations, &[("le", "5e-06")]).await.is_some());

    // Another server with another key: the seed of the first one has to be asked for.
    kms.rotate("two");
    let world = world.again(configured.set(true)).await.unwrap();
    world.get(&format!("{SECRETS}/a")).await.expect(200);
    assert_eq!(asked(&world, "Decrypt", "OK").await, Some(1.0));
    assert_eq!(world.figure(misses, &[]).await, Some(1.0));
    assert_eq!(world.figure(seeds, &[vault]).await, Some(2.0));
    let read = [
        vault,
        ("key_id_hash", one.as_str()),
        ("transformation_type", "from_storage"),
    ];
    assert!(world.figure(used, &read).await >= Some(2.0));
    assert_eq!(world.figure(used, &written).await, None);

    // A key without a name is none; a plug-in that is gone is a failure.
    let invalid = "apiserver_envelope_encryption_invalid_key_id_from_status_total";
    assert_eq!(world.figure(invalid, &[]).await, None);
    kms.rotate("");
    let world = world.again(configured.set(true)).await.unwrap();
    assert!(world.figure(invalid, &[vault, ("error", "empty")]).await >= Some(1.0));
    kms.stop().await;
    let _ = std::fs::remove_file(&socket);
    let world = world.again(configured.set(true)).await.unwrap();
    assert!(asked(&world, "Status", "Unavailable").await >= Some(1.0));
}
