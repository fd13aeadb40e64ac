//! A server for one test, and bare requests to it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use server::{Body, Config, Server, User};
use store::embedded::{Embedded, Options};
use tower::ServiceExt as _;

/// A server with its data directory.
pub(crate) struct World {
    pub(crate) server: Server,
    /// What the server stores into, below what it does to values itself.
    pub(crate) store: Arc<Embedded>,
    pub(crate) dir: Arc<tempfile::TempDir>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {:?}", self.bytes))
    }

    /// The tree, when the code is the expected one.
    #[track_caller]
    pub(crate) fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code.as_u16(), code, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }
}

impl World {
    pub(crate) async fn new() -> World {
        World::configured(|_| ()).await
    }

    pub(crate) async fn configured(change: impl FnOnce(&mut Config)) -> World {
        World::try_configured(change).await.unwrap()
    }

    pub(crate) async fn try_configured(change: impl FnOnce(&mut Config)) -> Result<World, server::Error> {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let store = Embedded::open(&dir.path().join("store"), Options::default()).unwrap();
        World::on(dir, store, change).await
    }

    /// Another server on what one has left.
    pub(crate) async fn again(self, change: impl FnOnce(&mut Config)) -> Result<World, server::Error> {
        self.server.shutdown();
        World::on(self.dir, self.store, change).await
    }

    /// One more server on the same store.
    pub(crate) async fn beside(&self, change: impl FnOnce(&mut Config)) -> Result<World, server::Error> {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        World::on(dir, Arc::clone(&self.store), change).await
    }

    async fn on(
        dir: Arc<tempfile::TempDir>,
        store: Arc<Embedded>,
        change: impl FnOnce(&mut Config),
    ) -> Result<World, server::Error> {
        let mut config = Config::new(dir.path());
        change(&mut config);
        let server = Server::start(config, Arc::clone(&store) as Arc<dyn store::Store>).await?;
        Ok(World { server, store, dir })
    }

    pub(crate) fn client(&self, user: User) -> kube::Client {
        kube::Client::new(self.server.service(user), "default")
    }

    pub(crate) async fn send(&self, user: User, request: Request<Full<Bytes>>) -> http::Response<Body> {
        self.server.service(user).oneshot(request).await.unwrap()
    }

    async fn read(&self, user: User, request: Request<Full<Bytes>>) -> Answer {
        let response = self.send(user, request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            code: parts.status,
            headers: parts.headers,
            bytes,
        }
    }

    /// The figure of `/metrics` with a name and all of these labels; none when there is none.
    pub(crate) async fn figure(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let text = self.get("/metrics").await;
        let text = String::from_utf8_lossy(&text.bytes).into_owned();
        let mut lines = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let found = lines.find(|line| labels.iter().all(|label| line.contains(label)))?;
        Some(found.rsplit(' ').next()?.parse().unwrap())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_as(User::admin(), path, "application/json").await
    }

    pub(crate) async fn get_as(&self, user: User, path: &str, accept: &str) -> Answer {
        let request = Request::get(path)
            .header("accept", accept)
            .body(Full::default())
            .unwrap();
        self.read(user, request).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.write(User::admin(), Method::POST, path, "application/json", body)
            .await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.write(User::admin(), Method::PUT, path, "application/json", body)
            .await
    }

    pub(crate) async fn patch(&self, kind: &str, path: &str, body: &Value) -> Answer {
        self.write(User::admin(), Method::PATCH, path, &format!("application/{kind}"), body)
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.read(User::admin(), Request::delete(path).body(Full::default()).unwrap())
            .await
    }

    pub(crate) async fn delete_with(&self, path: &str, options: &Value) -> Answer {
        self.write(User::admin(), Method::DELETE, path, "application/json", options)
            .await
    }

    pub(crate) async fn write(&self, user: User, method: Method, path: &str, content: &str, body: &Value) -> Answer {
        let bytes = Bytes::from(serde_json::to_vec(body).unwrap());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content);
        self.read(
            user,
            request.header("user-agent", "test/1").body(Full::new(bytes)).unwrap(),
        )
        .await
    }

    /// Applies what a person has written.
    pub(crate) async fn apply_yaml(&self, path: &str, text: &str) -> Answer {
        let request = Request::patch(path)
            .header("content-type", "application/apply-patch+yaml")
            .body(Full::new(Bytes::from(text.to_owned())));
        self.read(User::admin(), request.unwrap()).await
    }

    /// Makes the default service account of a namespace, as a controller would.
    pub(crate) async fn default_account(&self, namespace: &str) {
        let account =
            serde_json::json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        self.post(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &account)
            .await
            .expect(201);
    }
}
