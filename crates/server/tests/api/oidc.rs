//! Tokens of OpenID Connect issuers, and requests without any: over TLS, as they come.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kube::{Client, Config};
use parking_lot::Mutex;
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};
use server::{AuthenticationSettings, OidcSettings};
use sha2::{Digest as _, Sha256};

use crate::hook::Hook;
use crate::world::World;

/// A key with its name.
struct Key {
    kid: String,
    pair: KeyPair,
}

impl Key {
    fn new(kid: &str) -> Key {
        Key {
            kid: kid.to_owned(),
            pair: KeyPair::generate().unwrap(),
        }
    }

    fn public(&self) -> Value {
        let point = self.pair.der_bytes();
        let (x, y) = point[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.kid, "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        let key = EncodingKey::from_ec_der(&self.pair.serialize_der());
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }
}

/// What the issuer's server answers, by path.
type Documents = Arc<Mutex<Vec<(String, Value)>>>;

/// An issuer in the test's process.
struct Provider {
    hook: Hook,
    documents: Documents,
    url: String,
}

impl Provider {
    async fn start(keys: &[&Key]) -> Provider {
        let documents = Documents::default();
        let answers = Arc::clone(&documents);
        let hook = Hook::start(&[], move |path, _| {
            let answers = answers.lock();
            let found = answers.iter().find(|(at, _)| at == path);
            found.map_or(Value::Null, |(_, document)| document.clone())
        })
        .await;
        let url = format!("https://{}", hook.address);
        let provider = Provider { hook, documents, url };
        let discovery = json!({"issuer": provider.url, "jwks_uri": format!("{}/keys", provider.url)});
        provider.set("/.well-known/openid-configuration", discovery);
        provider.publish(keys);
        provider
    }

    fn set(&self, path: &str, document: Value) {
        let mut documents = self.documents.lock();
        documents.retain(|(at, _)| at != path);
        documents.push((path.to_owned(), document));
    }

    fn publish(&self, keys: &[&Key]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        self.set("/keys", json!({"keys": keys}));
    }

    fn authority(&self) -> String {
        String::from_utf8(STANDARD.decode(&self.hook.bundle).unwrap()).unwrap()
    }

    /// How often a path was asked for.
    fn asked(&self, path: &str) -> usize {
        self.hook.asked().iter().filter(|(at, _)| at == path).count()
    }

    /// The configuration of one issuer; `rest` beside the issuer itself.
    fn configuration(&self, rest: &Value) -> Value {
        let mut jwt =
            json!({"issuer": {"url": self.url, "certificateAuthority": self.authority(), "audiences": ["me"]}});
        for (key, value) in rest.as_object().unwrap() {
            jwt[key] = value.clone();
        }
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [jwt]})
    }

    /// Claims that hold.
    fn claims(&self, changes: &Value) -> Value {
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({"iss": self.url, "aud": "me", "sub": "jane", "exp": now + 600, "iat": now, "nbf": now});
        for (key, value) in changes.as_object().unwrap() {
            claims[key] = value.clone();
        }
        claims
    }
}

/// A server on the network.
struct Served {
    world: World,
    url: String,
}

impl Served {
    async fn start(settings: AuthenticationSettings) -> Served {
        let world = World::configured(|config| config.authentication = Some(settings)).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(world.server.serve(listener));
        Served { world, url }
    }

    /// The code of a GET with a token or without.
    async fn code(&self, token: Option<&str>, path: &str) -> u16 {
        let mut config = Config::new(self.url.parse().unwrap());
        config.accept_invalid_certs = true;
        config.auth_info.token = token.map(|token| token.to_owned().into());
        let client = Client::try_from(config).unwrap();
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        match client.request_text(request).await {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("{error}"),
        }
    }

    /// What TokenReview says.
    async fn review(&self, token: &str) -> Value {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        let answer = self
            .world
            .post("/apis/authentication.k8s.io/v1/tokenreviews", &review)
            .await;
        answer.expect(201)["status"].clone()
    }

    async fn refusal(&self, token: &str) -> String {
        let status = self.review(token).await;
        assert_eq!(status["authenticated"], false);
        status["error"].as_str().unwrap().to_owned()
    }
}

/// A file that is replaced as a whole.
struct File {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new(content: &Value) -> File {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("authentication.yaml");
        let file = File { dir, path };
        file.write(content);
        file
    }

    fn write(&self, content: &Value) {
        let new = self.dir.path().join("new");
        std::fs::write(&new, content.to_string()).unwrap();
        std::fs::rename(new, &self.path).unwrap();
    }

