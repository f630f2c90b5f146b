//! Numbers of messages that are done with, in any order.

use std::collections::BTreeMap;

/// A set of numbers that fills up from 1.
///
/// It takes memory for each gap, not for each number: the peer decides how many numbers there are.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    up_to: u64,
    /// First and last number of each run beyond it.
    runs: BTreeMap<u64, u64>,
}

impl Numbers {
    /// The number up to which all are in the set; 0 if 1 is not.
    pub(crate) fn up_to(&self) -> u64 {
        self.up_to
    }

    /// Inserts every number up to `up_to`.
    pub(crate) fn insert_all(&mut self, up_to: u64) {
        self.up_to = self.up_to.max(up_to);
        while let Some(run) = self.runs.first_entry() {
            if *run.key() > self.up_to.saturating_add(1) {
                break;
            }
            self.up_to = self.up_to.max(run.remove());
        }
    }

    pub(crate) fn insert(&mut self, number: u64) {
        if number <= self.up_to {
            return;
        }
        let (mut first, mut last) = (number, number);
        if let Some((&low, &high)) = self.runs.range(..=number).next_back() {
            if high >= number {
                return;
            }
            if high + 1 == number {
                first = low;
            }
        }
        if let Some(high) = self.runs.remove(&number.saturating_add(1)) {
            last = high;
        }
        if first == self.up_to + 1 {
            self.runs.remove(&first);
            self.up_to = last;
        } else {
            self.runs.insert(first, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_holds_back_what_follows() {
        let mut numbers = Numbers::default();
        for (number, up_to) in [(3, 0), (1, 1), (5, 1), (2, 3), (2, 3), (5, 3), (4, 5)] {
            numbers.insert(number);
            assert_eq!(numbers.up_to(), up_to, "after {number}");
        }
        assert!(numbers.runs.is_empty());
    }

    #[test]
    fn what_is_behind_a_filled_gap_counts() {
        let mut numbers = Numbers::default();
        [3, 4, 7, 9]
            .iter()
            .for_each(|&number| numbers.insert(number));
        numbers.insert_all(2);
        assert_eq!(numbers.up_to(), 4);
        numbers.insert_all(8);
        assert_eq!(numbers.up_to(), 9);
        numbers.insert_all(1);
        assert_eq!((numbers.up_to(), numbers.runs.len()), (9, 0));
    }

    #[test]
    fn many_numbers_behind_a_gap_take_little() {
        let mut numbers = Numbers::default();
        (2..100_000).rev().for_each(|number| numbers.insert(number));
        assert_eq!((numbers.up_to(), numbers.runs.len()), (0, 1));
        numbers.insert(1);
        assert_eq!((numbers.up_to(), numbers.runs.len()), (99_999, 0));
    }
}
