//! The lock of `shm/core`: its own files, over loom's atomics and a robust mutex made of them.

pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, fence};
}
pub(crate) mod held;
pub(crate) mod identity;
pub(crate) mod robust;

#[path = "../../../../shm/core/src/lock/acquire.rs"]
mod acquire;
#[path = "../../../../shm/core/src/lock/error.rs"]
pub(crate) mod error;
#[path = "../../../../shm/core/src/lock/guards.rs"]
pub(crate) mod guards;
#[path = "../../../../shm/core/src/lock/options.rs"]
pub(crate) mod options;
#[path = "../../../../shm/core/src/lock/rw.rs"]
pub(crate) mod rw;
#[path = "../../../../shm/core/src/lock/wait.rs"]
pub(crate) mod wait;
#[path = "../../../../shm/core/src/lock/words.rs"]
pub(crate) mod words;

/// A new lock with two reader slots. It is never freed, as a real one is never unmapped.
pub(crate) fn new() -> rw::RobustRwLock {
    let head: &'static words::Head = Box::leak(Box::new(words::Head {
        writer: robust::Robust::default(),
        epoch: words::Epoch::default(),
        commit: words::Commit::default(),
        waiting: words::Waiting::default(),
    }));
    let slots: &'static [robust::Robust] = Box::leak(Box::<[robust::Robust; 2]>::default());
    let generation = head.begin();
    rw::RobustRwLock::new(head, slots, generation)
}