    fn settings(&self) -> AuthenticationSettings {
        AuthenticationSettings::File(self.path.clone())
    }
}

async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(30), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn by_claims() -> Value {
    json!({"claimMappings": {"username": {"claim": "sub", "prefix": "idp:"}, "groups": {"claim": "roles", "prefix": "idp:"}}})
}

#[tokio::test]
async fn a_token_is_good_for_what_its_issuer_says() {
    let key = Key::new("one");
    let provider = Provider::start(&[&key]).await;
    let file = File::new(&provider.configuration(&by_claims()));
    let served = Served::start(file.settings()).await;
    assert_eq!(provider.asked("/keys"), 0);
    let token = key.sign(&provider.claims(&json!({"roles": ["dev"], "jti": "7"})));
    let status = served.review(&token).await;
    assert_eq!(status["authenticated"], true, "{status}");
    let user = json!({"username": "idp:jane", "groups": ["idp:dev", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/credential-id": ["JTI=7"]}});
    assert_eq!(status["user"], user);

    // Authorization goes by that user.
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(served.code(Some(&token), pods).await, 403);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "dev"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "idp:dev"}]});
    served
        .world
        .post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding)
        .await
        .expect(201);
    assert_eq!(served.code(Some(&token), pods).await, 200);
    assert_eq!(
        (
            provider.asked("/keys"),
            provider.asked("/.well-known/openid-configuration")
        ),
        (1, 1)
    );

    let refused = async |changes: Value| served.refusal(&key.sign(&provider.claims(&changes))).await;
    assert!(
        refused(json!({"aud": "other"}))
            .await
            .contains("expected audience in [\"me\"] got [\"other\"]")
    );
    assert!(refused(json!({"exp": 1_000})).await.contains("oidc: token is expired"));
    assert!(
        refused(json!({"sub": null}))
            .await
            .contains("parse username claims \"sub\"")
    );
    // Of an issuer that nobody has named.
    let stranger = provider.claims(&json!({"iss": "https://elsewhere"}));
    assert_eq!(served.code(Some(&key.sign(&stranger)), pods).await, 401);
    // Signed by somebody else under the name of the issuer's key.
    let forged = Key::new("one").sign(&provider.claims(&json!({})));
    assert!(
        served
            .refusal(&forged)
            .await
            .contains("failed to verify id token signature")
    );
    assert_eq!(served.code(Some(&forged), pods).await, 401);
    // The server's own tokens are as good as before.
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    served.world.default_account("default").await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let made = served.world.post(path, &request).await.expect(201);
    let own = made["status"]["token"].as_str().unwrap();
    assert_eq!(
        served.review(own).await["user"]["username"],
        "system:serviceaccount:default:default"
    );
}

#[tokio::test]
async fn keys_come_and_go() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let provider = Provider::start(&[&one]).await;
    let served = Served::start(File::new(&provider.configuration(&by_claims())).settings()).await;
    let claims = provider.claims(&json!({}));
    assert_eq!(served.review(&one.sign(&claims)).await["authenticated"], true);
    assert!(
        served
            .refusal(&two.sign(&claims))
            .await
            .contains("failed to verify id token signature")
    );
    provider.publish(&[&two]);
    until("the new key is fetched", || async {
        served.review(&two.sign(&claims)).await["authenticated"] == true
    })
    .await;
    served.refusal(&one.sign(&claims)).await;
    // Keys that nobody knows are no reason to ask for each token.
    let before = provider.asked("/keys");
    for _ in 0..20 {
        served.refusal(&Key::new("three").sign(&claims)).await;
    }
    assert!(provider.asked("/keys") - before < 10);
}

