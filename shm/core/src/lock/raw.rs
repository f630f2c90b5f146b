//! A lock where it lies, and what can be read of it.

use std::sync::atomic::Ordering;

use super::division::Division;
use super::error::{LockError, Poison};
use super::mapped::Mapped;
use super::record::ThreadRecord;
use super::robust::Acquired;
use super::words::Head;

/// A lock where it lies, without the table that keeps it there.
///
/// Many readers or one writer; a writer that drains readers goes before those that come later. A holder that dies, at any
/// instruction, lets go: a reader leaves nothing, a writer leaves the lock [poisoned](LockError::Poisoned) if it was inside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawLock {
    pub(super) head: Mapped<Head>,
    pub(super) records: Mapped<[ThreadRecord]>,
    /// Which lock of the table.
    pub(super) index: u32,
    pub(super) generation: u64,
}

impl RawLock {
    /// A number that no other lock of this process has.
    #[inline]
    pub(super) fn id(&self) -> usize {
        self.head.address()
    }

    /// True if it is the lock at `head`, in the life number `generation`.
    #[inline]
    pub(super) fn is(&self, head: Mapped<Head>, generation: u64) -> bool {
        self.id() == head.address() && self.generation == generation
    }

    #[inline]
    pub(super) fn is_retired(&self) -> bool {
        self.head.state.generation.load(Ordering::SeqCst) != self.generation
    }

    #[inline]
    pub(super) fn is_dirty(&self) -> bool {
        self.head.is_dirty()
    }

    pub(super) fn poison(&self) -> Poison {
        self.head.poison()
    }

    /// True if what it guards is divided in this way, while parts are handed out.
    pub(super) fn is_divided(&self, division: Division) -> bool {
        let dealt = &self.head.division.dealt;
        let words = dealt.each_ref().map(|word| word.load(Ordering::Relaxed));
        words == division.words()
    }

    #[inline]
    pub(super) fn check_generation(&self) -> Result<(), LockError> {
        if self.is_retired() {
            Err(LockError::Retired)
        } else {
            Ok(())
        }
    }

    #[inline]
    pub(super) fn unlock_writer(&self) {
        self.head.writer.release();
    }

    #[inline]
    pub(super) fn note(&self, taken: Acquired) {
        if taken == Acquired::OwnerDied {
            self.head.state.deaths.fetch_add(1, Ordering::Relaxed);
        }
    }
}
