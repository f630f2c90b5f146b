//! Who in this process borrows which bytes of a memory, and who writes them: not both at once.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Weak};

use crate::fork::{ForkMutex, GlobalMutex};
use crate::identity::FileId;

/// The turns of one memory.
#[derive(Debug)]
pub(crate) struct Turns(ForkMutex<Uses>);

/// How each byte is used: so many readers, or one [`WRITING`].
///
/// A value holds from its key to the next key; before the first it is zero. Neighbours differ.
#[derive(Debug, Default)]
struct Uses(BTreeMap<usize, usize>);

const WRITING: usize = usize::MAX;

/// One for each memory that this process lends or has mapped as a peer's.
static ALL: GlobalMutex<BTreeMap<FileId, Weak<Turns>>> = GlobalMutex::new(BTreeMap::new());

impl Turns {
    pub(crate) fn of(memory: FileId) -> Arc<Self> {
        // Made before the lock is taken: it enters the list that a fork goes through.
        let turns = Arc::new(Self(ForkMutex::default()));
        let mut all = ALL.lock();
        if let Some(turns) = all.get(&memory).and_then(Weak::upgrade) {
            return turns;
        }
        all.retain(|_, turns| turns.strong_count() > 0);
        all.insert(memory, Arc::downgrade(&turns));
        turns
    }

    /// True while somebody uses a byte.
    pub(crate) fn is_used(&self) -> bool {
        !self.0.lock().0.is_empty()
    }

    pub(crate) fn begin_writing(&self, range: &Range<usize>) -> io::Result<()> {
        self.begin(range, |uses| (uses == 0).then_some(WRITING))
    }

    pub(crate) fn end_writing(&self, range: &Range<usize>) {
        self.0.lock().change(range, |_| 0);
    }

    pub(crate) fn begin_reading(&self, range: &Range<usize>) -> io::Result<()> {
        // The last number before `WRITING` is left out, or one more reader would look like a writer.
        self.begin(range, |uses| (uses < WRITING - 1).then(|| uses + 1))
    }

    pub(crate) fn end_reading(&self, range: &Range<usize>) {
        self.0.lock().change(range, |uses| uses - 1);
    }

    fn begin(&self, range: &Range<usize>, next: impl Fn(usize) -> Option<usize>) -> io::Result<()> {
        let mut uses = self.0.lock();
        if uses.within(range).any(|uses| next(uses).is_none()) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        uses.change(range, |uses| next(uses).unwrap_or(uses));
        Ok(())
    }
}

impl Uses {
    fn at(&self, byte: usize) -> usize {
        let before = self.0.range(..=byte).next_back();
        before.map_or(0, |(_, uses)| *uses)
    }

    /// Each different use of a byte in `range`, in order.
    fn within(&self, range: &Range<usize>) -> impl Iterator<Item = usize> {
        let first = (!range.is_empty()).then(|| self.at(range.start));
        let keys = range.start..range.end.max(range.start);
        first
            .into_iter()
            .chain(self.0.range(keys).map(|(_, uses)| *uses))
    }

    fn change(&mut self, range: &Range<usize>, next: impl Fn(usize) -> usize) {
        if range.is_empty() {
            return;
        }
        for edge in [range.start, range.end] {
            let uses = self.at(edge);
            self.0.insert(edge, uses);
        }
        for (_, uses) in self.0.range_mut(range.clone()) {
            *uses = next(*uses);
        }
        for edge in [range.start, range.end] {
            let before = edge.checked_sub(1).map_or(0, |byte| self.at(byte));
            if self.0.get(&edge) == Some(&before) {
                self.0.remove(&edge);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns() -> Turns {
        Turns(ForkMutex::default())
    }

    #[test]
    fn bytes_that_are_read_are_not_written_and_others_are() {
        let turns = turns();
        turns.begin_reading(&(100..200)).unwrap();
        turns.begin_reading(&(150..300)).unwrap();
        for busy in [100..101, 0..101, 199..250, 299..400, 0..1000] {
            assert!(turns.begin_writing(&busy).is_err(), "{busy:?}");
        }
        turns.begin_writing(&(0..100)).unwrap();
        turns.begin_writing(&(300..400)).unwrap();
        assert!(turns.begin_reading(&(99..101)).is_err());
        turns.end_reading(&(100..200));
        turns.begin_writing(&(100..150)).unwrap();
        assert!(turns.begin_writing(&(100..151)).is_err());
        for written in [0..100, 300..400, 100..150] {
            turns.end_writing(&written);
        }
        turns.end_reading(&(150..300));
        assert!(!turns.is_used());
    }

    #[test]
    fn no_bytes_are_never_busy() {
        let turns = turns();
        turns.begin_writing(&(0..10)).unwrap();
        turns.begin_reading(&(5..5)).unwrap();
        turns.begin_writing(&(5..5)).unwrap();
        turns.end_writing(&(5..5));
        turns.end_reading(&(5..5));
        assert!(turns.begin_reading(&(5..6)).is_err());
    }

    /// Against one counter a byte, over many ranges chosen by a multiplier that jumps about.
    #[test]
    fn every_byte_is_counted() {
        const LEN: usize = 97;
        let (turns, mut bytes) = (turns(), [0_usize; LEN]);
        let mut open: Vec<(Range<usize>, bool)> = Vec::new();
        let mut state = 1_u64;
        let mut random = |end: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % end
        };
        for _ in 0..20_000 {
            let start = random(LEN);
            let range = start..start + random(LEN - start + 1);
            match random(3) {
                0 if !open.is_empty() => {
                    let (range, writes) = open.swap_remove(random(open.len()));
                    if writes {
                        turns.end_writing(&range);
                        bytes[range].fill(0);
                    } else {
                        turns.end_reading(&range);
                        bytes[range].iter_mut().for_each(|uses| *uses -= 1);
                    }
                }
                1 => {
                    let free = bytes[range.clone()].iter().all(|uses| *uses == 0);
                    assert_eq!(turns.begin_writing(&range).is_ok(), free);
                    if free {
                        bytes[range.clone()].fill(WRITING);
                        open.push((range, true));
                    }
                }
                _ => {
                    let free = bytes[range.clone()].iter().all(|uses| *uses != WRITING);
                    assert_eq!(turns.begin_reading(&range).is_ok(), free);
                    if free {
                        bytes[range.clone()].iter_mut().for_each(|uses| *uses += 1);
                        open.push((range, false));
                    }
                }
            }
            let uses = turns.0.lock();
            for (byte, expected) in bytes.iter().enumerate() {
                assert_eq!(uses.at(byte), *expected);
            }
            let values: Vec<usize> = std::iter::once(0).chain(uses.0.values().copied()).collect();
            assert!(values.windows(2).all(|pair| pair[0] != pair[1]), "{uses:?}");
        }
    }
}
