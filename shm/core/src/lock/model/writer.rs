//! `enter_exclusive`, `pass_writer`, `drain_all`, parts, `commit`, and how their guards let go.

use super::drain::after_drain;
use super::state::{ALL_BYTES, CLOSING, FREE, Process, Purpose, Role, Step, Then};
use super::steps::{Fault, Moves};

/// Commits after which a committer has enough: three in a row use each buffer again.
const ENOUGH: u8 = 3;

impl Moves<'_> {
    pub(super) fn write(&mut self, step: Step) {
        let process = *self.process();
        let (id, byte) = (self.id(), self.byte());
        let accepts = matches!(process.role, Role::Repairer | Role::Mender);
        match step {
            Step::Lock => self.lock(&process),
            Step::CloseGate => {
                let open = self.has(Fault::GateLeftOpen);
                self.go(Step::LookParts, |state| state.gate = !open);
            }
            Step::LookParts => {
                let partitioned = self.state.parts != 0;
                self.then(|_, process| match (partitioned, process.purpose) {
                    (true, _) => Step::StoreClosing,
                    (false, Purpose::Pass) => after_drain(process),
                    (false, _) => Step::DrainWord(0),
                });
            }
            Step::StoreClosing | Step::TakeBack => {
                let forgets = self.has(Fault::ForgetBeforeDrain);
                self.then(|state, process| {
                    state.parts = CLOSING;
                    process.partitioned = true;
                    if step == Step::TakeBack {
                        process.purpose = Purpose::TakeBack;
                    }
                    if forgets {
                        Step::Forget
                    } else {
                        Step::DrainWord(0)
                    }
                });
            }
            Step::Forget => {
                let forgot = self.has(Fault::ForgetBeforeDrain);
                self.then(|state, process| {
                    state.parts = 0;
                    if forgot {
                        Step::DrainWord(0)
                    } else {
                        after_drain(process)
                    }
                });
            }
            Step::CheckGeneration => {
                let is_retired = self.state.generation != process.generation;
                let next = if process.purpose == Purpose::Commit {
                    Step::DrainWord(0)
                } else {
                    Step::CheckEpoch
                };
                if !is_retired || self.has(Fault::StaleWriter) {
                    self.go(next, |_| ());
                } else if process.purpose == Purpose::Commit {
                    self.end(Step::Unlock);
                } else {
                    self.end(Step::LookPartsAgain);
                }
            }
            Step::CheckEpoch => {
                let is_dirty = self.state.epoch & 1 == 1;
                if is_dirty && !accepts {
                    self.state.report();
                    return self.end(Step::LookPartsAgain);
                }
                self.then(|state, process| {
                    process.word = if is_dirty { state.dirty } else { 0 };
                    Step::Widen
                });
            }
            Step::Widen => self.go(Step::StoreOdd, |state| state.dirty = ALL_BYTES),
            Step::StoreOdd => {
                let next = match process.role {
                    Role::Coordinator => Step::HandOut,
                    Role::Repairer => Step::BeginWrite,
                    _ => Step::Declare,
                };
                self.go(next, |state| state.epoch |= 1);
            }
            Step::Declare => {
                // A repair is reported for all bytes, whatever it declares.
                let narrow = process.word == 0 || self.has(Fault::NarrowRepair);
                self.go(Step::BeginWrite, |state| {
                    if narrow {
                        state.dirty = byte;
                    }
                });
            }
            Step::BeginWrite => {
                let bytes = if process.role == Role::Repairer {
                    ALL_BYTES
                } else {
                    byte
                };
                self.go(Step::EndWrite, |state| state.torn |= bytes);
            }
            Step::EndWrite => {
                let next = match process.role {
                    Role::Panicking => return self.end(Step::LookPartsAgain),
                    Role::Mender if process.word != 0 => Step::StorePoison,
                    _ => Step::StoreEven,
                };
                self.go(next, |state| {
                    state.torn &= !byte;
                    if process.role == Role::Repairer {
                        state.torn = 0;
                    }
                });
            }
            Step::StorePoison => self.then(|state, process| {
                state.dirty = process.word | byte;
                process.then = Then::End;
                Step::LookPartsAgain
            }),
            Step::StoreEven => self.then(|state, process| {
                state.epoch += 1;
                process.then = Then::End;
                Step::LookPartsAgain
            }),
            Step::HandOut => self.go(Step::TakeBack, |state| state.parts = state.epoch),
            // A part that was not finished leaves the whole poisoned.
            Step::Settle if self.state.torn == 0 => self.go(Step::StoreEven, |_| ()),
            Step::Settle => self.then(|state, process| {
                state.dirty = state.torn;
                process.then = Then::End;
                Step::LookPartsAgain
            }),
            Step::LookPartsAgain => {
                let may_open = self.state.parts == 0 || self.has(Fault::OpenWhileClosing);
                let left = process.purpose == Purpose::Pass && self.has(Fault::GateLeftClosed);
                let next = if may_open && !left {
                    Step::OpenGate
                } else {
                    Step::Unlock
                };
                self.go(next, |_| ());
            }
            Step::OpenGate => self.go(Step::Unlock, |state| state.gate = false),
            step => unreachable!("{step:?} of {id}"),
        }
    }

    /// `lock_writer`: waits for the mutex until the deadline.
    fn lock(&mut self, process: &Process) {
        let id = self.id();
        if self.state.writer == FREE {
            let next = match process.purpose {
                Purpose::Pass => Step::LookParts,
                Purpose::Commit => Step::LoadActive,
                _ => Step::CloseGate,
            };
            self.go(next, |state| state.writer = id);
        } else {
            self.time_out(|_, process| process.end_round());
        }
    }

    /// Lets go by this way, and ends the round.
    fn end(&mut self, way: Step) {
        self.then(|_, process| {
            process.then = Then::End;
            way
        });
    }

    pub(super) fn commit(&mut self, step: Step) {
        match step {
            Step::LoadActive => self.then(|state, process| {
                process.word = state.commits;
                Step::CheckGeneration
            }),
            Step::Committing => self.go(Step::Publish, |_| ()),
            Step::Publish => self.then(|state, process| {
                state.commits = process.word + 1;
                process.then = Then::End;
                if state.commits >= ENOUGH {
                    process.rounds = 1;
                }
                Step::Unlock
            }),
            step => unreachable!("{step:?}"),
        }
    }
}
