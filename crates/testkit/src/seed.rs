//! Chance that can be replayed: a printed seed, and the same choices from the same seed.

/// A sequence of numbers that follows from its seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Seed(u64);

impl Seed {
    /// The seed that the environment variable gives, else one of the moment; printed, so that a failure can be replayed.
    pub fn new(variable: &str) -> Self {
        let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = match std::env::var(variable) {
            Ok(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("{variable}={text:?} is not a number")),
            Err(_) => now().map_or(1, |since| since.as_nanos() as u64 % 1_000_000_007),
        };
        println!("{variable}={seed}");
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Another sequence that follows from this one, for somebody who draws at moments of his own.
    pub fn fork(&mut self) -> Self {
        Self(self.number())
    }

    /// A number from 0 up to but not including `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit.max(1)
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len() as u64) as usize]
    }

    /// Puts them into another order.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_chooses_the_same() {
        let (mut one, mut other) = (Seed(7), Seed(7));
        let choices = |seed: &mut Seed| -> Vec<u64> { (0..20).map(|_| seed.below(10)).collect() };
        let chosen = choices(&mut one);
        assert_eq!(chosen, choices(&mut other));
        assert!(chosen.iter().all(|number| *number < 10) && chosen.iter().any(|number| *number != chosen[0]));
        let mut all: Vec<u32> = (0..10).collect();
        one.shuffle(&mut all);
        assert_ne!(all, (0..10).collect::<Vec<_>>());
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }
}
