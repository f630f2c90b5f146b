//! The words of a lock, as they lie in memory.

use std::sync::atomic::Ordering;

use super::atomic::{AtomicU32, AtomicU64};
use super::robust::Robust;

/// What a lock consists of, but for its reader slots, which follow it.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) writer: Robust,
    pub(super) epoch: Epoch,
    pub(super) commit: Commit,
    pub(super) waiting: Waiting,
}

/// What every reader looks at.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(super) struct Epoch {
    /// Even: clean. Odd: a writer is inside, or did not come out.
    pub(super) epoch: AtomicU64,
    /// Which of the lock's lives; a handle of another one is stale.
    pub(super) generation: AtomicU64,
    /// Bytes the writer may change.
    pub(super) dirty_start: AtomicU64,
    pub(super) dirty_end: AtomicU64,
    /// Not zero while parts are handed out: the epoch they belong to, or [`CLOSING`] when no worker may join any more.
    pub(super) parts: AtomicU64,
    /// Why the epoch stayed odd: 0, the writer died; 1, it panicked.
    pub(super) cause: AtomicU32,
    /// Not zero: a writer waits or is inside, and readers queue behind it.
    pub(super) gate: AtomicU32,
    /// Holders found dead.
    pub(super) deaths: AtomicU32,
    pub(super) writer: AtomicU32,
    /// One more than the slot a committer waits for. Readers take another if they can.
    pub(super) avoid: AtomicU32,
}

/// What the commit mode needs.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(super) struct Commit {
    /// Commits so far; the last bit says which buffer they are in.
    pub(super) active: AtomicU64,
}

/// Processes that wait, for reports. One that dies waiting leaves its number, which its reader sees to be dead.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(super) struct Waiting(pub(super) [AtomicU32; 16]);

/// In place of an epoch: parts are being taken back.
pub(super) const CLOSING: u64 = u64::MAX;

impl Head {
    /// Begins a life of the lock and returns its number.
    pub(crate) fn begin(&self) -> u64 {
        let Epoch {
            epoch,
            parts,
            gate,
            cause,
            deaths,
            avoid,
            ..
        } = &self.epoch;
        epoch.store((epoch.load(Ordering::Relaxed) + 1) & !1, Ordering::Relaxed);
        [gate, cause, deaths, avoid]
            .iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
        parts.store(0, Ordering::Relaxed);
        self.commit.active.store(0, Ordering::Relaxed);
        self.waiting
            .0
            .iter()
            .for_each(|waiter| waiter.store(0, Ordering::Relaxed));
        self.epoch.generation.fetch_add(1, Ordering::AcqRel) + 1
    }
}
