//! What a machine asks the server before it becomes a node: whether the token holds, whether the clocks agree, whether
//! the name is free, and what all nodes must know.

use anyhow::{Context as _, bail};
use ipnet::Ipv4Net;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::client::Body;
use kube::{Api, Client};

/// How far clocks may be apart: certificates of nodes are made valid from so long ago.
const SKEW: i64 = 300;

/// What all nodes of a cluster have in common.
pub(super) struct Common {
    pub(super) pods: Ipv4Net,
    pub(super) services: Ipv4Net,
    pub(super) domain: String,
    /// There is a Node of the name, of a machine that is gone.
    pub(super) known: bool,
}

/// Asks all of it.
pub(super) async fn ask(client: &Client, name: &str) -> anyhow::Result<Common> {
    check_token_and_clock(client).await?;
    let known = check_name(client, name).await?;
    common(client, known).await
}

async fn check_token_and_clock(client: &Client) -> anyhow::Result<()> {
    let request = http::Request::get("/version").body(Body::empty())?;
    let response = client.send(request).await.context("asking the server")?;
    let date = response.headers().get(http::header::DATE);
    let theirs = date.and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok());
    if let Some(theirs) = theirs {
        check_clock(Timestamp::now(), theirs.timestamp())?;
    }
    if response.status() == http::StatusCode::UNAUTHORIZED {
        bail!(
            "the token has expired or was revoked; run `gantry token create` on the server for a new one, and paste \
             its line"
        );
    }
    Ok(())
}

fn check_clock(own: Timestamp, theirs: Timestamp) -> anyhow::Result<()> {
    let ahead = own.duration_since(theirs).as_secs();
    if ahead.abs() > SKEW {
        let (by, how) = (ahead.abs(), if ahead > 0 { "ahead of" } else { "behind" });
        bail!("this machine's clock is {by} s {how} the server's; set it and join again");
    }
    Ok(())
}

/// Whether there is a Node of the name.
async fn check_name(client: &Client, name: &str) -> anyhow::Result<bool> {
    let api: Api<Node> = Api::all(client.clone());
    let taken = api.get_opt(name).await.context("asking whether the name is free")?;
    if taken.as_ref().is_some_and(node::is_ready) {
        bail!(
            "there is a node {name} already, and it is alive; choose another --node-name, or take that one out by \
             `gantry leave` on it"
        );
    }
    Ok(taken.is_some())
}

async fn common(client: &Client, known: bool) -> anyhow::Result<Common> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let map = api
        .get("gantry-cluster")
        .await
        .context("asking for the cluster's settings")?;
    let data = map.data.unwrap_or_default();
    let get = |key: &str| {
        let value = data.get(key).map(String::as_str);
        value.with_context(|| format!("the cluster's settings have no {key}; is the server of this version?"))
    };
    let net = |key: &str| {
        let text = get(key)?;
        text.parse().with_context(|| format!("{key} {text:?} of the cluster"))
    };
    Ok(Common {
        pods: net("podCidr")?,
        services: net("serviceCidr")?,
        domain: get("clusterDomain")?.to_string(),
        known,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_a_little() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(check_clock(at(1000), at(1299)).is_ok());
        let behind = check_clock(at(0), at(3600)).unwrap_err().to_string();
        assert!(behind.contains("3600 s behind"), "{behind}");
        let ahead = check_clock(at(3600), at(0)).unwrap_err().to_string();
        assert!(ahead.contains("3600 s ahead of"), "{ahead}");
    }

    #[test]
    fn the_servers_date_is_understood() {
        let date = jiff::fmt::rfc2822::parse("Tue, 24 Nov 2026 15:04:19 GMT").unwrap();
        assert_eq!(meta::time::format_seconds(date.timestamp()), "2026-11-24T15:04:19Z");
    }
}
