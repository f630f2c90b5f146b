//! The bytes that a connection has of its budgets. Dropped, they are given back.

use std::time::Instant;

use numpush_message::AllocError;
use numpush_os as os;

use crate::budget::bank::Short;
use crate::budget::bytes::{Bytes, with};

/// What a connection promises its peer.
#[derive(Debug)]
pub(crate) struct Promise {
    level: u64,
    /// Bytes that it has, and the most it would have.
    own: u64,
    most: u64,
    forks: u32,
}

impl Promise {
    pub(super) fn new(bytes: &Bytes, most: u64) -> Self {
        let level = bytes.level;
        let (_, own) = with(|bank| bank.promise(level, 0, 0, most, true));
        Self {
            level,
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
        let Self {
            level, own, most, ..
        } = *self;
        if self.forks != os::forks() {
            return own;
        }
        let (promise, own) = with(|bank| bank.promise(level, own, floor, most, false));
        self.own = own;
        promise
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if self.forks == os::forks() {
            with(|bank| bank.give_back(self.level, self.own));
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
}

impl Claim {
    pub(super) fn new(bytes: &Bytes, total: u64) -> Self {
        Self {
            id: with(|bank| bank.claim(bytes.level, total)),
            total,
            covered: 0,
            forks: os::forks(),
        }
    }

    /// Bytes that it has.
    pub(crate) fn covered(&self) -> u64 {
        self.covered
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
