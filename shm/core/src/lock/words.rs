//! The words of a lock, as they lie in memory.

use std::sync::atomic::Ordering;

use super::atomic::{AtomicU32, AtomicU64, MOST_RECORDS};
use super::division::Division;
use super::error::{Poison, PoisonCause};
use super::futex::Futex;
use super::record::WAITED;
use super::robust::Robust;

/// A lock. Who reads it stands in the [records](super::record::ThreadRecord) of the threads.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) writer: Robust,
    pub(super) state: State,
    pub(super) division: DivisionWords,
    pub(super) seen: Seen,
    pub(super) work: WorkWords,
}

/// What every reader looks at.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(super) struct State {
    /// Even: clean. Odd: a writer is inside, or did not come out.
    pub(super) epoch: AtomicU64,
    /// Which of the lock's lives; a handle of another one is stale.
    pub(super) generation: AtomicU64,
    /// Bytes the writer may change.
    pub(super) dirty_start: AtomicU64,
    pub(super) dirty_end: AtomicU64,
    /// Not zero while parts are handed out: the epoch they belong to, or [`CLOSING`] when no worker may join any more.
    pub(super) parts: AtomicU64,
    /// Commits so far; the last bit says which buffer they are in.
    pub(super) commits: AtomicU64,
    /// Not zero: a writer is inside or drains readers, or died there. Nobody else may come in.
    pub(super) gate: AtomicU32,
    /// Why the epoch stayed odd: 0, the writer died; 1, it panicked.
    pub(super) cause: AtomicU32,
    /// Holders found dead.
    pub(super) deaths: AtomicU32,
    /// The process that wrote last.
    pub(super) writer: AtomicU32,
}

/// How what the lock guards is divided while parts are handed out, and which part of what the lock is one of.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(super) struct DivisionWords {
    /// The division of what this lock guards: see [`Division`].
    pub(super) dealt: [AtomicU64; 3],
    /// If the lock is one of a part: device, inode and index of the lock of the whole, its epoch, and the part's number.
    pub(super) part_of: [AtomicU64; 5],
}

/// Who works on parts, and how far they are with the step of a double-buffered value that they write together.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(super) struct WorkWords {
    /// In the lower half, threads that joined and have not left; in the upper half, how often one of them did either.
    pub(super) workers: AtomicU64,
    /// Parts that have finished the step.
    pub(super) finished: AtomicU64,
    /// The number of the last division into steps, odd.
    pub(super) division: AtomicU64,
    /// Not zero: a part whose worker left it unfinished, counted from 1. `u32::MAX` if nobody knows which.
    pub(super) unfinished: AtomicU32,
    /// To sleep on until the step is over: changes with each step, and when the parts are taken back.
    pub(super) step: Futex,
}

/// One bit for each thread record that may hold the lock for reading or for a part: a writer looks at no other.
///
/// A reader sets its bit and leaves it set. A writer clears it when it has found nothing and nobody may come in.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct Seen(pub(super) [AtomicU64; MOST_RECORDS / 64]);

impl Default for Seen {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::default()))
    }
}

/// In place of an epoch: parts are being taken back.
pub(super) const CLOSING: u64 = u64::MAX;

impl DivisionWords {
    /// Notes how what the lock guards is divided.
    pub(super) fn deal(&self, division: Division) {
        for (word, value) in self.dealt.iter().zip(division.words()) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

impl WorkWords {
    /// Nobody works, and nothing is done. Before parts are handed out.
    pub(super) fn begin(&self) {
        self.workers.store(0, Ordering::Relaxed);
        self.finished.store(0, Ordering::Relaxed);
        self.unfinished.store(0, Ordering::Relaxed);
    }

    /// Counts a thread that has joined, after its hold is set.
    pub(super) fn count_in(&self) {
        self.workers.fetch_add(CHANGE + 1, Ordering::SeqCst);
    }

    /// Counts it out, before its hold ends.
    pub(super) fn count_out(&self) {
        self.workers.fetch_add(CHANGE - 1, Ordering::SeqCst);
    }

    /// The part that a worker left unfinished, if one did, and if it is known.
    pub(super) fn unfinished(&self) -> Option<Option<usize>> {
        match self.unfinished.load(Ordering::SeqCst) {
            0 => None,
            u32::MAX => Some(None),
            part => Some(Some(part as usize - 1)),
        }
    }

    /// Says that nobody will finish `part`: the first to say so is believed.
    pub(super) fn give_up(&self, part: Option<usize>) {
        let word = part.and_then(|part| u32::try_from(part + 1).ok());
        let word = word.unwrap_or(u32::MAX);
        let _ = self
            .unfinished
            .compare_exchange(0, word, Ordering::SeqCst, Ordering::SeqCst);
        self.wake();
    }

    /// Wakes who waits for the step to be over, after the word that says so is stored.
    pub(super) fn wake(&self) {
        loop {
            let word = self.step.load();
            if self.step.replace(word, word.wrapping_add(1) & !WAITED) {
                if word & WAITED != 0 {
                    self.step.wake();
                }
                return;
            }
        }
    }
}

/// One more in the upper half of [`WorkWords::workers`].
const CHANGE: u64 = 1 << 32;

impl Head {
    /// Begins a life of the lock, which is as new, and returns its number.
    pub(crate) fn begin(&self) -> u64 {
        self.state.generation.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Makes the lock as new for its next life. The caller holds the writer's mutex and nobody is inside: whoever still
    /// comes with a handle of a life before takes the mutex before it closes the gate, and nobody may open it meanwhile.
    pub(super) fn renew(&self) {
        let State {
            epoch,
            parts,
            commits,
            gate,
            cause,
            deaths,
            ..
        } = &self.state;
        epoch.store((epoch.load(Ordering::Relaxed) + 1) & !1, Ordering::Relaxed);
        [cause, deaths]
            .iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
        // Numbers of divisions are never used again, like epochs.
        let WorkWords {
            workers, finished, ..
        } = &self.work;
        self.work.unfinished.store(0, Ordering::Relaxed);
        [parts, commits, workers, finished]
            .into_iter()
            .chain(&self.division.part_of)
            .for_each(|word| word.store(0, Ordering::Relaxed));
        gate.store(0, Ordering::Release);
    }

    /// True if a writer is inside, or did not come out.
    #[inline]
    pub(super) fn is_dirty(&self) -> bool {
        self.state.epoch.load(Ordering::Acquire) & 1 == 1
    }

    /// What an unfinished write left.
    pub(super) fn poison(&self) -> Poison {
        let words = &self.state;
        let offset =
            |word: &AtomicU64| usize::try_from(word.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let (start, end) = (offset(&words.dirty_start), offset(&words.dirty_end));
        let panicked = words.cause.load(Ordering::Relaxed) == 1;
        Poison {
            cause: if panicked {
                PoisonCause::Panicked
            } else {
                PoisonCause::Died
            },
            pid: words.writer.load(Ordering::Relaxed),
            // A writer that died between the stores of both may have left ends of two ranges.
            dirty: if start <= end {
                start..end
            } else {
                0..usize::MAX
            },
        }
    }
}
