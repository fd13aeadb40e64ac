//! Services in the kernel: what the table says becomes elements of the sets of `layout`, by the smallest change.
//!
//! `plan` works out the change without touching anything, `elements` writes it in the kernel's terms, and this file
//! sends it and clears away what connections and clients still remember.

mod elements;
mod plan;

use std::collections::HashSet;
use std::time::Duration;

use meta::failpoint;

pub(crate) use plan::{Claim, Touched};

use crate::conntrack;
use crate::error::Error;
use crate::layout;
use crate::netlink::Socket;
use crate::nft::{self, Batch};
use crate::table::{Protocol, ServiceTable};
use plan::{Delta, Planner};

/// What an `apply` did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Elements put into the kernel's sets.
    pub added: usize,
    /// Elements taken out of them.
    pub removed: usize,
    /// Services that don't have all their addresses and ports, because another has them.
    pub contested: Vec<String>,
}

/// The services that the kernel has, as far as this process knows.
pub(crate) struct Services {
    table: String,
    planner: Planner,
    /// Names of picking chains that are in the kernel.
    chains: HashSet<String>,
    /// The kernel may have something else than the planner thinks: load everything anew.
    stale: bool,
}

impl Services {
    pub(crate) fn new(table: &str, chains: HashSet<String>) -> Services {
        Services {
            table: table.to_owned(),
            planner: Planner::default(),
            chains,
            stale: true,
        }
    }

    /// Makes the kernel serve this table and nothing else. When it returns, it does.
    pub(crate) fn apply(
        &mut self,
        socket: &mut Socket,
        route: &mut Socket,
        table: &ServiceTable,
    ) -> Result<Applied, Error> {
        let full = self.stale;
        if full {
            self.planner = Planner::default();
        }
        // Until the kernel has it, nobody knows what it has.
        self.stale = true;
        let delta = self.planner.plan(table);
        let contested = self.planner.contested();
        if !full && delta.is_empty() {
            self.stale = false;
            return Ok(Applied {
                contested,
                ..Applied::default()
            });
        }
        failpoint::hit("network.services.planned");
        let (added, removed) = self.commit(socket, &delta, full)?;
        failpoint::hit("network.services.committed");
        self.forget(socket, route, &delta.touched, full)?;
        self.stale = false;
        Ok(Applied {
            added,
            removed,
            contested,
        })
    }

    /// The number of services, and of endpoints that they lead to.
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.planner.counts()
    }

    fn commit(&mut self, socket: &mut Socket, delta: &Delta, full: bool) -> Result<(usize, usize), Error> {
        let mut batch = Batch::new(&self.table);
        if full {
            layout::filled_sets().for_each(|set| batch.flush(set));
        }
        let mut made = Vec::new();
        for pick in delta.picks() {
            let name = pick.chain();
            if !self.chains.contains(&name) {
                layout::pick_chain(&mut batch, &pick);
                made.push(name);
            }
            if let (Some(name), Some(keep)) = (pick.remembering(), pick.affinity)
                && !self.chains.contains(&name)
                && !made.contains(&name)
            {
                layout::remember_chain(&mut batch, keep);
                made.push(name);
            }
        }
        let counts = elements::write(&mut batch, delta);
        batch
            .commit(socket)
            .map_err(|refused| Error::kernel(refused.what, refused.source))?;
        self.chains.extend(made);
        Ok(counts)
    }

    /// Clears what leads to endpoints that are gone: clients' habits, and UDP "connections", which never end by
    /// themselves while the client goes on sending. New ones can't come up any more: the kernel has the new table.
    fn forget(&self, socket: &mut Socket, route: &mut Socket, touched: &Touched, full: bool) -> Result<(), Error> {
        if full || touched.affinity {
            let known = nft::elements(socket, &self.table, layout::set::AFFINITY)
                .map_err(|source| Error::kernel("listing the set affinity", source))?;
            let gone = known
                .into_iter()
                .filter(|(key, value)| elements::is_gone(key, value, touched, full));
            for (key, _) in gone {
                self.forget_client(socket, key)?;
            }
        }
        let udp = touched.targets.keys().any(|claim| claim.protocol == Protocol::Udp);
        if udp {
            conntrack::forget(socket, route, touched)
        } else {
            Ok(())
        }
    }

    /// Each in a batch of its own: one that expired meanwhile would fail a common one.
    fn forget_client(&self, socket: &mut Socket, key: Vec<u8>) -> Result<(), Error> {
        let mut batch = Batch::new(&self.table);
        batch.delete(layout::set::AFFINITY, [key]);
        match batch.commit(socket) {
            Err(refused) if refused.source.raw_os_error() != Some(libc::ENOENT) => {
                Err(Error::kernel(refused.what, refused.source))
            }
            _ => Ok(()),
        }
    }
}

/// Clients are remembered for whole seconds, one at least.
fn whole_seconds(keep: Duration) -> Duration {
    Duration::from_secs(keep.as_secs().max(1))
}
