//! Which bytes of a memory are in use in this process, and by what right. Bookkeeping only: it touches no byte.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use smallvec::SmallVec;

/// Bytes that something else in this process uses already, or that another process made and this one may not own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes {} to {} are in use already", .range.start, .range.end)]
pub struct RangeInUse {
    /// The bytes that were asked for.
    pub range: Range<usize>,
}

/// A lock in one of its lives: its address and its generation.
pub(super) type LockId = (usize, u64);

/// By what right bytes are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// One owner, who needs no lock.
    Owned,
    /// Whoever holds this lock.
    Locked(LockId),
    /// Whoever holds this lock, one of two buffers at a time.
    Double(LockId),
    /// Everybody who holds this lock for reading, by atomics of so many bytes.
    Atomic(LockId, usize),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    end: usize,
    used: Use,
    count: usize,
}

/// The ranges in use, and the parts of them that were opened.
///
/// # Invariants
/// 1. No two entries overlap, and none is empty. An empty range is never entered: it uses no byte.
/// 2. The count of an entry is the number of [`MemoryRange`](super::MemoryRange)s with its bounds and its right; that
///    of an owned one is 1.
#[derive(Debug, Default)]
pub(super) struct Register {
    ranges: BTreeMap<usize, Entry>,
    /// The parts that were opened, by the lock of the whole.
    parts: HashMap<usize, Parts>,
}

/// How what one lock guards is divided, as this process knows it.
#[derive(Debug, Default)]
struct Parts {
    /// Parts of earlier epochs are gone for good.
    epoch: u64,
    /// The geometry of the bytes from an offset on: the shape of an array, for example.
    runs: HashMap<usize, SmallVec<[usize; 4]>>,
}

impl Register {
    /// Enters one more user of the bytes.
    pub(super) fn enter(&mut self, range: &Range<usize>, used: Use) -> Result<(), RangeInUse> {
        if range.is_empty() {
            return Ok(());
        }
        if let Some(same) = self.ranges.get_mut(&range.start)
            && (same.end, same.used) == (range.end, used)
            && used != Use::Owned
        {
            same.count += 1;
            return Ok(());
        }
        let before = self.ranges.range(..range.end).next_back();
        if before.is_some_and(|(_, entry)| entry.end > range.start) {
            let range = range.clone();
            return Err(RangeInUse { range });
        }
        self.insert(range, used);
        Ok(())
    }

    /// Ends one use of the bytes.
    pub(super) fn leave(&mut self, range: &Range<usize>) {
        if range.is_empty() {
            return;
        }
        if let Some(entry) = self.ranges.get_mut(&range.start) {
            entry.count -= 1;
            if entry.count == 0 {
                self.ranges.remove(&range.start);
            }
        }
    }

    /// Changes the right to bytes that have one user. False if they have more.
    pub(super) fn convert(&mut self, range: &Range<usize>, used: Use) -> bool {
        if range.is_empty() {
            return true;
        }
        let entry = self.ranges.get_mut(&range.start);
        let Some(entry) = entry.filter(|entry| entry.count == 1) else {
            return false;
        };
        entry.used = used;
        true
    }

    /// Replaces bytes of one owner by those up to `middle` and those from there on.
    pub(super) fn split(&mut self, range: &Range<usize>, middle: usize) {
        if range.is_empty() {
            return;
        }
        self.ranges.remove(&range.start);
        for part in [range.start..middle, middle..range.end] {
            if !part.is_empty() {
                self.insert(&part, Use::Owned);
            }
        }
    }

    /// True if `geometry` is that by which this process knows the bytes from `run` on, in this epoch of the lock of the
    /// whole. The first caller decides.
    pub(super) fn open_part(
        &mut self,
        (whole, epoch): (usize, u64),
        run: usize,
        geometry: &[usize],
    ) -> bool {
        let parts = self.parts.entry(whole).or_default();
        if parts.epoch != epoch {
            *parts = Parts {
                epoch,
                ..Parts::default()
            };
        }
        let known = parts.runs.entry(run);
        known.or_insert_with(|| geometry.into()).as_slice() == geometry
    }

    fn insert(&mut self, range: &Range<usize>, used: Use) {
        let entry = Entry {
            end: range.end,
            used,
            count: 1,
        };
        self.ranges.insert(range.start, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_range_changes_nothing() {
        let mut register = Register::default();
        register.enter(&(64..128), Use::Owned).unwrap();
        register.enter(&(64..64), Use::Owned).unwrap();
        register.split(&(64..64), 64);
        assert!(register.enter(&(64..128), Use::Owned).is_err());
        assert!(register.convert(&(64..64), Use::Locked((1, 1))));
        assert!(register.enter(&(64..128), Use::Locked((1, 1))).is_err());
        register.leave(&(64..64));
        assert!(register.enter(&(64..128), Use::Owned).is_err());
        register.leave(&(64..128));
        assert!(register.enter(&(0..128), Use::Owned).is_ok());
    }

    #[test]
    fn many_share_a_lock_and_one_owns() {
        let mut register = Register::default();
        register.enter(&(0..8), Use::Locked((1, 1))).unwrap();
        register.enter(&(0..8), Use::Locked((1, 1))).unwrap();
        assert!(register.enter(&(0..8), Use::Locked((2, 1))).is_err());
        assert!(register.enter(&(0..8), Use::Double((1, 1))).is_err());
        assert!(register.enter(&(0..8), Use::Atomic((1, 1), 8)).is_err());
        assert!(register.enter(&(0..4), Use::Locked((1, 1))).is_err());
        assert!(!register.convert(&(0..8), Use::Owned));
        register.leave(&(0..8));
        assert!(register.convert(&(0..8), Use::Owned));
        assert!(register.enter(&(0..8), Use::Owned).is_err());
    }

    #[test]
    fn a_lock_of_an_earlier_life_is_another_right() {
        let mut register = Register::default();
        register.enter(&(0..8), Use::Locked((1, 1))).unwrap();
        assert!(register.enter(&(0..8), Use::Locked((1, 2))).is_err());
        register.leave(&(0..8));
        assert!(register.enter(&(0..8), Use::Locked((1, 2))).is_ok());
    }

    #[test]
    fn bytes_have_one_geometry_in_an_epoch() {
        let mut register = Register::default();
        assert!(register.open_part((1, 3), 0, &[8, 2]));
        assert!(register.open_part((1, 3), 0, &[8, 2]));
        assert!(!register.open_part((1, 3), 0, &[2, 8]));
        assert!(register.open_part((1, 3), 64, &[2, 8]));
        assert!(register.open_part((1, 5), 0, &[2, 8]));
    }
}
