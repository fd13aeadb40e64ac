//! The pure part: from the table that was and the table that shall be to the rows that come and go.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::whole_seconds;
use crate::layout::{Front, Pick};
use crate::table::{Endpoint, LocalService, Protocol, Service, ServicePort, ServiceTable};

/// An address and port, or a port of every address of this host, that one service has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Claim {
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// Where an endpoint listens.
pub(crate) type Target = (Ipv4Addr, u16);

/// What identifies a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    Front { claim: Claim, outside: bool },
    Refused(Claim),
    Masqueraded(Claim),
    Endpoint { claim: Claim, outside: bool, index: u32 },
    Hairpin(Ipv4Addr),
}

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Present,
    Drop,
    Pick(Pick),
    Endpoint(Target),
}

type Rows = HashMap<Key, Value>;

/// What connections of the changed services may lead to from now on.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) targets: HashMap<Claim, HashSet<Target>>,
    /// Clients had a fixed endpoint with one of them.
    pub(crate) affinity: bool,
}

/// The rows that go and come; one whose value changes does both.
#[derive(Debug, Default)]
pub(super) struct Delta {
    pub(super) removed: Vec<(Key, Value)>,
    pub(super) added: Vec<(Key, Value)>,
    pub(super) touched: Touched,
}

impl Delta {
    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }

    /// The picking chains that the new rows lead to.
    pub(super) fn picks(&self) -> BTreeSet<Pick> {
        let pick = |(_, value): &(Key, Value)| match value {
            Value::Pick(pick) => Some(*pick),
            _ => None,
        };
        self.added.iter().filter_map(pick).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Owner {
    /// Sorts first: local services win.
    Local,
    Service(String),
}

/// Which of a port's endpoints are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Scope {
    All,
    Node,
}

/// Endpoints by index. An endpoint keeps its index while it can, so that a change moves at most one other.
#[derive(Default)]
struct Group {
    order: Vec<Target>,
}

type GroupKey = (Claim, Scope);

#[derive(Default)]
struct Unit {
    service: Arc<Service>,
    rows: Rows,
    claims: Vec<Claim>,
    hairpins: BTreeSet<Ipv4Addr>,
    groups: BTreeMap<GroupKey, Group>,
    used: BTreeSet<GroupKey>,
    /// Another has an address and port of it.
    contested: bool,
    /// That other is a service too, not this host, which is meant to answer in its stead.
    disputed: bool,
}

/// The rows that the kernel has, and whose they are.
#[derive(Default)]
pub(super) struct Planner {
    units: BTreeMap<Owner, Unit>,
    local: Vec<LocalService>,
    claims: HashMap<Claim, Owner>,
    hairpins: HashMap<Ipv4Addr, usize>,
}

impl Planner {
    /// Moves on to a new table.
    pub(super) fn plan(&mut self, table: &ServiceTable) -> Delta {
        let (changed, gone) = self.changed(table);
        let (mut before, mut after, mut delta) = (Rows::new(), Rows::new(), Delta::default());
        let mut old_groups = HashMap::new();
        let mut hairpins = HashMap::new();
        for owner in changed.iter().chain(&gone) {
            let Some(unit) = self.units.remove(owner) else { continue };
            delta.touched.affinity |= unit.service.affinity.is_some();
            for claim in &unit.claims {
                self.claims.remove(claim);
                delta.touched.targets.entry(*claim).or_default();
            }
            for address in unit.hairpins {
                let count = self.hairpins.entry(address).or_default();
                hairpins.entry(address).or_insert(*count > 0);
                *count = count.saturating_sub(1);
            }
            before.extend(unit.rows);
            old_groups.insert(owner.clone(), unit.groups);
        }
        for owner in changed {
            let groups = old_groups.remove(&owner).unwrap_or_default();
            let unit = self.compile(&owner, table, groups, &mut delta.touched);
            for address in &unit.hairpins {
                let count = self.hairpins.entry(*address).or_default();
                hairpins.entry(*address).or_insert(*count > 0);
                *count += 1;
            }
            after.extend(unit.rows.iter().map(|(key, value)| (*key, *value)));
            self.units.insert(owner, unit);
        }
        self.settle_hairpins(hairpins, &mut before, &mut after);
        self.local.clone_from(&table.local);
        difference(before, after, &mut delta);
        delta
    }

