//! Pulls from a registry that misbehaves.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod registry;

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use image::{
    Credential, Error, Hosts, Keyring, LayerState, Pulled, Reference, Store, Transfer, TransferOptions,
    TransferProgress,
};
use registry::Fake;

struct Here {
    dir: tempfile::TempDir,
    store: Store,
    transfer: Transfer,
}

fn here() -> Here {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("images")).unwrap();
    let hosts = Hosts {
        dir: Some(dir.path().join("hosts")),
        cluster: None,
    };
    let transfer = Transfer::new(store.clone(), hosts);
    Here { dir, store, transfer }
}

impl Here {
    async fn pull(&self, name: &str) -> Result<Pulled, Error> {
        self.pull_with(name, &TransferOptions::default()).await
    }

    async fn pull_with(&self, name: &str, options: &TransferOptions) -> Result<Pulled, Error> {
        Box::pin(self.transfer.pull(&name.parse::<Reference>().unwrap(), options)).await
    }

    fn count(&self, part: &str) -> usize {
        std::fs::read_dir(self.dir.path().join("images").join(part))
            .unwrap()
            .count()
    }

    fn nothing_is_left(&self) {
        for part in ["layers", "names", "tmp", "claims"] {
            let dir = self.dir.path().join("images").join(part);
            let names: Vec<_> = std::fs::read_dir(&dir)
                .unwrap()
                .flatten()
                .map(|e| e.file_name())
                .collect();
            assert!(names.is_empty() || part == "claims", "{part}: {names:?}");
        }
    }
}

