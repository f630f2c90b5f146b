//! How a thread waits: for a mutex of a lock, or until another thread's hold ends.

use std::time::Duration;

use super::error::LockError;
use super::futex::{Futex, SPINS};
use super::place::Place;
use super::record::{ThreadRecord, WAITED, waits};
use super::robust::{Acquired, Holder, Robust, now};

/// Longest sleep until the thread that is waited for lets go or dies. Both wake; but the kernel wakes one of those who wait
/// for a death, who wakes the others when it has cleared the record, unless it is killed before. In a test a wake that does
/// not come is to be missed.
const LONGEST_SLEEP: Duration = Duration::from_secs(if cfg!(test) { 3600 } else { 1 });

/// First and longest time between two looks whether the thread lives, on a kernel that cannot wait for its death.
pub(super) const FIRST_LOOK: Duration = Duration::from_micros(100);
pub(super) const LAST_LOOK: Duration = Duration::from_millis(4);

/// A wait with one deadline for all that it waits for. Reads the clock only once it has to.
pub(super) struct Wait {
    /// Where the thread says that it waits; nowhere if it holds the lock there.
    place: Option<Place>,
    lock: u32,
    timeout: Option<Duration>,
    deadline: Option<Duration>,
}

impl Wait {
    /// A wait of the thread that has `place`, for the lock with the index `lock`.
    pub(super) fn new(place: Place, lock: u32, timeout: Option<Duration>) -> Self {
        Self {
            place: Some(place),
            lock,
            timeout,
            deadline: None,
        }
    }

    /// A wait of a thread that works on a part of what the lock guards.
    pub(super) fn of_worker(lock: u32, timeout: Option<Duration>) -> Self {
        Self {
            place: None,
            lock,
            timeout,
            deadline: None,
        }
    }

    /// How long to sleep before another look at what a death leaves behind; an error at the deadline.
    pub(super) fn nap(&mut self, look: Duration) -> Result<Duration, LockError> {
        let left = self
            .deadline()
            .map_or(look, |deadline| deadline.saturating_sub(now()));
        if left.is_zero() {
            return Err(self.timed_out(None));
        }
        Ok(left.min(look))
    }

    /// Waits until this thread has `mutex`.
    #[cold]
    pub(super) fn for_mutex(&mut self, mutex: &Robust) -> Result<Acquired, LockError> {
        if !self.may_wait() {
            return Err(self.timed_out(mutex.holder()));
        }
        let deadline = self.deadline();
        let taken = self.announced(|| mutex.lock(deadline));
        taken.ok_or_else(|| self.timed_out(mutex.holder()))
    }

    /// Waits until `ended` is true of `hold`, or its thread is gone. Returns true if it is gone.
    pub(super) fn for_hold(
        &mut self,
        record: &ThreadRecord,
        hold: &Futex,
        ended: impl Fn(u32) -> bool,
    ) -> Result<bool, LockError> {
        if !self.may_wait() {
            return self.as_it_is(record, hold, ended);
        }
        for _ in 0..SPINS {
            if ended(hold.load()) {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
        self.asleep(record, hold, ended)
    }

    /// Looks once whether the hold has ended or its thread is gone.
    fn as_it_is(
        &self,
        record: &ThreadRecord,
        hold: &Futex,
        ended: impl Fn(u32) -> bool,
    ) -> Result<bool, LockError> {
        if record.reap() {
            Ok(true)
        } else if ended(hold.load()) {
            Ok(false)
        } else {
            Err(self.timed_out(record.thread()))
        }
    }

    #[cold]
    fn asleep(
        &mut self,
        record: &ThreadRecord,
        hold: &Futex,
        ended: impl Fn(u32) -> bool,
    ) -> Result<bool, LockError> {
        let deadline = self.deadline();
        let mut look = FIRST_LOOK;
        loop {
            if record.reap() {
                return Ok(true);
            }
            let word = hold.load();
            if ended(word) {
                return Ok(false);
            }
            if word & WAITED == 0 && !hold.replace(word, word | WAITED) {
                continue;
            }
            let now = now();
            let left = deadline.map_or(LONGEST_SLEEP, |deadline| deadline.saturating_sub(now));
            if left.is_zero() {
                return Err(self.timed_out(record.thread()));
            }
            let Some(life) = record.life.watch() else {
                continue;
            };
            let until = now + left.min(LONGEST_SLEEP);
            let word = word | WAITED;
            if !self.announced(|| hold.sleep_while_both(word, life, until)) {
                self.announced(|| hold.sleep_while(word, left.min(look)));
                look = (look * 2).min(LAST_LOOK);
            }
        }
    }

    /// False if the caller wants the lock as it is now.
    fn may_wait(&self) -> bool {
        self.timeout != Some(Duration::ZERO)
    }

    fn deadline(&mut self) -> Option<Duration> {
        let timeout = self.timeout?;
        Some(
            *self
                .deadline
                .get_or_insert_with(|| now().saturating_add(timeout)),
        )
    }

    fn timed_out(&self, holder: Option<Holder>) -> LockError {
        LockError::Timeout {
            after: self.timeout.unwrap_or_default(),
            holder,
        }
    }

    /// Calls `sleep` with this thread among those that wait for the lock.
    fn announced<R>(&self, sleep: impl FnOnce() -> R) -> R {
        let Some(place) = self.place else {
            return sleep();
        };
        place.set(waits(self.lock));
        let result = sleep();
        place.set(0);
        result
    }
}
