//! When something is due though nothing comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::poller::slots::Key;

/// Times, the soonest first. A time that no longer counts stays until it has passed, or until most of them are such.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Key)>>,
    /// With so many, those that do not count are removed.
    crowd: usize,
}

/// So few are no crowd.
const FEW: usize = 64;

impl Timers {
    /// Adds a time. `counts` says which times still count, this one included.
    pub(super) fn push(&mut self, at: Instant, key: Key, counts: impl Fn(Instant, Key) -> bool) {
        self.heap.push(Reverse((at, key)));
        if self.heap.len() > self.crowd.max(FEW) {
            self.heap.retain(|&Reverse((at, key))| counts(at, key));
            self.crowd = 2 * self.heap.len();
        }
    }

    /// When the first of them is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The first one that is due at `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Key)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(timer)| timer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// They stayed until their time, 30 seconds for each message of which a part was awaited.
    #[test]
    fn times_that_no_longer_count_do_not_pile_up() {
        let (start, mut timers) = (Instant::now(), Timers::default());
        let at = |number: u32| start + Duration::from_millis(number.into());
        let keys = [1, 2, 3].map(Key::of);
        for number in 0..10_000 {
            for key in keys {
                timers.push(at(number), key, |time, _| time == at(number));
            }
            assert!(timers.heap.len() <= FEW + 3);
        }
        let mut last = 0;
        while let Some((time, _)) = timers.pop(at(20_000)) {
            last += usize::from(time == at(9_999));
        }
        assert_eq!(last, 3, "those that count are there");
    }
}
