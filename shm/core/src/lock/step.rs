//! A part of the next commit of two buffers, which all parts together write step by step.
//!
//! Each worker reads the last commit, writes its part of the next one, and counts itself finished. Whoever is the last of
//! them publishes the commit, and with that the next step begins. Nobody coordinates: the thread that divided the value
//! only keeps the writer's mutex.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::divided::STEPS;
use super::drain::Who;
use super::error::LockError;
use super::options::LockOptions;
use super::part::{PartHold, PartId};
use super::raw::RawLock;
use super::record::{WAITED, is_working, part_of};
use super::rwlock::RobustRwLock;
use super::wait::{FIRST_LOOK, LAST_LOOK, Wait};

/// A part of the next commit, held to write it, in one step after another. Ends when dropped, in the thread that took it:
/// if the step was begun and is not finished, it never will be, and those who wait for it are told.
///
/// # Invariants
/// 1. Unless `stage` is `Finished`, this part has not finished the step after commit `commits`, which therefore is the last
///    commit. Nobody writes its buffer, and only parts of this division write the other one: readers have left it.
#[must_use = "dropped at once, it unlocks at once"]
#[derive(Debug)]
pub struct StepHold {
    part: PartHold,
    lock: RawLock,
    commits: u64,
    stage: Stage,
    timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is written.
    Ready,
    /// Something may be.
    Begun,
    /// All is, and the step waits for others.
    Finished,
}

impl RobustRwLock {
    /// Takes part `id` of the next commit; `lock` is the part's own. Waits while the part is finished and others are not.
    ///
    /// # Errors
    /// [`LockError::Unfinished`] if a worker has left its part unfinished; else as [`Self::hold_part`].
    pub fn hold_step(
        &self,
        id: PartId,
        lock: &Self,
        options: LockOptions,
    ) -> Result<StepHold, LockError> {
        if id.epoch & STEPS == 0 {
            return Err(LockError::OtherPart);
        }
        let part = self.hold_any_part(id, lock, options)?;
        if let Some(part) = self.raw().head.work.unfinished() {
            return Err(LockError::Unfinished { part });
        }
        let mut step = StepHold {
            part,
            lock: *self.raw(),
            commits: 0,
            stage: Stage::Finished,
            timeout: options.timeout,
        };
        let commits = self.raw().head.state.commits.load(Ordering::SeqCst);
        // The part's lock counts no commits of its own: its word has the commit that the part was last written for.
        let done = step.done().load(Ordering::SeqCst);
        step.commits = if done > commits {
            commits
        } else {
            commits.wrapping_sub(1)
        };
        step.begin()?;
        Ok(step)
    }
}

impl RobustRwLock {
    /// Says that nobody will finish part `id` of the step, because the task that was to do it has failed. Those who wait for
    /// it are told. Nothing happens if the parts were taken back, or if they are of a value that is written in place.
    pub fn give_up_part(&self, id: PartId) {
        if id.epoch & STEPS == 0 {
            return;
        }
        let give_up = || self.raw().head.work.give_up(Some(id.number));
        match self.join_parts(id.epoch, id.division, id.number) {
            Ok(_joined) => give_up(),
            Err(LockError::WouldDeadlock) if self.divided_here(id.epoch).is_ok() => give_up(),
            Err(_) => {}
        }
    }
}

impl StepHold {
    /// True if it is a part of what `lock` guards.
    pub(crate) fn guards(&self, lock: &RobustRwLock) -> bool {
        self.part.guards(lock)
    }

    /// Which part it is.
    pub fn id(&self) -> PartId {
        self.part.id()
    }

    /// The last commit, which the step reads. The other buffer is that of the step.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// Notes that the part may be written from now on.
    ///
    /// # Panics
    /// If the step is finished: the wait for the next one has failed.
    pub(crate) fn begin_writing(&mut self) {
        assert!(self.stage != Stage::Finished, "the step is finished");
        self.stage = Stage::Begun;
    }

    /// Says that the part is written. The last part to say so makes the commit.
    ///
    /// # Errors
    /// [`LockError::Unfinished`] if another part was left unfinished.
    pub fn finish(mut self) -> Result<(), LockError> {
        self.count()
    }

    /// As [`Self::finish`], and waits until the next step begins, which is when all parts are finished.
    ///
    /// # Errors
    /// As [`Self::finish`]; [`LockError::Retired`] if the parts are taken back; [`LockError::Timeout`], after which it may
    /// be called again to wait on.
    pub fn next_step(&mut self) -> Result<u64, LockError> {
        self.count()?;
        self.begin()?;
        Ok(self.commits)
    }