/// A layer with one file of bytes that don't compress to nothing.
fn tar(name: &str, size: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let content: Vec<u8> = (0..size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state & 0x3f) as u8
        })
        .collect();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content.as_slice()).unwrap();
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn layer(name: &str, seed: u32) -> (Vec<u8>, Vec<u8>) {
    let tar = tar(name, 300_000, seed);
    let stored = gzip(&tar);
    (tar, stored)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_whole_and_only_once() {
    let (fake, here) = (Fake::start(), here());
    let second = tar("b", 200_000, 2);
    let layers = [
        layer("a", 1),
        (second.clone(), zstd::encode_all(second.as_slice(), 1).unwrap()),
        layer("a", 1),
    ];
    let digest = fake.image("v1", &layers);
    let name = format!("{}/team/app:v1", fake.address);
    let pulled = here.pull(&name).await.unwrap();
    assert_eq!(pulled.digest, digest);
    assert!(pulled.fetched > 300_000);
    pulled.settle().unwrap();
    assert_eq!(here.count("claims"), 0);
    let image = here.store.resolve(&name).unwrap().unwrap();
    assert_eq!(image.layers.len(), 3);
    assert_eq!(std::fs::metadata(image.layers[1].join("b")).unwrap().len(), 200_000);
    assert!(image.layers[0].join("a").exists());
    let again = here.pull(&name).await.unwrap();
    assert_eq!(again.fetched, 0);
    let by_digest = format!("{}/team/app@{digest}", fake.address);
    assert!(here.store.resolve(&by_digest).unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_variant_for_the_platform_is_taken() {
    let (fake, here) = (Fake::start(), here());
    let arm = fake.image("arm", &[layer("arm", 1)]);
    let amd = fake.image("amd", &[layer("amd", 2)]);
    let entry = |digest: &str, arch: &str| {
        serde_json::json!({"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "size": 1,
            "digest": digest, "platform": {"os": "linux", "architecture": arch}})
    };
    let list = serde_json::json!({"schemaVersion": 2, "manifests": [entry(&arm, "arm64"), entry(&amd, "amd64")]});
    let media_type = "application/vnd.docker.distribution.manifest.list.v2+json";
    let index = fake.manifest("multi", media_type, list.to_string().into_bytes());
    let name = format!("{}/app:multi", fake.address);
    let with = |platform: &str| TransferOptions {
        platform: Some(platform.parse().unwrap()),
        ..TransferOptions::default()
    };
    let pulled = here.pull_with(&name, &with("linux/arm64/v8")).await.unwrap();
    assert_eq!(pulled.digest, index);
    assert!(
        here.store.resolve(&name).unwrap().unwrap().layers[0]
            .join("arm")
            .exists()
    );
    here.pull_with(&name, &with("linux/amd64")).await.unwrap();
    assert!(
        here.store.resolve(&name).unwrap().unwrap().layers[0]
            .join("amd")
            .exists()
    );
    let error = here.pull_with(&name, &with("linux/s390x")).await.unwrap_err();
    assert!(error.to_string().contains("linux/arm64, linux/amd64"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_goes_on_where_it_broke() {
    for no_ranges in [false, true] {
        let (fake, here) = (Fake::start(), here());
        let layers = [layer("a", 3)];
        let size = layers[0].1.len();
        fake.image("v1", &layers);
        {
            let mut state = fake.state.lock().unwrap();
            state.cuts = vec![70_000, 50_000];
            state.no_ranges = no_ranges;
        }
        here.pull(&format!("{}/app:v1", fake.address)).await.unwrap();
        let state = fake.state.lock().unwrap();
        let ranges: Vec<_> = state
            .asked
            .iter()
            .filter_map(|asked| asked.headers.get("range").cloned())
            .collect();
        assert_eq!(ranges.len(), 2, "{ranges:?} of {size}");
        assert_ne!(ranges[0], ranges[1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_failed_is_taken_up_by_the_next() {
    let (fake, here) = (Fake::start(), here());
    let layers = [layer("a", 4)];
    let size = layers[0].1.len() as u64;
    fake.image("v1", &layers);
    let name = format!("{}/app:v1", fake.address);
    // One piece comes, then nothing any more.
    fake.state.lock().unwrap().cuts = vec![0, 0, 0, 0, 0, 0, 0, 60_000];
    let error = here.pull(&name).await.unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
    here.nothing_is_left();
    assert_eq!(here.count("ingest"), 1);
    fake.state.lock().unwrap().cuts.clear();
    fake.state.lock().unwrap().asked.clear();
    // As after a restart: nothing is known but what is on the disk.
    let store = Store::open(here.dir.path().join("images")).unwrap();
    let transfer = Transfer::new(store, Hosts::default());
    let pulled = Box::pin(transfer.pull(&name.parse().unwrap(), &TransferOptions::default()))
        .await
        .unwrap();
    let state = fake.state.lock().unwrap();
    let range = state.asked.iter().find_map(|asked| asked.headers.get("range").cloned());
    assert!(range.is_some(), "it began anew");
    assert_eq!(pulled.fetched, size - 60_000);
    assert_eq!(here.count("ingest"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_about_its_digest_is_refused() {
    let (fake, here) = (Fake::start(), here());
    let layers = [layer("a", 5)];
    fake.image("v1", &layers);
    let digest = registry::digest(&layers[0].1);
    let mut wrong = layers[0].1.clone();
    let last = wrong.len() - 1;
    wrong[last] ^= 1;
    fake.state.lock().unwrap().blobs.insert(digest, wrong);
    let error = here.pull(&format!("{}/app:v1", fake.address)).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    here.nothing_is_left();
    assert_eq!(here.count("ingest"), 0);
    // A manifest that isn't what its digest says.
    let manifest = fake.state.lock().unwrap().manifests["v1"].clone();
    let other = format!("sha256:{}", "0".repeat(64));
    fake.state.lock().unwrap().manifests.insert(other.clone(), manifest);
    let error = here.pull(&format!("{}/app@{other}", fake.address)).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_got_with_the_right_credentials() {
    let (fake, here) = (Fake::start(), here());
    fake.image("v1", &[layer("a", 6)]);
    let name = format!("{}/team/app:v1", fake.address);
    {
        let mut state = fake.state.lock().unwrap();
        state.wants = Some("Bearer t0ken".to_string());
        state.challenge = format!("Bearer realm=\"http://{}/token\",service=\"s\"", fake.address);
        state.token = Some(("t0ken".to_string(), Some("Basic dTpw".to_string())));
    }
    let error = here.pull(&name).await.unwrap_err();
    assert!(matches!(error, Error::Registry { status: 401, .. }), "{error}");
    let basic = |password: &str| Credential::Basic {
        username: "u".to_string(),
        password: password.to_string(),
    };
    let mut keyring = Keyring::one(&format!("{}/team", fake.address), basic("wrong"));
    keyring.extend(Keyring::one(&fake.address, basic("p")));
    let options = TransferOptions {
        keyring,
        ..TransferOptions::default()
    };
    here.pull_with(&name, &options).await.unwrap();
    let state = fake.state.lock().unwrap();
    let token = state
        .asked
        .iter()
        .rfind(|asked| asked.path.starts_with("/token"))
        .unwrap();
    assert!(
        token.path.contains("scope=repository:team/app:pull") && token.path.contains("service=s"),
        "{token:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_stay_with_the_host_that_they_are_for() {
    let (fake, other, here) = (Fake::start(), Fake::start(), here());
    let layers = [layer("a", 7)];
    fake.image("v1", &layers);
    other.image("v1", &layers);
    {
        let mut state = fake.state.lock().unwrap();
        state.wants = Some("Basic dTpw".to_string());
        state.challenge = "Basic realm=\"r\"".to_string();
        state.redirect = Some(format!("http://{}", other.address));
    }
    let credential = Credential::Basic {
        username: "u".to_string(),
        password: "p".to_string(),
    };
    let options = TransferOptions {
        keyring: Keyring::one(&fake.address, credential),
        ..TransferOptions::default()
    };
    here.pull_with(&format!("{}/app:v1", fake.address), &options)
        .await
        .unwrap();
    let state = other.state.lock().unwrap();
    assert!(state.asked.iter().any(|asked| asked.path.contains("/blobs/")));
    let told = state
        .asked
        .iter()
        .find(|asked| asked.headers.contains_key("authorization"));
    assert!(told.is_none(), "{told:?}");
}

#[derive(Default)]
struct Seen(Mutex<Vec<LayerState>>);

impl TransferProgress for Seen {
    fn resolved(&self, _: &Reference, _: &str) {}
    fn layer(&self, _: &str, state: LayerState) {
        self.0.lock().unwrap().push(state);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_at_once_are_one_download() {
    let (fake, here) = (Fake::start(), here());
    fake.image("v1", &[layer("a", 8), layer("b", 9)]);
    let seen = Arc::new(Seen::default());
    let options = TransferOptions {
        progress: Some(seen.clone()),
        ..TransferOptions::default()
    };
    let name = format!("{}/app:v1", fake.address);
    // Another process has a store of its own over the same directory.
    let other = Transfer::new(Store::open(here.dir.path().join("images")).unwrap(), Hosts::default());
    let own = TransferOptions::default();
    let reference: Reference = name.parse().unwrap();
    let pulls = (0..8).map(|n| {
        let transfer = if n % 2 == 0 { &here.transfer } else { &other };
        Box::pin(transfer.pull(&reference, if n == 0 { &options } else { &own }))
    });
    for pulled in futures::future::join_all(pulls).await {
        pulled.unwrap();
    }
    // The configuration may be asked for by each; the layers are not.
    for layer in [layer("a", 8), layer("b", 9)] {
        assert_eq!(fake.count(&registry::digest(&layer.1)), 1);
    }
    assert!(
        seen.0
            .lock()
            .unwrap()
            .iter()
            .any(|state| matches!(state, LayerState::Done | LayerState::Exists))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_asked_first_and_the_registry_next() {
    let (mirror, here) = (Fake::start(), here());
    mirror.image("v1", &[layer("a", 10)]);
    let place = here.dir.path().join("hosts/registry.example");
    std::fs::create_dir_all(&place).unwrap();
    let text = format!(
        "server = \"http://127.0.0.1:9\"\n[host.\"http://{}\"]\n",
        mirror.address
    );
    std::fs::write(place.join("hosts.toml"), text).unwrap();
    here.pull("registry.example/team/app:v1").await.unwrap();
    assert!(mirror.count("ns=registry.example") > 0);
    let error = here.pull("registry.example/team/app:v2").await.unwrap_err();
    assert!(
        error.to_string().contains("127.0.0.1:9"),
        "the registry's own answer counts: {error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_only_fills_the_disk_is_refused() {
    let (fake, here) = (Fake::start(), here());
    // A sparse file of GNU tar that says it is 64 TiB and has no data.
    let mut header = [0u8; 512];
    header[..4].copy_from_slice(b"bomb");
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(b"00000000000\0");
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = b'S';
    header[257..265].copy_from_slice(b"ustar  \0");
    let size = |n: u64| {
        let mut field = [0u8; 12];
        field[4..].copy_from_slice(&n.to_be_bytes());
        field[0] = 0x80;
        field
    };
    let huge = 64u64 << 40;
    header[386..398].copy_from_slice(&size(huge));
    header[398..410].copy_from_slice(b"00000000000\0");
    header[483..495].copy_from_slice(&size(huge));
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = header.to_vec();
    tar.extend([0; 1024]);
    fake.image("v1", &[(tar.clone(), gzip(&tar))]);
    let error = here.pull(&format!("{}/app:v1", fake.address)).await.unwrap_err();
    assert!(
        error.to_string().contains("fill the disk") || error.to_string().contains("nearly full"),
        "{error}"
    );
    here.nothing_is_left();
}
