//! The five ways to take a lock, each with the hold it returns.

use std::sync::atomic::Ordering;

use super::division::Division;
use super::drain::Who;
use super::error::LockError;
use super::guards::{CommitHold, MutexHold, ReadHold, WorkHold, WriteHold};
use super::options::LockOptions;
use super::place::Place;
use super::raw::RawLock;
use super::record::works;
use super::robust::Acquired;
use super::rwlock::RobustRwLock;
use super::thread::{Entered, Mode, enter, leave};
use super::wait::Wait;
use super::words::CLOSING;

impl RobustRwLock {
    /// Takes the lock for reading, beside other readers.
    ///
    /// # Errors
    /// [`LockError`].
    // A hold that is returned in memory is copied in other pieces than it was written in, which costs 7 of 27 ns.
    #[inline(always)]
    pub fn read(&self, options: LockOptions) -> Result<ReadHold, LockError> {
        let raw = self.raw();
        match enter(self.table(), raw.id(), Mode::Shared)? {
            Entered::New(place) => match raw.enter_shared(place, options) {
                Ok(()) => Ok(ReadHold::new(raw, place)),
                Err(error) => Err(refused(raw, place, error)),
            },
            Entered::Again(place) => raw.read_again(place, options),
        }
    }

    /// Takes the lock for writing, alone.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn write(&self, options: LockOptions) -> Result<WriteHold, LockError> {
        let (raw, place) = self.enter_alone()?;
        raw.enter_exclusive(place, options)
            .map(|poison| WriteHold::new(raw, place, poison))
            .map_err(|error| refused(raw, place, error))
    }

    /// Takes the lock as a plain mutex, which guards no bytes: what it guards is the caller's, and its to repair.
    ///
    /// # Errors
    /// [`LockError`], never with poison.
    // As for `read`.
    #[inline(always)]
    pub fn mutex(&self, options: LockOptions) -> Result<MutexHold, LockError> {
        let (raw, place) = self.enter_alone()?;
        let writer = &raw.head.writer;
        let taken = match writer.try_lock() {
            Some(taken) => taken,
            None => raw.wait_for_mutex(place, options)?,
        };
        raw.note(taken);
        writer.record_thread();
        if raw.is_retired() {
            return Err(raw.leave_retired(place));
        }
        Ok(MutexHold::new(raw, place, taken == Acquired::OwnerDied))
    }

    /// Takes the lock to write the buffer nobody reads, beside readers of the other.
    ///
    /// # Errors
    /// [`LockError`], never with poison: a commit that was not finished has changed nothing that is read.
    pub fn commit(&self, options: LockOptions) -> Result<CommitHold, LockError> {
        let (raw, place) = self.enter_alone()?;
        let mut wait = Wait::new(place, raw.index, options.timeout);
        let commits = &raw.head.state.commits;
        let entered = raw.lock_writer(&mut wait).and_then(|()| {
            let drain = |wait: &mut Wait| {
                raw.check_generation()?;
                raw.end_parts(wait)?;
                // Whoever still reads the buffer that is written next read before the last commit.
                let current = commits.load(Ordering::SeqCst);
                raw.drain(wait, Who::ReadersOfOthersThan(current))?;
                Ok(current)
            };
            let current = drain(&mut wait).inspect_err(|_| raw.unlock_writer())?;
            Ok(CommitHold::new(raw, place, current))
        });
        entered.map_err(|error| refused(raw, place, error))
    }

    /// As [`Self::read`], without a wait: returns [`LockError::Timeout`] at once, with the holder. Makes no system call.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn try_read(&self) -> Result<ReadHold, LockError> {
        self.read(LockOptions::no_wait())
    }

    /// As [`Self::write`], without a wait.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn try_write(&self) -> Result<WriteHold, LockError> {
        self.write(LockOptions::no_wait())
    }

    /// As [`Self::mutex`], without a wait.
    ///
    /// # Errors
    /// [`LockError`], never with poison.
    pub fn try_mutex(&self) -> Result<MutexHold, LockError> {
        self.mutex(LockOptions::no_wait())
    }

    /// As [`Self::commit`], without a wait.
    ///
    /// # Errors
    /// [`LockError`], never with poison.
    pub fn try_commit(&self) -> Result<CommitHold, LockError> {
        self.commit(LockOptions::no_wait())
    }

    /// Joins the work on parts that were handed out in `epoch`, when the value was divided in this way, to work on part
    /// `number`.
    ///
    /// # Errors
    /// [`LockError::Retired`] if the parts were taken back, or if the thread that handed them out is dead;
    /// [`LockError::OtherPart`] if the value is divided otherwise.
    pub fn join_parts(
        &self,
        epoch: u64,
        division: Division,
        number: usize,
    ) -> Result<WorkHold, LockError> {
        let raw = self.raw();
        let parts = &raw.head.state.parts;
        let check = |entered: bool| {
            let is_epoch = epoch & 1 == 1 && epoch != CLOSING;
            if !entered || !is_epoch || raw.is_retired() || !raw.is_divider_alive() {
                Err(LockError::Retired)
            } else if !raw.is_divided(division) {
                Err(LockError::OtherPart)
            } else {
                Ok(())
            }
        };
        match enter(self.table(), raw.id(), Mode::Part)? {
            Entered::New(place) => {
                place.set(works(raw.index, number));
                let entered = raw.be_seen(place, || parts.load(Ordering::SeqCst) == epoch);
                check(entered).map_err(|error| {
                    place.set(0);
                    refused(raw, place, error)
                })?;
                raw.head.work.count_in();
                Ok(WorkHold::new(raw, place, epoch))
            }
            // The hold word of the first time keeps the parts from being taken back.
            Entered::Again(place) => {
                let hold = WorkHold::new(raw, place, epoch);
                check(parts.load(Ordering::SeqCst) == epoch).map(|()| hold)
            }
        }
    }

    #[inline]
    fn enter_alone(&self) -> Result<(&RawLock, Place), LockError> {
        let raw = self.raw();
        match enter(self.table(), raw.id(), Mode::Other)? {
            Entered::New(place) => Ok((raw, place)),
            Entered::Again(_) => unreachable!("only readers and workers come in again"),
        }
    }
}

impl RawLock {
    /// Reads what this thread reads already. It stays as it is; but a lock that was retired meanwhile is gone, and poison that
    /// was accepted once is not accepted for good.
    #[cold]
    fn read_again(&self, place: Place, options: LockOptions) -> Result<ReadHold, LockError> {
        let hold = ReadHold::new(self, place);
        self.check_generation()?;
        match hold.poison() {
            Some(poison) if !options.accept_poison => Err(LockError::Poisoned(poison)),
            _ => Ok(hold),
        }
    }

    #[cold]
    fn wait_for_mutex(&self, place: Place, options: LockOptions) -> Result<Acquired, LockError> {
        Wait::new(place, self.index, options.timeout)
            .for_mutex(&self.head.writer)
            .map_err(|error| refused(self, place, error))
    }

    /// Lets go of the writer's mutex of a lock that was retired.
    #[cold]
    fn leave_retired(&self, place: Place) -> LockError {
        self.unlock_writer();
        refused(self, place, LockError::Retired)
    }
}

/// Ends what [`enter`] began.
#[cold]
fn refused(raw: &RawLock, place: Place, error: LockError) -> LockError {
    leave(raw.id(), place, || ());
    error
}
