//! The shared and exclusive lock: a robust mutex for the writer, and one for each reader slot.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::lock::atomic::{AtomicU32, AtomicU64, fence};
use crate::lock::error::{LockError, Poison, PoisonCause};
use crate::lock::guards::{CommitHold, MutexHold, ReadHold, WriteHold};
use crate::lock::held;
use crate::lock::identity::this_thread;
use crate::lock::robust::{Acquired, Holder, Robust, now};

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
    deaths: AtomicU32,
    pub(super) writer: AtomicU32,
    /// One more than the slot a committer waits for. Readers take another if they can.
    avoid: AtomicU32,
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
pub(super) struct Waiting([AtomicU32; 16]);

/// In place of an epoch: parts are being taken back.
pub(super) const CLOSING: u64 = u64::MAX;

impl Head {
    /// Begins a life of the lock and gives its number.
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

/// A shared and exclusive lock between processes. A copyable reference: its memory is never unmapped.
///
/// Many readers or one writer; a writer that waits goes before readers that come later. A holder that dies, at any
/// instruction, lets go: a reader leaves nothing behind, a writer leaves the lock [poisoned](LockError::Poisoned) if it
/// was inside.
#[derive(Clone, Copy, Debug)]
pub struct RobustRwLock {
    pub(super) head: &'static Head,
    pub(super) slots: &'static [Robust],
    generation: u64,
}

/// How to take a lock: by default without a timeout, and not while it is poisoned.
///
/// ```
/// use std::time::Duration;
///
/// use numpush_shm_core::LockOptions;
///
/// let options = LockOptions::new().timeout(Duration::from_secs(5)).accept_poison(true);
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default)]
pub struct LockOptions {
    /// Longest wait. Default: `None`, which waits until the holder lets go or dies.
    pub timeout: Option<Duration>,
    /// Whether to take the lock although the last writer did not finish. Default: false.
    pub accept_poison: bool,
}

impl LockOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits at most `timeout`, then returns [`LockError::Timeout`]. Zero does not wait.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Takes the lock although the last writer did not finish.
    #[must_use]
    pub fn accept_poison(mut self, accept_poison: bool) -> Self {
        self.accept_poison = accept_poison;
        self
    }
}

/// What a lock looks like at one moment.
#[derive(Clone, Debug, Default)]
pub struct LockState {
    /// Who writes, commits or has handed out parts.
    pub writer: Option<Holder>,
    /// Who reads, or works on a part.
    pub readers: Vec<Holder>,
    /// What an unfinished write left behind. A writer that is inside shows here too, unless it is named above.
    pub poison: Option<Poison>,
    /// Parts are handed out.
    pub partitioned: bool,
    /// Processes that wait for the lock, as they said; some may have died since.
    pub waiting: Vec<u32>,
    /// Holders that died and were cleaned up after.
    pub deaths: u32,
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

