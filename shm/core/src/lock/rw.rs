//! The shared and exclusive lock: a robust mutex for the writer, and a word of its own for each reader.

use std::sync::atomic::{Ordering, compiler_fence};

use super::atomic::MOST_RECORDS;
use super::drain::Who;
use super::error::{LockError, Poison};
use super::identity::this_thread;
use super::options::{LockOptions, LockState};
use super::place::Place;
use super::raw::RawLock;
use super::record::{ThreadRecord, is_waiting, reads};
use super::wait::Wait;
use super::words::CLOSING;

/// Words of bits of [`Seen`](super::words::Seen).
const WORDS: usize = MOST_RECORDS / 64;

/// What became of the attempt to come in as a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// The hold is one that the next writer waits for.
    Inside,
    /// A writer is inside, or drains.
    Closed,
    /// A commit was published meanwhile.
    Late,
}

impl RawLock {
    /// What the lock looks like now.
    pub(super) fn state(&self) -> LockState {
        let words = &self.head.state;
        let waits = |record: &&ThreadRecord| {
            let mut holds = record.holds.iter();
            holds.any(|hold| is_waiting(hold.load(), self.index))
        };
        let waiting = self.records.iter().filter(waits);
        LockState {
            writer: self.head.writer.holder(),
            readers: self.insiders().filter_map(ThreadRecord::thread).collect(),
            poison: self.is_dirty().then(|| self.poison()),
            partitioned: words.parts.load(Ordering::Relaxed) != 0,
            waiting: waiting
                .filter_map(|record| Some(record.thread()?.pid))
                .collect(),
            deaths: words.deaths.load(Ordering::Relaxed),
        }
    }

    /// Ends this life of the lock: nobody comes in from now on. Returns false if somebody is inside, or may be; else the
    /// lock is as new.
    pub(super) fn retire(&self) -> bool {
        self.head.state.generation.fetch_add(1, Ordering::SeqCst);
        let Some(taken) = self.head.writer.try_lock() else {
            return false;
        };
        self.note(taken);
        let is_empty = self.is_empty();
        if is_empty {
            self.head.renew();
        }
        self.unlock_writer();
        is_empty
    }

    /// Comes in as a reader of the last commit.
    #[inline]
    pub(super) fn enter_shared(&self, place: Place, options: LockOptions) -> Result<(), LockError> {
        match self.attempt_shared(place) {
            Attempt::Inside if !self.is_retired() && !self.is_dirty() => Ok(()),
            attempt => self.go_on_shared(attempt, place, options),
        }
    }

    /// Sets the hold of a reader, and looks whether that was in time.
    #[inline]
    fn attempt_shared(&self, place: Place) -> Attempt {
        let words = &self.head.state;
        let commits = words.commits.load(Ordering::SeqCst);
        place.set(reads(self.index, commits));
        if !self.be_seen(place, || words.gate.load(Ordering::SeqCst) == 0) {
            Attempt::Closed
        } else if commits == words.commits.load(Ordering::SeqCst) {
            Attempt::Inside
        } else {
            // A commit that was published meanwhile may be followed by one in the buffer that we would read.
            Attempt::Late
        }
    }

    #[cold]
    fn go_on_shared(
        &self,
        mut attempt: Attempt,
        place: Place,
        options: LockOptions,
    ) -> Result<(), LockError> {
        let mut wait = Wait::new(place, self.index, options.timeout);
        loop {
            let refused = match attempt {
                Attempt::Inside if self.is_retired() => Some(LockError::Retired),
                // The gate was open: a live writer would have waited for us.
                Attempt::Inside if self.is_dirty() && !options.accept_poison => {
                    Some(LockError::Poisoned(self.poison()))
                }
                Attempt::Inside => return Ok(()),
                Attempt::Closed | Attempt::Late => None,
            };
            place.set(0);
            if let Some(refused) = refused {
                return Err(refused);
            }
            if attempt == Attempt::Closed {
                self.pass_writer(&mut wait)?;
            }
            attempt = self.attempt_shared(place);
        }
    }

    /// Makes sure that a writer finds the hold that was just set. Returns false if `may_enter` is false.
    #[inline]
    pub(super) fn be_seen(&self, place: Place, may_enter: impl Fn() -> bool) -> bool {
        let word = &self.head.seen.0[place.record() / 64 % WORDS];
        let bit = 1 << (place.record() % 64);
        loop {
            if !may_enter() {
                return false;
            }
            if word.load(Ordering::SeqCst) & bit != 0 {
                return true;
            }
            word.fetch_or(bit, Ordering::SeqCst);
        }
    }

