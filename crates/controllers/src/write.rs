//! How controllers write: create, patch, delete, as raw JSON, each as one request.
//!
//! There is no update in here on purpose: a typed object that was read is never written back.

use client::{Recorder, Regarding};
use http::{Method, Request};
use kube::Client;
use meta::ObjectKey;
use serde_json::Value;

/// Where a kind lives in the API.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    /// `v1`, `apps/v1`.
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
}

/// A controller's own hands: requests under its identity, and its voice.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
}

/// How a patch is meant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patch {
    Merge,
    Strategic,
}

// === impl Kind ===

impl Kind {
    pub(crate) fn new(api_version: &str, kind: &str, plural: &str) -> Self {
        Self {
            api_version: api_version.into(),
            kind: kind.into(),
            plural: plural.into(),
        }
    }

    /// The path of the whole resource, or of its part in a namespace.
    pub(crate) fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.api_version.contains('/') {
            "/apis"
        } else {
            "/api"
        };
        match namespace {
            Some(namespace) => format!("{root}/{}/namespaces/{namespace}/{}", self.api_version, self.plural),
            None => format!("{root}/{}/{}", self.api_version, self.plural),
        }
    }

    pub(crate) fn regarding(&self, key: &ObjectKey, uid: &str) -> Regarding {
        Regarding::new(&self.api_version, &self.kind, key.namespace.as_deref(), &key.name, uid)
    }

    fn object(&self, key: &ObjectKey) -> String {
        format!("{}/{}", self.path(key.namespace.as_deref()), key.name)
    }
}

// === impl Writer ===

impl Writer {
    pub(crate) fn new(client: Client, component: &str) -> Self {
        Self {
            recorder: Recorder::new(client.clone(), component, None),
            client,
        }
    }

    pub(crate) async fn create(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        body: &Value,
    ) -> Result<Value, kube::Error> {
        self.send(Method::POST, &kind.path(namespace), "application/json", body)
            .await
    }

    pub(crate) async fn patch(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        how: Patch,
        body: &Value,
    ) -> Result<Value, kube::Error> {
        self.send(Method::PATCH, &kind.object(key), how.content_type(), body)
            .await
    }

    /// Patches a subresource, mostly `status`.
    pub(crate) async fn patch_sub(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        sub: &str,
        how: Patch,
        body: &Value,
    ) -> Result<Value, kube::Error> {
        self.send(
            Method::PATCH,
            &format!("{}/{sub}", kind.object(key)),
            how.content_type(),
            body,
        )
        .await
    }

    /// Applies a subresource; what others own of it is taken over.
    pub(crate) async fn apply_sub(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        sub: &str,
        manager: &str,
        body: &Value,
    ) -> Result<Value, kube::Error> {
        let path = format!("{}/{sub}?fieldManager={manager}&force=true", kind.object(key));
        // JSON is YAML.
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", body)
            .await
    }

    /// Deletes if it is still the object that was seen; one that is gone already is no error.
    pub(crate) async fn delete(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        uid: &str,
        options: Value,
    ) -> Result<(), kube::Error> {
        let mut body = options;
        body["kind"] = "DeleteOptions".into();
        body["apiVersion"] = "v1".into();
        if !uid.is_empty() {
            body["preconditions"] = serde_json::json!({ "uid": uid });
        }
        match self
            .send(Method::DELETE, &kind.object(key), "application/json", &body)
            .await
        {
            Err(error) if !client::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, kube::Error> {
        let request = Request::get(path).body(Vec::new()).map_err(unsendable)?;
        self.client.request(request).await
    }

    /// Gets a document in one of its forms.
    pub(crate) async fn get_as(&self, path: &str, form: &str) -> Result<Value, kube::Error> {
        let request = Request::get(path).header(http::header::ACCEPT, form);
        let request = request.body(Vec::new()).map_err(unsendable)?;
        self.client.request(request).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Value, kube::Error> {
        let bytes = serde_json::to_vec(body).map_err(kube::Error::SerdeError)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content_type)
            .header(http::header::ACCEPT, "application/json")
            .body(bytes)
            .map_err(unsendable)?;
        self.client.request(request).await
    }
}

// === impl Patch ===

impl Patch {
    fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

fn unsendable(error: http::Error) -> kube::Error {
    kube::Error::Service(Box::new(error))
}

/// Zero as JSON null: merge patches take the field away, as the API leaves zero counters out.
pub(crate) fn count(value: i32) -> Value {
    if value == 0 { Value::Null } else { value.into() }
}
