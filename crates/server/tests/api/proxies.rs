//! Front proxies: who may say in headers who asks.

use http::Request;
use http_body_util::{BodyExt as _, Full};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use server::RequestHeaderSettings;
use server::pki::ClientCert;

use crate::streams::connect;
use crate::world::World;

/// An authority of proxies.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "proxies");
        Authority {
            pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn client(&self, name: &str) -> ClientCert {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        ClientCert {
            cert_pem: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

/// Who somebody is with a certificate and headers; none when that isn't believed.
async fn seen(
    world: &World,
    address: std::net::SocketAddr,
    client: &ClientCert,
    headers: &[(&str, &str)],
) -> Option<Value> {
    let stream = connect(world, address, client).await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
    let mut request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header("host", "front")
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender
        .send_request(request.body(Full::<bytes::Bytes>::from(body)).unwrap())
        .await
        .unwrap();
    match answer.status().as_u16() {
        401 => None,
        201 => {
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            let review: Value = serde_json::from_slice(&bytes).unwrap();
            Some(review["status"]["userInfo"].clone())
        }
        other => panic!("answered {other}"),
    }
}

#[tokio::test]
async fn a_proxy_says_who_asks_and_nobody_else_does() {
    let authority = Authority::new();
    let mut settings = RequestHeaderSettings::new(authority.pem.as_str());
    settings.allowed_names = vec!["front".to_owned()];
    let world = World::configured(|config| config.request_header = Some(settings)).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(world.server.serve(listener));
    let jane = [
        ("x-remote-user", "jane"),
        ("x-remote-uid", "42"),
        ("x-remote-group", "devs"),
        ("x-remote-group", "ops"),
        ("x-remote-extra-a%2Fb", "c"),
    ];
    let front = authority.client("front");
    assert_eq!(
        seen(&world, address, &front, &jane).await,
        Some(
            json!({"username": "jane", "uid": "42", "groups": ["devs", "ops", "system:authenticated"],
            "extra": {"a/b": ["c"]}})
        )
    );
    assert_eq!(seen(&world, address, &front, &[]).await, None, "a proxy is no client");
    let other = authority.client("other");
    assert_eq!(
        seen(&world, address, &other, &jane).await,
        None,
        "its name isn't allowed"
    );
    let bob = world.server.pki().ca().client("bob", None).unwrap();
    let told = seen(&world, address, &bob, &jane).await.unwrap();
    assert_eq!(told["username"], "bob", "a client speaks for itself only");
}

#[tokio::test]
async fn an_authority_that_is_none_is_refused() {
    let settings = RequestHeaderSettings::new("nothing");
    let refused = World::try_configured(|config| config.request_header = Some(settings)).await;
    let why = refused.err().unwrap().to_string();
    assert_eq!(why, "the authority of front proxies: there is no certificate");
}
