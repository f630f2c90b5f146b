use std::fmt;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::{Duration, Instant};

use numpush_shm_core::{LockOptions, MutexHold};

use super::SharedBarrier;
use super::error::BarrierError;
use super::meeting::{Meeting, State, WORDS, after};
use super::seats::Seats;
use crate::sync::cells::Cells;

/// A thread as a participant of a [`SharedBarrier`]. Dropped, it leaves.
#[must_use = "dropped at once, it leaves at once"]
pub struct BarrierMember<'a> {
    barrier: &'a SharedBarrier,
    // Dropped before the cells: the barrier's memory is in use for as long as the seat is.
    _held: MutexHold,
    cells: Cells<'a, u32>,
    seat: usize,
    phase: u32,
    /// It has arrived in the phase, and timed out there.
    arrived: bool,
    /// How often it looks before it sleeps: more after it has met the others awake, less after it has slept.
    looks: u32,
}

/// Most looks before a thread sleeps: about as long as it takes to wake one. With more participants than processors each
/// look keeps somebody from working, so a thread whose looks are in vain soon sleeps at once.
const MOST_LOOKS: u32 = 4096;
const LEAST_LOOKS: u32 = 16;

/// First and longest time between two looks whether those who are missing live.
const FIRST_SLEEP: Duration = Duration::from_millis(1);
const LAST_SLEEP: Duration = Duration::from_millis(32);

impl<'a> BarrierMember<'a> {
    pub(super) fn join(barrier: &'a SharedBarrier) -> Result<Self, BarrierError> {
        let cells = barrier.cells()?;
        let (joining, _) = barrier.locks();
        let _alone = joining.mutex(LockOptions::default())?;
        let (meeting, seats) = parts(barrier, &cells);
        let taken = seats.take(|| meeting.renew())?;
        let full = || BarrierError::Full {
            participants: barrier.participants(),
        };
        let (seat, held) = taken.ok_or_else(full)?;
        let phase = meeting.phase();
        Ok(Self {
            barrier,
            _held: held,
            cells,
            seat,
            phase,
            arrived: false,
            looks: MOST_LOOKS,
        })
    }

    /// The number of this participant, from 0.
    pub fn number(&self) -> usize {
        self.seat
    }

    /// Waits until all participants are here. Returns true in one of them, the last to come.
    ///
    /// What each of them has written before is seen by all of them after.
    ///
    /// # Errors
    /// [`BarrierError::Broken`] if a participant that has not come is gone. Everybody who waits gets it, and everybody who
    /// comes later.
    pub fn wait(&mut self) -> Result<bool, BarrierError> {
        self.wait_with(LockOptions::default())
    }

    /// As [`Self::wait`], with a timeout.
    ///
    /// # Errors
    /// As [`Self::wait`]; [`BarrierError::Timeout`] names who has not come. This thread counts as arrived nevertheless, and
    /// its next wait goes on with this one.
    pub fn wait_with(&mut self, options: LockOptions) -> Result<bool, BarrierError> {
        let (meeting, seats) = parts(self.barrier, &self.cells);
        if meeting.state(self.phase) == State::Broken {
            return Err(broken(meeting, seats));
        }
        let mut is_last = false;
        if !self.arrived {
            is_last = meeting.arrive(self.phase);
            seats.arrive(self.seat, self.phase);
            self.arrived = true;
        }
        if !is_last && !met_awake(meeting, self.phase, &mut self.looks) {
            self.sleep(meeting, seats, options)?;
        }
        self.arrived = false;
        self.phase = after(self.phase);
        Ok(is_last)
    }

    #[cold]
    fn sleep(
        &self,
        meeting: Meeting<'_>,
        seats: Seats<'_>,
        options: LockOptions,
    ) -> Result<(), BarrierError> {
        // A deadline past the clock's end is none.
        let deadline = |timeout| Instant::now().checked_add(timeout);
        let deadline = options.timeout.and_then(deadline);
        let mut time = FIRST_SLEEP;
        loop {
            match meeting.state(self.phase) {
                State::Complete => return Ok(()),
                State::Broken => return Err(broken(meeting, seats)),
                State::Open => {}
            }
            let left = |end: Instant| end.saturating_duration_since(Instant::now());
            let left = deadline.map_or(time, left).min(time);
            if left.is_zero() {
                return Err(BarrierError::Timeout {
                    after: options.timeout.unwrap_or_default(),
                    missing: seats.missing(self.phase).collect(),
                });
            }
            meeting.sleep(self.phase, left);
            if meeting.state(self.phase) == State::Open {
                meeting.catch_up(self.phase);
                if let Some(gone) = seats.gone(self.phase)? {
                    meeting.break_up(self.phase, gone);
                }
                time = (time * 2).min(LAST_SLEEP);
            }
        }
    }
}

/// Looks for a while whether the others come. False if that is not known, or if they do not.
#[inline]
fn met_awake(meeting: Meeting<'_>, phase: u32, looks: &mut u32) -> bool {
    for _ in 0..*looks {
        if meeting.state(phase) == State::Complete {
            *looks = (*looks * 2).min(MOST_LOOKS);
            return true;
        }
        std::hint::spin_loop();
    }
    *looks = (*looks / 2).max(LEAST_LOOKS);
    thread::yield_now();
    false
}

fn parts<'a>(barrier: &'a SharedBarrier, cells: &'a [AtomicU32]) -> (Meeting<'a>, Seats<'a>) {
    let (words, seats) = cells.split_at(WORDS);
    let meeting = Meeting::new(words, barrier.participants());
    (meeting, Seats::new(seats, barrier.locks().1))
}

fn broken(meeting: Meeting<'_>, seats: Seats<'_>) -> BarrierError {
    let participant = meeting.gone();
    let (pid, died) = seats.account(participant);
    BarrierError::Broken {
        participant,
        pid,
        died,
    }
}

impl Drop for BarrierMember<'_> {
    fn drop(&mut self) {
        let (_, seats) = parts(self.barrier, &self.cells);
        seats.leave(self.seat);
    }
}

impl fmt::Debug for BarrierMember<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierMember")
            .field("number", &self.seat)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}
