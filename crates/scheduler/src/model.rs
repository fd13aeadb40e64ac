//! A pod and a node as the scheduler sees them: small, comparable, without the API's shapes.

use hashbrown::HashMap;
use meta::ObjectKey;
use smallvec::SmallVec;

use crate::intern::Sym;
use crate::terms::Term;

/// Amounts: cpu in thousandths, all else in units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) cpu: i64,
    pub(crate) memory: i64,
    pub(crate) ephemeral: i64,
    pub(crate) extended: SmallVec<[(Sym, i64); 2]>,
}

/// What a taint does, and what a toleration tolerates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taint {
    pub(crate) key: Sym,
    pub(crate) value: Sym,
    pub(crate) effect: Effect,
}

/// Absent parts match everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Toleration {
    pub(crate) key: Option<Sym>,
    /// None for the operator Exists.
    pub(crate) value: Option<Sym>,
    pub(crate) effect: Option<Effect>,
}

/// A port of the host that a container wants; the wildcard address clashes with every address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) address: Option<Sym>,
    pub(crate) protocol: Sym,
    pub(crate) port: i32,
}

#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    /// The node that it is bound to.
    pub(crate) node: Option<Sym>,
    /// Whether it is for this scheduler to place: its scheduler's name, no gates, not being deleted.
    pub(crate) wants_node: bool,
    pub(crate) priority: i32,
    pub(crate) may_preempt: bool,
    /// Seconds since the epoch.
    pub(crate) created: i64,
    pub(crate) requests: Resources,
    /// For scoring: cpu and memory with a nominal amount for containers that request none.
    pub(crate) nominal: (i64, i64),
    pub(crate) selector: Vec<(Sym, Sym)>,
    /// Required terms: one of them must match. None: no requirement.
    pub(crate) required: Option<Vec<Term>>,
    pub(crate) preferred: Vec<(i32, Term)>,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) ports: Vec<HostPort>,
    /// A hash of the controller's uid, to spread its pods.
    pub(crate) owner: Option<u64>,
    /// The message of the PodScheduled condition when that is False.
    pub(crate) told: Option<String>,
}

/// A node as the API has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeSpec {
    pub(crate) name: String,
    /// Sorted by key.
    pub(crate) labels: Vec<(Sym, Sym)>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) unschedulable: bool,
    pub(crate) allocatable: Resources,
    pub(crate) max_pods: i64,
}

/// A node with what its pods take.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) name: Sym,
    pub(crate) spec: NodeSpec,
    pub(crate) used: Resources,
    pub(crate) nominal: (i64, i64),
    pub(crate) pods: i64,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) owners: HashMap<u64, u32>,
}

// === impl Resources ===

impl Resources {
    pub(crate) fn add(&mut self, other: &Self) {
        self.change(other, 1);
    }

    pub(crate) fn sub(&mut self, other: &Self) {
        self.change(other, -1);
    }

    fn change(&mut self, other: &Self, sign: i64) {
        self.cpu += sign * other.cpu;
        self.memory += sign * other.memory;
        self.ephemeral += sign * other.ephemeral;
        for (name, amount) in &other.extended {
            match self.extended.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += sign * amount,
                None => self.extended.push((*name, sign * amount)),
            }
        }
    }

    /// The greater amount of each.
    pub(crate) fn max(&mut self, other: &Self) {
        self.cpu = self.cpu.max(other.cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral = self.ephemeral.max(other.ephemeral);
        for (name, amount) in &other.extended {
            match self.extended.iter_mut().find(|(known, _)| known == name) {
                Some((_, most)) => *most = (*most).max(*amount),
                None => self.extended.push((*name, *amount)),
            }
        }
    }

    pub(crate) fn extended(&self, name: Sym) -> i64 {
        self.extended
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(0, |(_, amount)| *amount)
    }
}

// === impl Toleration ===

impl Toleration {
    pub(crate) fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|effect| effect == taint.effect)
            && self.key.is_none_or(|key| key == taint.key)
            && self.value.is_none_or(|value| value == taint.value)
    }
}

// === impl Node ===

impl Node {
    pub(crate) fn new(spec: NodeSpec) -> Self {
        Self {
            name: Sym::of(&spec.name),
            spec,
            used: Resources::default(),
            nominal: (0, 0),
            pods: 0,
            ports: Vec::new(),
            owners: HashMap::new(),
        }
    }

    /// Takes the node's new state; what its pods take stays.
    pub(crate) fn set(&mut self, spec: NodeSpec) {
        self.name = Sym::of(&spec.name);
        self.spec = spec;
    }

    pub(crate) fn label(&self, key: Sym) -> Option<Sym> {
        let at = self.spec.labels.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        self.spec.labels.get(at).map(|(_, value)| *value)
    }

    pub(crate) fn take(&mut self, pod: &Pod) {
        self.used.add(&pod.requests);
        self.nominal.0 += pod.nominal.0;
        self.nominal.1 += pod.nominal.1;
        self.pods += 1;
        self.ports.extend(pod.ports.iter().cloned());
        if let Some(owner) = pod.owner {
            *self.owners.entry(owner).or_insert(0) += 1;
        }
    }

    pub(crate) fn give_back(&mut self, pod: &Pod) {
        self.used.sub(&pod.requests);
        self.nominal.0 -= pod.nominal.0;
        self.nominal.1 -= pod.nominal.1;
        self.pods -= 1;
        for port in &pod.ports {
            if let Some(at) = self.ports.iter().position(|taken| taken == port) {
                self.ports.swap_remove(at);
            }
        }
        if let Some(owner) = pod.owner
            && let Some(count) = self.owners.get_mut(&owner)
        {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&owner);
            }
        }
    }
}
