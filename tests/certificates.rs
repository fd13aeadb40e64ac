//! Certificates of pods: the node asks in the pod's name, somebody signs, and the pod finds key and chain in its volume.

use std::time::SystemTime;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::PodCertificateRequest;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Client;
use kube::api::{Api, ListParams, LogParams, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair, PublicKeyData as _,
};
use serde_json::{Value, json};

use crate::stage::{self, until, within};

const SIGNER: &str = "example.com/tests";

#[tokio::test(flavor = "multi_thread")]
async fn pods_get_certificates_when_a_signer_gives_them() {
    let cluster = stage::cluster();
    cluster.up();
    stage::add_images(&cluster);
    let client = stage::client(&cluster).await;
    signed(&client).await;
    denied(&client).await;
}

/// A pod that prints what it has got.
fn pod(name: &str) -> Pod {
    let mut pod = serde_json::to_value(stage::report_pod(name, &["file", "/certificates/bundle.pem"])).unwrap();
    pod["spec"]["restartPolicy"] = json!("Never");
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "own", "mountPath": "/certificates"}]);
    let source = json!({"signerName": SIGNER, "keyType": "ECDSAP384", "credentialBundlePath": "bundle.pem",
        "maxExpirationSeconds": 3600, "userAnnotations": {"example.com/what": "a test"}});
    pod["spec"]["volumes"] = json!([{"name": "own", "projected": {"sources": [{"podCertificate": source}]}}]);
    serde_json::from_value(pod).unwrap()
}

/// What the node asks for a pod.
async fn asked(client: &Client, pod: &str) -> PodCertificateRequest {
    let requests: Api<PodCertificateRequest> = Api::default_namespaced(client.clone());
    until("the node asks", async || {
        let list = requests
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let found = list.items.into_iter().find(|request| request.spec.pod_name == pod);
        found.ok_or_else(|| "nobody asked".to_owned())
    })
    .await
}

async fn answer(client: &Client, request: &PodCertificateRequest, mut status: Value, how: &str) {
    status["conditions"] = json!([{"type": how, "status": "True", "reason": "Tested", "message": "as it should be",
        "lastTransitionTime": Timestamp::now()}]);
    let requests: Api<PodCertificateRequest> = Api::default_namespaced(client.clone());
    let name = request.metadata.name.as_deref().unwrap();
    let patch = Patch::Merge(json!({"status": status}));
    requests
        .patch_status(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

async fn signed(client: &Client) {
    let made = stage::create_pod(client, &pod("signed")).await;
    let request = asked(client, "signed").await;
    let spec = &request.spec;
    assert_eq!(Some(&spec.pod_uid), made.metadata.uid.as_ref());
    assert_eq!((&*spec.signer_name, &*spec.service_account_name), (SIGNER, "default"));
    assert_eq!(spec.max_expiration_seconds, Some(3600));
    assert_eq!(
        spec.unverified_user_annotations.as_ref().unwrap()["example.com/what"],
        "a test"
    );
    let owner = &request.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((&*owner.kind, &owner.uid), ("Pod", &spec.pod_uid));

    let (chain, times) = chain(&spec.stub_pkc_s10_request.0);
    // What stands around the certificates is not for pods.
    let mut status = times;
    status["certificateChain"] = json!(chain);
    answer(client, &request, status, "Issued").await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let ended = await_condition(pods.clone(), "signed", |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some("Succeeded")
    });
    within("the pod has read its certificate", ended).await.unwrap();
    let shown = pods.logs("signed", &LogParams::default()).await.unwrap();
    let end = shown
        .find("-----BEGIN CERTIFICATE-----")
        .expect("a chain behind the key");
    assert_eq!(&shown[end..], chain);
    let key = KeyPair::from_pem(&shown[..end]).expect("a private key");
    let wanted = CertificateSigningRequestParams::from_der(&spec.stub_pkc_s10_request.0.as_slice().into()).unwrap();
    let wanted = wanted.public_key.subject_public_key_info();
    assert_eq!(
        key.subject_public_key_info(),
        wanted,
        "the key is the one that was asked for"
    );
}

/// A certificate for a request, and the times that a status gives with it.
fn chain(request: &[u8]) -> (String, Value) {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let mut wanted = CertificateSigningRequestParams::from_der(&request.into()).unwrap();
    let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(Timestamp::now().as_second().unsigned_abs());
    let (minute, hour) = (std::time::Duration::from_secs(60), std::time::Duration::from_secs(3600));
    let (from, to, refresh) = (now, now + hour, now + 30 * minute);
    (wanted.params.not_before, wanted.params.not_after) = (from.into(), to.into());
    let certificate = wanted.signed_by(&issuer).unwrap().pem();
    let text = |time: SystemTime| Timestamp::try_from(time).unwrap().to_string();
    let times = json!({"notBefore": text(from), "notAfter": text(to), "beginRefreshAt": text(refresh)});
    let unix = |pem: String| pem.replace("\r\n", "\n");
    (unix(certificate) + &unix(root), times)
}

async fn denied(client: &Client) {
    stage::create_pod(client, &pod("denied")).await;
    let request = asked(client, "denied").await;
    answer(client, &request, json!({}), "Denied").await;
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let about = ListParams::default().fields("involvedObject.name=denied,reason=FailedMount");
    until("the pod's events say why", async || {
        let list = events.list(&about).await.map_err(|error| error.to_string())?;
        let messages: Vec<String> = list.items.into_iter().filter_map(|event| event.message).collect();
        let wanted = "was permanently denied: reason=\"Tested\" message=\"as it should be\"";
        let told = messages.iter().any(|message| message.contains(wanted));
        told.then_some(()).ok_or_else(|| format!("{messages:?}"))
    })
    .await;
}
