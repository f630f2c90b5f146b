//! Which locks this thread holds: to refuse what would deadlock, and what the kernel could not clean up.

use std::cell::Cell;

use crate::lock::error::LockError;
use crate::lock::identity::forks;

/// Most robust mutexes a thread may hold. When a thread dies the kernel walks 2,048 of them (ROBUST_LIST_LIMIT) and
/// leaves the rest locked forever.
pub const MAX_HELD: usize = 1024;

/// Cells in a fixed place: a vector would have a destructor, and every access would ask whether it has run.
struct Held {
    forks: Cell<u32>,
    mutexes: Cell<usize>,
    count: Cell<usize>,
    /// Addresses of the locks, each held once. A lock holds a mutex at least, so that there is room.
    locks: [Cell<usize>; MAX_HELD],
}

thread_local! {
    static HELD: Held = const {
        Held {
            forks: Cell::new(0),
            mutexes: Cell::new(0),
            count: Cell::new(0),
            locks: [const { Cell::new(0) }; MAX_HELD],
        }
    };
}

/// Notes that this thread is about to take `lock`, which takes `mutexes` of them.
pub(crate) fn enter(lock: usize, mutexes: usize) -> Result<(), LockError> {
    HELD.with(|held| {
        let forks = forks();
        // What was held in the parent of a fork is the parent's.
        if held.forks.get() != forks {
            held.forks.set(forks);
            held.mutexes.set(0);
            held.count.set(0);
        }
        let (count, sum) = (held.count.get(), held.mutexes.get());
        if held.locks[..count].iter().any(|other| other.get() == lock) {
            return Err(LockError::WouldDeadlock);
        }
        if sum + mutexes > MAX_HELD {
            return Err(LockError::TooMany {
                held: sum,
                wanted: mutexes,
                max: MAX_HELD,
            });
        }
        held.locks[count].set(lock);
        held.count.set(count + 1);
        held.mutexes.set(sum + mutexes);
        Ok(())
    })
}

/// Notes that it holds `lock` no more.
pub(crate) fn leave(lock: usize, mutexes: usize) {
    HELD.with(|held| {
        let count = held.count.get();
        if let Some(at) = held.locks[..count]
            .iter()
            .rposition(|other| other.get() == lock)
        {
            held.locks[at].set(held.locks[count - 1].get());
            held.count.set(count - 1);
            held.mutexes.set(held.mutexes.get() - mutexes);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{LockOptions, OwnedLock};

    #[test]
    fn more_locks_than_the_kernel_cleans_up_are_refused() {
        let blocks: Vec<OwnedLock> = (0..=MAX_HELD).map(|_| OwnedLock::new().unwrap()).collect();
        let read = |block: &OwnedLock| block.lock().read(LockOptions::default());
        let mut held: Vec<_> = blocks[..MAX_HELD]
            .iter()
            .map(|block| read(block).unwrap())
            .collect();
        let error = read(&blocks[MAX_HELD]).unwrap_err();
        assert_eq!(
            error,
            LockError::TooMany {
                held: MAX_HELD,
                wanted: 1,
                max: MAX_HELD
            }
        );
        held.pop();
        assert!(read(&blocks[MAX_HELD]).is_ok());
    }
}
