//! What a thread holds, where every process that shares the locks can see it.

use super::atomic::HOLDS;
use super::futex::Futex;
use super::robust::{Holder, Robust};

/// A thread's entry in a lock table: what it reads, works on and waits for.
///
/// The thread holds `life` for as long as the record is its own, and never anything less: whoever can take `life` knows
/// that the thread is gone, and that its holds are void. The hold words are changed by the thread alone, but for
/// [`WAITED`] and for the clearing of a dead thread's record by whoever has taken `life`.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct ThreadRecord {
    pub(super) life: Robust,
    pub(super) holds: [Futex; HOLDS],
}

/// Which lock: its index in the table, plus one. 0 is no hold.
const LOCK: u32 = 0x3FFF;
/// Where the number of the part begins that the thread works on, and the first that it has no bits for.
const NUMBER: u32 = 14;
const MOST_NUMBER: u32 = 0x3FFF;
/// The thread waits for the lock, and does not hold it.
const WAITS: u32 = 1 << 28;
/// The last bit of the number of the commit that the thread reads.
const ODD_COMMIT: u32 = 1 << 29;
/// The thread works on a part.
const PART: u32 = 1 << 30;
/// Somebody sleeps until the word changes.
pub(super) const WAITED: u32 = 1 << 31;

/// Most locks of a table.
pub(super) const MOST_BLOCKS: u32 = 4096;
const _: () = assert!(MOST_BLOCKS < LOCK);

/// The word of a reader of `lock` that reads commit number `commits`.
#[inline]
pub(super) fn reads(lock: u32, commits: u64) -> u32 {
    let odd = if commits & 1 == 1 { ODD_COMMIT } else { 0 };
    (lock + 1) | odd
}

/// The word of a worker on part `number` of what `lock` guards.
pub(super) fn works(lock: u32, number: usize) -> u32 {
    let number = u32::try_from(number)
        .unwrap_or(MOST_NUMBER)
        .min(MOST_NUMBER);
    (lock + 1) | PART | number << NUMBER
}

/// True if a thread with this word works on a part of what `lock` guards.
pub(super) fn is_working(word: u32, lock: u32) -> bool {
    is_inside(word, lock) && word & PART != 0
}

/// The part that a thread with this word works on, or the first of several; nothing if the number has too many bits.
pub(super) fn part_of(word: u32) -> Option<u32> {
    let number = word >> NUMBER & MOST_NUMBER;
    (number < MOST_NUMBER).then_some(number)
}

/// The word of a thread that waits for `lock`.
pub(super) fn waits(lock: u32) -> u32 {
    (lock + 1) | WAITS
}

/// True if a thread with this word is inside `lock`.
#[inline]
pub(super) fn is_inside(word: u32, lock: u32) -> bool {
    word & (LOCK | WAITS) == lock + 1
}

/// True if a thread with this word waits for `lock`.
pub(super) fn is_waiting(word: u32, lock: u32) -> bool {
    word & (LOCK | WAITS) == waits(lock)
}

/// True if a reader with this word reads commit number `commits`. It reads that or the one before.
pub(super) fn reads_commit(word: u32, commits: u64) -> bool {
    (word & ODD_COMMIT != 0) == (commits & 1 == 1)
}

impl ThreadRecord {
    /// Sets a hold word of this thread, and wakes who waited for the one before.
    #[inline]
    pub(super) fn set(&self, hold: usize, word: u32) {
        let futex = &self.holds[hold];
        if futex.swap(word) & WAITED != 0 {
            futex.wake();
        }
    }

    /// Makes the record nobody's if its thread is gone. Returns false if the thread lives.
    pub(super) fn reap(&self) -> bool {
        if self.life.try_lock().is_none() {
            return false;
        }
        self.clear();
        self.life.clear_holder();
        self.life.unlock();
        true
    }

    /// Ends all holds. For whoever holds `life`.
    pub(super) fn clear(&self) {
        (0..HOLDS).for_each(|hold| self.set(hold, 0));
    }

    /// Whose record it is.
    pub(super) fn thread(&self) -> Option<Holder> {
        self.life.holder()
    }
}
