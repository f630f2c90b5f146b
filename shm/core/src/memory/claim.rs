//! Who may touch which bytes in this process.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::{Guarded, Pair, SharedPages};
use crate::lock::RobustRwLock;

/// Which bytes are spoken for in this process, and by what right.
#[derive(Debug, Default)]
pub(super) struct Claims {
    ranges: BTreeMap<usize, Claim>,
    /// The lock of each part that was opened, by the lock of the whole, its epoch and the part's number.
    pub(super) parts: HashMap<(usize, u64, usize), (usize, usize)>,
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    end: usize,
    right: Right,
    count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// One owner, who needs no lock.
    Own,
    /// Whoever holds this lock.
    Lock(usize),
    /// Whoever holds this lock, one of two buffers at a time.
    Pair(usize),
}

/// Bytes that somebody else in this process has claimed already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes {} to {} are in use already", .range.start, .range.end)]
pub struct RangeInUse {
    /// The bytes that were asked for.
    pub range: Range<usize>,
}

impl SharedPages {
    pub(super) fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims bytes that only their owner touches, without a lock.
    ///
    /// # Errors
    /// [`RangeInUse`] if somebody in this process has one of them. Other processes are not asked: hand out bytes in the
    /// process that made the memory.
    pub fn claim(self: &Arc<Self>, range: Range<usize>) -> Result<Claimed, RangeInUse> {
        self.take(&range, Right::Own)?;
        Ok(Claimed {
            pages: Arc::clone(self),
            range,
        })
    }

    /// Joins those who touch the bytes under `lock`.
    ///
    /// # Errors
    /// [`RangeInUse`] if somebody in this process has one of them by another right.
    pub fn guard(
        self: &Arc<Self>,
        range: Range<usize>,
        lock: RobustRwLock,
    ) -> Result<Guarded, RangeInUse> {
        self.take(&range, Right::Lock(lock.id()))?;
        Ok(Guarded {
            pages: Arc::clone(self),
            range,
            lock,
        })
    }

    /// Joins those who read and commit the bytes, two buffers of one length, under `lock`.
    ///
    /// # Errors
    /// As [`Self::guard`].
    pub fn pair(
        self: &Arc<Self>,
        range: Range<usize>,
        lock: RobustRwLock,
    ) -> Result<Pair, RangeInUse> {
        self.take(&range, Right::Pair(lock.id()))?;
        Ok(Pair {
            pages: Arc::clone(self),
            range,
            lock,
        })
    }

    fn take(&self, range: &Range<usize>, right: Right) -> Result<(), RangeInUse> {
        let overlap = || RangeInUse {
            range: range.clone(),
        };
        if range.start > range.end || range.end > self.len() {
            return Err(overlap());
        }
        if range.is_empty() {
            return Ok(());
        }
        let mut claims = self.claims();
        if let Some(same) = claims.ranges.get_mut(&range.start)
            && same.end == range.end
            && same.right == right
            && right != Right::Own
        {
            same.count += 1;
            return Ok(());
        }
        let before = claims.ranges.range(..range.end).next_back();
        if before.is_some_and(|(_, claim)| claim.end > range.start) {
            return Err(overlap());
        }
        claims.ranges.insert(
            range.start,
            Claim {
                end: range.end,
                right,
                count: 1,
            },
        );
        Ok(())
    }

    fn give_back(&self, range: &Range<usize>) {
        let mut claims = self.claims();
        if let Some(claim) = claims.ranges.get_mut(&range.start) {
            claim.count -= 1;
            if claim.count == 0 {
                claims.ranges.remove(&range.start);
            }
        }
    }

    /// Changes the right to bytes that one owner has, at once.
    pub(super) fn convert(&self, range: &Range<usize>, right: Right) -> bool {
        if range.is_empty() {
            return true;
        }
        let mut claims = self.claims();
        let Some(claim) = claims
            .ranges
            .get_mut(&range.start)
            .filter(|claim| claim.count == 1)
        else {
            return false;
        };
        claim.right = right;
        true
    }
}

/// Bytes of one owner.
#[derive(Debug)]
pub struct Claimed {
    pub(super) pages: Arc<SharedPages>,
    pub(super) range: Range<usize>,
}

impl Claimed {
    /// The memory they lie in.
    pub fn pages(&self) -> &Arc<SharedPages> {
        &self.pages
    }

    /// Where they lie in it.
    pub fn range(&self) -> &Range<usize> {
        &self.range
    }

    /// The bytes, for writing.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the claim is ours alone in this process, and other processes are not told of the bytes before they
        // are guarded.
        unsafe { self.pages.bytes_mut(&self.range) }
    }

    /// Lets whoever holds `lock` touch the bytes from now on.
    ///
    /// # Panics
    /// Never: a claim has one owner.
    pub fn into_guarded(self, lock: RobustRwLock) -> Guarded {
        let converted = self.pages.convert(&self.range, Right::Lock(lock.id()));
        assert!(converted, "a claim of one owner has one owner");
        let (pages, range) = self.forget();
        Guarded { pages, range, lock }
    }

    /// Lets whoever holds `lock` read or commit the bytes from now on, as two buffers of one length.
    ///
    /// # Panics
    /// Never: a claim has one owner.
    pub fn into_pair(self, lock: RobustRwLock) -> Pair {
        let converted = self.pages.convert(&self.range, Right::Pair(lock.id()));
        assert!(converted, "a claim of one owner has one owner");
        let (pages, range) = self.forget();
        Pair { pages, range, lock }
    }

    /// Splits the claim into one for the bytes up to `at` and one for those from there on.
    ///
    /// # Panics
    /// If there are fewer bytes.
    pub fn split(self, at: usize) -> (Self, Self) {
        assert!(
            at <= self.range.len(),
            "a split of {} bytes at {at}",
            self.range.len()
        );
        let (pages, range) = self.forget();
        let middle = range.start + at;
        let mut claims = pages.claims();
        claims.ranges.remove(&range.start);
        let parts = [range.start..middle, middle..range.end];
        for part in parts.iter().filter(|part| !part.is_empty()) {
            claims.ranges.insert(
                part.start,
                Claim {
                    end: part.end,
                    right: Right::Own,
                    count: 1,
                },
            );
        }
        drop(claims);
        let [first, second] = parts;
        (
            Self {
                pages: Arc::clone(&pages),
                range: first,
            },
            Self {
                pages,
                range: second,
            },
        )
    }

    /// The parts, without giving the claim back.
    fn forget(mut self) -> (Arc<SharedPages>, Range<usize>) {
        let range = std::mem::take(&mut self.range);
        (Arc::clone(&self.pages), range)
    }
}

impl AsRef<[u8]> for Claimed {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: as for `bytes_mut`; the borrow is shared.
        unsafe { self.pages.bytes(&self.range) }
    }
}

macro_rules! give_back {
    ($($name:ident),*) => {
        $(impl Drop for $name {
            fn drop(&mut self) {
                if !self.range.is_empty() {
                    self.pages.give_back(&self.range);
                }
            }
        })*
    };
}

give_back!(Claimed, Guarded, Pair);