    fn count(&mut self) -> Result<(), LockError> {
        if self.stage == Stage::Finished {
            return Ok(());
        }
        let work = &self.lock.head.work;
        if let Some(part) = work.unfinished() {
            return Err(LockError::Unfinished { part });
        }
        let next = self.commits + 1;
        self.done().store(next, Ordering::SeqCst);
        self.stage = Stage::Finished;
        let finished = work.finished.fetch_add(1, Ordering::SeqCst) + 1;
        if finished == self.id().division.blocks() as u64 {
            // Nobody counts before the commit is published: all wait for it.
            work.finished.store(0, Ordering::SeqCst);
            self.lock.head.state.commits.store(next, Ordering::SeqCst);
            work.wake();
        }
        Ok(())
    }

    /// Waits until the step after commit `commits` is over, and begins the next.
    fn begin(&mut self) -> Result<(), LockError> {
        let mut wait = Wait::of_worker(self.lock.index, self.timeout);
        let last = self.last_commit(&mut wait)?;
        // Whoever still reads the buffer that is written next read before the last commit.
        self.lock.drain(&mut wait, Who::ReadersOfOthersThan(last))?;
        (self.commits, self.stage) = (last, Stage::Ready);
        Ok(())
    }

    /// The commit that is read in the next step, when there is one.
    fn last_commit(&self, wait: &mut Wait) -> Result<u64, LockError> {
        for _ in 0..SPINS {
            if let Some(last) = self.look()? {
                return Ok(last);
            }
            std::hint::spin_loop();
        }
        let step = &self.lock.head.work.step;
        let mut look = FIRST_LOOK;
        loop {
            let word = step.load();
            if let Some(last) = self.look()? {
                return Ok(last);
            }
            self.lock.look_for_deaths()?;
            if word & WAITED == 0 && !step.replace(word, word | WAITED) {
                continue;
            }
            step.sleep_while(word | WAITED, wait.nap(look)?);
            look = (look * 2).min(LAST_LOOK);
        }
    }

    /// The last commit, if it is not the one that this part has read; an error if there will be no other.
    #[inline]
    fn look(&self) -> Result<Option<u64>, LockError> {
        let Self { lock, commits, .. } = self;
        let words = &lock.head.state;
        let last = words.commits.load(Ordering::SeqCst);
        if last != *commits {
            return Ok(Some(last));
        }
        if let Some(part) = lock.head.work.unfinished() {
            return Err(LockError::Unfinished { part });
        }
        if words.parts.load(Ordering::SeqCst) != self.id().epoch {
            return Err(LockError::Retired);
        }
        Ok(None)
    }

    fn done(&self) -> &super::atomic::AtomicU64 {
        &self.part.part().words().state.commits
    }
}

impl RawLock {
    /// Notes if a worker has died since it joined, or the thread that handed out the parts.
    ///
    /// Whoever registers in a dead thread's record clears its holds. So the workers are counted too: when none came or
    /// went while the holds were looked at, and there are fewer holds of living threads than workers, one is dead.
    fn look_for_deaths(&self) -> Result<(), LockError> {
        if !self.is_divider_alive() {
            return Err(LockError::Retired);
        }
        let workers = &self.head.work.workers;
        let before = workers.load(Ordering::SeqCst);
        let (mut alive, mut dead) = (0, None);
        for record in self.insiders() {
            let holds = record.holds.iter().map(|hold| hold.load());
            let words: Vec<u32> = holds.filter(|word| is_working(*word, self.index)).collect();
            if record.reap() {
                dead = words.first().and_then(|word| part_of(*word)).or(dead);
            } else {
                alive += words.len() as u64;
            }
        }
        let joined = before & u64::from(u32::MAX);
        if alive < joined && workers.load(Ordering::SeqCst) == before {
            self.head.work.give_up(dead.map(|part| part as usize));
        }
        Ok(())
    }
}

impl Drop for StepHold {
    fn drop(&mut self) {
        if self.stage == Stage::Begun && self.part.is_ours() {
            self.lock.head.work.give_up(Some(self.id().number));
        }
    }
}

/// How often a worker looks for the next step before it sleeps: about as long as it takes to wake up.
const SPINS: u32 = 1000;
