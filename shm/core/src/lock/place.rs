//! Where in a table a thread notes one hold.

use super::atomic::HOLDS;
use super::identity::forks;
use super::mapped::Mapped;
use super::record::ThreadRecord;

/// A hold word of this thread. While the thread has it, the table stays mapped.
///
/// Two words, so that it stays in registers: built of small fields and copied as a whole, it would wait for its own stores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    words: Mapped<ThreadRecord>,
    /// From the lowest bit: 8 for the hold word, 16 for the registration, 16 for the record, 16 for the forks.
    bits: u64,
}

/// Which of a thread's registrations a place belongs to, and which hold word of its record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot(u32);

impl Spot {
    #[inline]
    pub(super) fn hold(self) -> usize {
        self.0 as usize & 0xFF & (HOLDS - 1)
    }

    #[inline]
    pub(super) fn registration(self) -> usize {
        (self.0 >> 8) as usize & 0xFFFF
    }
}

impl Place {
    /// The first hold word of the record number `record`, which the thread's registration number `registration` is about.
    pub(super) fn new(
        words: Mapped<ThreadRecord>,
        record: u16,
        registration: u16,
        forks: u32,
    ) -> Self {
        let bits = u64::from(registration) << 8
            | u64::from(record) << 24
            | u64::from(generation(forks)) << 40;
        Self { words, bits }
    }

    /// Hold word number `hold` of the same record.
    #[inline]
    pub(super) fn with_hold(self, hold: usize) -> Self {
        let bits = self.bits & !0xFF | (hold & (HOLDS - 1)) as u64;
        Self { bits, ..self }
    }

    #[inline]
    pub(super) fn hold(self) -> usize {
        self.spot().hold()
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest 24 bits of it")]
    pub(super) fn spot(self) -> Spot {
        Spot(self.bits as u32)
    }

    /// The record's number in the table.
    #[inline]
    pub(super) fn record(self) -> usize {
        (self.bits >> 24) as usize & 0xFFFF
    }

    /// False in a process that was forked from the one that took it: a copy in a child is not the child's.
    #[inline]
    pub(super) fn is_ours(self) -> bool {
        self.bits >> 40 == u64::from(generation(forks()))
    }

    /// Sets the hold word.
    #[inline]
    pub(super) fn set(self, word: u32) {
        self.words.set(self.hold(), word);
    }

    /// The hold word.
    #[inline]
    pub(super) fn word(self) -> u32 {
        self.words.holds[self.hold()].load()
    }
}

/// A number of forks, as a place notes it.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "no copy of a hold goes through 65,536 processes, each forked from the one before"
)]
fn generation(forks: u32) -> u16 {
    forks as u16
}
