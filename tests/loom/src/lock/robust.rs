//! A robust mutex of one word. It orders memory as pthread's does: a failed attempt orders nothing.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loom::sync::{Condvar, Mutex};

use crate::lock::futex::{Futex, died};

const FREE: u32 = 0;
const HELD: u32 = 1;
const OWNER_DIED: u32 = 2;

#[derive(Debug, Default)]
pub(crate) struct Robust(Arc<Word>);

#[derive(Debug, Default)]
struct Word {
    state: Futex,
    /// Where threads sleep. A loop that yields would make an execution endless.
    asleep: Mutex<()>,
    changed: Condvar,
    /// How many do. Not a word of loom's: it only saves steps.
    sleepers: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    Clean,
    OwnerDied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) held_for: Option<Duration>,
}

loom::thread_local! {
    static MINE: RefCell<Vec<Arc<Word>>> = RefCell::new(Vec::new());
}

/// What the kernel does when a thread ends: marks every mutex that it holds.
pub(crate) fn die() {
    MINE.with(|mine| mine.take())
        .into_iter()
        // The kernel's exchange orders everything, unlike the C library's unlock.
        .for_each(|mutex| mutex.become_free(OWNER_DIED, Ordering::SeqCst));
    died();
}

impl Robust {
    pub(crate) fn try_lock(&self) -> Option<Acquired> {
        let take = |from| {
            self.0
                .state
                .word()
                .compare_exchange(from, HELD, Ordering::Acquire, Ordering::Relaxed)
        };
        let taken = match take(FREE) {
            Ok(_) => Acquired::Clean,
            Err(OWNER_DIED) if take(OWNER_DIED).is_ok() => Acquired::OwnerDied,
            Err(_) => return None,
        };
        MINE.with(|mine| mine.borrow_mut().push(Arc::clone(&self.0)));
        Some(taken)
    }

    /// A wait with a deadline ends after one more attempt: loom has no clock.
    pub(crate) fn lock(&self, deadline: Option<Duration>) -> Option<Acquired> {
        if deadline.is_some() {
            loom::thread::yield_now();
            return self.try_lock();
        }
        let mut asleep = self.0.asleep.lock().ok()?;
        self.0.sleepers.fetch_add(1, Ordering::Relaxed);
        let taken = loop {
            if let Some(taken) = self.try_lock() {
                break taken;
            }
            asleep = self.0.changed.wait(asleep).ok()?;
        };
        self.0.sleepers.fetch_sub(1, Ordering::Relaxed);
        Some(taken)
    }

    pub(crate) fn unlock(&self) {
        MINE.with(|mine| {
            mine.borrow_mut()
                .retain(|other| !Arc::ptr_eq(other, &self.0))
        });
        self.0.become_free(FREE, Ordering::Release);
    }

    pub(crate) fn release(&self) {
        self.unlock();
    }

    pub(crate) fn watch(&self) -> Option<(&Futex, u32)> {
        (self.0.state.load() == HELD).then_some((&self.0.state, HELD))
    }

    #[expect(clippy::unused_self, reason = "the real one writes words for reports")]
    pub(crate) fn record_holder(&self) {}

    #[expect(clippy::unused_self, reason = "the real one writes words for reports")]
    pub(crate) fn record_thread(&self) {}

    #[expect(clippy::unused_self, reason = "the real one writes words for reports")]
    pub(crate) fn clear_holder(&self) {}

    #[expect(clippy::unused_self, reason = "the real one reads words for reports")]
    pub(crate) fn holder(&self) -> Option<Holder> {
        None
    }
}

impl Word {
    fn become_free(&self, state: u32, order: Ordering) {
        self.state.word().store(state, order);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            let _asleep = self.asleep.lock();
            self.changed.notify_all();
        }
    }
}

pub(crate) fn now() -> Duration {
    Duration::ZERO
}
