//! Updates: whole objects put back with another counter. Each client has objects of its own, so that none conflicts, and
//! each request is a change, which no server may leave out.

use http::Method;
use serde_json::Value;

use super::{Bench, load};
use crate::http_client::Call;

/// Updates until the time is over.
pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Value> {
    let (objects, clients) = (u64::from(bench.args.objects), u64::from(bench.args.clients));
    // With fewer objects than clients, the ones beyond have nothing to do.
    let clients = clients.min(objects);
    let updated = load::run(&bench.target, clients as usize, bench.duration(), |client| {
        let (path, series, body) = (
            bench.objects.path.clone(),
            bench.objects.set.clone(),
            bench.objects.body(),
        );
        let mut turns = Turns::new(client as u64, clients, objects);
        move || {
            let (number, counter) = turns.next();
            let name = series.name(number);
            Some(Call {
                method: Method::PUT,
                path: format!("{path}/{name}"),
                body: body(&name, counter),
            })
        }
    })
    .await?;
    Ok(updated.to_json())
}

/// A client's objects, round and round, with the round's number.
struct Turns {
    first: u64,
    step: u64,
    below: u64,
    at: u64,
    round: u64,
}

impl Turns {
    fn new(first: u64, step: u64, below: u64) -> Self {
        Self {
            first,
            step,
            below,
            at: first,
            round: 1,
        }
    }

    fn next(&mut self) -> (u64, u64) {
        if self.at >= self.below {
            self.at = self.first;
            self.round += 1;
        }
        let number = self.at;
        self.at += self.step;
        (number, self.round)
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    #[test]
    fn clients_share_no_object_and_every_turn_is_a_change() {
        let mut turns = Turns::new(1, 3, 8);
        let taken: Vec<_> = (0..5).map(|_| turns.next()).collect();
        assert_eq!(taken, [(1, 1), (4, 1), (7, 1), (1, 2), (4, 2)]);
    }
}
