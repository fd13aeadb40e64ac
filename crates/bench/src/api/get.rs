//! Gets: single objects, in an order that no cache of the last few can profit from.

use serde_json::Value;

use super::{Bench, load};
use crate::http_client::Call;

/// Reads until the time is over.
pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Value> {
    let count = u64::from(bench.args.objects);
    let read = load::run(&bench.target, bench.clients(), bench.duration(), |client| {
        let (path, series) = (bench.objects.path.clone(), bench.objects.set.clone());
        let mut walk = Walk::new(client as u64, count);
        move || Some(Call::get(format!("{path}/{}", series.name(walk.next()))))
    })
    .await?;
    Ok(read.to_json())
}

/// Numbers below a limit without an order, other ones for each client, the same in each run.
struct Walk {
    state: u64,
    below: u64,
}

impl Walk {
    fn new(seed: u64, below: u64) -> Self {
        Self {
            state: (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            below,
        }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % self.below.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::Walk;

    #[test]
    fn a_walk_stays_below_and_gets_around() {
        let mut walk = Walk::new(0, 50);
        let mut seen = [false; 50];
        for _ in 0..2000 {
            seen[usize::try_from(walk.next()).expect("small")] = true;
        }
        assert!(seen.iter().all(|seen| *seen));
    }
}