    pub(super) fn enter_exclusive(
        &self,
        place: Place,
        options: LockOptions,
    ) -> Result<Option<Poison>, LockError> {
        let mut wait = Wait::new(place, self.index, options.timeout);
        self.lock_writer(&mut wait)?;
        let words = &self.head.state;
        words.gate.swap(1, Ordering::SeqCst);
        let entered = self.drain_all(&mut wait).and_then(|()| {
            self.check_generation()?;
            if !self.is_dirty() {
                return Ok(None);
            }
            let poison = self.poison();
            if options.accept_poison {
                return Ok(Some(poison));
            }
            Err(LockError::Poisoned(poison))
        });
        let poison = entered.inspect_err(|_| {
            self.open_gate();
            self.unlock_writer();
        })?;
        // Whoever repairs writes everything, and signs for everything.
        words.cause.store(0, Ordering::Relaxed);
        words.dirty_start.store(0, Ordering::Relaxed);
        words.dirty_end.store(u64::MAX, Ordering::Relaxed);
        words.writer.store(this_thread().pid, Ordering::Relaxed);
        let epoch = words.epoch.load(Ordering::Relaxed);
        words.epoch.store(epoch | 1, Ordering::Release);
        // Nobody looks before this thread lets go or dies, and the kernel orders what a dead thread has stored.
        compiler_fence(Ordering::SeqCst);
        Ok(poison)
    }

    /// Opens the gate, unless workers on parts may still be inside whose coordinator died.
    #[inline]
    pub(super) fn open_gate(&self) {
        let words = &self.head.state;
        if words.parts.load(Ordering::Relaxed) == 0 {
            words.gate.store(0, Ordering::Release);
        }
    }

    /// Waits until no writer is inside, and cleans up after one that died.
    #[cold]
    fn pass_writer(&self, wait: &mut Wait) -> Result<(), LockError> {
        self.lock_writer(wait)?;
        let passed = if self.head.state.parts.load(Ordering::SeqCst) == 0 {
            Ok(())
        } else {
            self.drain_all(wait)
        };
        self.open_gate();
        self.unlock_writer();
        passed
    }

    /// Waits until nobody is inside. The gate is closed, and the caller holds the writer's mutex. If parts are handed out,
    /// whoever handed them out is dead; its workers may live, and only when they have left are the parts gone.
    fn drain_all(&self, wait: &mut Wait) -> Result<(), LockError> {
        let parts = &self.head.state.parts;
        let partitioned = parts.load(Ordering::SeqCst) != 0;
        if partitioned {
            parts.swap(CLOSING, Ordering::SeqCst);
        }
        self.drain(wait, Who::All)?;
        if partitioned {
            parts.store(0, Ordering::Release);
        }
        Ok(())
    }

    /// Waits until nobody works on parts whose coordinator is dead, before a commit.
    pub(super) fn end_parts(&self, wait: &mut Wait) -> Result<(), LockError> {
        let words = &self.head.state;
        if words.parts.load(Ordering::SeqCst) == 0 {
            return Ok(());
        }
        words.parts.swap(CLOSING, Ordering::SeqCst);
        self.head.work.wake();
        self.drain(wait, Who::Workers)?;
        words.parts.store(0, Ordering::Release);
        Ok(())
    }

    /// False if the thread that handed out parts is dead; then nobody joins any more. The caller has joined, so that the
    /// parts cannot be taken back meanwhile.
    ///
    /// A coordinator that lives has the writer's mutex, which costs one failed exchange to see.
    pub(super) fn is_divider_alive(&self) -> bool {
        let Some(taken) = self.head.writer.try_lock() else {
            return true;
        };
        self.note(taken);
        self.head.state.parts.swap(CLOSING, Ordering::SeqCst);
        self.head.work.wake();
        self.unlock_writer();
        false
    }

    #[inline]
    pub(super) fn lock_writer(&self, wait: &mut Wait) -> Result<(), LockError> {
        let taken = match self.head.writer.try_lock() {
            Some(taken) => taken,
            None => wait.for_mutex(&self.head.writer)?,
        };
        self.note(taken);
        self.head.writer.record_holder();
        Ok(())
    }
}
