//! Sets of completion indexes, as a job's status has them: `0-2,5,7,8`. Pure.

use std::collections::BTreeSet;
use std::fmt;

/// Indexes, as intervals in order that don't touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads a list; what is no interval, or not below `completions`, is left out.
    pub(super) fn parse(text: &str, completions: i32) -> Self {
        let mut all = Self::default();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>())
                && (0..completions).contains(&first)
            {
                all.add(first, last.min(completions - 1));
            }
        }
        all
    }

    /// Both sets together.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut intervals: Vec<_> = self.0.iter().chain(&other.0).copied().collect();
        intervals.sort_unstable();
        let mut all = Self::default();
        for (first, last) in intervals {
            all.add(first, last);
        }
        all
    }

    /// Adds an interval that doesn't begin before the last one does.
    fn add(&mut self, first: i32, last: i32) {
        match self.0.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ if first <= last => self.0.push((first, last)),
            _ => {}
        }
    }

    pub(super) fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub(super) fn has(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many are in both.
    pub(super) fn common(&self, other: &Self) -> i32 {
        let (mut count, mut here, mut there) = (0, 0, 0);
        while let (Some(one), Some(two)) = (self.0.get(here), other.0.get(there)) {
            count += (one.1.min(two.1) - one.0.max(two.0) + 1).max(0);
            if one.1 <= two.1 {
                here += 1;
            }
            if two.1 <= one.1 {
                there += 1;
            }
        }
        count
    }

    /// The first `count` indexes below `completions` that aren't in it.
    pub(super) fn missing(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut found = Vec::new();
        let mut next = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            found.extend((next..first.min(completions)).take(count - found.len()));
            next = last.saturating_add(1);
        }
        found
    }
}

impl From<BTreeSet<i32>> for Indexes {
    fn from(set: BTreeSet<i32>) -> Self {
        let mut all = Self::default();
        for index in set {
            all.add(index, index);
        }
        all
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (first, last)) in self.0.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}
