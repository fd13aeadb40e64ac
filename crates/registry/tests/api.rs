//! The registry's answers, asked without a network.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use image::{InUse, Store};
use registry::{Body, Peers, Registry};
use sha2::Digest as _;

struct Here {
    _dir: tempfile::TempDir,
    store: Store,
    registry: Registry,
}

fn here() -> Here {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let registry = Registry::new(store.clone(), "registry.test.local");
    Here {
        _dir: dir,
        store,
        registry,
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

async fn ask(registry: &Registry, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response<Body> {
    let body = Full::new(bytes::Bytes::copy_from_slice(body))
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    registry.handle(request.body(body).unwrap()).await
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn push_blob(here: &Here, repository: &str, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    let response = ask(&here.registry, Method::POST, &path, &[], bytes).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    digest
}

/// An image of one blob that is no real layer: the registry doesn't look into it.
async fn push_image(here: &Here, repository: &str, tag: &str, layer: &[u8], subject: Option<&str>) -> String {
    let config = push_blob(here, repository, b"{}").await;
    let layer_digest = push_blob(here, repository, layer).await;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let mut manifest = serde_json::json!({"schemaVersion": 2, "mediaType": media_type,
        "config": {"mediaType": "application/vnd.example.kind", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": layer.len()}]});
    if let Some(subject) = subject {
        manifest["subject"] = serde_json::json!({"mediaType": media_type, "digest": subject, "size": 1});
    }
    let bytes = manifest.to_string().into_bytes();
    let path = format!("/v2/{repository}/manifests/{tag}");
    let response = ask(
        &here.registry,
        Method::PUT,
        &path,
        &[("content-type", media_type)],
        &bytes,
    )
    .await;
    assert_eq!(response.status(), StatusCode::CREATED, "{}", text(response).await);
    digest(&bytes)
}

#[tokio::test]
async fn a_blob_comes_in_pieces_and_only_in_order() {
    let here = here();
    let begun = ask(&here.registry, Method::POST, "/v2/a/b/blobs/uploads/", &[], b"").await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let location = header(&begun, "location").to_string();
    let first = ask(
        &here.registry,
        Method::PATCH,
        &location,
        &[("content-range", "0-4")],
        b"hello",
    )
    .await;
    assert_eq!((first.status(), header(&first, "range")), (StatusCode::ACCEPTED, "0-4"));
    let wrong = ask(
        &here.registry,
        Method::PATCH,
        &location,
        &[("content-range", "9-10")],
        b"xx",
    )
    .await;
    assert_eq!(wrong.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    // As after a restart: a registry that knows nothing but the disk.
    let registry = Registry::new(Store::open(here.store.root()).unwrap(), "registry.test.local");
    let status = ask(&registry, Method::GET, &location, &[], b"").await;
    assert_eq!(
        (status.status(), header(&status, "range")),
        (StatusCode::NO_CONTENT, "0-4")
    );
    let whole = digest(b"hello world");
    let end = format!("{location}?digest={whole}");
    let done = ask(&registry, Method::PUT, &end, &[("content-range", "5-10")], b" world").await;
    assert_eq!(done.status(), StatusCode::CREATED);
    let path = format!("/v2/a/b/blobs/{whole}");
    let part = ask(&registry, Method::GET, &path, &[("range", "bytes=6-")], b"").await;
    assert_eq!(header(&part, "content-range"), "bytes 6-10/11");
    assert_eq!(text(part).await, "world");
    let elsewhere = ask(&registry, Method::GET, &format!("/v2/other/blobs/{whole}"), &[], b"").await;
    assert_eq!(
        elsewhere.status(),
        StatusCode::NOT_FOUND,
        "a blob belongs to its repositories"
    );
    let mount = format!("/v2/other/blobs/uploads/?mount={whole}&from=a/b");
    assert_eq!(
        ask(&registry, Method::POST, &mount, &[], b"").await.status(),
        StatusCode::CREATED
    );
    let now = ask(&registry, Method::HEAD, &format!("/v2/other/blobs/{whole}"), &[], b"").await;
    assert_eq!((now.status(), header(&now, "content-length")), (StatusCode::OK, "11"));
}

#[tokio::test]
async fn what_lies_or_leads_out_is_refused() {
    let here = here();
    let wrong = format!("/v2/a/blobs/uploads/?digest={}", digest(b"other"));
    let response = ask(&here.registry, Method::POST, &wrong, &[], b"this").await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(text(response).await.contains("DIGEST_INVALID"));
    for path in [
        "/v2/../../etc/manifests/x",
        "/v2/a/blobs/sha256:../../../etc/passwd",
        "/v2/A/tags/list",
        "/v2/a/manifests/..",
        "/v2/a/blobs/uploads/..%2f..%2fx",
    ] {
        let response = ask(&here.registry, Method::GET, path, &[], b"").await;
        assert!(response.status().is_client_error(), "{path}: {}", response.status());
    }
    let put = ask(
        &here.registry,
        Method::PUT,
        "/v2/a/manifests/v1",
        &[("content-type", "a/b")],
        b"[]",
    )
    .await;
    assert_eq!(put.status(), StatusCode::BAD_REQUEST);
    let missing = br#"{"schemaVersion":2,"layers":[],"config":{"mediaType":"x","size":1,"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}}"#;
    let put = ask(
        &here.registry,
        Method::PUT,
        "/v2/a/manifests/v1",
        &[("content-type", "a/b")],
        missing,
    )
    .await;
    assert!(text(put).await.contains("MANIFEST_BLOB_UNKNOWN"));
}

#[tokio::test]
async fn tags_are_listed_in_pages_and_referrers_found() {
    let here = here();
    let mut subject = String::new();
    for tag in ["c", "a", "b"] {
        subject = push_image(&here, "team/app", tag, b"layer", None).await;
    }
    let page = ask(&here.registry, Method::GET, "/v2/team/app/tags/list?n=2", &[], b"").await;
    assert!(header(&page, "link").contains("last=b"));
    assert_eq!(text(page).await, r#"{"name":"team/app","tags":["a","b"]}"#);
    let rest = ask(
        &here.registry,
        Method::GET,
        "/v2/team/app/tags/list?n=2&last=b",
        &[],
        b"",
    )
    .await;
    assert_eq!(text(rest).await, r#"{"name":"team/app","tags":["c"]}"#);
    let signature = push_image(&here, "team/app", "sig", b"signature", Some(&subject)).await;
    let path = format!("/v2/team/app/referrers/{subject}?artifactType=application/vnd.example.kind");
    let found = ask(&here.registry, Method::GET, &path, &[], b"").await;
    assert_eq!(header(&found, "oci-filters-applied"), "artifactType");
    assert!(text(found).await.contains(&signature));
    let other = format!("/v2/team/app/referrers/{subject}?artifactType=other");
    let none = ask(&here.registry, Method::GET, &other, &[], b"").await;
    assert!(!text(none).await.contains(&signature));
}

#[tokio::test]
async fn what_nothing_leads_to_is_collected() {
    let here = here();
    let kept = push_image(&here, "app", "v1", b"kept", None).await;
    let gone = push_image(&here, "app", "v2", b"gone", None).await;
    let path = format!("/v2/app/manifests/{gone}");
    assert_eq!(
        ask(&here.registry, Method::DELETE, &path, &[], b"").await.status(),
        StatusCode::ACCEPTED
    );
    let list = ask(&here.registry, Method::GET, "/v2/app/tags/list", &[], b"").await;
    assert_eq!(text(list).await, r#"{"name":"app","tags":["v1"]}"#);
    let blob = format!("/v2/app/blobs/{}", digest(b"gone"));
    assert_eq!(
        ask(&here.registry, Method::DELETE, &blob, &[], b"").await.status(),
        StatusCode::ACCEPTED
    );
    let removed = here.store.prune(false, &InUse::default(), |_| false).unwrap();
    assert!(removed.freed >= 4);
    let kept = ask(
        &here.registry,
        Method::GET,
        &format!("/v2/app/manifests/{kept}"),
        &[],
        b"",
    )
    .await;
    assert_eq!(kept.status(), StatusCode::OK);
    let layer = ask(
        &here.registry,
        Method::GET,
        &format!("/v2/app/blobs/{}", digest(b"kept")),
        &[],
        b"",
    )
    .await;
    assert_eq!(text(layer).await, "kept");
}

#[tokio::test]
async fn an_image_that_was_made_here_is_served_under_its_own_name() {
    let here = here();
    let mut layer = here.store.new_layer().unwrap();
    layer.file("hello", 0o755, b"hi").unwrap();
    let layers = vec![layer.finish().unwrap()];
    here.store
        .assemble(
            &"docker.io/team/app:v1".parse().unwrap(),
            layers,
            image::RunConfig::default(),
        )
        .unwrap();
    let path = "/v2/team/app/manifests/v1";
    let own = ask(&here.registry, Method::GET, path, &[], b"").await;
    assert_eq!(own.status(), StatusCode::NOT_FOUND, "it is another registry's name");
    let asked = ask(&here.registry, Method::GET, &format!("{path}?ns=docker.io"), &[], b"").await;
    assert_eq!(asked.status(), StatusCode::OK);
    // Another machine hasn't it, but asks this one.
    struct One(Registry);
    #[async_trait::async_trait]
    impl Peers for One {
        async fn ask(&self, method: Method, path: &str, _: &HeaderMap) -> Option<Response<Body>> {
            let answer = ask(&self.0, method, path, &[], b"").await;
            answer.status().is_success().then_some(answer)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let peer = One(Registry::read_only(here.store.clone(), "registry.test.local"));
    let other = Registry::with_peers(Store::open(dir.path()).unwrap(), "registry.test.local", Arc::new(peer));
    let asked = ask(&other, Method::GET, &format!("{path}?ns=docker.io"), &[], b"").await;
    assert_eq!(asked.status(), StatusCode::OK);
    assert!(text(asked).await.contains("layers"));
    let write = ask(
        &Registry::read_only(here.store.clone(), "r.local"),
        Method::POST,
        "/v2/a/blobs/uploads/",
        &[],
        b"",
    )
    .await;
    assert_eq!(write.status(), StatusCode::METHOD_NOT_ALLOWED);
}
