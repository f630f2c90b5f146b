//! Runs of bytes: which are free, and which of them nobody has written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use smallvec::SmallVec;

/// The free runs of a chunk. Neighbours become one run when they are returned.
#[derive(Debug, Default)]
pub(crate) struct FreeRuns {
    by_start: BTreeMap<usize, usize>,
    by_len: BTreeSet<(usize, usize)>,
}

impl FreeRuns {
    pub(crate) fn whole(len: usize) -> Self {
        let mut runs = Self::default();
        runs.insert(0, len);
        runs
    }

    /// Takes `len` bytes from the smallest run that has them, and returns their start.
    pub(crate) fn take(&mut self, len: usize) -> Option<usize> {
        let &(found, start) = self.by_len.range((len, 0)..).next()?;
        self.remove(start, found);
        if found > len {
            self.insert(start + len, found - len);
        }
        Some(start)
    }

    /// Returns a run.
    pub(crate) fn give(&mut self, start: usize, len: usize) {
        let (mut start, mut len) = (start, len);
        if let Some((&before, &before_len)) = self.by_start.range(..start).next_back()
            && before + before_len == start
        {
            self.remove(before, before_len);
            (start, len) = (before, before_len + len);
        }
        if let Some(&after_len) = self.by_start.get(&(start + len)) {
            self.remove(start + len, after_len);
            len += after_len;
        }
        self.insert(start, len);
    }

    /// Bytes of the largest run.
    pub(crate) fn largest(&self) -> usize {
        self.by_len.last().map_or(0, |(len, _)| *len)
    }

    fn insert(&mut self, start: usize, len: usize) {
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
    }

    fn remove(&mut self, start: usize, len: usize) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
    }
}

/// Runs of bytes that may hold an earlier value. Mostly there is one, and it needs no heap.
pub(crate) type Stale = SmallVec<[Range<usize>; 2]>;

/// Bytes that are zero, because the kernel made them so and nobody has had them since.
#[derive(Debug)]
pub(crate) struct Fresh {
    /// The end of each run, by its start.
    runs: BTreeMap<usize, usize>,
}

impl Fresh {
    pub(crate) fn whole(len: usize) -> Self {
        let run = (len > 0).then_some((0, len));
        Self {
            runs: run.into_iter().collect(),
        }
    }

    /// Takes note that somebody has the bytes now. Returns those that were not zero for sure, in order.
    pub(crate) fn take(&mut self, range: Range<usize>) -> Stale {
        let first = self.runs.range(..range.start).next_back();
        let first = first
            .filter(|(_, end)| **end > range.start)
            .map(|(start, _)| *start);
        let inside = self.runs.range(range.clone()).map(|(start, _)| *start);
        let touched: SmallVec<[usize; 2]> = first.into_iter().chain(inside).collect();
        let mut stale = Stale::new();
        let mut at = range.start;
        for start in touched {
            let Some(end) = self.runs.remove(&start) else {
                continue;
            };
            if start < range.start {
                self.runs.insert(start, range.start);
            }
            if end > range.end {
                self.runs.insert(range.end, end);
            }
            if at < start {
                stale.push(at..start);
            }
            at = end.min(range.end);
        }
        if at < range.end {
            stale.push(at..range.end);
        }
        stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_has_had_is_not_fresh_any_more() {
        let mut fresh = Fresh::whole(1000);
        assert_eq!(fresh.take(100..200).into_vec(), []);
        assert_eq!(fresh.take(300..400).into_vec(), []);
        assert_eq!(fresh.take(150..350).into_vec(), [150..200, 300..350]);
        assert_eq!(fresh.take(0..1000).into_vec(), Vec::from([100..400; 1]));
        assert_eq!(fresh.take(0..1000).into_vec(), Vec::from([0..1000; 1]));
        assert_eq!(fresh.take(5..5).into_vec(), []);
        assert_eq!(Fresh::whole(0).take(0..0).into_vec(), []);
    }

    #[test]
    fn neighbours_are_joined_in_every_order() {
        for order in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ] {
            let mut runs = FreeRuns::whole(300);
            let starts = [0, 1, 2].map(|_| runs.take(100).unwrap());
            assert_eq!(runs.take(1), None);
            order.iter().for_each(|&at| runs.give(starts[at], 100));
            assert_eq!(runs.largest(), 300, "{order:?}");
        }
    }

    #[test]
    fn the_smallest_run_that_fits_is_taken() {
        let mut runs = FreeRuns::whole(1000);
        let [a, _b, c, _d] = [200, 10, 50, 10].map(|len| runs.take(len).unwrap());
        runs.give(a, 200);
        runs.give(c, 50);
        assert_eq!(runs.take(40), Some(c));
    }
}
