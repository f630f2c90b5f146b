//! `Wait::for_hold` as far as it sleeps, `Robust::watch`, and whom a change of either word wakes.

use super::drain::after_record;
use super::state::{FREE, NOTHING, Process, State, Step};
use super::steps::{Fault, Moves};

impl Moves<'_> {
    pub(super) fn sleep(&mut self, step: Step) {
        let process = *self.process();
        match step {
            Step::MarkHold(record) => self.mark_hold(&process, record),
            Step::MarkLife(record) => self.mark_life(record),
            Step::Sleep(record) => {
                let next = if self.has_changed(&process, record) {
                    Step::TryLife(record)
                } else {
                    Step::Asleep(record)
                };
                self.then(|_, process| {
                    process.awaited = NOTHING;
                    next
                });
            }
            // A signal, or the end of the longest sleep. Nobody's progress depends on either.
            Step::Asleep(record) => {
                let trusts = self.has(Fault::WakeTrusted);
                self.time_out(|_, process| process.woken(record, trusts));
            }
            step => unreachable!("{step:?}"),
        }
    }

    fn mark_hold(&mut self, process: &Process, record: u8) {
        let (at, marks) = (usize::from(record), !self.has(Fault::HoldUnmarked));
        if self.state.hold[at] != process.awaited.0 {
            return self.look_again(record);
        }
        self.go(Step::MarkLife(record), |state| {
            if marks {
                state.waited |= 1 << record;
            }
        });
    }

    fn mark_life(&mut self, record: u8) {
        let life = self.state.life[usize::from(record)];
        if life == FREE {
            return self.look_again(record);
        }
        let marks = !self.has(Fault::LifeUnmarked);
        self.then(|state, process| {
            process.awaited.1 = life;
            if marks {
                state.watched |= 1 << record;
            }
            Step::Sleep(record)
        });
    }

    fn look_again(&mut self, record: u8) {
        self.then(|_, process| {
            process.awaited = NOTHING;
            Step::TryLife(record)
        });
    }

    /// The kernel compares both words before it lets the thread sleep.
    fn has_changed(&self, process: &Process, record: u8) -> bool {
        let (state, at, bit) = (self.state, usize::from(record), 1 << record);
        let (hold, life) = process.awaited;
        let same_hold = state.hold[at] == hold
            && (state.waited & bit != 0 || self.has(Fault::HoldUnmarked))
            || self.has(Fault::SleepOnLife);
        let same_life = state.life[at] == life
            && (state.watched & bit != 0 || self.has(Fault::LifeUnmarked))
            || self.has(Fault::SleepOnHold);
        let is_same = (same_hold && same_life) || self.has(Fault::SleepUnchecked);
        !is_same
    }

    /// Wakes who sleeps on a hold that was changed.
    pub(super) fn wake_sleepers(&mut self) {
        let (deaf, trusts) = (self.has(Fault::SleepOnLife), self.has(Fault::WakeTrusted));
        self.then(|state, process| {
            if !deaf {
                state.wake(process.wakes, trusts);
            }
            process.wakes = 0;
            process.step
        });
    }
}

impl State {
    /// Frees the mutex of a record, as its owner does. The C library wakes who sleeps on it.
    pub(super) fn unlock_life(&mut self, record: u8, wakes: bool) {
        self.kernel_frees(record.into(), wakes);
        self.watched &= !(1 << record);
    }

    /// Frees the mutex of a dead thread's record. The mark stays for the next owner.
    pub(super) fn kernel_frees(&mut self, record: usize, wakes: bool) {
        self.life[record] = FREE;
        if wakes {
            self.wake(self.watched & 1 << record, false);
        }
    }

    fn wake(&mut self, records: u8, trusts: bool) {
        for process in &mut self.processes {
            match process.step {
                Step::Asleep(record) if records & 1 << record != 0 => {
                    process.step = process.woken(record, trusts);
                }
                _ => {}
            }
        }
    }
}

impl Process {
    fn woken(&self, record: u8, trusts: bool) -> Step {
        if trusts {
            after_record(self.bits, record)
        } else {
            Step::TryLife(record)
        }
    }
}
