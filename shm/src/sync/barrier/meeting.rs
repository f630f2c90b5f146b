//! Where a barrier's members count who is there, and sleep until all are.
//!
//! Two words, each on a line of its own. `count` decides: it has the number of the phase, how many have arrived in it, and
//! whether the barrier is broken. When the last arrives the phase is complete, whatever happens to anybody after that; it is
//! broken only while somebody is missing. `phase` only says so to those who wait: whoever finds that it is late, because the
//! one who was to say so has died, says so.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use numpush_os::{sleep_while, wake};

/// The words of a meeting, at the start of a barrier's atomics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meeting<'a> {
    count: &'a AtomicU32,
    /// The participant that broke the barrier, plus one.
    gone: &'a AtomicU32,
    phase: &'a AtomicU32,
    participants: u32,
}

/// What [`Meeting::state`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The phase goes on: not everybody has come.
    Open,
    /// Everybody came.
    Complete,
    /// Somebody will not come.
    Broken,
}

/// Words of a meeting: two cache lines.
pub(super) const WORDS: usize = 32;

/// In `count`: how many have arrived. Twice as many as can be fit, for those who arrive when it was just broken.
const ARRIVED: u32 = 0xFFF;
const COUNT_BROKEN: u32 = 1 << 12;
/// In `count`: one phase.
const ONE_PHASE: u32 = 1 << 13;

/// In `phase`: its number, which has as many bits as there are for it in `count`.
const NUMBER: u32 = (1 << 19) - 1;
const PHASE_BROKEN: u32 = 1 << 30;
/// In `phase`: somebody sleeps.
const ASLEEP: u32 = 1 << 31;

/// The number of the next phase.
pub(super) fn after(phase: u32) -> u32 {
    (phase + 1) & NUMBER
}

impl<'a> Meeting<'a> {
    pub(super) fn new(cells: &'a [AtomicU32], participants: usize) -> Self {
        Self {
            count: &cells[0],
            gone: &cells[1],
            phase: &cells[16],
            // At most 1,024.
            participants: u32::try_from(participants).unwrap_or(ARRIVED / 2),
        }
    }

    /// Makes it as new. Nobody is a member.
    pub(super) fn renew(self) {
        for word in [self.count, self.gone, self.phase] {
            word.store(0, Ordering::SeqCst);
        }
    }

    /// The number of the phase that is not complete yet.
    pub(super) fn phase(self) -> u32 {
        self.phase.load(Ordering::Acquire) & NUMBER
    }

    /// Arrives in `phase`. Returns true to the one who was last.
    #[inline]
    pub(super) fn arrive(self, phase: u32) -> bool {
        let before = self.count.fetch_add(1, Ordering::AcqRel);
        let is_last = before & COUNT_BROKEN == 0 && before & ARRIVED == self.participants - 1;
        if is_last {
            self.complete(phase, before + 1);
        }
        is_last
    }

    /// What those who wait in `phase` are told.
    #[inline]
    pub(super) fn state(self, phase: u32) -> State {
        let word = self.phase.load(Ordering::Acquire);
        if word & NUMBER != phase {
            State::Complete
        } else if word & PHASE_BROKEN != 0 {
            State::Broken
        } else {
            State::Open
        }
    }

    /// Tells those who wait in `phase` what `count` says, if the one who was to tell them died before that.
    pub(super) fn catch_up(self, phase: u32) {
        let count = self.count.load(Ordering::Acquire);
        if count & COUNT_BROKEN != 0 {
            self.tell_broken();
        } else if count / ONE_PHASE != phase {
            self.tell_complete(phase);
        } else if count & ARRIVED == self.participants {
            self.complete(phase, count);
        }
    }

    /// Sleeps for at most `time` while `phase` goes on.
    pub(super) fn sleep(self, phase: u32, time: Duration) {
        let asleep = phase | ASLEEP;
        let set = (self.phase).compare_exchange(phase, asleep, Ordering::SeqCst, Ordering::SeqCst);
        if set.is_ok() || set == Err(asleep) {
            sleep_while(self.phase, asleep, time);
        }
    }

    /// Breaks the barrier because `participant` is gone, unless all have arrived in `phase`.
    pub(super) fn break_up(self, phase: u32, participant: usize) {
        let number = u32::try_from(participant + 1).unwrap_or(0);
        let _ = (self.gone).compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst);
        let is_open = |count: u32| {
            let goes_on = count / ONE_PHASE == phase && count & ARRIVED < self.participants;
            (goes_on && count & COUNT_BROKEN == 0).then_some(count | COUNT_BROKEN)
        };
        let broken = (self.count).fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_open);
        if broken.is_ok() {
            self.tell_broken();
        }
    }

    /// The participant that broke the barrier.
    pub(super) fn gone(self) -> usize {
        let number = self.gone.load(Ordering::SeqCst);
        number.saturating_sub(1) as usize
    }

    /// Begins the next phase. `count` says that everybody is there.
    #[inline]
    fn complete(self, phase: u32, count: u32) {
        let next = after(phase) * ONE_PHASE;
        // It fails for whoever comes second: the next phase has begun.
        let _ = (self.count).compare_exchange(count, next, Ordering::AcqRel, Ordering::Relaxed);
        self.tell_complete(phase);
    }

    fn tell_complete(self, phase: u32) {
        let next = |word: u32| (word & NUMBER == phase).then_some(after(phase));
        let told = (self.phase).fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        if told.is_ok_and(|before| before & ASLEEP != 0) {
            wake(self.phase, u32::MAX);
        }
    }

    fn tell_broken(self) {
        self.phase.fetch_or(PHASE_BROKEN, Ordering::SeqCst);
        wake(self.phase, u32::MAX);
    }
}
