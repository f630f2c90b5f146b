//! The side of who divides a value: the lock of the whole, and the locks of the parts.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;

use super::division::Division;
use super::drain::Who;
use super::error::{LockError, Poison};
use super::guards::{CommitHold, WriteHold};
use super::options::LockOptions;
use super::owned::OwnedLock;
use super::raw::RawLock;
use super::rwlock::RobustRwLock;
use super::wait::Wait;
use super::words::CLOSING;

/// A lock that is held because parts of what it guards are handed out. Ends when dropped, in the thread that took it: it
/// waits until nobody works on a part any more, and leaves the whole poisoned if a part was not finished.
#[must_use = "dropped at once, it takes the parts back at once"]
#[derive(Debug)]
pub struct DividedHold {
    held: Held,
    lock: RawLock,
    epoch: u64,
    division: Division,
    parts: Vec<DividedPart>,
}

/// The lock of a part, and the bytes of the whole among which those of the part are, for the report of an unfinished one.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "the caller fills it in")]
pub struct DividedPart {
    /// A lock that nothing else has.
    pub lock: OwnedLock,
    /// From the first byte of the part to its last.
    pub bytes: Range<usize>,
}

/// By what right parts are handed out.
#[derive(Debug)]
enum Held {
    /// The whole is written, by parts.
    Write(WriteHold),
    /// The next commit is written, by parts.
    Commit(CommitHold),
}

thread_local! {
    /// What this thread has divided.
    static DIVIDED: RefCell<Vec<Weak<DividedHold>>> = const { RefCell::new(Vec::new()) };
}

impl RobustRwLock {
    /// Takes the lock for writing and hands out parts of what it guards.
    ///
    /// # Errors
    /// As [`Self::write`].
    ///
    /// # Panics
    /// If there are not as many `parts` as blocks.
    pub fn divide(
        &self,
        division: Division,
        parts: Vec<DividedPart>,
        options: LockOptions,
    ) -> Result<Rc<DividedHold>, LockError> {
        let mut held = self.write(options)?;
        let hand_out = |mark: &dyn Fn(u64)| held.hand_out_marked(division, mark);
        let epoch = self.mark_all(&parts, division, hand_out);
        Ok(self.divided(Held::Write(held), epoch, division, parts))
    }

    /// Takes the lock to write the buffer that nobody reads, and hands out parts of it: see [`StepHold`](super::StepHold).
    ///
    /// # Errors
    /// As [`Self::commit`].
    ///
    /// # Panics
    /// As [`Self::divide`].
    pub fn divide_steps(
        &self,
        division: Division,
        parts: Vec<DividedPart>,
        options: LockOptions,
    ) -> Result<Rc<DividedHold>, LockError> {
        let held = self.commit(options)?;
        let head = &self.raw().head;
        let hand_out = |mark: &dyn Fn(u64)| {
            head.division.deal(division);
            head.work.begin();
            // No epoch of a lock that is written comes so far.
            let next = (head.work.division.load(Ordering::Relaxed) + 2) | STEPS | 1;
            head.work.division.store(next, Ordering::Relaxed);
            mark(next);
            head.state.parts.store(next, Ordering::SeqCst);
            next
        };
        let epoch = self.mark_all(&parts, division, hand_out);
        Ok(self.divided(Held::Commit(held), epoch, division, parts))
    }

    /// Hands out parts, each marked before anybody can join.
    fn mark_all(
        &self,
        parts: &[DividedPart],
        division: Division,
        hand_out: impl FnOnce(&dyn Fn(u64)) -> u64,
    ) -> u64 {
        assert_eq!(parts.len(), division.blocks(), "a lock for each part");
        hand_out(&|epoch| {
            for (number, part) in parts.iter().enumerate() {
                part.lock.mark_part(self, epoch, number);
            }
        })
    }

    fn divided(
        &self,
        held: Held,
        epoch: u64,
        division: Division,
        parts: Vec<DividedPart>,
    ) -> Rc<DividedHold> {
        let divided = Rc::new(DividedHold {
            held,
            lock: *self.raw(),
            epoch,
            division,
            parts,
        });
        DIVIDED.with_borrow_mut(|all| {
            all.retain(|one| one.strong_count() > 0);
            all.push(Rc::downgrade(&divided));
        });
        divided
    }

