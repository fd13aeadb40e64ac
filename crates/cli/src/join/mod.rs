//! `gantry join`: this machine becomes a node of a server elsewhere, once or again. What fails leaves nothing behind.

mod ask;
mod pin;

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::json;

use crate::args::JoinArgs;
use crate::instance::{Instance, Settings, write_whole};
use crate::leave;
use crate::process::{Role, is_root};
use crate::progress::{Progress, show};
use crate::token::Token;
use crate::up::{self, Before};

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    host: String,
    port: u16,
}

/// Runs the command.
pub async fn run(instance: Instance, args: JoinArgs) -> anyhow::Result<()> {
    if !is_root() {
        bail!("a node needs root: run `sudo gantry join`");
    }
    let progress = Progress::start();
    let server: Endpoint = args.server.parse()?;
    let settings = match instance.stored_settings()? {
        Some(stored) => again(&instance, stored, &server, &args, &progress).await?,
        None => first(&instance, &server, &args, &progress).await?,
    };
    println!(
        "node {} of {} is ready after {}",
        settings.node_name,
        server,
        show(progress.elapsed())
    );
    Ok(())
}

/// What has joined before goes on, or is started again.
async fn again(
    instance: &Instance,
    stored: Settings,
    server: &Endpoint,
    args: &JoinArgs,
    progress: &Progress,
) -> anyhow::Result<Settings> {
    let dir = instance.dir().display();
    match &stored.server {
        None => bail!("{dir} holds a server; choose another --data-dir for a node"),
        Some(other) if *other != server.to_string() => {
            bail!("{dir} is a node of {other}; `gantry leave` takes it out there, or choose another --data-dir")
        }
        Some(_) => {}
    }
    if args.node_name.as_ref().is_some_and(|name| *name != stored.node_name) {
        bail!(
            "{dir} is the node {}; `gantry leave` first, or choose another --data-dir",
            stored.node_name
        );
    }
    let mut settings = stored.clone();
    settings.node_ip = args.node_ip.or(settings.node_ip);
    settings.labels.extend(args.labels.iter().cloned());
    if instance.running(Role::Supervisor).is_none() {
        up::start(instance, &settings, &Before::look(instance)).await?;
    } else if settings != stored {
        bail!("{dir} runs with other settings; `gantry down` first, then join again");
    }
    wait_until_ready(instance, &settings, args.wait, progress).await?;
    Ok(settings)
}

async fn first(
    instance: &Instance,
    server: &Endpoint,
    args: &JoinArgs,
    progress: &Progress,
) -> anyhow::Result<Settings> {
    check_is_empty(instance)?;
    let token = args.token.as_deref().context(
        "a machine that joins needs a --token; `gantry token create` on the server prints the whole line to paste",
    )?;
    let token: Token = token.parse()?;
    let name = args.node_name.clone().unwrap_or_else(node::default_name);
    if let Some(wrong) = meta::names::dns_subdomain(&name).first() {
        bail!("{name:?} can't be a node's name: {wrong}; choose another --node-name");
    }
    let step = progress.step(format!("server at {server}"));
    let authority = pin::authority(server, token.pin).await?;
    let config = kubeconfig(server, &authority, Some(&token.bearer));
    let parsed: Kubeconfig = serde_json::from_value(config.clone())?;
    let client = client::from_config(&Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await?)?;
    let common = ask::ask(&client, &name).await?;
    step.done();
    let settings = Settings {
        pod_cidr: common.pods,
        service_cidr: common.services,
        cluster_domain: common.domain,
        node_name: name,
        server: Some(server.to_string()),
        node_ip: args.node_ip,
        labels: args.labels.iter().cloned().collect(),
        ..Settings::defaults()
    };
    let before = Before::look(instance);
    let joined = async {
        fs::create_dir_all(instance.dir()).with_context(|| format!("making {}", instance.dir().display()))?;
        write_kubeconfig(instance, &config)?;
        up::start(instance, &settings, &before).await?;
        wait_until_ready(instance, &settings, args.wait, progress).await
    };
    if let Err(error) = joined.await {
        // A server that went away meanwhile is the reason, whatever else was seen of it here.
        let away = pin::authority(server, token.pin).await.err();
        let registered = leave::as_node(instance).await.ok();
        up::undo(instance, &before).await;
        forget(instance);
        // Nor is anything left of it on the server, unless the Node is an earlier machine's.
        if let (Some(client), None, false) = (registered, &away, common.known) {
            let _ = leave::delete_node(&client, &settings.node_name).await;
        }
        return Err(match away {
            Some(away) => anyhow::anyhow!("{error:#}, and {away:#}"),
            None => error,
        });
    }
    // It has its own certificate now; the token is of no more use here, but would be to a thief.
    write_kubeconfig(instance, &kubeconfig(server, &authority, None))?;
    Ok(settings)
}