    /// Services that lack some of their addresses and ports because another service has them.
    pub(super) fn contested(&self) -> Vec<String> {
        let contested = self.units.iter().filter(|(_, unit)| unit.disputed);
        let name = |(owner, _): (&Owner, _)| {
            if let Owner::Service(name) = owner {
                Some(name.clone())
            } else {
                None
            }
        };
        contested.filter_map(name).collect()
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        let services = self.units.keys().filter(|owner| **owner != Owner::Local).count();
        let endpoints = self
            .units
            .values()
            .flat_map(|unit| unit.groups.values())
            .map(|group| group.order.len())
            .sum();
        (services, endpoints)
    }

    /// Whose rows must be worked out anew, and who is gone.
    fn changed(&self, table: &ServiceTable) -> (BTreeSet<Owner>, Vec<Owner>) {
        let mut changed = BTreeSet::new();
        if self.local != table.local {
            changed.insert(Owner::Local);
            // Who has what is local from now on must give it up.
            let wanted = table.local.iter().filter_map(local_claim);
            changed.extend(wanted.filter_map(|claim| self.claims.get(&claim).cloned()));
        }
        for (name, service) in &table.services {
            let same = |unit: &Unit| Arc::ptr_eq(&unit.service, service) || unit.service == *service;
            let owner = Owner::Service(name.clone());
            if self.units.get(&owner).is_none_or(|unit| unit.contested || !same(unit)) {
                changed.insert(owner);
            }
        }
        let is_gone = |owner: &&Owner| matches!(owner, Owner::Service(name) if !table.services.contains_key(name));
        let gone: Vec<Owner> = self.units.keys().filter(is_gone).cloned().collect();
        changed.retain(|owner| !gone.contains(owner));
        (changed, gone)
    }

    /// Works out the rows of one owner; its groups keep their orders where they go on.
    fn compile(
        &mut self,
        owner: &Owner,
        table: &ServiceTable,
        groups: BTreeMap<GroupKey, Group>,
        touched: &mut Touched,
    ) -> Unit {
        let mut unit = Unit {
            groups,
            ..Unit::default()
        };
        match owner {
            Owner::Local => table
                .local
                .iter()
                .for_each(|local| self.compile_local(local, &mut unit)),
            Owner::Service(name) => {
                let service = table.services.get(name).cloned().unwrap_or_default();
                unit.service = service.clone();
                service
                    .ports
                    .iter()
                    .for_each(|port| self.compile_port(owner, port, &mut unit));
            }
        }
        let used = std::mem::take(&mut unit.used);
        unit.groups.retain(|key, _| used.contains(key));
        for (key, value) in &unit.rows {
            if let (Key::Endpoint { claim, .. }, Value::Endpoint(target)) = (key, value) {
                touched.targets.entry(*claim).or_default().insert(*target);
            }
        }
        for claim in &unit.claims {
            touched.targets.entry(*claim).or_default();
        }
        unit
    }

    fn compile_local(&mut self, local: &LocalService, unit: &mut Unit) {
        let (Some(claim), IpAddr::V4(target)) = (local_claim(local), local.target.ip()) else {
            return;
        };
        if self.claim(&Owner::Local, claim, unit) {
            let endpoint = [(target, local.target.port())];
            Self::pick(unit, (claim, Scope::Node), &endpoint, (claim, false));
        }
    }

    fn compile_port(&mut self, owner: &Owner, port: &ServicePort, unit: &mut Unit) {
        let service = unit.service.clone();
        let all = targets(&port.endpoints, |_| true);
        let node = targets(&port.local_endpoints, |_| true);
        let here = targets(&port.endpoints, |endpoint| endpoint.local);
        unit.hairpins
            .extend(node.iter().chain(&here).map(|(address, _)| *address));
        let own = Claim {
            address: None,
            protocol: port.protocol,
            port: port.port,
        };
        let cluster = v4(&service.cluster_ips).map(|address| {
            (
                Claim {
                    address: Some(address),
                    ..own
                },
                false,
            )
        });
        let external = v4(&service.external_ips).map(|address| {
            (
                Claim {
                    address: Some(address),
                    ..own
                },
                true,
            )
        });
        let node_port = port.node_port.map(|port| (Claim { port, ..own }, true));
        for (claim, external) in cluster.chain(external).chain(node_port) {
            if !self.claim(owner, claim, unit) {
                continue;
            }
            if all.is_empty() {
                unit.rows.insert(Key::Refused(claim), Value::Present);
                continue;
            }
            if !external && service.internal_local {
                Self::pick(unit, (own, Scope::Node), &node, (claim, false));
            } else {
                Self::pick(unit, (own, Scope::All), &all, (claim, false));
            }
            if external && service.external_local {
                Self::pick(unit, (own, Scope::Node), &node, (claim, true));
            } else if external {
                unit.rows.insert(Key::Masqueraded(claim), Value::Present);
            }
        }
    }

