//! NodeResourcesBalancedAllocation: cpu and memory should be taken in like shares.

use super::Plugin;
use crate::model::{Node, Pod};

pub(crate) struct Balance;

impl Plugin for Balance {
    fn weight(&self) -> i64 {
        1
    }

    fn score(&self, pod: &Pod, node: &Node) -> i64 {
        let share = |has: i64, taken: i64| {
            if has <= 0 {
                1.0
            } else {
                (taken as f64 / has as f64).min(1.0)
            }
        };
        let has = &node.spec.allocatable;
        let cpu = share(has.cpu, node.used.cpu + pod.requests.cpu);
        let memory = share(has.memory, node.used.memory + pod.requests.memory);
        // The standard deviation of two values is half of their distance.
        ((1.0 - (cpu - memory).abs() / 2.0) * 100.0) as i64
    }
}
