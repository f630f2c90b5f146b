//! Which locks this thread holds: to refuse what would deadlock, and what the kernel could not clean up.

use std::cell::RefCell;

use crate::lock::error::LockError;
use crate::lock::identity::forks;

/// Most robust mutexes a thread may hold. When a thread dies the kernel walks 2,048 of them (ROBUST_LIST_LIMIT) and
/// leaves the rest locked for ever.
pub const MAX_HELD: usize = 1024;

struct Held {
    forks: u32,
    mutexes: usize,
    /// Addresses of the locks, each held once.
    locks: Vec<usize>,
}

thread_local! {
    static HELD: RefCell<Held> = const { RefCell::new(Held { forks: 0, mutexes: 0, locks: Vec::new() }) };
}

/// Notes that this thread is about to take `lock`, which takes `mutexes` of them.
pub(crate) fn enter(lock: usize, mutexes: usize) -> Result<(), LockError> {
    HELD.with_borrow_mut(|held| {
        let forks = forks();
        // What was held in the parent of a fork is the parent's.
        if held.forks != forks {
            *held = Held { forks, mutexes: 0, locks: Vec::new() };
        }
        if held.locks.contains(&lock) {
            return Err(LockError::WouldDeadlock);
        }
        if held.mutexes + mutexes > MAX_HELD {
            return Err(LockError::TooMany { held: held.mutexes, wanted: mutexes, max: MAX_HELD });
        }
        held.locks.push(lock);
        held.mutexes += mutexes;
        Ok(())
    })
}

/// Notes that it holds `lock` no more.
pub(crate) fn leave(lock: usize, mutexes: usize) {
    HELD.with_borrow_mut(|held| {
        if let Some(at) = held.locks.iter().rposition(|&other| other == lock) {
            held.locks.swap_remove(at);
            held.mutexes -= mutexes;
        }
    });
}
