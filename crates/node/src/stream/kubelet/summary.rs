//! `/stats/summary`: the node's and its pods' usage as one document, in the shape of `stats.k8s.io/v1alpha1`.

use std::path::Path;

use serde_json::{Value, json};

use crate::machine;
use crate::pods::Context;
use crate::stats::{PodUsage, Usage};

/// The whole document.
pub(super) fn of(ctx: &Context, host: &Usage, pods: &[PodUsage]) -> Value {
    let disk = filesystem(&ctx.paths.pods, host);
    json!({
        "node": {
            "nodeName": ctx.node_name,
            "startTime": whole_seconds(host),
            "cpu": cpu(host),
            "memory": memory(host, Some(machine::memory())),
            "fs": disk,
            "runtime": {"imageFs": disk, "containerFs": disk},
        },
        "pods": pods.iter().map(pod).collect::<Vec<_>>(),
    })
}

fn pod(pod: &PodUsage) -> Value {
    let (namespace, name) = pod.key();
    let containers: Vec<Value> = pod
        .containers
        .iter()
        .map(|container| {
            json!({
                "name": container.name,
                "startTime": whole_seconds(&container.usage),
                "cpu": cpu(&container.usage),
                "memory": memory(&container.usage, None),
            })
        })
        .collect();
    let time = pod.containers.first().map(|container| time(&container.usage));
    json!({
        "podRef": {"name": name, "namespace": namespace, "uid": pod.pod.metadata.uid},
        "startTime": pod.pod.status.as_ref().and_then(|status| status.start_time.as_ref()),
        "containers": containers,
        "cpu": {
            "time": time,
            "usageNanoCores": pod.sum(|usage| usage.cpu_nanocores),
            "usageCoreNanoSeconds": pod.sum(|usage| usage.cpu_ns),
        },
        "memory": {
            "time": time,
            "usageBytes": pod.sum(|usage| usage.memory_usage),
            "workingSetBytes": pod.sum(|usage| usage.memory_working_set),
        },
        "process_stats": {"process_count": pod.sum(|usage| usage.pids)},
    })
}

fn time(usage: &Usage) -> String {
    meta::time::format_seconds(usage.at)
}

fn whole_seconds(usage: &Usage) -> String {
    meta::time::format_seconds(usage.started)
}

fn cpu(usage: &Usage) -> Value {
    json!({
        "time": time(usage),
        "usageNanoCores": usage.cpu_nanocores,
        "usageCoreNanoSeconds": usage.cpu_ns,
    })
}

fn memory(usage: &Usage, capacity: Option<u64>) -> Value {
    let mut memory = json!({
        "time": time(usage),
        "usageBytes": usage.memory_usage,
        "workingSetBytes": usage.memory_working_set,
    });
    if let Some(capacity) = capacity {
        memory["availableBytes"] = capacity.saturating_sub(usage.memory_working_set).into();
    }
    memory
}

/// The file system that pods and images are on.
fn filesystem(path: &Path, host: &Usage) -> Value {
    let Ok(stat) = rustix::fs::statvfs(path) else {
        return Value::Null;
    };
    json!({
        "time": time(host),
        "availableBytes": stat.f_bavail * stat.f_frsize,
        "capacityBytes": stat.f_blocks * stat.f_frsize,
        "usedBytes": (stat.f_blocks - stat.f_bfree) * stat.f_frsize,
        "inodesFree": stat.f_ffree,
        "inodes": stat.f_files,
        "inodesUsed": stat.f_files.saturating_sub(stat.f_ffree),
    })
}
