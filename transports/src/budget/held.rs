//! The bytes that a connection has of its budgets. Dropped, they are given back.

use std::time::Instant;

use numpush_message::AllocError;
use numpush_os as os;

use crate::budget::bank::Short;
use crate::budget::bytes::{Bytes, with};

/// What a connection promises its peer.
#[derive(Debug)]
pub(crate) struct Promise {
    bytes: Bytes,
    /// Bytes that it has, and the most it would have.
    own: u64,
    most: u64,
    forks: u32,
}

impl Promise {
    pub(super) fn new(bytes: &Bytes, most: u64) -> Self {
        let (_, own) = with(|bank| bank.promise(bytes.level(), 0, 0, most, true));
        Self {
            bytes: bytes.clone(),
            own,
            most,
            forks: os::forks(),
        }
    }

    /// Bytes that the connection has.
    pub(crate) fn bytes(&self) -> u64 {
        self.own
    }

    /// Takes more, or gives back what is not needed for the `floor` that the peer has. Returns what is to be promised from now on.
    pub(crate) fn renew(&mut self, floor: u64) -> u64 {
        let Self { own, most, .. } = *self;
        if self.forks != os::forks() {
            return own;
        }
        let level = self.bytes.level();
        let (promise, own) = with(|bank| bank.promise(level, own, floor, most, false));
        self.own = own;
        promise
    }

    /// Gives back all but `bytes`: nothing is promised any more.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let spare = self.own.saturating_sub(bytes);
        if spare > 0 && self.forks == os::forks() {
            self.own = bytes;
            with(|bank| bank.give_back(self.bytes.level(), spare));
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if self.forks == os::forks() {
            with(|bank| bank.give_back(self.bytes.level(), self.own));
        }
    }
}

/// What a message has that is within no promise.
#[derive(Debug)]
pub(crate) struct Claim {
    id: u64,
    total: u64,
    /// Bytes that it has.
    covered: u64,
    forks: u32,
    /// Its budget is closed after it.
    _bytes: Bytes,
}

impl Claim {
    pub(super) fn new(bytes: &Bytes, total: u64) -> Self {
        Self {
            id: with(|bank| bank.claim(bytes.level(), total)),
            total,
            covered: 0,
            forks: os::forks(),
            _bytes: bytes.clone(),
        }
    }

    /// Bytes that it has.
    pub(crate) fn covered(&self) -> u64 {
        self.covered
    }

    /// Bytes that it may have.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Its message has come: it waits for its program.
    pub(crate) fn is_whole(&self) {
        if self.forks == os::forks() {
            with(|bank| bank.is_whole(self.id));
        }
    }

    /// Takes `bytes` in all, or more. Returns how many it has.
    ///
    /// # Errors
    /// [`AllocError::Budget`] while others have them; [`AllocError::TooLarge`] if there are never so many.
    pub(crate) fn cover(&mut self, bytes: u64) -> Result<u64, AllocError> {
        if bytes <= self.covered || self.forks != os::forks() {
            return Ok(self.covered);
        }
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let len = size(self.total);
        let now = Instant::now();
        match with(|bank| bank.cover(self.id, bytes, now)) {
            Ok(covered) => {
                self.covered = covered;
                Ok(covered)
            }
            Err(Short::Now { used, limit }) => Err(AllocError::Budget {
                len,
                used: size(used),
                budget: size(limit),
            }),
            Err(Short::Ever { most }) => Err(AllocError::TooLarge {
                len,
                max: size(most),
            }),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.forks == os::forks() {
            with(|bank| bank.end(self.id));
        }
    }
}

#[cfg(all(test, any(feature = "tcp", feature = "unix")))]
mod tests {
    use super::*;

    /// The last clone of a budget may go before what was taken of it.
    #[test]
    fn what_outlives_its_budget_is_given_back_to_the_whole() {
        let whole = Bytes::new(64 << 20, None);
        let part = Bytes::new(u64::MAX, Some(&whole));
        let promise = Promise::new(&part, 1 << 20);
        let mut claim = Claim::new(&part, 3 << 20);
        claim.cover(3 << 20).unwrap();
        let taken = promise.bytes() + (3 << 20);
        drop(part);
        assert_eq!(whole.used().0, taken);
        drop(claim);
        assert_eq!(whole.used().0, promise.bytes());
        drop(promise);
        assert_eq!(whole.used().0, 0);
    }

    /// A part has its whole for as long as anything is taken of it.
    #[test]
    fn a_whole_stays_while_its_parts_have_something() {
        let whole = Bytes::new(64 << 20, None);
        let level = whole.level();
        let part = Bytes::new(u64::MAX, Some(&whole));
        let promise = Promise::new(&part, 1 << 20);
        drop((whole, part));
        assert_eq!(with(|bank| bank.used(level)), (promise.bytes(), 64 << 20));
        drop(promise);
        assert_eq!(with(|bank| bank.used(level)), (0, 0));
    }
}
