//! The store against a model that remembers every state.

use std::collections::BTreeMap;

use meta::Revision;

use super::watches::Told;
use super::{Bench, text};
use crate::{Outcome, Range, Txn};

type World = BTreeMap<String, (String, Revision)>;

/// Numbers from a seed (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

struct Model {
    now: World,
    /// What the world was like from a revision on.
    past: BTreeMap<Revision, World>,
    told: Vec<Told>,
}

const STEPS: usize = 300;

pub(crate) async fn like_a_model(bench: Bench, seed: u64) {
    let mut dice = Dice(seed);
    let start = bench.revision().await;
    let mut model = Model {
        now: World::new(),
        past: BTreeMap::from([(start, World::new())]),
        told: Vec::new(),
    };
    let mut feed = bench.store.watch(start).await.expect("watch");
    let mut oldest = start;
    for step in 0..STEPS {
        match dice.below(20) {
            0..12 => write(&bench, &mut model, &mut dice, step).await,
            12..15 => read(&bench, &model, &mut dice, oldest).await,
            15..19 => list(&bench, &model, &mut dice, oldest).await,
            _ => {
                let known: Vec<Revision> = model.past.range(oldest..).map(|(revision, _)| *revision).collect();
                if dice.below(3) == 0 {
                    oldest = known[dice.below(known.len())];
                    bench.store.compact(oldest).await.expect("compact");
                }
            }
        }
    }
    for told in &model.told {
        assert_eq!(bench.told(&mut *feed).await, *told, "seed {seed}");
    }
}

async fn write(bench: &Bench, model: &mut Model, dice: &mut Dice, step: usize) {
    let (mut txn, mut after, mut told) = (Txn::new(), model.now.clone(), Vec::new());
    let mut holds = true;
    for index in 0..=dice.below(4) {
        let name = format!("{}/{}", dice.below(3), dice.below(5));
        let key = bench.key(&name);
        if txn.ops.iter().any(|op| op.key().as_str() == key) {
            continue;
        }
        if dice.below(2) == 0 {
            let real = model.now.get(&name).map_or(Revision(0), |(_, revision)| *revision);
            let claimed = if dice.below(4) == 0 { Revision(real.0 / 2) } else { real };
            holds &= claimed == real;
            txn = txn.expect(key.clone(), claimed);
        }
        if dice.below(3) == 0 {
            txn = txn.delete(key);
            if after.remove(&name).is_some() {
                told.push((name, None));
            }
        } else {
            let value = format!("{step}.{index}");
            txn = txn.put(key, value.clone());
            after.insert(name.clone(), (value.clone(), Revision(0)));
            told.push((name, Some(value)));
        }
    }
    match bench.store.commit(txn).await.expect("commit") {
        Outcome::Conflict { .. } => assert!(!holds, "a conflict without a reason in step {step}"),
        Outcome::Done { revision } => {
            assert!(holds, "no conflict in step {step}");
            if !told.is_empty() {
                let written = after.values_mut().filter(|(_, written)| *written == Revision(0));
                written.for_each(|(_, written)| *written = revision);
                assert!(model.past.insert(revision, after.clone()).is_none(), "a new revision");
                model.now = after;
                model.told.push((revision, told));
            }
        }
    }
}

/// A revision that can be read, and what the world was like then.
fn some_past<'a>(model: &'a Model, dice: &mut Dice, oldest: Revision) -> (Option<Revision>, &'a World) {
    let known: Vec<_> = model.past.range(oldest..).collect();
    match dice.below(known.len() + 2) {
        index if index < known.len() => (Some(*known[index].0), known[index].1),
        _ => (None, &model.now),
    }
}

async fn read(bench: &Bench, model: &Model, dice: &mut Dice, oldest: Revision) {
    let (at, world) = some_past(model, dice, oldest);
    let name = format!("{}/{}", dice.below(3), dice.below(5));
    let got = bench.store.get(&bench.key(&name), at).await.expect("get");
    let got = got.record.map(|record| (text(&record.value), record.revision));
    assert_eq!(got.as_ref(), world.get(&name), "{name} at {at:?}");
}

async fn list(bench: &Bench, model: &Model, dice: &mut Dice, oldest: Revision) {
    let (at, world) = some_past(model, dice, oldest);
    let prefix = if dice.below(2) == 0 {
        String::new()
    } else {
        format!("{}/", dice.below(3))
    };
    let after = (dice.below(3) == 0).then(|| format!("{}/{}", dice.below(3), dice.below(5)));
    let limit = dice.below(8);
    let range = Range {
        prefix: bench.key(&prefix),
        after: after.as_ref().map(|after| bench.key(after).into()),
        limit,
        at,
    };
    let page = bench.store.range(range).await.expect("range");
    let expected = world
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix) && after.as_ref().is_none_or(|after| *name > after));
    let expected: Vec<_> = expected
        .map(|(name, (value, revision))| (name.clone(), value.clone(), *revision))
        .collect();
    assert_eq!(
        page.count as usize,
        expected.len(),
        "{prefix:?} after {after:?} at {at:?}"
    );
    let shown = page.records.iter().map(|record| {
        let name = record.key.strip_prefix(&*bench.prefix).expect("within the prefix");
        (name.to_owned(), text(&record.value), record.revision)
    });
    let expected = if limit == 0 {
        &expected[..]
    } else {
        &expected[..limit.min(expected.len())]
    };
    assert_eq!(
        shown.collect::<Vec<_>>(),
        expected,
        "{prefix:?} after {after:?} at {at:?}"
    );
}
