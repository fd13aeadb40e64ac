//! The host's own forward policy: where it drops what nobody allowed (Docker sets it so), pods would reach nothing,
//! and no accept in a table of ours would help. One rule in the host's chain allows our links; it bears a note by
//! which it is found again and removed.

use std::io;

use crate::config::InstanceId;
use crate::error::Error;
use crate::netlink::Socket;
use crate::nft::{self, Batch, Chain, FAMILY, Rule, Target};

const HOOK_FORWARD: u32 = 2;

/// A chain of the host that drops what is forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dropping {
    family: u8,
    table: String,
    chain: String,
}

/// The chains that drop forwarded packets by policy.
pub(crate) fn dropping(netfilter: &mut Socket) -> Result<Vec<Dropping>, Error> {
    let chains = nft::chains(netfilter).map_err(|source| Error::kernel("listing chains", source))?;
    // IPv4 packets pass the chains of the families ip and inet.
    let drops = |chain: &Chain| chain.hook == Some(HOOK_FORWARD) && chain.drops && matches!(chain.family, 1 | 2);
    let found = chains.into_iter().filter(drops);
    Ok(found
        .map(|chain| Dropping {
            family: chain.family,
            table: chain.table,
            chain: chain.name,
        })
        .collect())
}

/// Allows this instance's links in each chain that drops; one that has our rules already stays as it is.
pub(crate) fn allow(netfilter: &mut Socket, instance: &InstanceId) -> Result<(), Error> {
    for place in dropping(netfilter)? {
        if place.family != FAMILY {
            let place = format!("chain {} of the inet table {}", place.chain, place.table);
            return Err(Error::ForwardPolicy {
                place,
                links: instance.link_prefix(),
            });
        }
        if own_rules(netfilter, &place, instance)?.is_empty() {
            tracing::info!(
                table = place.table,
                chain = place.chain,
                "the host drops forwarded packets: allowing pods"
            );
            let prefix = instance.link_prefix();
            let mut batch = Batch::new(&place.table);
            for rule in [
                Rule::default().input_prefix(&prefix),
                Rule::default().output_prefix(&prefix),
            ] {
                batch.first_rule(&place.chain, &rule.then(Target::Accept), &note(instance));
            }
            batch
                .commit(netfilter)
                .map_err(|refused| Error::kernel(refused.what, refused.source))?;
        }
    }
    Ok(())
}

/// Takes our rules out again. All chains on the hook are looked at: the policy may have changed since.
pub(crate) fn disallow(netfilter: &mut Socket, instance: &InstanceId) -> Result<(), Error> {
    let chains = nft::chains(netfilter).map_err(|source| Error::kernel("listing chains", source))?;
    for chain in chains
        .into_iter()
        .filter(|chain| chain.hook == Some(HOOK_FORWARD) && chain.family == FAMILY)
    {
        let place = Dropping {
            family: chain.family,
            table: chain.table,
            chain: chain.name,
        };
        let handles = own_rules(netfilter, &place, instance)?;
        if handles.is_empty() {
            continue;
        }
        let mut batch = Batch::new(&place.table);
        handles
            .iter()
            .for_each(|handle| batch.delete_rule(&place.chain, *handle));
        batch
            .commit(netfilter)
            .map_err(|refused| Error::kernel(refused.what, refused.source))?;
    }
    Ok(())
}

fn own_rules(netfilter: &mut Socket, place: &Dropping, instance: &InstanceId) -> Result<Vec<u64>, Error> {
    let failed = |source: io::Error| Error::kernel(format!("listing the rules of {}", place.chain), source);
    let rules = nft::rules(netfilter, &place.table, &place.chain).map_err(failed)?;
    let note = note(instance);
    Ok(rules
        .into_iter()
        .filter(|rule| rule.note == note)
        .map(|rule| rule.handle)
        .collect())
}

/// A comment in the format of nft: type 0, length, text with a zero byte.
fn note(instance: &InstanceId) -> Vec<u8> {
    let text = format!("{}\0", instance.table());
    let mut note = vec![0, text.len() as u8];
    note.extend_from_slice(text.as_bytes());
    note
}
