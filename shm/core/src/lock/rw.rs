//! The shared and exclusive lock: a robust mutex for the writer, and one for each reader slot.

use std::sync::atomic::Ordering;

use super::atomic::{AtomicU64, fence};
use super::error::{LockError, Poison, PoisonCause};
use super::identity::this_thread;
use super::options::{LockOptions, LockState};
use super::robust::{Acquired, Robust};
use super::wait::Wait;
use super::words::{CLOSING, Head};

/// A shared and exclusive lock between processes. A copyable reference: its memory is never unmapped.
///
/// Many readers or one writer; a writer that waits goes before readers that come later. A holder that dies, at any
/// instruction, lets go: a reader leaves nothing, a writer leaves the lock [poisoned](LockError::Poisoned) if it
/// was inside.
#[derive(Clone, Copy, Debug)]
pub struct RobustRwLock {
    pub(super) head: &'static Head,
    pub(super) slots: &'static [Robust],
    generation: u64,
}

impl RobustRwLock {
    pub(crate) fn new(head: &'static Head, slots: &'static [Robust], generation: u64) -> Self {
        Self {
            head,
            slots,
            generation,
        }
    }

    /// A number that no other lock of this process has.
    pub fn id(self) -> usize {
        std::ptr::from_ref(self.head).addr()
    }

    /// True if both are the same lock in the same of its lives.
    pub(crate) fn is(self, other: Self) -> bool {
        self.id() == other.id() && self.generation == other.generation
    }

    pub(crate) fn generation(self) -> u64 {
        self.generation
    }

