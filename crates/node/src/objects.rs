//! Config maps, secrets, tokens and certificates that pods of this node refer to.
//!
//! What a container starts with is read when it starts. What a volume shows follows the object: one watch for each
//! object that some pod mounts, shared by all of them and ended with the last.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::certificates::v1::{ClusterTrustBundle, PodCertificateRequest};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::api::{ListParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::bundle::ConfigError;
use crate::pod_certificates::PodCertificates;

/// Keys and contents of a config map or secret.
pub(crate) type Data = Arc<BTreeMap<String, Vec<u8>>>;

/// A kind of object that volumes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
    /// All ClusterTrustBundles: which of them a volume shows depends on their labels. It has no name.
    TrustBundles,
    /// The requests of this node for its pods' certificates. It has no name.
    CertificateRequests,
}

/// An object that a pod mounts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A service account's token for a pod.
pub(crate) struct Token {
    pub(crate) token: String,
    pub(crate) expires: Timestamp,
}

/// Reads and follows objects as the node.
pub(crate) struct Objects {
    client: Client,
    node: String,
    pub(crate) certificates: PodCertificates,
    followed: Mutex<HashMap<Key, Weak<Followed>>>,
}

/// A followed object; its watch ends when the last holder drops it.
pub(crate) struct Followed {
    changes: watch::Receiver<u64>,
    task: AbortHandle,
}

impl Followed {
    /// Counts the changes; to wait on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Objects {
    pub(crate) fn new(client: Client, node: &str, node_uid: &str) -> Self {
        Self {
            certificates: PodCertificates::new(client.clone(), node, node_uid),
            node: node.to_owned(),
            client,
            followed: Mutex::default(),
        }
    }

    /// `None` when there is no such config map.
    pub(crate) async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Data>, ConfigError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let map = api
            .get_opt(name)
            .await
            .map_err(|error| unreadable("configmap", namespace, name, &error))?;
        Ok(map.map(|map| {
            let mut data: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            data.extend(
                map.data
                    .into_iter()
                    .flatten()
                    .map(|(key, value)| (key, value.into_bytes())),
            );
            data.extend(map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0)));
            Arc::new(data)
        }))
    }

    /// `None` when there is no such secret.
    pub(crate) async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Data>, ConfigError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = api
            .get_opt(name)
            .await
            .map_err(|error| unreadable("secret", namespace, name, &error))?;
        Ok(secret.map(|secret| {
            Arc::new(
                secret
                    .data
                    .into_iter()
                    .flatten()
                    .map(|(key, value)| (key, value.0))
                    .collect::<BTreeMap<_, _>>(),
            )
        }))
    }

    /// The trust anchors of a bundle, as they were written; `None` when there is no such bundle.
    pub(crate) async fn trust_bundle(&self, name: &str) -> Result<Option<String>, ConfigError> {
        let api: Api<ClusterTrustBundle> = Api::all(self.client.clone());
        let bundle = api.get_opt(name).await;
        let bundle = bundle.map_err(|error| ConfigError(format!("couldn't get clustertrustbundle {name}: {error}")))?;
        Ok(bundle.map(|bundle| bundle.spec.trust_bundle))
    }

    /// The trust anchors of all bundles of a signer whose labels fit.
    pub(crate) async fn trust_bundles(&self, signer: &str, labels: &str) -> Result<Vec<String>, ConfigError> {
        let api: Api<ClusterTrustBundle> = Api::all(self.client.clone());
        let wanted = ListParams::default()
            .fields(&format!("spec.signerName={signer}"))
            .labels(labels);
        let bundles = api.list(&wanted).await;
        let bundles = bundles.map_err(|error| ConfigError(format!("couldn't list clustertrustbundles: {error}")))?;
        Ok(bundles
            .items
            .into_iter()
            .map(|bundle| bundle.spec.trust_bundle)
            .collect())
    }

    /// A new token for a pod's service account, bound to the pod.
    pub(crate) async fn token(&self, pod: &Pod, audience: Option<&str>, seconds: i64) -> Result<Token, ConfigError> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let account = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref())
            .unwrap_or("default");
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: audience.map(|audience| vec![audience.to_string()]),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_string()),
                    kind: Some("Pod".to_string()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let failed = |error: &dyn std::fmt::Display| {
            ConfigError(format!(
                "failed to fetch token for service account {namespace}/{account}: {error}"
            ))
        };
        let answer = api
            .create_token_request(account, &PostParams::default(), &request)
            .await;
        let status = answer
            .map_err(|error| failed(&error))?
            .status
            .ok_or_else(|| failed(&"no status"))?;
        let expires = status.expiration_timestamp.map(|time| time.0);
        match (status.token, expires) {
            (Some(token), Some(expires)) => Ok(Token { token, expires }),
            _ => Err(failed(&"the answer has no token")),
        }
    }

    /// Follows an object; all pods that mount it share one watch.
    pub(crate) fn follow(&self, key: &Key) -> Arc<Followed> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = followed.get(key).and_then(Weak::upgrade) {
            return found;
        }
        followed.retain(|_, entry| entry.strong_count() > 0);
        let (sender, changes) = watch::channel(0);
        let client = self.client.clone();
        let task = match key.kind {
            Kind::ConfigMap => tokio::spawn(count::<ConfigMap>(client, key.clone(), sender)),
            Kind::Secret => tokio::spawn(count::<Secret>(client, key.clone(), sender)),
            Kind::TrustBundles => {
                let all = watcher::Config::default();
                tokio::spawn(count_all::<ClusterTrustBundle>(client, all, sender))
            }
            Kind::CertificateRequests => {
                let own = watcher::Config::default().fields(&format!("spec.nodeName={}", self.node));
                tokio::spawn(count_all::<PodCertificateRequest>(client, own, sender))
            }
        };
        let entry = Arc::new(Followed {
            changes,
            task: task.abort_handle(),
        });
        followed.insert(key.clone(), Arc::downgrade(&entry));
        entry
    }
}

