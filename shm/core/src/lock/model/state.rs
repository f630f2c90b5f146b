//! What the processes share, and where each of them is.

/// Nobody's.
pub(super) const FREE: u8 = 255;
/// In place of an epoch: parts are being taken back.
pub(super) const CLOSING: u8 = 254;
/// In place of what a process sleeps on.
pub(super) const NOTHING: (Hold, u8) = (Hold::Nothing, FREE);
/// Every byte.
pub(super) const ALL_BYTES: u8 = 255;
/// Most processes of a case.
pub(super) const MOST: usize = 4;
/// Records that have their bits in one word.
pub(super) const WORD: usize = 2;

/// What a process does, as often as its case says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// Reads the last commit; refuses poison.
    Reader,
    /// Reads, and keeps its record: a thread that does something else from then on.
    Staying,
    /// Reads poison too: an unfinished write, but nobody may go on with it meanwhile.
    Accepting,
    /// Writes the bytes it declares; refuses poison.
    Writer,
    /// The same, and lets go in a panic before it has finished.
    Panicking,
    /// Accepts poison, writes everything, and says that it is whole.
    Repairer,
    /// Accepts poison, declares some bytes, writes these, and does not say so.
    Mender,
    /// Hands out parts and takes them back, again and again if that times out.
    Coordinator,
    /// Works on a part of this epoch.
    Worker(u8),
    Committer,
    /// Ends the life of the lock, and begins the next if nobody is inside.
    Owner,
}

/// The step that a process takes next. A number is that of a record or of a word of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Comes when the lock's next life has begun.
    Unborn,
    Register(u8),
    ClearRecord,
    // `RawLock::enter_shared`, `be_seen`, and `join_parts`.
    LoadCommits,
    SetHold,
    MayEnter,
    LookBit,
    SetBit,
    CommitsAgain,
    LookGeneration,
    LookDivider,
    EndParts,
    LookEpoch,
    Reading,
    BeginPart,
    EndPart,
    LeavePart,
    Retract,
    // `pass_writer` and `enter_exclusive`.
    Lock,
    CloseGate,
    LookParts,
    StoreClosing,
    Forget,
    CheckGeneration,
    CheckEpoch,
    Widen,
    StoreOdd,
    Declare,
    BeginWrite,
    EndWrite,
    StorePoison,
    StoreEven,
    HandOut,
    TakeBack,
    Settle,
    LookPartsAgain,
    OpenGate,
    Unlock,
    // `drain` and `reap`.
    DrainWord(u8),
    DrainHold(u8),
    TryLife(u8),
    ReapClear(u8),
    ReapRelease(u8),
    LookAgain(u8),
    MarkHold(u8),
    MarkLife(u8),
    Sleep(u8),
    Asleep(u8),
    DrainClear(u8),
    // `commit`.
    LoadActive,
    Committing,
    Publish,
    // `retire` and `begin`.
    Bump,
    RetireLock,
    Renew(u8),
    Begin,
    // The end of the thread, or the kernel's walk through what it held.
    Unregister,
    Done,
    Dying,
    Dead,
}

/// Why a process has the writer's mutex, or wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    Pass,
    Write,
    TakeBack,
    Commit,
    Retire,
}

/// What follows when the hold or the mutex is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Then {
    End,
    Read,
    Pass,
    Begin,
    Renew,
    Retract,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Hold {
    Nothing,
    /// Reads a commit with this last bit.
    Reads(u8),
    Works,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) role: Role,
    pub(super) step: Step,
    /// How often it still does what its role says.
    pub(super) rounds: u8,
    pub(super) record: u8,
    /// The life that its handle is for.
    pub(super) generation: u8,
    pub(super) purpose: Purpose,
    pub(super) then: Then,
    /// The commits, or the poison, that it has read.
    pub(super) word: u8,
    /// The bits that it has read.
    pub(super) bits: u8,
    /// The hold, and the owner of the record, that it sleeps on.
    pub(super) awaited: (Hold, u8),
    /// Records whose hold it has changed, and whose sleepers it has not woken yet: a bit for each.
    pub(super) wakes: u8,
    pub(super) partitioned: bool,
}

/// All that the processes share, the processes, and what is true of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) writer: u8,
    pub(super) life: [u8; MOST],
    pub(super) hold: [Hold; MOST],
    /// Records of which the hold is marked: whoever changes it wakes who sleeps on it.
    pub(super) waited: u8,
    /// Records of which the owner's mutex is marked: the kernel wakes who sleeps on it when the owner dies.
    pub(super) watched: u8,
    pub(super) seen: u8,
    pub(super) gate: bool,
    pub(super) epoch: u8,
    pub(super) generation: u8,
    pub(super) parts: u8,
    pub(super) commits: u8,
    pub(super) dirty: u8,
    /// Bytes of which a write was begun and not finished.
    pub(super) torn: u8,
    /// The life that was begun last.
    pub(super) began: u8,
    pub(super) processes: [Process; MOST],
}

impl State {
    /// Sets the hold of `record`, which takes the mark from it: `Futex::swap`.
    pub(super) fn set_hold(&mut self, record: usize, hold: Hold) {
        self.hold[record] = hold;
        self.waited &= !(1 << record);
    }
}

impl Process {
    pub(super) fn new(role: Role, rounds: u8, step: Step) -> Self {
        Self {
            role,
            step,
            rounds,
            record: 0,
            generation: 1,
            purpose: Purpose::Write,
            then: Then::End,
            word: 0,
            bits: 0,
            awaited: NOTHING,
            wakes: 0,
            partitioned: false,
        }
    }

    /// True if no step of its own follows.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.step, Step::Unborn | Step::Done | Step::Dead)
    }

    /// The first step of a round.
    pub(super) fn first(&self) -> Step {
        match self.role {
            Role::Reader | Role::Staying | Role::Accepting => Step::LoadCommits,
            Role::Worker(_) => Step::SetHold,
            Role::Owner => Step::Bump,
            _ => Step::Lock,
        }
    }

    /// Ends a round, and returns the step that follows.
    pub(super) fn end_round(&mut self) -> Step {
        let Self {
            role,
            rounds,
            record,
            generation,
            ..
        } = *self;
        *self = Self {
            record,
            generation,
            ..Self::new(role, rounds.saturating_sub(1), Step::Done)
        };
        if self.rounds == 0 && role == Role::Staying {
            Step::Done
        } else if self.rounds == 0 {
            Step::Unregister
        } else {
            self.start()
        }
    }

    /// Begins a round, and returns its first step.
    pub(super) fn start(&mut self) -> Step {
        self.purpose = match self.role {
            Role::Committer => Purpose::Commit,
            Role::Owner => Purpose::Retire,
            _ => Purpose::Write,
        };
        self.first()
    }
}
