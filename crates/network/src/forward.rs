//! The host's own forward policy: where it drops what nobody allowed (Docker sets it so), pods would reach nothing,
//! and no accept in a table of ours would help. Rules in the host's chain allow what goes into and out of our links, and what is forwarded to pods of
//! other nodes; they bear a note by which they are found again and removed.

use ipnet::Ipv4Net;

use crate::config::{Config, InstanceId};
use crate::error::Error;
use crate::netlink::{Refused, Socket};
use crate::nft::{self, Batch, Chain, Rule, Target};

const HOOK_FORWARD: u32 = 2;
/// IPv4 packets pass the chains of the families inet and ip.
const FAMILIES: [u8; 2] = [1, 2];

/// Allows this instance's packets in each chain that drops by policy; one that has our rules already stays as it is.
pub(crate) fn allow(netfilter: &mut Socket, config: &Config) -> Result<(), Error> {
    let instance = &config.instance;
    let wanted = rules(instance, config.cluster_cidr);
    for chain in forward_chains(netfilter)?.into_iter().filter(|chain| chain.drops) {
        let there = own_rules(netfilter, &chain, instance)?;
        if there.len() == wanted.len() {
            continue;
        }
        tracing::info!(
            table = chain.table,
            chain = chain.name,
            "the host drops forwarded packets: allowing pods"
        );
        let mut batch = Batch::of_family(chain.family, &chain.table);
        there.iter().for_each(|handle| batch.delete_rule(&chain.name, *handle));
        for rule in &wanted {
            batch.first_rule(&chain.name, &rule.clone().then(Target::Accept), &note(instance));
        }
        batch.commit(netfilter).map_err(refused)?;
    }
    Ok(())
}

/// Connections to a node port may go on to a pod of another node: neither way touches a pod's link here. Their answers
/// are known by the connection, since any stranger may claim a pod's address.
fn rules(instance: &InstanceId, cluster: Ipv4Net) -> [Rule; 4] {
    let prefix = instance.link_prefix();
    [
        Rule::default().input_prefix(&prefix),
        Rule::default().output_prefix(&prefix),
        Rule::default().for_ipv4().to(cluster, false),
        Rule::default().for_ipv4().from(cluster, false).known_connection(),
    ]
}

/// Takes our rules out again. All chains on the hook are looked at: the policy may have changed since.
pub(crate) fn disallow(netfilter: &mut Socket, instance: &InstanceId) -> Result<(), Error> {
    for chain in forward_chains(netfilter)? {
        let handles = own_rules(netfilter, &chain, instance)?;
        if handles.is_empty() {
            continue;
        }
        let mut batch = Batch::of_family(chain.family, &chain.table);
        handles
            .iter()
            .for_each(|handle| batch.delete_rule(&chain.name, *handle));
        batch.commit(netfilter).map_err(refused)?;
    }
    Ok(())
}

fn forward_chains(netfilter: &mut Socket) -> Result<Vec<Chain>, Error> {
    let chains = nft::chains(netfilter).map_err(|source| Error::kernel("listing chains", source))?;
    let forwards = |chain: &Chain| chain.hook == Some(HOOK_FORWARD) && FAMILIES.contains(&chain.family);
    Ok(chains.into_iter().filter(forwards).collect())
}

fn own_rules(netfilter: &mut Socket, chain: &Chain, instance: &InstanceId) -> Result<Vec<u64>, Error> {
    let rules = nft::rules(netfilter, chain.family, &chain.table, &chain.name)
        .map_err(|source| Error::kernel(format!("listing the rules of {}", chain.name), source))?;
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

fn refused(refused: Refused) -> Error {
    Error::kernel(refused.what, refused.source)
}
