//! The steps of one process: which follow from a state, and which file has them.

use super::explore::Case;
use super::state::{FREE, Hold, MOST, Process, Purpose, State, Step, Then};

/// A lock that is wrong in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A reader makes sure of its bit, and then of the gate.
    BitBeforeGate,
    /// A reader that has set its bit does not look at the gate again.
    GateOnce,
    /// A reader sets its hold when it has found the gate open.
    HoldAfterGate,
    /// A reader that finds the gate closed keeps its hold while it waits.
    HoldKept,
    /// A reader does not look at the epoch.
    EpochIgnored,
    /// A reader does not look whether the lock is retired.
    GenerationIgnored,
    /// A reader notes the commits and does not look again.
    CommitsOnce,
    /// A writer does not close the gate.
    GateLeftOpen,
    /// A writer clears the bits before it looks at the holds.
    ClearBeforeLook,
    /// A commit clears bits.
    ClearInCommit,
    /// A commit does not wait for readers.
    CommitWaitsForNobody,
    /// A writer opens the gate while parts are closing.
    OpenWhileClosing,
    /// Who waits for a writer does not open the gate of a dead one.
    GateLeftClosed,
    /// A writer does not look whether the lock is retired.
    StaleWriter,
    /// A repair that declares bytes is reported for these.
    NarrowRepair,
    /// A worker looks at the parts before it sets its hold, and not after.
    WorkerTrustsParts,
    /// Parts are forgotten before the workers have left.
    ForgetBeforeDrain,
    /// A record is cleared whether its thread lives or not.
    ReapLiving,
    /// A record is cleared without its life mutex.
    ReapUnlocked,
    /// Nobody looks whether the thread of a record lives.
    NobodyReaps,
    /// A writer sleeps on the hold alone.
    SleepOnHold,
    /// A writer sleeps on the mutex of the record alone.
    SleepOnLife,
    /// A writer does not mark the hold that it sleeps on.
    HoldUnmarked,
    /// A writer does not mark the mutex that it sleeps on.
    LifeUnmarked,
    /// A writer sleeps although a word has changed since it looked.
    SleepUnchecked,
    /// A writer that is woken does not look again.
    WakeTrusted,
    /// The life of a lock ends without a look at the holds.
    RetireBlind,
    /// The life of a lock ends without the writer's mutex.
    RetireUnlocked,
    /// The lock is made as new when the mutex is free again.
    RenewUnlocked,
}

/// A state that follows.
pub(super) struct Move {
    pub(super) state: State,
    /// False if somebody ran out of patience.
    pub(super) is_step: bool,
}

/// The moves of one process in one state.
pub(super) struct Moves<'a> {
    pub(super) case: &'a Case,
    pub(super) state: &'a State,
    pub(super) me: usize,
    pub(super) out: &'a mut Vec<Move>,
}

