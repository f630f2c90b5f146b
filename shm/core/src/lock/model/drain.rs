//! `RawLock::drain` and `is_empty`, `Wait::for_hold` as far as it looks, `ThreadRecord::reap`.

use super::state::{FREE, Hold, Process, Purpose, Step, Then, WORD};
use super::steps::{Fault, Moves};

impl Moves<'_> {
    pub(super) fn drain(&mut self, step: Step) {
        let process = *self.process();
        let id = self.id();
        match step {
            Step::DrainWord(word) if usize::from(word) * WORD >= self.case.records => {
                self.drained(&process);
            }
            Step::DrainWord(word) => {
                let bits = self.state.seen & mask(word);
                let early = self.has(Fault::ClearBeforeLook) && clears(process.purpose);
                let next = if bits == 0 {
                    Step::DrainWord(word + 1)
                } else {
                    first_of(bits, word * WORD_U8, word)
                };
                self.then(|state, process| {
                    process.bits = bits;
                    if early {
                        state.seen &= !bits;
                    }
                    next
                });
            }
            Step::DrainHold(record) => {
                if self.has_ended(&process, record) {
                    self.next_hold(&process, record);
                } else {
                    self.go(Step::TryLife(record), |_| ());
                }
            }
            Step::TryLife(record) => self.try_life(&process, record),
            Step::ReapClear(record) => self.go(Step::ReapRelease(record), |state| {
                state.set_hold(usize::from(record), Hold::Nothing);
            }),
            Step::ReapRelease(record) => {
                let next = after_record(process.bits, record);
                let wakes = !self.has(Fault::SleepOnHold);
                self.go(next, |state| {
                    if state.life[usize::from(record)] == id {
                        state.unlock_life(record, wakes);
                    }
                });
            }
            Step::LookAgain(record) => {
                if self.has_ended(&process, record) {
                    return self.next_hold(&process, record);
                }
                self.then(|state, process| {
                    process.awaited.0 = state.hold[usize::from(record)];
                    Step::MarkHold(record)
                });
                self.time_out(|_, process| match process.purpose {
                    Purpose::TakeBack => Step::TakeBack,
                    Purpose::Commit => {
                        process.then = Then::End;
                        Step::Unlock
                    }
                    _ => {
                        process.then = Then::End;
                        Step::LookPartsAgain
                    }
                });
            }
            Step::DrainClear(word) => {
                let commits = process.purpose == Purpose::Commit && self.has(Fault::ClearInCommit);
                let bits = process.bits;
                let clears = clears(process.purpose) || commits;
                self.then(|state, process| {
                    process.bits = 0;
                    if clears {
                        state.seen &= !bits;
                    }
                    Step::DrainWord(word + 1)
                });
            }
            step => unreachable!("{step:?}"),
        }
    }

    fn try_life(&mut self, process: &Process, record: u8) {
        let life = self.state.life[usize::from(record)];
        let (id, holds) = (self.id(), !self.has(Fault::ReapUnlocked));
        if (life == FREE && !self.has(Fault::NobodyReaps)) || self.has(Fault::ReapLiving) {
            self.go(Step::ReapClear(record), |state| {
                if holds && life == FREE {
                    state.life[usize::from(record)] = id;
                }
            });
        } else if process.purpose == Purpose::Retire {
            self.then(|_, process| {
                process.then = Then::End;
                Step::Unlock
            });
        } else {
            self.go(Step::LookAgain(record), |_| ());
        }
    }

    /// True if nobody has to wait for what the record holds.
    pub(super) fn has_ended(&self, process: &Process, record: u8) -> bool {
        let nobody = process.purpose == Purpose::Commit && self.has(Fault::CommitWaitsForNobody);
        match self.state.hold[usize::from(record)] {
            Hold::Nothing => true,
            _ if nobody => true,
            Hold::Reads(odd) if process.purpose == Purpose::Commit => odd == process.word & 1,
            Hold::Reads(_) | Hold::Works => false,
        }
    }

    fn next_hold(&mut self, process: &Process, record: u8) {
        self.go(after_record(process.bits, record), |_| ());
    }

    /// Nobody is inside any more.
    fn drained(&mut self, process: &Process) {
        let forgotten = self.has(Fault::ForgetBeforeDrain);
        let (partitioned, late) = (process.partitioned, self.has(Fault::RenewUnlocked));
        self.then(|_, process| match process.purpose {
            Purpose::Retire if late => {
                process.then = Then::Renew;
                Step::Unlock
            }
            Purpose::Retire => Step::Renew(0),
            Purpose::Commit => Step::Committing,
            _ if partitioned && !forgotten => Step::Forget,
            _ => after_drain(process),
        });
    }
}

/// The step after the drain, and after the parts are forgotten if there were any.
pub(super) fn after_drain(process: &mut Process) -> Step {
    process.partitioned = false;
    match process.purpose {
        Purpose::TakeBack => Step::Settle,
        Purpose::Pass => {
            process.then = Then::Read;
            Step::LookPartsAgain
        }
        _ => Step::CheckGeneration,
    }
}

const WORD_U8: u8 = 2;

fn mask(word: u8) -> u8 {
    0b11 << (word * WORD_U8)
}

/// True if a drain for this purpose clears the bits that it has looked at.
fn clears(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::Write | Purpose::Pass | Purpose::TakeBack)
}

/// The next record of the word whose bit is set, or the end of the word.
pub(super) fn after_record(bits: u8, record: u8) -> Step {
    first_of(bits, record + 1, record / WORD_U8)
}

/// The first record from `from` on whose bit is set, or the end of its word.
fn first_of(bits: u8, from: u8, word: u8) -> Step {
    (from..8)
        .find(|record| bits & (1 << record) != 0)
        .map_or(Step::DrainClear(word), Step::DrainHold)
}