#[tokio::test]
async fn expressions_map_claims_and_the_file_is_followed() {
    let key = Key::new("one");
    let provider = Provider::start(&[&key]).await;
    let mapped = json!({
        "claimValidationRules": [{"expression": "claims.hd == 'example.com'", "message": "only ours"}],
        "claimMappings": {
            "username": {"expression": "claims.email_verified ? claims.email : 'nobody'"},
            "groups": {"expression": "claims.roles.split(',')"},
            "uid": {"claim": "sub"},
            "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"}],
        },
        "userValidationRules": [{"expression": "!user.username.startsWith('system:')", "message": "reserved"}],
    });
    let file = File::new(&provider.configuration(&mapped));
    let served = Served::start(file.settings()).await;
    let claims = |changes: Value| {
        let mut claims = provider.claims(
            &json!({"email": "jane@example.com", "email_verified": true, "hd": "example.com", "roles": "a,b", "tenant": "t"}),
        );
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        key.sign(&claims)
    };
    let user = json!({"username": "jane@example.com", "uid": "jane", "groups": ["a", "b", "system:authenticated"],
        "extra": {"example.com/tenant": ["t"]}});
    assert_eq!(served.review(&claims(json!({}))).await["user"], user);
    let why = served.refusal(&claims(json!({"hd": "example.org"}))).await;
    assert!(
        why.contains("validation expression 'claims.hd == 'example.com'' failed: only ours"),
        "{why}"
    );
    let why = served.refusal(&claims(json!({"email": "system:admin"}))).await;
    assert!(why.contains("failed: reserved"), "{why}");

    // Nobody's tokens are believed any more, and then those of the issuer again, otherwise.
    let token = claims(json!({}));
    file.write(&json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": []}));
    until("the issuer is gone", || async {
        served.review(&token).await["authenticated"] == false
    })
    .await;
    file.write(&json!({"kind": "nothing"}));
    file.write(&provider.configuration(&by_claims()));
    until("the issuer is back", || async {
        served.review(&token).await["user"]["username"] == "idp:jane"
    })
    .await;
}

#[tokio::test]
async fn groups_may_be_elsewhere() {
    let key = Key::new("one");
    let provider = Provider::start(&[&key]).await;
    let served = Served::start(File::new(&provider.configuration(&by_claims())).settings()).await;
    let sources = json!({"_claim_names": {"roles": "src"}, "_claim_sources": {"src": {"endpoint": format!("{}/groups", provider.url)}}});
    let token = key.sign(&provider.claims(&sources));
    let why = served.refusal(&token).await;
    assert!(why.contains("could not expand distributed claims"), "{why}");
    // The test's server answers JSON only, and a token isn't: it stands in quotes, which are taken away.
    provider.set("/groups", json!(key.sign(&provider.claims(&json!({"roles": ["far"]})))));
    let status = served.review(&token).await;
    assert_eq!(
        status["user"]["groups"],
        json!(["idp:far", "system:authenticated"]),
        "{status}"
    );
}

#[tokio::test]
async fn flags_say_the_same_of_one_issuer() {
    let key = Key::new("one");
    let provider = Provider::start(&[&key]).await;
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, provider.authority()).unwrap();
    let oidc = OidcSettings {
        issuer_url: provider.url.clone(),
        client_id: "me".to_owned(),
        groups_claim: "roles".to_owned(),
        groups_prefix: "g:".to_owned(),
        required_claims: [("hd".to_owned(), "example.com".to_owned())].into(),
        ca_file: Some(ca_file),
        signing_algorithms: vec!["ES256".to_owned()],
        ..OidcSettings::default()
    };
    let served = Served::start(AuthenticationSettings::Oidc(oidc.clone())).await;
    let token = key.sign(&provider.claims(&json!({"roles": "dev", "hd": "example.com"})));
    let status = served.review(&token).await;
    assert_eq!(status["user"]["username"], format!("{}#jane", provider.url));
    assert_eq!(status["user"]["groups"], json!(["g:dev", "system:authenticated"]));
    let why = served.refusal(&key.sign(&provider.claims(&json!({})))).await;
    assert!(why.contains("required claim hd not present in ID token"), "{why}");
    // Without the flag only RS256 is taken.
    let plain = OidcSettings {
        username_prefix: "-".to_owned(),
        signing_algorithms: Vec::new(),
        ..oidc
    };
    let served = Served::start(AuthenticationSettings::Oidc(plain)).await;
    assert!(
        served
            .refusal(&token)
            .await
            .contains("unsupported algorithm, expected [\"RS256\"] got \"ES256\"")
    );
}

#[tokio::test]
async fn an_issuer_that_is_away_is_no_reason_to_wait_each_time() {
    let key = Key::new("one");
    let provider = Provider::start(&[&key]).await;
    provider.set("/.well-known/openid-configuration", Value::Null);
    let served = Served::start(File::new(&provider.configuration(&by_claims())).settings()).await;
    let token = key.sign(&provider.claims(&json!({})));
    for _ in 0..3 {
        assert!(
            served.refusal(&token).await.contains("500"),
            "the code that the issuer answers"
        );
    }
    assert_eq!(provider.asked("/.well-known/openid-configuration"), 1);
}