impl Moves<'_> {
    pub(super) fn process(&self) -> &Process {
        &self.state.processes[self.me]
    }

    pub(super) fn id(&self) -> u8 {
        u8::try_from(self.me).unwrap()
    }

    /// The process's own byte: what it writes.
    pub(super) fn byte(&self) -> u8 {
        1 << self.me
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.case.fault == Some(fault)
    }

    /// Adds the state after `change`, in which the step `change` returns is the next.
    pub(super) fn then(&mut self, change: impl FnOnce(&mut State, &mut Process) -> Step) {
        self.add(true, change);
    }

    /// Adds a step that changes what is shared, and goes on with `to`.
    pub(super) fn go(&mut self, to: Step, change: impl FnOnce(&mut State)) {
        self.add(true, |state, _| {
            change(state);
            to
        });
    }

    /// Adds the end of a wait at its deadline.
    pub(super) fn time_out(&mut self, change: impl FnOnce(&mut State, &mut Process) -> Step) {
        self.add(false, change);
    }

    fn add(&mut self, is_step: bool, change: impl FnOnce(&mut State, &mut Process) -> Step) {
        let mut state = *self.state;
        let mut process = state.processes[self.me];
        process.step = change(&mut state, &mut process);
        // Whoever takes the mark from a hold wakes its sleepers, in a step of its own.
        process.wakes |= self.state.waited & !state.waited;
        state.processes[self.me] = process;
        self.out.push(Move { state, is_step });
    }

    /// Adds what the process may do next; nothing if it waits or has ended.
    pub(super) fn add_all(&mut self) {
        let process = *self.process();
        if process.wakes != 0 {
            return self.wake_sleepers();
        }
        match process.step {
            Step::Done | Step::Dead => {}
            Step::Unborn if self.state.began > 1 => self.then(|state, process| {
                process.generation = state.began;
                Step::Register(0)
            }),
            Step::Unborn => {}
            Step::Register(tries) => self.register(tries),
            Step::ClearRecord => self.then(|state, process| {
                state.set_hold(usize::from(process.record), Hold::Nothing);
                process.start()
            }),
            Step::Unregister => {
                let wakes = !self.has(Fault::SleepOnHold);
                self.go(Step::Done, |state| state.unlock_life(process.record, wakes));
            }
            Step::Dying => self.go_on_dying(),
            Step::Unlock => self.then(|state, process| {
                state.writer = FREE;
                follow(process)
            }),
            Step::LoadCommits
            | Step::SetHold
            | Step::MayEnter
            | Step::LookBit
            | Step::SetBit
            | Step::CommitsAgain
            | Step::LookGeneration
            | Step::LookDivider
            | Step::EndParts
            | Step::LookEpoch
            | Step::Reading
            | Step::Retract => self.read(process.step),
            Step::BeginPart | Step::EndPart | Step::LeavePart => self.work(process.step),
            Step::DrainWord(_)
            | Step::DrainHold(_)
            | Step::TryLife(_)
            | Step::ReapClear(_)
            | Step::ReapRelease(_)
            | Step::LookAgain(_)
            | Step::DrainClear(_) => self.drain(process.step),
            Step::MarkHold(_) | Step::MarkLife(_) | Step::Sleep(_) | Step::Asleep(_) => {
                self.sleep(process.step);
            }
            Step::LoadActive | Step::Committing | Step::Publish => self.commit(process.step),
            Step::Bump | Step::RetireLock | Step::Renew(_) | Step::Begin => {
                self.own(process.step);
            }
            step => self.write(step),
        }
    }

    /// `LockTable::register`: each begins at a record of its own, and takes the first whose thread is gone.
    fn register(&mut self, tries: u8) {
        let records = self.case.records;
        if usize::from(tries) == records {
            return self.go(Step::Done, |_| ());
        }
        let (id, record) = (self.id(), (self.me + usize::from(tries)) % records);
        if self.state.life[record] != FREE {
            return self.go(Step::Register(tries + 1), |_| ());
        }
        self.then(|state, process| {
            state.life[record] = id;
            process.record = u8::try_from(record).unwrap();
            Step::ClearRecord
        });
    }

    /// The kernel frees what a thread held, the last first.
    fn go_on_dying(&mut self) {
        let (id, own) = (self.id(), self.process().record);
        let mine = |record: &usize| self.state.life[*record] == id;
        let reaped = (0..MOST).filter(|record| *record != usize::from(own));
        let life = reaped.clone().find(mine);
        let wakes = !self.has(Fault::SleepOnHold);
        match life {
            Some(record) => self.go(Step::Dying, |state| state.kernel_frees(record, wakes)),
            None if self.state.writer == id => self.go(Step::Dying, |state| state.writer = FREE),
            None => self.then(|state, process| {
                if state.life[usize::from(own)] == id {
                    state.kernel_frees(usize::from(own), wakes);
                }
                *process = Process::new(process.role, 0, Step::Dead);
                Step::Dead
            }),
        }
    }
}

/// The step that follows when the hold or the mutex is let go.
pub(super) fn follow(process: &mut Process) -> Step {
    match process.then {
        Then::End => process.end_round(),
        Then::Read => process.first(),
        Then::Pass => {
            process.purpose = Purpose::Pass;
            Step::Lock
        }
        Then::Begin => Step::Begin,
        Then::Renew => Step::Renew(0),
        Then::Retract => {
            process.then = Then::End;
            Step::Retract
        }
    }
}

impl State {
    /// The state in which a process begins to die, if it lives.
    pub(super) fn killed(&self, me: usize) -> Option<Self> {
        let Process { step, role, .. } = self.processes[me];
        let lives = !matches!(step, Step::Unborn | Step::Done | Step::Dead | Step::Dying);
        lives.then(|| {
            let mut next = *self;
            next.processes[me] = Process {
                record: self.processes[me].record,
                ..Process::new(role, 0, Step::Dying)
            };
            next
        })
    }
}