    pub(crate) fn retire(self) {
        self.head.epoch.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// True if the value the lock belonged to is gone.
    pub fn is_retired(self) -> bool {
        self.head.epoch.generation.load(Ordering::Acquire) != self.generation
    }

    /// What the lock looks like now.
    pub fn state(self) -> LockState {
        let words = &self.head.epoch;
        let waiting = self
            .head
            .waiting
            .0
            .iter()
            .map(|pid| pid.load(Ordering::Relaxed));
        LockState {
            writer: self.head.writer.holder(),
            readers: self.slots.iter().filter_map(Robust::holder).collect(),
            poison: self.is_dirty().then(|| self.poison()),
            partitioned: words.parts.load(Ordering::Relaxed) != 0,
            waiting: waiting.filter(|&pid| pid != 0).collect(),
            deaths: words.deaths.load(Ordering::Relaxed),
        }
    }

    pub(super) fn is_dirty(self) -> bool {
        self.head.epoch.epoch.load(Ordering::Acquire) & 1 == 1
    }

    pub(super) fn poison(self) -> Poison {
        let words = &self.head.epoch;
        let offset =
            |word: &AtomicU64| usize::try_from(word.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let panicked = words.cause.load(Ordering::Relaxed) == 1;
        Poison {
            cause: if panicked {
                PoisonCause::Panicked
            } else {
                PoisonCause::Died
            },
            pid: words.writer.load(Ordering::Relaxed),
            dirty: offset(&words.dirty_start)..offset(&words.dirty_end),
        }
    }

    pub(super) fn check_generation(self) -> Result<(), LockError> {
        if self.is_retired() {
            Err(LockError::Retired)
        } else {
            Ok(())
        }
    }

    pub(super) fn enter_shared(self, options: LockOptions) -> Result<&'static Robust, LockError> {
        let mut wait = Wait::new(self.head, options.timeout);
        let words = &self.head.epoch;
        loop {
            if words.gate.load(Ordering::Acquire) != 0 {
                self.pass_writer(&mut wait)?;
            }
            let slot = self.take_slot(&mut wait)?;
            let error = if self.is_retired() {
                LockError::Retired
            } else if !self.is_dirty() {
                return Ok(slot);
            } else if words.parts.load(Ordering::Acquire) != 0 {
                // Not a writer that died, but one that let the slots go to workers on parts.
                slot.unlock();
                self.pass_writer(&mut wait)?;
                continue;
            } else if options.accept_poison {
                return Ok(slot);
            } else {
                // A live writer would hold our slot.
                LockError::Poisoned(self.poison())
            };
            slot.unlock();
            return Err(error);
        }
    }

    pub(super) fn enter_exclusive(self, options: LockOptions) -> Result<Option<Poison>, LockError> {
        let mut wait = Wait::new(self.head, options.timeout);
        self.lock_writer(&mut wait)?;
        let words = &self.head.epoch;
        words.gate.store(1, Ordering::Release);
        let give_up = |taken: usize, error| {
            self.slots[..taken].iter().rev().for_each(Robust::unlock);
            words.gate.store(0, Ordering::Release);
            self.unlock_writer();
            Err(error)
        };
        for (taken, slot) in self.slots.iter().enumerate() {
            if let Err(error) = self.take(slot, &mut wait) {
                return give_up(taken, error);
            }
        }
        // Whoever handed out parts is dead, or its mutex would not be ours; and so all its workers have left.
        words.parts.store(0, Ordering::Release);
        if let Err(error) = self.check_generation() {
            return give_up(self.slots.len(), error);
        }
        if self.is_dirty() {
            let poison = self.poison();
            if options.accept_poison {
                return Ok(Some(poison));
            }
            return give_up(self.slots.len(), LockError::Poisoned(poison));
        }
        words.cause.store(0, Ordering::Relaxed);
        words.dirty_start.store(0, Ordering::Relaxed);
        words.dirty_end.store(u64::MAX, Ordering::Relaxed);
        words.writer.store(this_thread().pid, Ordering::Relaxed);
        words.epoch.fetch_add(1, Ordering::AcqRel);
        // No write to the data may be seen before the odd epoch.
        fence(Ordering::SeqCst);
        Ok(None)
    }

    /// Waits until no writer is inside, and cleans up after one that died.
    fn pass_writer(self, wait: &mut Wait) -> Result<(), LockError> {
        self.lock_writer(wait)?;
        let words = &self.head.epoch;
        let passed = if words.parts.load(Ordering::Acquire) == 0 {
            Ok(())
        } else {
            // Its maker is dead; its workers may live, and only when they have left are the parts gone.
            words.parts.store(CLOSING, Ordering::SeqCst);
            self.drain(wait, None)
                .inspect(|()| words.parts.store(0, Ordering::Release))
        };
        words.gate.store(0, Ordering::Release);
        self.unlock_writer();
        passed
    }

    /// Waits until everybody who now holds a slot has let it go once, but for readers of commit `but_of`.
    pub(super) fn drain(self, wait: &mut Wait, but_of: Option<u64>) -> Result<(), LockError> {
        let avoid = &self.head.epoch.avoid;
        fence(Ordering::SeqCst);
        let mut result = Ok(());
        for (index, slot) in (1..).zip(self.slots) {
            avoid.store(index, Ordering::Relaxed);
            result = match but_of {
                None => self.take(slot, wait).map(|()| slot.unlock()),
                Some(commit) => self.drain_slot(slot, commit, wait),
            };
            if result.is_err() {
                break;
            }
        }
        avoid.store(0, Ordering::Relaxed);
        result
    }

    /// Waits until `slot` is free or its holder reads `commit`.
    ///
    /// A holder notes what it reads after it has the slot. What is noted before that is of an earlier holder, and so
    /// not later: the note says `commit` only if the holder came when that was published, or will look and find it.
    fn drain_slot(
        self,
        slot: &'static Robust,
        commit: u64,
        wait: &mut Wait,
    ) -> Result<(), LockError> {
        loop {
            let taken = slot.try_lock();
            if taken.is_none() && slot.reads.load(Ordering::Acquire) == commit {
                return Ok(());
            }
            // Looks again soon: the holder may have been between taking the slot and noting what it reads.
            if let Some(taken) =
                taken.map_or_else(|| wait.a_moment_for(slot), |taken| Ok(Some(taken)))?
            {
                self.note(taken);
                slot.unlock();
                return Ok(());
            }
        }
    }

    pub(super) fn lock_writer(self, wait: &mut Wait) -> Result<(), LockError> {
        self.take(&self.head.writer, wait)?;
        self.head.writer.record_holder();
        Ok(())
    }

    pub(super) fn unlock_writer(self) {
        self.head.writer.clear_holder();
        self.head.writer.unlock();
    }

    /// The first free slot from this thread's own on; if there is none, its own when it is free.
    pub(super) fn take_slot(self, wait: &mut Wait) -> Result<&'static Robust, LockError> {
        let count = self.slots.len();
        // Neighbouring thread ids are usual; an odd multiplier spreads them over the slots.
        let first = (this_thread().tid.wrapping_mul(0x9E37_79B1) >> 16) as usize & (count - 1);
        let avoid = self.head.epoch.avoid.load(Ordering::Relaxed) as usize;
        if first + 1 != avoid
            && let Some(taken) = self.slots[first].try_lock()
        {
            self.note(taken);
            return Ok(&self.slots[first]);
        }
        self.take_other_slot(first, avoid, wait)
    }

    #[cold]
    fn take_other_slot(
        self,
        first: usize,
        avoid: usize,
        wait: &mut Wait,
    ) -> Result<&'static Robust, LockError> {
        let count = self.slots.len();
        for at in (1..count)
            .map(|step| (first + step) & (count - 1))
            .filter(|at| at + 1 != avoid)
        {
            if let Some(taken) = self.slots[at].try_lock() {
                self.note(taken);
                return Ok(&self.slots[at]);
            }
        }
        self.take(&self.slots[first], wait)?;
        Ok(&self.slots[first])
    }

    #[inline]
    pub(super) fn take(self, mutex: &'static Robust, wait: &mut Wait) -> Result<(), LockError> {
        let taken = match mutex.try_lock() {
            Some(taken) => taken,
            None => wait.for_mutex(mutex)?,
        };
        self.note(taken);
        Ok(())
    }

    #[inline]
    pub(super) fn note(self, taken: Acquired) {
        if taken == Acquired::OwnerDied {
            self.head.epoch.deaths.fetch_add(1, Ordering::Relaxed);
        }
    }
}
