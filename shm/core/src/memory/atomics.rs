//! Bytes that everybody reaches by atomics.

use super::element::AtomicElement;
use super::range::{Atomic, MemoryRange};
use crate::lock::{ReadHold, RobustRwLock};

impl MemoryRange<Atomic> {
    /// The lock. It is held for reading by everybody who reaches the bytes, so that its owner knows of them.
    pub fn lock(&self) -> &RobustRwLock {
        &self.right.lock
    }

    /// Bytes of each atomic.
    pub fn width(&self) -> usize {
        self.right.width
    }

    /// The bytes as atomics, as many as there is room for.
    ///
    /// # Panics
    /// If it is another lock that is held, if `T` has another width, or if the bytes do not begin at a multiple of it.
    pub fn atomics<'a, T: AtomicElement>(&'a self, held: &'a ReadHold) -> &'a [T::Atomic] {
        assert!(held.guards(self.lock()), "the lock of other bytes");
        assert_eq!(size_of::<T>(), self.right.width, "the width of the atomics");
        // SAFETY: this right, which names the width, is the only one to these bytes in this process (`Register`, 1), and
        // other processes learn of them with it. While the lock is held the owner uses them for nothing else.
        unsafe { self.pages.atomics::<T>(&self.range) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use crate::lock::{LockOptions, OwnedLock};
    use crate::memory::{PageOptions, SharedPages};

    #[test]
    fn threads_count_together() {
        let pages = SharedPages::new(4096, PageOptions::new()).unwrap();
        let owned = OwnedLock::new().unwrap();
        let range = pages.take_exclusive(64..128).unwrap();
        let range = range.into_atomic(owned.lock(), 8);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let held = range.lock().read(LockOptions::new()).unwrap();
                    let cells = range.atomics::<u64>(&held);
                    assert_eq!(cells.len(), 8);
                    (0..1000).for_each(|_| _ = cells[3].fetch_add(1, Ordering::Relaxed));
                });
            }
        });
        let held = range.lock().read(LockOptions::new()).unwrap();
        assert_eq!(range.atomics::<u64>(&held)[3].load(Ordering::Relaxed), 4000);
    }

    #[test]
    fn one_memory_has_atomics_of_one_width() {
        let pages = SharedPages::new(4096, PageOptions::new()).unwrap();
        let owned = OwnedLock::new().unwrap();
        let range = pages.take_exclusive(0..64).unwrap();
        let range = range.into_atomic(owned.lock(), 8);
        assert!(pages.join_atomic(0..64, owned.lock(), 4).is_err());
        assert!(pages.join_locked(0..64, owned.lock()).is_err());
        assert!(pages.join_atomic(0..64, owned.lock(), 8).is_ok());
        let held = range.lock().read(LockOptions::new()).unwrap();
        let narrow = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            range.atomics::<u32>(&held).len()
        }));
        assert!(narrow.is_err());
    }
}
