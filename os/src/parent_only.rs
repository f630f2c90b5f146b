//! Descriptors that a forked child closes at once.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard};

use crate::sync::lock;

/// That a child of a fork closes a descriptor of this process before anything else.
///
/// A socket is closed for the other side only when every process has closed it. The child never uses the descriptor,
/// nor drops its owner. It is dropped before the descriptor is closed here: its number may be another's then.
#[derive(Debug)]
#[must_use = "dropped at once, it does nothing"]
pub struct ParentOnly(RawFd);

static ALL: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

impl ParentOnly {
    /// Has children close `descriptor` from now on.
    pub fn new(descriptor: impl AsFd) -> Self {
        let number = descriptor.as_fd().as_raw_fd();
        lock(&ALL).insert(number);
        Self(number)
    }
}

impl Drop for ParentOnly {
    fn drop(&mut self) {
        lock(&ALL).remove(&self.0);
    }
}

/// Held while the process forks, so that the child finds the set whole.
pub(crate) fn hold() -> MutexGuard<'static, BTreeSet<RawFd>> {
    lock(&ALL)
}

/// In the child, closes them all.
pub(crate) fn close_all() {
    for number in std::mem::take(&mut *lock(&ALL)) {
        let _ = nix::unistd::close(number);
    }
}
