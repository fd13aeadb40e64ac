//! The network of one instance on this host: opened, used, and closed again or removed. It ties the other modules
//! together and holds the locks; what is done in the kernel is theirs.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use ipnet::Ipv4Net;
use meta::failpoint;
use parking_lot::Mutex;
use serde::Serialize;

use crate::attach::{self, Attachment};
use crate::config::{Config, InstanceId, SlotId};
use crate::error::Error;
use crate::fast::{self, FastPath};
use crate::host::{self, Instance, Note};
use crate::layout::{self, Layout};
use crate::ledger::Ledger;
use crate::netlink::Socket;
use crate::nft::{self, Batch};
use crate::overlay::{self, Peer, Reached};
use crate::services::{Applied, Services};
use crate::table::ServiceTable;
use crate::{conntrack, forward, link};

/// The network of one instance. It stays as it is when this value is dropped: the next `open` finds it.
pub struct Network {
    config: Config,
    mtu: AtomicU32,
    route: Mutex<Socket>,
    netfilter: Mutex<Socket>,
    ledger: Mutex<Ledger>,
    services: Mutex<Services>,
    pub(crate) fast: Option<FastPath>,
    reaper: Sender<Chore>,
}

/// What the network has, for a person to look at.
#[derive(Clone, Debug, Serialize)]
pub struct Dump {
    /// The instance.
    pub instance: String,
    /// Its pods' range.
    pub pod_cidr: Ipv4Net,
    /// Its services' range.
    pub service_cidr: Ipv4Net,
    /// The node's own address among its pods.
    pub node_address: IpAddr,
    /// The nf_tables table.
    pub table: String,
    /// Host links and addresses by slot.
    pub slots: BTreeMap<u32, (String, IpAddr)>,
    /// Whether TCP between pods of this node takes the short cut past the host's network stack.
    pub short_cut: bool,
    /// Services in force.
    pub services: usize,
    /// Endpoints that they lead to.
    pub endpoints: usize,
}

/// Errors of a removal, which goes on after each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Errors(pub Vec<Error>);

enum Chore {
    /// Delete the link of this index, and what leads to this address.
    Delete(u32, Ipv4Addr),
    /// Say when all before is done.
    Report(Sender<()>),
}

/// Whether the kernel has nf_tables. What of it is needed besides is seen when the table is made.
pub fn has_nf_tables() -> bool {
    open_socket(libc::NETLINK_NETFILTER).is_ok_and(|mut netfilter| host::instances(&mut netfilter).is_ok())
}

/// Refuses ranges of a whole cluster that overlap anything of this host or of another instance; changes nothing. An
/// instance that has its table already was checked when it was made.
pub fn check_ranges(instance: &str, pods: Ipv4Net, services: Ipv4Net) -> Result<(), Error> {
    let (mut route, mut netfilter) = (open_socket(libc::NETLINK_ROUTE)?, open_socket(libc::NETLINK_NETFILTER)?);
    let instances = host::instances(&mut netfilter)?;
    if instances.iter().any(|other| other.id == instance) {
        return Ok(());
    }
    host::check_ranges(pods, services, None, &mut route, &instances.iter().collect::<Vec<_>>())
}

impl Network {
    /// Checks that this host can have the network, sets it up where it isn't yet, and finds what is there. Slots that
    /// were not complete when the last process ended are removed.
    pub fn open(config: Config) -> Result<Network, Error> {
        let mut route = open_socket(libc::NETLINK_ROUTE)?;
        let mut netfilter = open_socket(libc::NETLINK_NETFILTER)?;
        let instances = host::instances(&mut netfilter)?;
        let others: Vec<&Instance> = instances.iter().filter(|i| i.id != config.instance.as_str()).collect();
        let own = Some(config.node_address());
        host::check_own_range(&config)?;
        host::check_ranges(config.cluster_cidr, config.service_cidr, own, &mut route, &others)?;
        let mtu = match config.mtu {
            Some(mtu) => mtu,
            None => host::default_mtu(&mut route)?,
        };
        let old = instances
            .iter()
            .find(|i| i.id == config.instance.as_str())
            .and_then(|i| i.note.clone());
        let note = host::note(&config, &instances)?;
        if let Some(old) = old
            .as_ref()
            .filter(|old| (old.pods, old.services, old.cluster) != (note.pods, note.services, note.cluster))
        {
            host::tear_down(old, false, &mut route)
                .into_iter()
                .next()
                .map_or(Ok(()), Err)?;
        }
        let ledger = Ledger::open(&config.state_dir, config.pod_cidr)?;
        let chains = make_table(&mut netfilter, &config, &note, old.as_ref())?;
        host::set_up(&config, &mut route, mtu)?;
        forward::allow(&mut netfilter, &config)?;
        let network = Network {
            mtu: AtomicU32::new(mtu),
            reaper: start_reaper(config.instance.doomed_group())?,
            route: Mutex::new(route),
            netfilter: Mutex::new(netfilter),
            ledger: Mutex::new(ledger),
            services: Mutex::new(Services::new(&config.instance.table(), chains)),
            fast: fast::available(),
            config,
        };
        network.reclaim()?;
        network.shorten()?;
        Ok(network)
    }

