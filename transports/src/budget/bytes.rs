//! Budgets of bytes.

use std::sync::Arc;

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

/// A budget of bytes. It is closed when nobody has it any more: neither a clone nor a promise or a claim of it.
#[derive(Clone, Debug)]
pub(super) struct Bytes(Arc<Level>);

#[derive(Debug)]
struct Level {
    number: u64,
    /// The budget that it is part of. What the part gives back is given back there too.
    _whole: Option<Bytes>,
}

impl Bytes {
    pub(super) fn new(limit: u64, whole: Option<&Self>) -> Self {
        os::watch_forks();
        let number = with(|bank| bank.open(limit, whole.map(Self::level)));
        Self(Arc::new(Level {
            number,
            _whole: whole.cloned(),
        }))
    }

    /// Its number in the bank.
    pub(super) fn level(&self) -> u64 {
        self.0.number
    }

    pub(super) fn set_limit(&self, limit: u64) {
        with(|bank| bank.set_limit(self.level(), limit));
    }

    /// Bytes in use, and the limit.
    pub(super) fn used(&self) -> (u64, u64) {
        with(|bank| bank.used(self.level()))
    }
}

#[cfg(any(feature = "tcp", feature = "unix"))]
impl Bytes {
    pub(super) fn largest(&self, most: u64) -> (u64, u64) {
        with(|bank| bank.largest(self.level(), most))
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        with(|bank| bank.close(self.number));
    }
}