    /// What this thread has divided in `epoch`, if it is this lock that it has.
    pub(super) fn divided_here(&self, epoch: u64) -> Result<Rc<DividedHold>, LockError> {
        // A child that was forked from the thread has not divided it.
        let is_meant = |one: &Rc<DividedHold>| one.guards(self) && one.held.is_ours();
        let found = DIVIDED.with_borrow(|all| all.iter().filter_map(Weak::upgrade).find(is_meant));
        match found {
            Some(divided) if divided.epoch == epoch => Ok(divided),
            // The part is one of an earlier division.
            Some(_) => Err(LockError::Retired),
            None => Err(LockError::WouldDeadlock),
        }
    }
}

impl DividedHold {
    /// The number of the division.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How the value is divided.
    pub fn division(&self) -> Division {
        self.division
    }

    /// The lock of each part, by its number.
    pub fn locks(&self) -> impl ExactSizeIterator<Item = &OwnedLock> {
        self.parts.iter().map(|part| &part.lock)
    }

    /// True if the parts are of what `lock` guards.
    pub(super) fn guards(&self, lock: &RobustRwLock) -> bool {
        lock.raw().is(self.lock.head, self.lock.generation)
    }

    /// Lets no more workers in, waits until the last has left, and returns the number of commits.
    ///
    /// # Errors
    /// [`LockError::Unfinished`] if a worker left its part unfinished, or if some parts have finished a step that others have
    /// not: it is no commit. [`LockError::WouldDeadlock`] if this thread works on a part itself; the division then ends with
    /// that.
    pub fn end(self: Rc<Self>) -> Result<u64, LockError> {
        let mut alone = Rc::try_unwrap(self).map_err(|_| LockError::WouldDeadlock)?;
        alone.take_back()?;
        let commits = alone.lock.head.state.commits.load(Ordering::SeqCst);
        match alone.unfinished(commits) {
            Some(part) => Err(LockError::Unfinished { part }),
            None => Ok(commits),
        }
    }

    fn take_back(&mut self) -> Result<(), LockError> {
        let held = match &mut self.held {
            Held::Write(held) => return held.take_back_parts(None),
            Held::Commit(held) => held,
        };
        let (parts, work) = (&self.lock.head.state.parts, &self.lock.head.work);
        if parts.swap(CLOSING, Ordering::SeqCst) != 0 {
            work.wake();
            let mut wait = Wait::new(held.place(), self.lock.index, None);
            self.lock.drain(&mut wait, Who::Workers)?;
        }
        parts.store(0, Ordering::Release);
        Ok(())
    }

    /// The part that a worker left unfinished, if one did, and if it is known.
    fn unfinished(&self, commits: u64) -> Option<Option<usize>> {
        let dead = |part: &DividedPart| part.lock.lock().raw().is_dirty();
        if let Some(number) = self.parts.iter().position(dead) {
            return Some(Some(number));
        }
        let work = &self.lock.head.work;
        if let Some(part) = work.unfinished() {
            return Some(part);
        }
        let is_behind = |part: &DividedPart| {
            let done = &part.lock.lock().raw().head.state.commits;
            done.load(Ordering::Relaxed) <= commits
        };
        let has_begun = work.finished.load(Ordering::SeqCst) != 0;
        has_begun.then(|| self.parts.iter().position(is_behind))
    }
}

impl Drop for DividedHold {
    fn drop(&mut self) {
        // Waits for workers that still write, not for those that died. Copies in a forked child are not the child's.
        if !self.held.is_ours() {
            return;
        }
        let _ = self.take_back();
        let Held::Write(held) = &mut self.held else {
            return;
        };
        let is_dirty = |part: &&DividedPart| part.lock.lock().raw().is_dirty();
        let unfinished = |part: &DividedPart| {
            // It looks at every thread that may use the lock.
            let poison = part.lock.lock().state().poison?;
            Some(Poison {
                dirty: part.bytes.clone(),
                ..poison
            })
        };
        let mut all = self.parts.iter().filter(is_dirty).filter_map(unfinished);
        if let Some(first) = all.next() {
            // One range for all of them: from the first dirty byte to the last.
            let dirty = all.fold(first.dirty.clone(), |sum, one| {
                sum.start.min(one.dirty.start)..sum.end.max(one.dirty.end)
            });
            held.set_poison(Poison { dirty, ..first });
        }
    }
}

impl Held {
    fn is_ours(&self) -> bool {
        match self {
            Self::Write(held) => held.is_ours(),
            Self::Commit(held) => held.place().is_ours(),
        }
    }
}

/// Set in the numbers of divisions into steps.
pub(super) const STEPS: u64 = 1 << 63;
