//! `gantry token`: what lets another machine join. In the API it is a bootstrap token as Kubernetes has them; in the line
//! to paste, the hash of the cluster's authority goes with it, so that the machine knows the right server.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::config::Kubeconfig;
use kube::{Api, Client};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::args::{Output, TokenCommand};
use crate::instance::{Instance, Settings};
use crate::up::connect;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// The groups that such a token may name begin so.
const GROUP: &str = "system:bootstrappers:gantry:nodes";

/// The SHA-256 of an authority's public key (its SubjectPublicKeyInfo), as kubeadm pins it too.
pub(crate) type Pin = [u8; 32];

/// A token as it is pasted: `ID.SECRET.PIN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// What the API takes.
    pub(crate) bearer: String,
    /// Who the server must be.
    pub(crate) pin: Pin,
}

/// What another machine needs to join.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Where the server is.
    pub(crate) url: String,
    /// What lets it in.
    pub(crate) token: Token,
}

/// Runs a command.
pub async fn run(instance: Instance, command: TokenCommand) -> anyhow::Result<()> {
    let settings = instance.stored_settings()?;
    if let Some(server) = settings.as_ref().and_then(|settings| settings.server.as_ref()) {
        bail!("this machine is a node of {server}; tokens are made there");
    }
    match command {
        TokenCommand::Create { ttl, description } => {
            if let Some(settings) = &settings {
                check_reachable(settings)?;
            }
            let client = connect(&instance).await?;
            let settings = settings.context("the instance has no settings; `gantry up` writes them")?;
            let line = line(&instance, &settings, &client, ttl, description).await?;
            println!("gantry join {} --token {}", line.url, line.token);
            Ok(())
        }
        TokenCommand::List { output } => list(&connect(&instance).await?, output).await,
        TokenCommand::Revoke { token } => {
            revoke(&connect(&instance).await?, &token).await?;
            println!("it lets nobody join any more; nodes that joined by it stay");
            Ok(())
        }
    }
}

/// Where nobody can come, nobody is invited.
fn check_reachable(settings: &Settings) -> anyhow::Result<()> {
    let port = settings.listen.port();
    if settings.listen.ip().is_loopback() {
        bail!(
            "nobody can join: the server listens on {} only; `gantry down`, then `gantry up --listen 0.0.0.0:{port}` \
             lets other machines reach it",
            settings.listen
        );
    }
    if settings.advertise_address.is_loopback() {
        bail!(
            "nobody can join: it isn't known by which address others reach this machine; `gantry down`, then \
             `gantry up --advertise-address IP` says so"
        );
    }
    Ok(())
}

/// Makes a token, and what is to be pasted with it.
pub(crate) async fn line(
    instance: &Instance,
    settings: &Settings,
    client: &Client,
    ttl: Duration,
    description: Option<String>,
) -> anyhow::Result<Line> {
    let (id, secret) = (random(6), random(16));
    let mut data: BTreeMap<String, String> = [
        ("token-id", id.as_str()),
        ("token-secret", secret.as_str()),
        ("usage-bootstrap-authentication", "true"),
        ("auth-extra-groups", GROUP),
    ]
    .map(|(key, value)| (key.to_string(), value.to_string()))
    .into();
    data.extend(description.map(|text| ("description".to_string(), text)));
    if !ttl.is_zero() {
        let end = Timestamp::now() + SignedDuration::try_from(ttl)?;
        data.insert("expiration".to_string(), meta::time::format_seconds(end));
    }
    let object = Secret {
        metadata: ObjectMeta {
            name: Some(format!("bootstrap-token-{id}")),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_string()),
        string_data: Some(data),
        ..Secret::default()
    };
    let api: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    api.create(&PostParams::default(), &object)
        .await
        .context("making the token")?;
    let token = Token {
        bearer: format!("{id}.{secret}"),
        pin: own_pin(instance)?,
    };
    let address = std::net::SocketAddr::new(settings.advertise_address, settings.listen.port());
    Ok(Line {
        url: format!("https://{address}"),
        token,
    })
}

/// Takes a token back that served its purpose.
pub(crate) async fn forget(client: &Client, token: &Token) -> anyhow::Result<()> {
    revoke(client, &token.bearer).await
}

/// Letters and digits that nobody can guess.
fn random(length: usize) -> String {
    let one = |_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())]);
    (0..length).map(one).collect()
}

