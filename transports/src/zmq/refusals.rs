//! Who was sent away, with a lock of its own.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use numpush_os as os;

use crate::error::Error;

/// Most reasons that are kept until somebody asks for them.
const KEPT: usize = 16;

/// The peers that a socket has sent away, and how many shake hands.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    recent: Mutex<VecDeque<Error>>,
    count: AtomicU64,
    handshakes: AtomicUsize,
}

impl Refusals {
    /// One was sent away.
    pub(super) fn note(&self, why: Error) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut recent = os::lock(&self.recent);
        if recent.len() == KEPT {
            recent.pop_front();
        }
        recent.push_back(why);
    }

    /// The oldest that nobody has asked for.
    pub(super) fn take(&self) -> Option<Error> {
        os::lock(&self.recent).pop_front()
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How many peers shake hands now.
    pub(super) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    pub(super) fn set_handshakes(&self, count: usize) {
        self.handshakes.store(count, Ordering::Relaxed);
    }
}