    /// What it was opened with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The node's own address among its pods; it is an address of this host, reachable from every pod.
    pub fn node_address(&self) -> IpAddr {
        IpAddr::V4(self.config.node_address())
    }

    /// Gives the network namespace at `namespace` (a bind-mounted file) a link, an address and routes.
    pub fn attach(&self, namespace: &Path, slot: SlotId) -> Result<Attachment, Error> {
        let address = self.ledger.lock().reserve(slot)?;
        failpoint::hit("network.attach.reserved");
        let host_link = self.config.instance.link(slot);
        let plan = attach::Plan {
            link: &host_link,
            address,
            node_address: self.config.node_address(),
            namespace,
            mtu: self.mtu(),
        };
        if let Err(error) = self.make(&plan).and_then(|()| self.ledger.lock().complete(slot)) {
            // The first error tells; what can't be undone now is removed by the next `open`.
            let _ = self.remove(slot, address);
            return Err(error);
        }
        Ok(self.attachment(slot, address))
    }

    /// Takes a slot out of the network: its address leads nowhere when this returns, its link goes soon after.
    pub fn detach(&self, slot: SlotId) -> Result<(), Error> {
        let entry = self.ledger.lock().get(slot).ok_or(Error::NoSuchSlot(slot))?;
        self.remove(slot, entry.address)
    }

    /// The slots that are attached.
    pub fn attachments(&self) -> Vec<Attachment> {
        let ledger = self.ledger.lock();
        ledger
            .entries()
            .filter(|(_, e)| e.complete)
            .map(|(slot, e)| self.attachment(slot, e.address))
            .collect()
    }

    /// Makes the kernel serve exactly these services. When it returns, it does: no new connection reaches an endpoint
    /// that is not in the table.
    pub fn apply(&self, table: &ServiceTable) -> Result<Applied, Error> {
        self.services
            .lock()
            .apply(&mut self.netfilter.lock(), &mut self.route.lock(), table)
    }

    /// Makes the pods of exactly these other nodes reachable, by routes on a common link or through a tunnel where a
    /// router is between. `own` is the address by which they know this node. Call it again when they change, and when
    /// `HostChanges` says that the host's own routes did.
    pub fn set_peers(&self, own: IpAddr, peers: &[Peer]) -> Result<Reached, Error> {
        let (mut route, mut netfilter) = (self.route.lock(), self.netfilter.lock());
        let reached = overlay::set_peers(&self.config, &mut route, &mut netfilter, own, peers)?;
        let mtu = match self.config.mtu {
            Some(mtu) => mtu,
            None => reached.mtu.map_or_else(|| host::default_mtu(&mut route), Ok)?,
        };
        // Pods that are there keep theirs: the host tells them when a packet is too large for the way it goes.
        if self.mtu.swap(mtu, Ordering::Relaxed) != mtu {
            host::set_service_mtu(&self.config, &mut route, mtu)?;
        }
        Ok(reached)
    }

    /// Looks again whether the host's forward policy lets pods through, and sees to it. Other programs that load
    /// their rules anew throw ours away.
    pub fn check_forwarding(&self) -> Result<(), Error> {
        forward::allow(&mut self.netfilter.lock(), &self.config)
    }

    /// Waits until the links of detached slots are gone.
    pub fn settle(&self) {
        let (sender, done) = channel();
        if self.reaper.send(Chore::Report(sender)).is_ok() {
            let _ = done.recv();
        }
    }