/// The authority of this instance's server.
fn own_pin(instance: &Instance) -> anyhow::Result<Pin> {
    let path = instance.admin_kubeconfig();
    let config = Kubeconfig::read_from(&path).with_context(|| format!("reading {}", path.display()))?;
    let cluster = config.clusters.first().and_then(|named| named.cluster.as_ref());
    let data = cluster.and_then(|cluster| cluster.certificate_authority_data.clone());
    let pem = STANDARD.decode(data.with_context(|| format!("{} names no authority", path.display()))?)?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem).with_context(|| format!("reading {}", path.display()))?;
    pin_of(&block.contents).with_context(|| format!("reading the authority in {}", path.display()))
}

/// The pin of a certificate.
pub(crate) fn pin_of(certificate: &[u8]) -> Option<Pin> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(Sha256::digest(certificate.public_key().raw).into())
}

/// One token as `list` shows it.
struct Listed {
    id: String,
    expires: Option<Timestamp>,
    description: String,
}

async fn list(client: &Client, output: Output) -> anyhow::Result<()> {
    let api: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secrets = api.list(&ListParams::default()).await.context("listing the tokens")?;
    let tokens = secrets
        .items
        .iter()
        .filter(|secret| secret.type_.as_deref() == Some(TYPE))
        .map(|secret| {
            let text = |key: &str| {
                let bytes = secret.data.as_ref().and_then(|data| data.get(key));
                bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned())
            };
            Listed {
                id: text("token-id").unwrap_or_default(),
                expires: text("expiration").and_then(|text| meta::time::parse(&text)),
                description: text("description").unwrap_or_default(),
            }
        });
    if output == Output::Json {
        let of = |token: Listed| {
            let expires = token.expires.map(meta::time::format_seconds);
            json!({"id": token.id, "expires": expires, "description": token.description})
        };
        let all: Vec<_> = tokens.map(of).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    println!("{:<8} {:<10} {:<22} DESCRIPTION", "ID", "TTL", "EXPIRES");
    for token in tokens {
        let left = token.expires.map(|end| end.duration_since(Timestamp::now()).as_secs());
        let left = left.map_or("forever".to_string(), ttl);
        let expires = token.expires.map(meta::time::format_seconds).unwrap_or_default();
        println!("{:<8} {left:<10} {expires:<22} {}", token.id, token.description);
    }
    Ok(())
}

fn ttl(seconds: i64) -> String {
    match seconds {
        ..=0 => "over".to_string(),
        1..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        _ => format!("{}h", seconds / 3600),
    }
}

async fn revoke(client: &Client, token: &str) -> anyhow::Result<()> {
    let id = token.split('.').next().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    match api
        .delete(&format!("bootstrap-token-{id}"), &DeleteParams::default())
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if client::is_not_found(&error) => bail!("there is no token {id:?}; `gantry token list` shows them"),
        Err(error) => Err(error).context("revoking the token"),
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.bearer, hex::encode(self.pin))
    }
}

impl std::str::FromStr for Token {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let parse = || {
            let (bearer, pin) = text.rsplit_once('.')?;
            let (id, secret) = bearer.split_once('.')?;
            let plain = |text: &str, length| text.len() == length && text.bytes().all(|byte| ALPHABET.contains(&byte));
            let pin: Pin = hex::decode(pin).ok()?.try_into().ok()?;
            (plain(id, 6) && plain(secret, 16)).then(|| Token {
                bearer: bearer.to_string(),
                pin,
            })
        };
        parse().context("--token is not whole; paste the line that `gantry token create` prints on the server")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_printed() {
        let token = Token {
            bearer: format!("{}.{}", random(6), random(16)),
            pin: [0xab; 32],
        };
        assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
        let text = token.to_string();
        let upper = text.to_uppercase();
        let all = [
            "",
            "a.b.c",
            &text[1..],
            &text[..text.len() - 1],
            upper.as_str(),
            token.bearer.as_str(),
        ];
        for broken in all {
            assert!(broken.parse::<Token>().is_err(), "{broken}");
        }
    }

    #[test]
    fn on_loopback_nobody_can_join() {
        let mut settings = Settings::defaults();
        settings.advertise_address = "192.0.2.1".parse().unwrap();
        settings.listen = "127.0.0.1:7443".parse().unwrap();
        let refusal = check_reachable(&settings).unwrap_err().to_string();
        assert!(refusal.contains("--listen 0.0.0.0:7443"), "{refusal}");
        settings.listen = "0.0.0.0:7443".parse().unwrap();
        assert!(check_reachable(&settings).is_ok());
        settings.advertise_address = "127.0.0.1".parse().unwrap();
        let refusal = check_reachable(&settings).unwrap_err().to_string();
        assert!(refusal.contains("--advertise-address"), "{refusal}");
    }
}
