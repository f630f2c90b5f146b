//! Bytes that nobody has written.

use std::collections::BTreeMap;
use std::ops::Range;

use smallvec::SmallVec;

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
}
