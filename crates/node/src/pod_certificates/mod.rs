//! Certificates of pods, for projected volumes to show: the node asks for each by a PodCertificateRequest in the pod's
//! name, waits for the signer, and asks for the next one when the signer says that it is time (KEP-4317).
//!
//! Keys are in memory and in the pod's volume only. A node that restarts asks for new ones.

mod key;
mod state;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{PodCertificateRequest, PodCertificateRequestSpec};
use k8s_openapi::api::core::v1::{Pod, PodCertificateProjection, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client};

use crate::bundle::ConfigError;
use state::{Answer, Asked, State};

/// How often it is looked for the answer to a renewal that nobody told of.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(1);
/// Renewals of many volumes are spread over so many seconds.
const SPREAD: i64 = 5 * 60;

/// The source of a projected volume that a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The pod's uid.
    pub(crate) pod: String,
    pub(crate) volume: String,
    /// The position among the volume's sources.
    pub(crate) source: usize,
}

/// What a volume shows.
pub(crate) struct Bundle {
    /// The private key, PKCS #8 in PEM.
    pub(crate) key: Vec<u8>,
    /// The certificates from the pod's own upwards, in PEM.
    pub(crate) chain: Vec<u8>,
    /// When to look again.
    pub(crate) refresh_at: Timestamp,
}

/// The certificates of the pods of one node.
pub(crate) struct PodCertificates {
    client: Client,
    node: String,
    node_uid: String,
    known: Mutex<HashMap<Place, State>>,
}

impl PodCertificates {
    pub(crate) fn new(client: Client, node: &str, node_uid: &str) -> Self {
        Self {
            client,
            node: node.to_owned(),
            node_uid: node_uid.to_owned(),
            known: Mutex::default(),
        }
    }

    /// The newest key and chain for a source; an error while there is none, and why. To be called again when the
    /// requests of this node change, and when the answer says so.
    pub(crate) async fn bundle(
        &self,
        pod: &Pod,
        place: Place,
        source: &PodCertificateProjection,
    ) -> Result<Bundle, ConfigError> {
        let known = self.lock().get(&place).cloned();
        let state = self.advanced(pod, known, source).await?;
        self.lock().insert(place, state.clone());
        match state {
            State::Waiting(_) => Err(ConfigError("credential bundle is not issued yet".to_owned())),
            State::Refused(why) => Err(ConfigError(why)),
            State::Issued(issued, next) => Ok(Bundle {
                refresh_at: match next {
                    None => issued.refresh_at,
                    Some(_) => Timestamp::now() + LOOK_AGAIN,
                },
                key: issued.private,
                chain: issued.chain,
            }),
        }
    }

    /// Forgets the keys of a pod that is gone.
    pub(crate) fn forget(&self, pod: &str) {
        self.lock().retain(|place, _| place.pod != pod);
    }

    async fn advanced(
        &self,
        pod: &Pod,
        mut known: Option<State>,
        source: &PodCertificateProjection,
    ) -> Result<State, ConfigError> {
        if let Some(state) = known.take() {
            known = match state.asked() {
                Some(asked) => {
                    let answer = self.answer(pod, &asked.request).await?;
                    state.answered(answer, Timestamp::now(), jitter())
                }
                None => Some(state),
            };
        }
        match known {
            None => Ok(State::Waiting(self.ask(pod, source).await?)),
            Some(State::Issued(issued, None)) if issued.refresh_at <= Timestamp::now() => {
                let next = self.ask(pod, source).await;
                // What is shown is good for a while yet.
                let next = next.inspect_err(|error| tracing::warn!(%error, "renewing a pod's certificate"));
                Ok(State::Issued(issued, next.ok()))
            }
            Some(state) => Ok(state),
        }
    }

    /// A node may list only requests of its own pods, and get none.
    async fn answer(&self, pod: &Pod, request: &str) -> Result<Answer, ConfigError> {
        let selector = format!("spec.nodeName={},metadata.name={request}", self.node);
        let found = self.requests(pod).list(&ListParams::default().fields(&selector)).await;
        let found = found.map_err(|error| ConfigError(format!("couldn't list podcertificaterequests: {error}")))?;
        Ok(match found.items.first() {
            None => Answer::Missing,
            Some(request) => request.status.as_ref().map_or(Answer::Pending, state::answer),
        })
    }

    async fn ask(&self, pod: &Pod, source: &PodCertificateProjection) -> Result<Asked, ConfigError> {
        let (name, uid) = (pod.metadata.name.clone(), pod.metadata.uid.clone());
        let (name, uid) = (name.unwrap_or_default(), uid.unwrap_or_default());
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let account = account.unwrap_or_else(|| "default".to_owned());
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace(pod));
        let found = accounts.get(&account).await;
        let found = found.map_err(|error| ConfigError(format!("couldn't get serviceaccount {account}: {error}")))?;
        // Making an RSA key takes seconds.
        let key_type = source.key_type.clone();
        let made = tokio::task::spawn_blocking(move || key::generate(&key_type)).await;
        let made = made.map_err(|error| ConfigError(error.to_string()))??;
        let request = PodCertificateRequest {
            metadata: ObjectMeta {
                generate_name: Some("req-".to_owned()),
                owner_references: Some(vec![OwnerReference {
                    api_version: "v1".to_owned(),
                    kind: "Pod".to_owned(),
                    name: name.clone(),
                    uid: uid.clone(),
                    ..OwnerReference::default()
                }]),
                ..ObjectMeta::default()
            },
            spec: PodCertificateRequestSpec {
                max_expiration_seconds: source.max_expiration_seconds,
                node_name: self.node.clone(),
                node_uid: self.node_uid.clone(),
                pod_name: name,
                pod_uid: uid,
                service_account_name: account,
                service_account_uid: found.metadata.uid.unwrap_or_default(),
                signer_name: source.signer_name.clone(),
                stub_pkc_s10_request: ByteString(made.request),
                unverified_user_annotations: source.user_annotations.clone(),
            },
            status: None,
        };
        let created = self.requests(pod).create(&PostParams::default(), &request).await;
        let created = created.map_err(|error| ConfigError(format!("creating a podcertificaterequest: {error}")))?;
        Ok(Asked {
            request: created.metadata.name.unwrap_or_default(),
            private: made.private,
            at: Timestamp::now(),
        })
    }

    fn requests(&self, pod: &Pod) -> Api<PodCertificateRequest> {
        Api::namespaced(self.client.clone(), namespace(pod))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Place, State>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

fn jitter() -> SignedDuration {
    SignedDuration::from_secs(rand::random_range(0..SPREAD))
}
