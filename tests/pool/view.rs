//! Where connections begin: on a machine, or in a pod on it. Both are network namespaces.

use std::fs;

use testkit::namespace::Namespace;
use testkit::pool::Pool;

use crate::stage::eventually;

/// A place to ask from.
#[derive(Clone)]
pub(crate) struct View {
    /// For messages.
    pub(crate) name: String,
    namespace: Namespace,
}

impl View {
    /// A machine itself.
    pub(crate) fn of_machine(pool: &Pool, machine: usize) -> Self {
        Self {
            name: format!("host m{machine}"),
            namespace: pool.world().machine(machine).namespace().clone(),
        }
    }

    /// A pod that runs one of the tests' programs on a machine.
    pub(crate) fn of_pod(pool: &Pool, machine: usize, pod: &str) -> Self {
        let id = pool.id(machine).unwrap();
        let pid = eventually("the pod's process", || {
            let of_pod = |pid: &u32| {
                let name = fs::read_to_string(format!("/proc/{pid}/root/etc/hostname")).unwrap_or_default();
                name.trim() == pod
            };
            let pid = programs(&id).into_iter().find(of_pod);
            pid.ok_or(format!("{pod} has none on m{machine}"))
        });
        Self {
            name: format!("pod {pod}"),
            namespace: Namespace::of_process(pid).unwrap(),
        }
    }

    /// Any pod of an instance.
    pub(crate) fn of_any_pod(instance: &str) -> Self {
        let pid = programs(instance).pop().expect("a pod that runs");
        Self {
            name: format!("a pod of {instance}"),
            namespace: Namespace::of_process(pid).unwrap(),
        }
    }

    /// Does something there; what fails says where.
    pub(crate) fn ask<T: Send>(&self, work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
        let done = self.namespace.run(work).map_err(|error| error.to_string());
        done.flatten().map_err(|why| format!("from {}: {why}", self.name))
    }

    /// The same for work with a client, whose connections begin there.
    pub(crate) fn block_on<F, T>(&self, work: impl FnOnce() -> F + Send) -> T
    where
        F: Future<Output = T>,
        T: Send,
    {
        self.namespace.block_on(work).expect("a place to be in")
    }
}

/// Processes of the tests' programs in the pods of an instance.
pub(crate) fn programs(instance: &str) -> Vec<u32> {
    let mark = format!("gantry-{instance}/");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let read = |pid: &u32, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    pids.filter(|pid| read(pid, "cgroup").contains(&mark) && read(pid, "cmdline").starts_with("/bin/"))
        .collect()
}
