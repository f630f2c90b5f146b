//! Budgets of bytes.

use numpush_os::{self as os, GlobalMutex};

use crate::budget::bank::Bank;

/// One for the process: what a connection may have depends on the whole, and on its own budget, at once.
static BANK: GlobalMutex<Bank> = GlobalMutex::new(Bank::new());

/// Calls the bank. In a forked child nothing is taken at first.
pub(super) fn with<T>(call: impl FnOnce(&mut Bank) -> T) -> T {
    let mut bank = BANK.lock();
    let forks = os::forks();
    if std::mem::replace(&mut bank.forks, forks) != forks {
        bank.reset();
    }
    call(&mut bank)
}

/// A budget of bytes.
#[derive(Debug)]
pub(super) struct Bytes {
    pub(super) level: u64,
}

impl Bytes {
    pub(super) fn new(limit: u64, whole: Option<&Self>) -> Self {
        os::watch_forks();
        let whole = whole.map(|whole| whole.level);
        Self {
            level: with(|bank| bank.open(limit, whole)),
        }
    }

    pub(super) fn set_limit(&self, limit: u64) {
        with(|bank| bank.set_limit(self.level, limit));
    }

    /// Bytes in use, and the limit.
    pub(super) fn used(&self) -> (u64, u64) {
        with(|bank| bank.used(self.level))
    }
}

#[cfg(any(feature = "tcp", feature = "unix"))]
impl Bytes {
    pub(super) fn largest(&self) -> u64 {
        with(|bank| bank.largest(self.level))
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        with(|bank| bank.close(self.level));
    }
}
