//! What the holder of a lock may do with two buffers, one of which is read while the other is written.

use std::ops::Range;
use std::ptr::NonNull;

use super::RangeInUse;
use super::range::{Double, MemoryRange};
use crate::lock::{CommitHold, ReadHold, StepHold};

impl MemoryRange<Double> {
    fn buffer(&self, commits: u64) -> Range<usize> {
        let half = self.range.len() / 2;
        let start = self.range.start + if commits & 1 == 0 { 0 } else { half };
        start..start + half
    }

    /// The last commit, which stays as it is while the lock is held.
    ///
    /// # Panics
    /// If it is another lock that is held.
    pub fn bytes<'a>(&'a self, held: &'a ReadHold) -> &'a [u8] {
        assert!(held.guards(self.lock()), "the lock of other bytes");
        // SAFETY: a committer writes the other buffer; before it turns to this one it passes the slot we hold.
        unsafe { self.pages.bytes(&self.buffer(held.commits())) }
    }

    /// The last commit, and the bytes to write the next one to.
    ///
    /// # Panics
    /// If it is another lock that is held.
    pub fn both<'a>(&'a self, held: &'a mut CommitHold) -> (&'a [u8], &'a mut [u8]) {
        assert!(held.guards(self.lock()), "the lock of other bytes");
        // SAFETY: only the holder of the writer's mutex writes either buffer, and it writes the other.
        let last = unsafe { self.pages.bytes(&self.buffer(held.commits())) };
        // SAFETY: its readers have left their slots since it was the last commit; `held` is borrowed alone.
        let next = unsafe { self.pages.bytes_mut(&self.buffer(held.commits() + 1)) };
        (last, next)
    }

    /// The first of the bytes of the last commit, and of those of which the caller may write the part that is held.
    /// `geometry` is as for [`MemoryRange::part_pointer`].
    ///
    /// # Errors
    /// [`RangeInUse`] if this process knows these bytes divided by another geometry.
    ///
    /// # Panics
    /// If it is another lock that is held.
    pub(crate) fn step_pointers(
        &self,
        step: &StepHold,
        geometry: &[usize],
    ) -> Result<[NonNull<u8>; 2], RangeInUse> {
        assert!(step.guards(self.lock()), "the lock of other bytes");
        let division = (self.lock().id(), step.id().epoch);
        self.pages.open_part(division, &self.range, geometry)?;
        let buffer = |commits| self.pages.pointer(&self.buffer(commits));
        Ok([buffer(step.commits()), buffer(step.commits() + 1)])
    }
}