    /// What is there.
    pub fn dump(&self) -> Dump {
        let (services, endpoints) = self.services.lock().counts();
        let slots = self
            .attachments()
            .into_iter()
            .map(|a| (a.slot.0, (a.host_link.clone(), a.address())))
            .collect();
        Dump {
            instance: self.config.instance.to_string(),
            pod_cidr: self.config.pod_cidr,
            service_cidr: self.config.service_cidr,
            node_address: self.node_address(),
            table: self.config.instance.table(),
            slots,
            services,
            endpoints,
            short_cut: self.fast.is_some(),
        }
    }

    /// Removes every trace of this network from the host.
    pub fn teardown(self) -> Result<(), Errors> {
        self.settle();
        purge(&self.config.instance, &self.config.state_dir)
    }

    fn attachment(&self, slot: SlotId, address: Ipv4Addr) -> Attachment {
        let host_link = self.config.instance.link(slot);
        Attachment {
            slot,
            addresses: vec![IpAddr::V4(address)],
            host_link,
            mtu: self.mtu(),
        }
    }

    fn mtu(&self) -> u32 {
        self.mtu.load(Ordering::Relaxed)
    }

    fn make(&self, plan: &attach::Plan<'_>) -> Result<(), Error> {
        let mut route = self.route.lock();
        let link = attach::make(&mut route, plan)?;
        if let Some(fast) = &self.fast {
            fast.add(&mut route, link, plan.address);
        }
        Ok(())
    }

    fn remove(&self, slot: SlotId, address: Ipv4Addr) -> Result<(), Error> {
        if let Some(fast) = &self.fast {
            fast.leave_out(address)?;
        }
        let index = attach::unroute(&mut self.route.lock(), &self.config.instance.link(slot), address)?;
        if let Some(index) = index {
            // The reaper lives as long as this value does.
            let _ = self.reaper.send(Chore::Delete(index, address));
        }
        failpoint::hit("network.detach.unrouted");
        self.ledger.lock().release(slot)?;
        Ok(())
    }

    /// Makes ledger and kernel agree: entries without a link go, and so do links without a complete entry.
    fn reclaim(&self) -> Result<(), Error> {
        let links = link::links(&mut self.route.lock()).map_err(|source| Error::kernel("listing links", source))?;
        let mut ledger = self.ledger.lock();
        let range = self.config.pod_cidr;
        let entries: Vec<_> = ledger.entries().collect();
        for (slot, entry) in entries {
            let linked = links.iter().any(|link| link.name == self.config.instance.link(slot));
            if !linked || !entry.complete || !range.contains(&entry.address) {
                ledger.release(slot)?;
            }
        }
        let instance = &self.config.instance;
        let unknown = |link: &&link::Link| {
            instance
                .slot_of(&link.name)
                .is_some_and(|slot| ledger.get(slot).is_none())
        };
        let unknown: Vec<u32> = links.iter().filter(unknown).map(|link| link.index).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        attach::delete(&mut self.route.lock(), &unknown, instance.doomed_group())
    }

    /// Gives the pods that are there the short cut, or takes an earlier life's from them.
    fn shorten(&self) -> Result<(), Error> {
        let mut route = self.route.lock();
        for (slot, entry) in self.ledger.lock().entries() {
            let Some(link) = attach::find(&mut route, &self.config.instance.link(slot))? else {
                continue;
            };
            match &self.fast {
                Some(fast) => fast.add(&mut route, link.index, entry.address),
                None => fast::strip(&mut route, link.index)?,
            }
        }
        Ok(())
    }
}

/// Removes every trace of an instance's network from the host, also when no process of it runs. It goes on after an
/// error; doing it again is no error.
pub fn purge(instance: &InstanceId, state_dir: &Path) -> Result<(), Errors> {
    let mut errors = Vec::new();
    if let Err(error) = purge_kernel(instance, &mut errors) {
        errors.push(error);
    }
    match fs::remove_dir_all(state_dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => errors.push(Error::file(state_dir, source)),
        _ => {}
    }
    if errors.is_empty() { Ok(()) } else { Err(Errors(errors)) }
}