/// A directory that something else is in is not taken. Images, and how registries are reached, may be there before the
/// node is.
fn check_is_empty(instance: &Instance) -> anyhow::Result<()> {
    let dir = instance.dir();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", dir.display())),
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {}", dir.display()))?;
        if !["node", "certs.d"].iter().any(|known| entry.file_name() == *known) {
            bail!(
                "{} is in use by something else; choose another --data-dir",
                dir.display()
            );
        }
    }
    Ok(())
}

/// Removes what a join that failed has made beside the images that were there.
fn forget(instance: &Instance) {
    let node = instance.dir().join("node");
    let made = fs::read_dir(&node).into_iter().flatten().flatten();
    for entry in made.filter(|entry| entry.file_name() != "images") {
        let path = entry.path();
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
}

fn kubeconfig(server: &Endpoint, authority: &[u8], token: Option<&str>) -> serde_json::Value {
    let lines: Vec<String> = STANDARD
        .encode(authority)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    );
    let user = token.map_or(json!({}), |token| json!({"token": token}));
    json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "gantry", "cluster": {
            "server": server.to_string(), "certificate-authority-data": STANDARD.encode(pem),
        }}],
        "users": [{"name": "join", "user": user}],
        "contexts": [{"name": "join", "context": {"cluster": "gantry", "user": "join"}}],
        "current-context": "join",
    })
}

/// For root alone, as temporary files are.
fn write_kubeconfig(instance: &Instance, config: &serde_json::Value) -> anyhow::Result<()> {
    write_whole(&instance.join_kubeconfig(), &serde_json::to_vec_pretty(config)?)
}

/// Waits for the node's process to say that the cluster knows it as ready.
pub(crate) async fn wait_until_ready(
    instance: &Instance,
    settings: &Settings,
    limit: Duration,
    progress: &Progress,
) -> anyhow::Result<()> {
    let step = progress.step(format!("node {}", settings.node_name));
    up::wait_for_role(instance, Role::Node, limit).await?;
    step.done();
    Ok(())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "https://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "https://{}:{}", self.host, self.port)
        }
    }
}

impl std::str::FromStr for Endpoint {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let uri: http::Uri = text.parse().with_context(|| format!("{text:?} is no URL"))?;
        let host = uri.host().map(|host| host.trim_matches(['[', ']']).to_string());
        match (uri.scheme_str(), host, uri.path()) {
            (Some("https"), Some(host), "" | "/") => Ok(Endpoint {
                host,
                port: uri.port_u16().unwrap_or(6443),
            }),
            _ => bail!("{text:?} is not a server's URL such as https://192.0.2.10:6443"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_url() {
        for (text, shown) in [
            ("https://192.0.2.10:7443", "https://192.0.2.10:7443"),
            ("https://gantry.example/", "https://gantry.example:6443"),
            ("https://[2001:db8::1]:6443", "https://[2001:db8::1]:6443"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        for text in ["192.0.2.10", "http://192.0.2.10:6443", "https://192.0.2.10/api", ""] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_directory_that_is_used_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::new(dir.path()).unwrap();
        check_is_empty(&instance).unwrap();
        fs::create_dir_all(dir.path().join("node/images")).unwrap();
        fs::create_dir_all(dir.path().join("certs.d")).unwrap();
        check_is_empty(&instance).unwrap();
        fs::write(dir.path().join("precious"), "").unwrap();
        assert!(
            check_is_empty(&instance)
                .unwrap_err()
                .to_string()
                .contains("--data-dir")
        );
    }
}
