//! The servers that have one store: each says in it that it is there, and the `kubernetes` Service leads to all of them.
//!
//! As in kube-apiserver, whose records in etcd are called master leases: one ends by itself when its server doesn't put it
//! anew.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use store::{Key, Range, Txn};

use crate::core::Core;
use crate::{Error, bootstrap};

/// Records of servers, by the addresses that others reach them at; they are no API objects.
const SERVERS: &str = "/gantry/servers/";
const INTERVAL: Duration = Duration::from_secs(10);
const TTL: Duration = Duration::from_secs(15);

/// Says that this server is there, and goes on saying so until it stops.
pub(crate) async fn start(core: &Arc<Core>) -> Result<(), Error> {
    look(core).await?;
    tokio::spawn(follow(Arc::clone(core)));
    Ok(())
}

async fn follow(core: Arc<Core>) {
    loop {
        tokio::select! {
            () = core.stopping.cancelled() => break,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if let Err(error) = look(&core).await {
            tracing::warn!(%error, "the servers on this store are not known");
        }
    }
    // The others learn it without waiting for its end.
    let txn = Txn::new().delete(own(&core));
    if let Err(error) = core.store.commit(txn).await {
        tracing::debug!(%error, "this server could not take itself off the store");
    }
}

/// Says that this server is there, and looks who else is.
async fn look(core: &Arc<Core>) -> Result<(), Error> {
    let of_store = |error: store::Error| Error::from(watch::Error::from(error));
    let txn = Txn::new().put_for(own(core), "", TTL);
    core.store.commit(txn).await.map_err(of_store)?;
    let page = core.store.range(Range::prefix(SERVERS)).await.map_err(of_store)?;
    let found = page.records.iter().map(|record| &*record.key);
    let Some((port, servers)) = servers(found) else {
        return Ok(());
    };
    bootstrap::endpoints(core, &servers, port).await
}

fn own(core: &Core) -> Key {
    let address = SocketAddr::new(core.config.advertise_address, core.config.listen.port());
    Key::from(format!("{SERVERS}{address}"))
}

/// The port that the most servers have, the lowest of several, and their addresses in order: an EndpointSlice has one port,
/// and all servers must come to the same one.
fn servers<'a>(keys: impl Iterator<Item = &'a str>) -> Option<(u16, Vec<IpAddr>)> {
    let mut by_port: BTreeMap<u16, Vec<IpAddr>> = BTreeMap::new();
    for address in keys.filter_map(|key| key.strip_prefix(SERVERS)?.parse::<SocketAddr>().ok()) {
        by_port.entry(address.port()).or_default().push(address.ip());
    }
    let (port, mut servers) = by_port.into_iter().rev().max_by_key(|(_, servers)| servers.len())?;
    servers.sort_unstable();
    Some((port, servers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_come_to_the_same_port() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let of = |addresses: &[&str]| {
            let keys: Vec<String> = addresses.iter().map(|address| format!("{SERVERS}{address}")).collect();
            servers(keys.iter().map(String::as_str))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["what"]), None);
        assert_eq!(
            of(&["10.0.0.2:6443", "10.0.0.1:6443", "10.0.0.3:7443"]),
            Some((6443, vec![ip("10.0.0.1"), ip("10.0.0.2")]))
        );
        assert_eq!(
            of(&["10.0.0.1:7443", "10.0.0.1:6443"]),
            Some((6443, vec![ip("10.0.0.1")]))
        );
        assert_eq!(of(&["[fd00::1]:6443"]), Some((6443, vec![ip("fd00::1")])));
    }
}