    /// Takes the lock for reading, beside other readers.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn read(self, attempt: LockOptions) -> Result<ReadHold, LockError> {
        held::enter(self.id(), 1)?;
        self.enter_shared(attempt)
            .map(|slot| ReadHold::new(self, slot, 0))
            .inspect_err(|_| held::leave(self.id(), 1))
    }

    /// Takes the lock for writing, alone.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn write(self, attempt: LockOptions) -> Result<WriteHold, LockError> {
        let mutexes = self.slots.len() + 1;
        held::enter(self.id(), mutexes)?;
        let entered = self.enter_exclusive(attempt);
        entered
            .map(|poison| WriteHold::new(self, poison))
            .inspect_err(|_| held::leave(self.id(), mutexes))
    }

    /// Takes the lock as a plain mutex, which guards no bytes: what it guards is the caller's, and its to repair.
    ///
    /// # Errors
    /// [`LockError`], never with poison.
    pub fn mutex(self, attempt: LockOptions) -> Result<MutexHold, LockError> {
        held::enter(self.id(), 1)?;
        let mut wait = Wait::new(self, attempt.timeout);
        let writer = &self.head.writer;
        let taken = match writer.try_lock() {
            Some(taken) => Ok(taken),
            None => wait.for_mutex(writer),
        };
        let checked = taken.and_then(|taken| {
            self.note(taken);
            writer.record_holder();
            self.check_generation()
                .inspect_err(|_| self.unlock_writer())
                .map(|()| taken == Acquired::OwnerDied)
        });
        let owner_died = checked.inspect_err(|_| held::leave(self.id(), 1))?;
        Ok(MutexHold::new(self, owner_died))
    }

    /// Takes the lock to write the buffer nobody reads, beside readers of the other.
    ///
    /// # Errors
    /// [`LockError`], never with poison: a commit that was not finished has changed nothing that is read.
    pub fn commit(self, attempt: LockOptions) -> Result<CommitHold, LockError> {
        held::enter(self.id(), 2)?;
        let mut wait = Wait::new(self, attempt.timeout);
        let entered = self.lock_writer(&mut wait).and_then(|()| {
            // A reader that is still in the buffer read before the last commit ends in a slot we pass.
            let current = self.head.commit.active.load(Ordering::Acquire);
            let drained = self
                .check_generation()
                .and_then(|()| self.drain(&mut wait, Some(current)));
            drained.inspect_err(|_| self.unlock_writer())
        });
        entered.inspect_err(|_| held::leave(self.id(), 2))?;
        let active = self.head.commit.active.load(Ordering::Acquire);
        Ok(CommitHold::new(self, active))
    }

    /// Joins the work on parts that were handed out in `epoch`; it lasts until the value is dropped.
    ///
    /// # Errors
    /// [`LockError::Retired`] if the parts were taken back.
    pub fn join_parts(self, epoch: u64, attempt: LockOptions) -> Result<ReadHold, LockError> {
        held::enter(self.id(), 1)?;
        let mut wait = Wait::new(self, attempt.timeout);
        let joined = self.take_slot(&mut wait).and_then(|slot| {
            let current = self.check_generation().is_ok()
                && self.head.epoch.parts.load(Ordering::Acquire) == epoch;
            if current {
                return Ok(slot);
            }
            slot.unlock();
            Err(LockError::Retired)
        });
        joined
            .map(|slot| ReadHold::new(self, slot, epoch))
            .inspect_err(|_| held::leave(self.id(), 1))
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

    fn check_generation(self) -> Result<(), LockError> {
        if self.is_retired() {
            Err(LockError::Retired)
        } else {
            Ok(())
        }
    }

    fn enter_shared(self, attempt: LockOptions) -> Result<&'static Robust, LockError> {
        let mut wait = Wait::new(self, attempt.timeout);
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
            } else if attempt.accept_poison {
                return Ok(slot);
            } else {
                // A live writer would hold our slot.
                LockError::Poisoned(self.poison())
            };
            slot.unlock();
            return Err(error);
        }
    }

    fn enter_exclusive(self, attempt: LockOptions) -> Result<Option<Poison>, LockError> {
        let mut wait = Wait::new(self, attempt.timeout);
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
            if attempt.accept_poison {
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
    fn drain(self, wait: &mut Wait, but_of: Option<u64>) -> Result<(), LockError> {
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

    fn lock_writer(self, wait: &mut Wait) -> Result<(), LockError> {
        self.take(&self.head.writer, wait)?;
        self.head.writer.record_holder();
        Ok(())
    }

    pub(super) fn unlock_writer(self) {
        self.head.writer.clear_holder();
        self.head.writer.unlock();
    }

    /// The first free slot from this thread's own on; if there is none, its own when it is free.
    fn take_slot(self, wait: &mut Wait) -> Result<&'static Robust, LockError> {
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
    fn note(self, taken: Acquired) {
        if taken == Acquired::OwnerDied {
            self.head.epoch.deaths.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A wait with one deadline for all the mutexes it takes. Reads the clock only once it has to.
pub(super) struct Wait {
    lock: RobustRwLock,
    timeout: Option<Duration>,
    deadline: Option<Duration>,
}

impl Wait {
    pub(super) fn new(lock: RobustRwLock, timeout: Option<Duration>) -> Self {
        Self {
            lock,
            timeout,
            deadline: None,
        }
    }

    #[cold]
    fn for_mutex(&mut self, mutex: &'static Robust) -> Result<Acquired, LockError> {
        let deadline = self.deadline();
        let taken = self.announced(|| mutex.lock(deadline));
        taken.ok_or_else(|| self.timed_out(mutex))
    }

    /// Waits for a millisecond; `None` if that was not enough.
    #[cold]
    fn a_moment_for(&mut self, mutex: &'static Robust) -> Result<Option<Acquired>, LockError> {
        let (deadline, soon) = (self.deadline(), now() + Duration::from_millis(1));
        let until = deadline.map_or(soon, |deadline| deadline.min(soon));
        let taken = self.announced(|| mutex.lock(Some(until)));
        if taken.is_none() && deadline.is_some_and(|deadline| deadline <= now()) {
            return Err(self.timed_out(mutex));
        }
        Ok(taken)
    }

    fn deadline(&mut self) -> Option<Duration> {
        let timeout = self.timeout?;
        Some(
            *self
                .deadline
                .get_or_insert_with(|| now().saturating_add(timeout)),
        )
    }

    fn timed_out(&self, mutex: &Robust) -> LockError {
        LockError::Timeout {
            after: self.timeout.unwrap_or_default(),
            holder: mutex.holder(),
        }
    }

    /// Calls `wait` with this process among those that wait.
    fn announced<R>(&self, wait: impl FnOnce() -> R) -> R {
        let pid = this_thread().pid;
        let free = |entry: &&AtomicU32| {
            entry
                .compare_exchange(0, pid, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        let entry = self.lock.head.waiting.0.iter().find(free);
        let result = wait();
        if let Some(entry) = entry {
            entry.store(0, Ordering::Relaxed);
        }
        result
    }
}
