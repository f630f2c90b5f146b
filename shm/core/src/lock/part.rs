//! One part of what a lock guards, held to write.

use std::rc::Rc;

use super::divided::{DividedHold, STEPS};
use super::division::Division;
use super::error::LockError;
use super::guards::{WorkHold, WriteHold};
use super::options::LockOptions;
use super::rwlock::RobustRwLock;

/// Which part of which division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the caller fills it in")]
pub struct PartId {
    /// The number of the division: see [`DividedHold::epoch`].
    pub epoch: u64,
    /// How the whole is divided.
    pub division: Division,
    /// Which of the blocks.
    pub number: usize,
}

/// One part of what a lock guards, held to write beside those who work on other parts. Ends when dropped, in the thread
/// that took it.
///
/// # Invariants
/// 1. `part` holds the only lock that was made for part `number` of this division, in this epoch of the whole; nobody else
///    has the part. `id.division` is what the lock of the whole records.
/// 2. The whole is held by this thread's share in the work, or by this thread itself. Until that is dropped, the parts are
///    not taken back: nobody else has the whole.
#[must_use = "dropped at once, it unlocks at once"]
#[derive(Debug)]
pub struct PartHold {
    // Dropped in this order: the part is whole before its worker leaves.
    part: WriteHold,
    whole: Whole,
    id: PartId,
}

#[derive(Debug)]
enum Whole {
    Joined(WorkHold),
    /// The thread that divided the whole works on a part itself.
    Divided(Rc<DividedHold>),
}

impl RobustRwLock {
    /// Takes part `id` of what this lock guards, to write; `lock` is the part's own. In the thread that divided the whole,
    /// too: its division then ends when both are dropped.
    ///
    /// A poison of the part that is accepted is cleared: a part has one writer at a time, who writes all of it.
    ///
    /// # Errors
    /// [`LockError::Retired`] if the parts were taken back; [`LockError::OtherPart`] if this is no part of the division;
    /// else as [`Self::write`], of the part.
    pub fn hold_part(
        &self,
        id: PartId,
        lock: &Self,
        options: LockOptions,
    ) -> Result<PartHold, LockError> {
        // Readers are beside those who write a commit: its parts are no parts of what is written in place.
        if id.epoch & STEPS != 0 {
            return Err(LockError::OtherPart);
        }
        self.hold_any_part(id, lock, options)
    }

    /// As [`Self::hold_part`], in a division of either kind.
    pub(super) fn hold_any_part(
        &self,
        id: PartId,
        lock: &Self,
        options: LockOptions,
    ) -> Result<PartHold, LockError> {
        let PartId {
            epoch,
            division,
            number,
        } = id;
        let whole = match self.join_parts(epoch, division, number) {
            Ok(joined) => Whole::Joined(joined),
            Err(LockError::WouldDeadlock) => {
                let divided = self.divided_here(epoch)?;
                if divided.division() != division {
                    return Err(LockError::OtherPart);
                }
                Whole::Divided(divided)
            }
            Err(error) => return Err(error),
        };
        if number >= division.blocks() || !lock.is_of_part(self, epoch, number) {
            return Err(LockError::OtherPart);
        }
        let mut part = lock.write(options)?;
        part.clear_poison();
        Ok(PartHold { part, whole, id })
    }
}

impl PartHold {
    /// True if it is a part of what `lock` guards.
    pub(crate) fn guards(&self, lock: &RobustRwLock) -> bool {
        match &self.whole {
            Whole::Joined(joined) => joined.guards(lock) && joined.epoch() == self.id.epoch,
            Whole::Divided(divided) => divided.guards(lock),
        }
    }

    /// Which part it is.
    pub fn id(&self) -> PartId {
        self.id
    }

    /// False in a process that was forked from the one that took it.
    pub(super) fn is_ours(&self) -> bool {
        self.part.is_ours()
    }

    /// The part's own lock.
    pub(super) fn part(&self) -> &WriteHold {
        &self.part
    }
}
