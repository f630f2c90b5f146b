//! `RawLock::enter_shared`, and `be_seen`, which readers and workers share.

use super::state::{ALL_BYTES, CLOSING, FREE, Hold, Process, Purpose, Role, State, Step, Then};
use super::steps::{Fault, Moves, follow};

impl Moves<'_> {
    pub(super) fn read(&mut self, step: Step) {
        let process = *self.process();
        let record = usize::from(process.record);
        let is_worker = matches!(process.role, Role::Worker(_));
        match step {
            Step::LoadCommits => {
                let next = if self.has(Fault::HoldAfterGate) {
                    Step::MayEnter
                } else {
                    Step::SetHold
                };
                self.then(|state, process| {
                    process.word = state.commits;
                    next
                });
            }
            Step::SetHold => {
                let (hold, next) = match process.role {
                    Role::Worker(_) if self.has(Fault::WorkerTrustsParts) => {
                        (Hold::Works, Step::LookBit)
                    }
                    Role::Worker(_) => (Hold::Works, Step::MayEnter),
                    _ if self.has(Fault::BitBeforeGate) => {
                        (Hold::Reads(process.word & 1), Step::LookBit)
                    }
                    _ if self.has(Fault::HoldAfterGate) => {
                        (Hold::Reads(process.word & 1), Step::CommitsAgain)
                    }
                    _ => (Hold::Reads(process.word & 1), Step::MayEnter),
                };
                self.go(next, |state| state.set_hold(record, hold));
            }
            Step::MayEnter => self.may_enter(&process),
            Step::LookBit => {
                let is_set = self.state.seen & (1 << record) != 0;
                let next = match (is_set, is_worker) {
                    (false, _) => Step::SetBit,
                    (true, true) => Step::LookGeneration,
                    (true, false) if self.has(Fault::BitBeforeGate) => Step::MayEnter,
                    (true, false) if self.has(Fault::HoldAfterGate) => Step::SetHold,
                    (true, false) => self.after_seen(),
                };
                self.go(next, |_| ());
            }
            Step::SetBit => {
                let trusts = is_worker && self.has(Fault::WorkerTrustsParts);
                let next = if trusts || self.has(Fault::BitBeforeGate) {
                    Step::LookBit
                } else if self.has(Fault::GateOnce) {
                    Step::CommitsAgain
                } else {
                    Step::MayEnter
                };
                self.go(next, |state| state.seen |= 1 << record);
            }
            Step::CommitsAgain if self.state.commits == process.word => {
                self.go(Step::LookGeneration, |_| ());
            }
            Step::CommitsAgain => self.retract(Then::Read),
            Step::LookGeneration => {
                let is_retired = self.state.generation != process.generation;
                if is_retired && !self.has(Fault::GenerationIgnored) {
                    self.retract(Then::End);
                } else if is_worker {
                    self.go(Step::LookDivider, |_| ());
                } else {
                    self.go(Step::LookEpoch, |_| ());
                }
            }
            // `is_divider_alive`: a coordinator that lives has the mutex.
            Step::LookDivider if self.state.writer == FREE => {
                let id = self.id();
                self.go(Step::EndParts, |state| state.writer = id);
            }
            Step::LookDivider => self.go(Step::BeginPart, |_| ()),
            Step::EndParts => self.then(|state, process| {
                state.parts = CLOSING;
                process.then = Then::Retract;
                Step::Unlock
            }),
            Step::LookEpoch => {
                let refused = self.state.epoch & 1 == 1 && process.role != Role::Accepting;
                if refused && !self.has(Fault::EpochIgnored) {
                    self.state.report();
                    self.retract(Then::End);
                } else {
                    self.go(Step::Reading, |_| ());
                }
            }
            Step::Reading => self.then(|state, process| {
                state.set_hold(record, Hold::Nothing);
                process.end_round()
            }),
            Step::Retract => {
                let kept = self.has(Fault::HoldKept) && process.then == Then::Pass;
                self.then(|state, process| {
                    if !kept {
                        state.set_hold(record, Hold::Nothing);
                    }
                    follow(process)
                });
            }
            step => unreachable!("{step:?}"),
        }
    }

    fn may_enter(&mut self, process: &Process) {
        if let Role::Worker(epoch) = process.role {
            let first = self.has(Fault::WorkerTrustsParts)
                && self.state.hold[usize::from(process.record)] == Hold::Nothing;
            return match (self.state.parts == epoch, first) {
                (true, true) => self.go(Step::SetHold, |_| ()),
                (true, false) => self.go(Step::LookBit, |_| ()),
                (false, _) => self.retract(Then::End),
            };
        }
        if self.state.gate {
            self.retract(Then::Pass);
        } else if self.has(Fault::BitBeforeGate) {
            self.go(self.after_seen(), |_| ());
        } else {
            self.go(Step::LookBit, |_| ());
        }
    }

    fn after_seen(&self) -> Step {
        if self.has(Fault::CommitsOnce) {
            Step::LookGeneration
        } else {
            Step::CommitsAgain
        }
    }

    fn retract(&mut self, then: Then) {
        self.then(|_, process| {
            process.then = then;
            Step::Retract
        });
    }
}

impl State {
    /// Somebody is told of poison: only if the writer is gone, and of every byte that may be torn.
    pub(super) fn report(&self) {
        let writes = |process: &Process| {
            process.purpose == Purpose::Write
                && matches!(
                    process.step,
                    Step::Declare | Step::BeginWrite | Step::EndWrite | Step::HandOut
                )
        };
        assert!(
            !self.processes.iter().any(writes),
            "a living writer is reported as dead: {self:?}"
        );
        assert!(
            self.torn & !self.dirty == 0 || self.dirty == ALL_BYTES,
            "a report leaves out torn bytes: {self:?}"
        );
    }
}
