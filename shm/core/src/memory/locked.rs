//! What the holder of a lock may do with the bytes it guards.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use super::range::{Locked, MemoryRange};
use super::{RangeInUse, SharedPages};
use crate::lock::{PartHold, ReadHold, WriteHold};

impl MemoryRange<Locked> {
    /// The bytes, while the lock is held for reading.
    ///
    /// # Panics
    /// If it is another lock that is held.
    pub fn bytes<'a>(&'a self, held: &'a ReadHold) -> &'a [u8] {
        assert!(held.guards(self.lock()), "the lock of other bytes");
        // SAFETY: the lock is held shared for as long as the borrow lasts, so nobody holds it to write; the claim makes
        // sure that nobody in this process touches the bytes by another right.
        unsafe { self.pages.bytes(&self.range) }
    }

    /// The bytes, while the lock is held for writing.
    ///
    /// # Panics
    /// If it is another lock that is held.
    pub fn bytes_exclusive<'a>(&'a self, held: &'a WriteHold) -> &'a [u8] {
        assert!(held.guards(self.lock()), "the lock of other bytes");
        // SAFETY: the lock is held alone; the borrow of `held` is shared, so nobody writes by it either.
        unsafe { self.pages.bytes(&self.range) }
    }

    /// The bytes, to write.
    ///
    /// # Panics
    /// If it is another lock that is held.
    pub fn bytes_mut<'a>(&'a self, held: &'a mut WriteHold) -> &'a mut [u8] {
        assert!(held.guards(self.lock()), "the lock of other bytes");
        // SAFETY: the lock is held alone, and `held` is borrowed alone: nobody touches the bytes by it or without it.
        unsafe { self.pages.bytes_mut(&self.range) }
    }

    /// The bytes of several, two by two, to write at the same time.
    ///
    /// # Panics
    /// If it is another lock that is held, or if two of them overlap.
    pub fn pairs_mut<'a, const N: usize>(
        all: [[Option<&'a Self>; 2]; N],
        held: &'a mut WriteHold,
    ) -> [[Option<&'a mut [u8]>; 2]; N] {
        let flat = all.as_flattened();
        for (at, one) in flat.iter().enumerate() {
            let before = flat[..at].iter().flatten();
            let overlap =
                one.is_some_and(|one| before.into_iter().any(|other| one.overlaps(other)));
            assert!(!overlap, "bytes borrowed twice");
        }
        all.map(|pair| {
            pair.map(|one| {
                let one = one?;
                assert!(held.guards(one.lock()), "the lock of other bytes");
                // SAFETY: as for `bytes_mut`, and no two of them overlap.
                Some(unsafe { one.pages.bytes_mut(&one.range) })
            })
        })
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.pages.id() == other.pages.id()
            && self.range.start < other.range.end
            && other.range.start < self.range.end
    }

    pub(crate) fn assert_disjoint(all: &[&Self]) {
        let place = |one: &&Self| (one.pages.pointer(&one.range).addr().get(), one.range.len());
        let mut places: Vec<(usize, usize)> =
            all.iter().map(place).filter(|(_, len)| *len > 0).collect();
        places.sort_unstable();
        assert!(
            places
                .windows(2)
                .all(|pair| pair[0].0 + pair[0].1 <= pair[1].0),
            "bytes borrowed twice"
        );
    }

    /// The bytes of neighbours, one run of memory, while each one's lock is held for reading.
    ///
    /// # Panics
    /// If a lock is another one, or if they are no neighbours.
    pub fn run<'a>(neighbours: &'a [Self], held: &'a [ReadHold]) -> &'a [u8] {
        assert_eq!(neighbours.len(), held.len(), "a lock for each");
        let locked = neighbours
            .iter()
            .zip(held)
            .all(|(one, held)| held.guards(one.lock()));
        assert!(locked, "the lock of other bytes");
        let (pages, range) = run_of(neighbours);
        // SAFETY: every lock is held as for `bytes`, and the run is what they guard together.
        unsafe { pages.bytes(&range) }
    }

    /// The bytes of neighbours, one run of memory, to write.
    ///
    /// # Panics
    /// If a lock is another one, or if they are no neighbours.
    pub fn run_mut<'a>(neighbours: &'a [Self], held: &'a mut [WriteHold]) -> &'a mut [u8] {
        assert_eq!(neighbours.len(), held.len(), "a lock for each");
        let locked = neighbours
            .iter()
            .zip(&*held)
            .all(|(one, held)| held.guards(one.lock()));
        assert!(locked, "the lock of other bytes");
        let (pages, range) = run_of(neighbours);
        // SAFETY: every lock is held as for `bytes_mut`, and the run is what they guard together.
        unsafe { pages.bytes_mut(&range) }
    }

    /// The first of the bytes, of which the caller may write the part that is held. `geometry` is all by which the place of
    /// the part follows from its division.
    ///
    /// # Errors
    /// [`RangeInUse`] if this process knows these bytes divided by another geometry.
    ///
    /// # Panics
    /// If the lock held is another one.
    pub(crate) fn part_pointer(
        &self,
        part: &PartHold,
        geometry: &[usize],
    ) -> Result<NonNull<u8>, RangeInUse> {
        assert!(part.guards(self.lock()), "the lock of other bytes");
        let division = (self.lock().id(), part.id().epoch);
        self.pages.open_part(division, &self.range, geometry)?;
        Ok(self.pages.pointer(&self.range))
    }
}

/// The run of bytes that neighbours make together.
fn run_of(neighbours: &[MemoryRange<Locked>]) -> (&SharedPages, Range<usize>) {
    let (Some(first), Some(last)) = (neighbours.first(), neighbours.last()) else {
        panic!("a run of at least one");
    };
    let joined = neighbours.windows(2).all(|pair| {
        pair[0].range.end == pair[1].range.start && Arc::ptr_eq(&pair[0].pages, &pair[1].pages)
    });
    assert!(joined, "bytes that are no neighbours");
    (&first.pages, first.range.start..last.range.end)
}