    /// Takes an address and port for an owner, when nobody has it.
    fn claim(&mut self, owner: &Owner, claim: Claim, unit: &mut Unit) -> bool {
        match self.claims.get(&claim) {
            Some(other) => {
                unit.contested |= other != owner;
                unit.disputed |= other != owner && *other != Owner::Local;
                false
            }
            None => {
                self.claims.insert(claim, owner.clone());
                unit.claims.push(claim);
                true
            }
        }
    }

    /// Has a front lead to a group of endpoints; where there is none, packets are dropped.
    fn pick(unit: &mut Unit, key: GroupKey, targets: &[Target], (claim, outside): (Claim, bool)) {
        let front = Key::Front { claim, outside };
        if targets.is_empty() {
            unit.rows.insert(front, Value::Drop);
            return;
        }
        let group = unit.groups.entry(key).or_default();
        if unit.used.insert(key) {
            group.update(targets);
        }
        for (target, index) in group.order.iter().zip(0..) {
            let key = Key::Endpoint { claim, outside, index };
            unit.rows.insert(key, Value::Endpoint(*target));
        }
        let by = if claim.address.is_some() {
            Front::Address
        } else {
            Front::Port
        };
        let affinity = unit.service.affinity.map(whole_seconds);
        let pick = Pick {
            front: by,
            outside,
            endpoints: group.order.len() as u32,
            affinity,
        };
        unit.rows.insert(front, Value::Pick(pick));
    }

    /// Several services may have one pod: its row stays until the last one lets go.
    fn settle_hairpins(&mut self, touched: HashMap<Ipv4Addr, bool>, before: &mut Rows, after: &mut Rows) {
        for (address, was) in touched {
            if was {
                before.insert(Key::Hairpin(address), Value::Present);
            }
            if self.hairpins.get(&address).is_some_and(|count| *count > 0) {
                after.insert(Key::Hairpin(address), Value::Present);
            } else {
                self.hairpins.remove(&address);
            }
        }
    }
}

impl Group {
    fn update(&mut self, wanted: &[Target]) {
        let wanted_set: HashSet<&Target> = wanted.iter().collect();
        let mut index = 0;
        while let Some(target) = self.order.get(index) {
            if wanted_set.contains(target) {
                index += 1;
            } else {
                self.order.swap_remove(index);
            }
        }
        let known: HashSet<Target> = self.order.iter().copied().collect();
        self.order
            .extend(wanted.iter().filter(|target| !known.contains(*target)));
    }
}

fn local_claim(local: &LocalService) -> Option<Claim> {
    let IpAddr::V4(address) = local.service.ip() else {
        return None;
    };
    Some(Claim {
        address: Some(address),
        protocol: local.protocol,
        port: local.service.port(),
    })
}

fn v4(addresses: &[IpAddr]) -> impl Iterator<Item = Ipv4Addr> {
    addresses.iter().filter_map(|address| {
        if let IpAddr::V4(address) = address {
            Some(*address)
        } else {
            None
        }
    })
}

/// Each endpoint once, in order.
fn targets(endpoints: &[Endpoint], keep: impl Fn(&Endpoint) -> bool) -> Vec<Target> {
    let mut found: Vec<Target> = endpoints
        .iter()
        .filter(|endpoint| keep(endpoint))
        .filter_map(|endpoint| match endpoint.address {
            IpAddr::V4(address) => Some((address, endpoint.port)),
            IpAddr::V6(_) => None,
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn difference(mut before: Rows, after: Rows, delta: &mut Delta) {
    for (key, value) in after {
        match before.remove(&key) {
            Some(old) if old == value => {}
            Some(old) => {
                delta.removed.push((key, old));
                delta.added.push((key, value));
            }
            None => delta.added.push((key, value)),
        }
    }
    delta.removed.extend(before);
}

#[cfg(test)]
mod tests;