fn purge_kernel(instance: &InstanceId, errors: &mut Vec<Error>) -> Result<(), Error> {
    let mut route = open_socket(libc::NETLINK_ROUTE)?;
    let mut netfilter = open_socket(libc::NETLINK_NETFILTER)?;
    errors.extend(forward::disallow(&mut netfilter, instance).err());
    let links = link::links(&mut route).map_err(|source| Error::kernel("listing links", source))?;
    let is_own = |link: &&link::Link| link.name == instance.tunnel() || instance.slot_of(&link.name).is_some();
    let own = links.iter().filter(is_own);
    let own: Vec<u32> = own.map(|link| link.index).collect();
    if !own.is_empty() {
        errors.extend(attach::delete(&mut route, &own, instance.doomed_group()).err());
    }
    let instances = host::instances(&mut netfilter)?;
    let Some(own) = instances.iter().find(|found| found.id == instance.as_str()) else {
        return Ok(());
    };
    if let Some(note) = &own.note {
        errors.extend(host::tear_down(note, instances.len() == 1, &mut route));
    }
    let mut batch = Batch::new(&instance.table());
    batch.delete_table();
    batch
        .commit(&mut netfilter)
        .map_err(|refused| Error::kernel(refused.what, refused.source))
}

fn open_socket(protocol: libc::c_int) -> Result<Socket, Error> {
    Socket::open(protocol).map_err(|source| match source.raw_os_error() {
        Some(libc::EPROTONOSUPPORT) => Error::KernelFeature {
            feature: "netfilter's netlink",
            option: "CONFIG_NETFILTER_NETLINK",
            source,
        },
        _ => Error::kernel("opening a netlink socket", source),
    })
}

/// Makes the instance's table, unless the one that is there is just the same: then services go on undisturbed until
/// the first `apply`. Returns the names of the chains that are there.
fn make_table(
    netfilter: &mut Socket,
    config: &Config,
    note: &Note,
    old: Option<&Note>,
) -> Result<HashSet<String>, Error> {
    let table = config.instance.table();
    if old != Some(note) {
        let mut batch = Batch::new(&table);
        batch.table(&[]);
        batch.delete_table();
        batch.table(&note.to_bytes());
        let node_address = config.node_address();
        let (pods, services) = (config.cluster_cidr, config.service_cidr);
        layout::make(
            &mut batch,
            &Layout {
                pods,
                services,
                node_address,
            },
        );
        batch
            .commit(netfilter)
            .map_err(|refused| match refused.source.raw_os_error() {
                Some(libc::ENOENT | libc::EOPNOTSUPP) => layout::missing_feature(&refused.what, refused.source),
                _ => Error::kernel(refused.what, refused.source),
            })?;
    }
    let chains = nft::chains(netfilter).map_err(|source| Error::kernel("listing chains", source))?;
    Ok(chains
        .into_iter()
        .filter(|chain| chain.table == table)
        .map(|chain| chain.name)
        .collect())
}

/// Starts the thread that cleans up after detached slots: deleting a link takes the kernel tens of milliseconds, for
/// which nobody should wait. Those that come in meanwhile are deleted together. It has sockets of its own, and ends with
/// the network.
fn start_reaper(group: u32) -> Result<Sender<Chore>, Error> {
    let (sender, chores): (Sender<Chore>, Receiver<Chore>) = channel();
    let (mut route, mut netfilter) = (open_socket(libc::NETLINK_ROUTE)?, open_socket(libc::NETLINK_NETFILTER)?);
    std::thread::spawn(move || {
        while let Ok(first) = chores.recv() {
            let (mut links, mut addresses, mut waiting) = (Vec::new(), HashSet::new(), Vec::new());
            for chore in std::iter::once(first).chain(chores.try_iter()) {
                match chore {
                    Chore::Delete(index, address) => {
                        links.push(index);
                        addresses.insert(address);
                    }
                    Chore::Report(done) => waiting.push(done),
                }
            }
            if !links.is_empty() {
                let deleted = attach::delete(&mut route, &links, group);
                if let Err(error) = deleted.and(conntrack::forget_addresses(&mut netfilter, &addresses)) {
                    tracing::warn!(%error, "cleaning up after detached slots failed");
                }
            }
            for done in waiting {
                let _ = done.send(());
            }
        }
    });
    Ok(sender)
}