#[tokio::test]
async fn anonymous_requests_are_for_the_paths_that_are_named() {
    let open = |anonymous: Value| json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "anonymous": anonymous});
    let file = File::new(&open(
        json!({"enabled": true, "conditions": [{"path": "/livez"}, {"path": "/readyz"}]}),
    ));
    let served = Served::start(file.settings()).await;
    for (path, code) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/healthz", 401),
        ("/api", 401),
        ("/livez/ping", 401),
    ] {
        assert_eq!(served.code(None, path).await, code, "{path}");
    }
    file.write(&open(json!({"enabled": false})));
    until("nothing is open", || async { served.code(None, "/livez").await == 401 }).await;
    file.write(&open(json!({"enabled": true})));
    until("everything is", || async { served.code(None, "/healthz").await == 200 }).await;
    assert_eq!(served.code(None, "/api/v1/pods").await, 403);
}

#[tokio::test]
async fn what_can_not_be_used_stops_the_server() {
    let file = File::new(
        &json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": [{"issuer": {"url": "http://a", "audiences": ["me"]}, "claimMappings": {"username": {"claim": "sub", "prefix": ""}}}]}),
    );
    let settings = file.settings();
    let error = World::try_configured(|config| config.authentication = Some(settings))
        .await
        .err()
        .unwrap();
    let expected = format!(
        "the authentication configuration: --authentication-config {}: jwt[0].issuer.url: Invalid value: \"http://a\": URL \
         scheme must be https",
        file.path.display()
    );
    assert_eq!(error.to_string(), expected);
}

fn sha256(text: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(text)))
}

#[tokio::test]
async fn dashboards_see_tokens_keys_and_reloads() {
    let key = Key::new("one");
    let provider = Provider::start(&[&key]).await;
    let first = provider.configuration(&by_claims());
    let file = File::new(&first);
    let began = jiff::Timestamp::now().as_second() as f64;
    let served = Served::start(file.settings()).await;
    let world = &served.world;
    let issuer = sha256(&provider.url);
    let of = |result: &'static str| [("jwt_issuer_hash", issuer.as_str()), ("result", result)];
    let latency = "apiserver_authentication_jwt_authenticator_latency_seconds";
    let fetched = "apiserver_authentication_jwt_authenticator_jwks_fetch_last_timestamp_seconds";
    let key_set = "apiserver_authentication_jwt_authenticator_jwks_fetch_last_key_set_info";
    let count = format!("{latency}_count");
    assert_eq!(world.figure(&count, &[]).await, None);
    assert_eq!(world.figure(fetched, &[]).await, None);

    let good = key.sign(&provider.claims(&json!({})));
    let late = key.sign(&provider.claims(&json!({"exp": 1})));
    assert_eq!(served.review(&good).await["authenticated"], true);
    served.refusal(&late).await;
    served.refusal(&late).await;
    assert_eq!(world.figure(&count, &of("success")).await, Some(1.0));
    assert_eq!(world.figure(&count, &of("failure")).await, Some(2.0));
    let bucket = format!("{latency}_bucket");
    assert_eq!(
        world.figure(&bucket, &[("le", "10"), ("result", "success")]).await,
        Some(1.0)
    );
    assert!(world.figure(fetched, &of("success")).await >= Some(began));
    assert_eq!(world.figure(fetched, &of("failure")).await, None);
    let published = sha256(&json!({"keys": [key.public()]}).to_string());
    assert_eq!(world.figure(key_set, &[("hash", published.as_str())]).await, Some(1.0));

    // The configuration: what holds, what was read again, what could not be used.
    let holds = "apiserver_authentication_config_controller_last_config_info";
    let reloads = "apiserver_authentication_config_controller_automatic_reloads_total";
    let last = "apiserver_authentication_config_controller_automatic_reload_last_timestamp_seconds";
    let hash = sha256(&first.to_string());
    assert_eq!(world.figure(holds, &[("hash", hash.as_str())]).await, Some(1.0));
    assert_eq!(world.figure(reloads, &[]).await, None);
    file.write(&json!({"kind": "Nonsense"}));
    until("the failure is counted", || async {
        world.figure(reloads, &[("status", "failure")]).await == Some(1.0)
    })
    .await;
    assert_eq!(world.figure(holds, &[("hash", hash.as_str())]).await, Some(1.0));
    let none = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": []});
    file.write(&none);
    until("the success is counted", || async {
        world.figure(reloads, &[("status", "success")]).await == Some(1.0)
    })
    .await;
    assert!(world.figure(last, &[("status", "success")]).await >= Some(began));
    let hash = sha256(&none.to_string());
    assert_eq!(world.figure(holds, &[("hash", hash.as_str())]).await, Some(1.0));
    // What was known of an issuer goes with it; what its tokens took stays.
    assert_eq!(world.figure(fetched, &[]).await, None);
    assert_eq!(world.figure(key_set, &[]).await, None);
    assert_eq!(world.figure(&count, &of("success")).await, Some(1.0));
}
