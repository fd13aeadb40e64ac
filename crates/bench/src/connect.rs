//! From a kubeconfig to the two kinds of client: kube-rs' for what is not timed, and a bare HTTP target for hot loops.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use http::{HeaderValue, Uri};
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls_pki_types::ServerName;
use secrecy::ExposeSecret as _;

use crate::args::ClusterArgs;
use crate::http_client::Target;

/// Reads the kubeconfig anew: a cluster that is only just starting writes it late.
pub(crate) async fn config(cluster: &ClusterArgs) -> anyhow::Result<Config> {
    // More than one crypto back end may be compiled in by then; the first to be installed stays.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let options = KubeConfigOptions {
        context: cluster.context.clone(),
        ..KubeConfigOptions::default()
    };
    let Some(path) = &cluster.kubeconfig else {
        return Config::from_kubeconfig(&options)
            .await
            .context("reading the user's kubeconfig");
    };
    let file = Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
    Config::from_custom_kubeconfig(file, &options)
        .await
        .with_context(|| format!("using {}", path.display()))
}

/// A typed client.
pub(crate) fn client(config: &Config) -> anyhow::Result<Client> {
    Client::try_from(config.clone()).context("making a client")
}

/// The host that the API server is reached by.
pub(crate) fn host(url: &Uri) -> anyhow::Result<&str> {
    let host = url.host().with_context(|| format!("{url} names no host"))?;
    Ok(host.trim_start_matches('[').trim_end_matches(']'))
}

/// Where bare HTTP clients go.
pub(crate) fn target(config: &Config) -> anyhow::Result<Target> {
    let url = &config.cluster_url;
    let host = host(url)?.to_owned();
    let (tls, default_port) = match url.scheme_str() {
        Some("http") => (None, 80),
        _ => {
            let mut tls = config
                .rustls_client_config()
                .context("reading the kubeconfig's certificates")?;
            tls.alpn_protocols = vec![b"http/1.1".to_vec()];
            let name = config.tls_server_name.clone().unwrap_or_else(|| host.clone());
            let name = ServerName::try_from(name).context("the server's name")?;
            (Some((Arc::new(tls), name)), 443)
        }
    };
    let authority = url.authority().map_or(host.as_str(), |authority| authority.as_str());
    Ok(Target {
        port: url.port_u16().unwrap_or(default_port),
        authority: HeaderValue::from_str(authority)?,
        prefix: url.path().trim_end_matches('/').to_owned(),
        bearer: bearer(config)?,
        tls,
        host,
    })
}

fn bearer(config: &Config) -> anyhow::Result<Option<HeaderValue>> {
    let auth = &config.auth_info;
    let token = match (&auth.token, &auth.token_file) {
        (Some(token), _) => token.expose_secret().to_owned(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .with_context(|| format!("reading {path}"))?
            .trim()
            .to_owned(),
        (None, None) if auth.exec.is_some() || auth.auth_provider.is_some() || auth.username.is_some() => {
            bail!(
                "the kubeconfig's user signs in by a program or a password; `bench api` needs a client certificate or a token"
            )
        }
        (None, None) => return Ok(None),
    };
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).context("the kubeconfig's token")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(url: &str) -> Config {
        Config::new(url.parse().expect("a URL"))
    }

    #[test]
    fn a_plain_target_has_no_tls_and_keeps_the_path() {
        let made = target(&with("http://127.0.0.1:8001/cluster/")).expect("a target");
        assert!(made.tls.is_none());
        assert_eq!((made.port, made.prefix.as_str()), (8001, "/cluster"));
        assert_eq!(made.authority, "127.0.0.1:8001");
    }

    #[test]
    fn hosts_of_version_6_lose_their_brackets() {
        assert_eq!(
            host(&"https://[::1]:6443".parse().expect("a URL")).expect("a host"),
            "::1"
        );
    }

    #[test]
    fn a_token_becomes_a_header() {
        let mut config = with("http://127.0.0.1:8001");
        config.auth_info.token = Some("abc".to_owned().into());
        assert_eq!(bearer(&config).expect("a token").expect("a header"), "Bearer abc");
    }
}
