//! `RawLock::retire`, `Head::renew` and `Head::begin`: the end of a life, and the next.

use super::state::{FREE, Process, Step, Then};
use super::steps::{Fault, Moves};

impl Moves<'_> {
    pub(super) fn own(&mut self, step: Step) {
        let id = self.id();
        match step {
            Step::Bump => {
                let next = if self.has(Fault::RetireUnlocked) {
                    Step::DrainWord(0)
                } else {
                    Step::RetireLock
                };
                self.go(next, |state| state.generation += 1);
            }
            Step::RetireLock if self.state.writer == FREE => {
                let next = if self.has(Fault::RetireBlind) {
                    Step::Renew(0)
                } else {
                    Step::DrainWord(0)
                };
                self.go(next, |state| state.writer = id);
            }
            // The lock stays in quarantine, until the owner looks again.
            Step::RetireLock => self.then(|_, process| process.end_round()),
            Step::Renew(word) => {
                let unlocked = self.has(Fault::RenewUnlocked) || self.has(Fault::RetireUnlocked);
                self.then(|state, process| {
                    process.then = Then::Begin;
                    match word {
                        0 => state.epoch = (state.epoch + 1) & !1,
                        1 => state.parts = 0,
                        2 => state.commits = 0,
                        _ => state.gate = false,
                    }
                    match word {
                        0..3 => Step::Renew(word + 1),
                        _ if unlocked => Step::Begin,
                        _ => Step::Unlock,
                    }
                });
            }
            Step::Begin => self.then(|state, process| {
                state.generation += 1;
                state.began = state.generation;
                // What the lock guards from now on is other memory.
                state.torn = 0;
                *process = Process {
                    rounds: 0,
                    ..*process
                };
                process.end_round()
            }),
            step => unreachable!("{step:?}"),
        }
    }
}
