//! Who the participants of a barrier are.
//!
//! A participant holds the mutex of its seat, and the kernel lets go of it when the participant dies. So whoever can take
//! the mutex of a seat that is not free knows that its participant is gone.

use std::sync::atomic::{AtomicU32, Ordering};

use numpush_shm_core::{LockError, LockOptions, MutexHold, RobustRwLock};

/// The words of a seat: a cache line, which mostly its participant writes.
pub(super) const SEAT_WORDS: usize = 16;

/// The seats of a barrier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seats<'a> {
    words: &'a [AtomicU32],
    locks: &'a [RobustRwLock],
}

/// What is known of a seat's participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    /// Nobody has come.
    Free,
    Taken,
    /// Its participant has left.
    Left,
}

/// In each seat: what is known of it, the process, and the phase that it has arrived in.
const STATE: usize = 0;
const PROCESS: usize = 1;
const ARRIVED: usize = 2;
/// In the phase that it has arrived in: it has.
const ONCE: u32 = 1 << 31;

impl<'a> Seats<'a> {
    pub(super) fn new(words: &'a [AtomicU32], locks: &'a [RobustRwLock]) -> Self {
        Self { words, locks }
    }

    /// Takes a free seat for this thread. `None` if there is none. If every participant is gone, all seats are freed first,
    /// and `renew` is called. The caller holds the lock of joining.
    pub(super) fn take(
        self,
        renew: impl FnOnce(),
    ) -> Result<Option<(usize, MutexHold)>, LockError> {
        if !self.is_anybody_here()? {
            (0..self.locks.len()).for_each(|seat| {
                self.set(seat, Seat::Free);
                self.word(seat, ARRIVED).store(0, Ordering::SeqCst);
            });
            renew();
        }
        for (seat, lock) in self.locks.iter().enumerate() {
            if self.state(seat) != Seat::Free {
                continue;
            }
            // At most the one who has just left it still has it.
            let held = lock.mutex(LockOptions::default())?;
            let process = self.word(seat, PROCESS);
            process.store(std::process::id(), Ordering::SeqCst);
            self.set(seat, Seat::Taken);
            return Ok(Some((seat, held)));
        }
        Ok(None)
    }

    fn is_anybody_here(self) -> Result<bool, LockError> {
        for (seat, lock) in self.locks.iter().enumerate() {
            if self.state(seat) == Seat::Taken && try_mutex(lock)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Says that the participant of `seat` has left.
    pub(super) fn leave(self, seat: usize) {
        self.set(seat, Seat::Left);
    }

    /// Says that the participant of `seat` has arrived in `phase`.
    #[inline]
    pub(super) fn arrive(self, seat: usize, phase: u32) {
        self.word(seat, ARRIVED)
            .store(phase | ONCE, Ordering::Release);
    }

    /// The seats whose participants have not arrived in `phase`.
    pub(super) fn missing(self, phase: u32) -> impl Iterator<Item = usize> + use<'a> {
        let arrived = move |seat: usize| self.word(seat, ARRIVED).load(Ordering::Acquire);
        (0..self.locks.len()).filter(move |&seat| arrived(seat) != phase | ONCE)
    }

    /// A participant that has not arrived in `phase`, and never will.
    pub(super) fn gone(self, phase: u32) -> Result<Option<usize>, LockError> {
        for seat in self.missing(phase) {
            let is_gone = match self.state(seat) {
                Seat::Free => false,
                Seat::Left => true,
                Seat::Taken => try_mutex(&self.locks[seat])?.is_some(),
            };
            if is_gone {
                return Ok(Some(seat));
            }
        }
        Ok(None)
    }

    /// The process of a seat's participant, and whether it died without leaving.
    pub(super) fn account(self, seat: usize) -> (u32, bool) {
        let seat = seat.min(self.locks.len() - 1);
        let process = self.word(seat, PROCESS).load(Ordering::SeqCst);
        (process, self.state(seat) != Seat::Left)
    }

    fn word(self, seat: usize, word: usize) -> &'a AtomicU32 {
        &self.words[seat * SEAT_WORDS + word]
    }

    fn state(self, seat: usize) -> Seat {
        match self.word(seat, STATE).load(Ordering::SeqCst) {
            0 => Seat::Free,
            1 => Seat::Taken,
            _ => Seat::Left,
        }
    }

    fn set(self, seat: usize, state: Seat) {
        self.word(seat, STATE).store(state as u32, Ordering::SeqCst);
    }
}

/// Takes `lock` as a mutex, if that needs no wait. `None` if somebody has it.
fn try_mutex(lock: &RobustRwLock) -> Result<Option<MutexHold>, LockError> {
    match lock.try_mutex() {
        Ok(held) => Ok(Some(held)),
        Err(LockError::Timeout { .. } | LockError::WouldDeadlock) => Ok(None),
        Err(other) => Err(other),
    }
}