/// Counts an object's changes; the state at the start is not one.
async fn count<K>(client: Client, key: Key, changes: watch::Sender<u64>)
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let api: Api<PartialObjectMeta<K>> = Api::namespaced(client, &key.namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={}", key.name));
    let mut known: Option<String> = None;
    let mut first = true;
    let mut events = watcher(api, config).default_backoff().boxed();
    while let Some(event) = events.next().await {
        let version = |object: &PartialObjectMeta<K>| object.metadata.resource_version.clone();
        let now = match event {
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => version(&object),
            Ok(watcher::Event::Delete(_)) => None,
            Ok(watcher::Event::Init) => continue,
            Ok(watcher::Event::InitDone) => {
                first = false;
                continue;
            }
            Err(error) => {
                tracing::debug!(?key, %error, "following an object");
                continue;
            }
        };
        let changed = now != known;
        known = now;
        if changed && !first {
            changes.send_modify(|count| *count += 1);
        }
    }
}

/// Counts the changes of any of the objects that `config` selects; the state at the start is none.
async fn count_all<K>(client: Client, config: watcher::Config, changes: watch::Sender<u64>)
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let api: Api<PartialObjectMeta<K>> = Api::all(client);
    let mut first = true;
    let mut events = watcher(api, config).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
            Ok(watcher::Event::InitDone) if std::mem::take(&mut first) => {}
            // After a watch was broken anything may have changed.
            Ok(_) => changes.send_modify(|count| *count += 1),
            Err(error) => tracing::debug!(kind = %K::kind(&()), %error, "following objects"),
        }
    }
}

fn unreadable(kind: &str, namespace: &str, name: &str, error: &kube::Error) -> ConfigError {
    ConfigError(format!("couldn't get {kind} {namespace}/{name}: {error}"))
}
