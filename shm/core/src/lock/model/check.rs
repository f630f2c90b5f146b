//! What may be in no state.

use super::state::{Process, Purpose, Role, State, Step};

impl Process {
    fn reads(&self) -> bool {
        self.step == Step::Reading
    }

    /// Inside alone, or says so.
    fn writes(&self) -> bool {
        matches!(
            self.step,
            Step::Declare
                | Step::BeginWrite
                | Step::EndWrite
                | Step::StorePoison
                | Step::StoreEven
                | Step::HandOut
                | Step::Settle
        )
    }

    fn works(&self) -> bool {
        matches!(self.step, Step::BeginPart | Step::EndPart | Step::LeavePart)
    }

    fn commits(&self) -> bool {
        self.step == Step::Committing
    }

    /// True if it has handed out parts, and has not taken all of them back.
    fn coordinates(&self) -> bool {
        self.step == Step::TakeBack || (self.purpose == Purpose::TakeBack && self.partitioned)
    }
}

impl State {
    /// Checks that what the lock promises is so.
    pub(super) fn check(&self) {
        let count =
            |is: fn(&Process) -> bool| self.processes.iter().filter(|process| is(process)).count();
        let trusting = count(|process| process.reads() && process.role != Role::Accepting);
        let (readers, writers, workers) = (
            count(Process::reads),
            count(Process::writes),
            count(Process::works),
        );
        let coordinators = count(Process::coordinates);
        assert!(
            trusting == 0 || self.torn == 0,
            "a reader sees an unfinished write: {self:?}"
        );
        assert!(
            writers <= 1 && (writers == 0 || readers + workers == 0),
            "a writer is not alone: {self:?}"
        );
        assert!(
            workers == 0 || readers == 0,
            "a reader beside a worker: {self:?}"
        );
        assert!(
            coordinators == 0 || readers == 0,
            "a reader beside parts: {self:?}"
        );
        let committing = self.processes.iter().find(|process| process.commits());
        if let Some(committer) = committing {
            assert!(
                count(Process::commits) == 1,
                "two commits at once: {self:?}"
            );
            let is_written =
                |reader: &Process| reader.reads() && reader.word & 1 != committer.word & 1;
            assert!(
                !self.processes.iter().any(is_written),
                "a commit is written while it is read: {self:?}"
            );
        }
        let is_old = |process: &Process| {
            let inside =
                process.reads() || process.writes() || process.works() || process.commits();
            inside && process.generation != self.began
        };
        assert!(
            !self.processes.iter().any(is_old),
            "a holder of an old life is inside: {self:?}"
        );
    }
}
