//! A range of shared memory, and by what right its bytes are used.

use std::ops::Range;
use std::sync::{Arc, MutexGuard};

use super::SharedPages;
use super::register::{LockId, RangeInUse, Register, Use};
use crate::lock::RobustRwLock;

/// Bytes of [`SharedPages`], used by the right `R`: [`Owned`], [`Locked`], [`Double`] or [`Atomic`].
///
/// While it lives, nothing else in this process uses one of the bytes by another right. Other processes keep to the
/// same lock: they learn of the bytes together with it.
#[derive(Debug)]
pub struct MemoryRange<R> {
    pub(super) pages: Arc<SharedPages>,
    pub(super) range: Range<usize>,
    pub(super) right: R,
}

/// The bytes have one owner, who needs no lock. No other process knows of them.
#[derive(Clone, Copy, Debug)]
pub struct Owned(pub(super) ());

/// The bytes belong to whoever holds the lock.
#[derive(Clone, Debug)]
pub struct Locked {
    pub(super) lock: RobustRwLock,
}

/// The bytes are two buffers of one length under a lock: one is read while the other is written.
#[derive(Clone, Debug)]
pub struct Double {
    pub(super) lock: RobustRwLock,
}

/// The bytes are atomics of one width, which everybody reaches who holds the lock for reading.
#[derive(Clone, Debug)]
pub struct Atomic {
    pub(super) lock: RobustRwLock,
    pub(super) width: usize,
}

impl SharedPages {
    pub(super) fn register(&self) -> MutexGuard<'_, Register> {
        self.register.lock()
    }

    /// Notes by which geometry a run of bytes is divided, in a division of what one lock guards: its first user decides.
    pub(super) fn open_part(
        &self,
        division: (usize, u64),
        run: &Range<usize>,
        geometry: &[usize],
    ) -> Result<(), RangeInUse> {
        if self.register().open_part(division, run.start, geometry) {
            return Ok(());
        }
        let range = run.clone();
        Err(RangeInUse { range })
    }

    /// Takes bytes for one owner, who needs no lock.
    ///
    /// # Errors
    /// [`RangeInUse`] if something in this process uses one of them, if the memory has fewer, or if another process
    /// made the memory: only its maker knows which bytes are free.
    pub fn take_exclusive(
        self: &Arc<Self>,
        range: Range<usize>,
    ) -> Result<MemoryRange<Owned>, RangeInUse> {
        if !self.is_made_here() && !range.is_empty() {
            return Err(RangeInUse { range });
        }
        self.use_range(range, Use::Owned, Owned(()))
    }

    /// Joins those who use the bytes under `lock`.
    ///
    /// # Errors
    /// [`RangeInUse`] if something in this process uses one of them by another right, or if the memory has fewer.
    pub fn join_locked(
        self: &Arc<Self>,
        range: Range<usize>,
        lock: &RobustRwLock,
    ) -> Result<MemoryRange<Locked>, RangeInUse> {
        self.use_range(
            range,
            Use::Locked(id_of(lock)),
            Locked { lock: lock.clone() },
        )
    }

    /// Joins those who read and commit the bytes, two buffers of one length, under `lock`.
    ///
    /// # Errors
    /// As [`Self::join_locked`].
    pub fn join_double(
        self: &Arc<Self>,
        range: Range<usize>,
        lock: &RobustRwLock,
    ) -> Result<MemoryRange<Double>, RangeInUse> {
        self.use_range(
            range,
            Use::Double(id_of(lock)),
            Double { lock: lock.clone() },
        )
    }

    /// Joins those who reach the bytes by atomics of `width` bytes, under `lock`.
    ///
    /// # Errors
    /// As [`Self::join_locked`].
    pub fn join_atomic(
        self: &Arc<Self>,
        range: Range<usize>,
        lock: &RobustRwLock,
        width: usize,
    ) -> Result<MemoryRange<Atomic>, RangeInUse> {
        let right = Atomic {
            lock: lock.clone(),
            width,
        };
        self.use_range(range, Use::Atomic(id_of(lock), width), right)
    }

    fn use_range<R>(
        self: &Arc<Self>,
        range: Range<usize>,
        used: Use,
        right: R,
    ) -> Result<MemoryRange<R>, RangeInUse> {
        if range.start > range.end || range.end > self.len() {
            return Err(RangeInUse { range });
        }
        self.register().enter(&range, used)?;
        let pages = Arc::clone(self);
        Ok(MemoryRange {
            pages,
            range,
            right,
        })
    }
}

fn id_of(lock: &RobustRwLock) -> LockId {
    (lock.id(), lock.generation())
}

impl<R> MemoryRange<R> {
    /// The memory the bytes lie in.
    pub fn pages(&self) -> &Arc<SharedPages> {
        &self.pages
    }

    /// Where in it they lie.
    pub fn range(&self) -> &Range<usize> {
        &self.range
    }

    /// The same bytes by another right, or `self` if they have other users.
    fn convert<S>(self, used: Use, right: S) -> Result<MemoryRange<S>, Self> {
        if !self.pages.register().convert(&self.range, used) {
            return Err(self);
        }
        let (pages, range) = self.into_parts();
        Ok(MemoryRange {
            pages,
            range,
            right,
        })
    }

    /// Memory and bounds; the use of the bytes goes on.
    fn into_parts(mut self) -> (Arc<SharedPages>, Range<usize>) {
        // Nothing is left for the drop to end.
        let range = std::mem::take(&mut self.range);
        (Arc::clone(&self.pages), range)
    }
}

impl<R> Drop for MemoryRange<R> {
    fn drop(&mut self) {
        if !self.range.is_empty() {
            self.pages.register().leave(&self.range);
        }
    }
}

impl MemoryRange<Owned> {
    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: they have one user in this process (`Register`, 2), who is borrowed alone. This process made the
        // memory (`take_exclusive`), and names the bytes to no other process before they are under a lock.
        unsafe { self.pages.bytes_mut(&self.range) }
    }

    /// Puts the bytes under `lock`.
    ///
    /// # Panics
    /// Never: they have one user.
    pub fn into_locked(self, lock: &RobustRwLock) -> MemoryRange<Locked> {
        let right = Locked { lock: lock.clone() };
        match self.convert(Use::Locked(id_of(lock)), right) {
            Ok(locked) => locked,
            Err(_) => unreachable!("bytes of one owner have one user"),
        }
    }

    /// Puts the bytes under `lock`, as two buffers of one length.
    ///
    /// # Panics
    /// Never: they have one user.
    pub fn into_double(self, lock: &RobustRwLock) -> MemoryRange<Double> {
        let right = Double { lock: lock.clone() };
        match self.convert(Use::Double(id_of(lock)), right) {
            Ok(double) => double,
            Err(_) => unreachable!("bytes of one owner have one user"),
        }
    }

    /// Makes atomics of `width` bytes of them, under `lock`.
    ///
    /// # Panics
    /// Never: they have one user.
    pub fn into_atomic(self, lock: &RobustRwLock, width: usize) -> MemoryRange<Atomic> {
        let right = Atomic {
            lock: lock.clone(),
            width,
        };
        match self.convert(Use::Atomic(id_of(lock), width), right) {
            Ok(atomic) => atomic,
            Err(_) => unreachable!("bytes of one owner have one user"),
        }
    }

    /// Splits the range into the first `at` bytes and the rest.
    ///
    /// # Panics
    /// If there are fewer bytes.
    pub fn split(self, at: usize) -> (Self, Self) {
        let len = self.range.len();
        assert!(at <= len, "a split of {len} bytes at {at}");
        let right = self.right;
        let (pages, range) = self.into_parts();
        let middle = range.start + at;
        pages.register().split(&range, middle);
        let part = |range| Self {
            pages: Arc::clone(&pages),
            range,
            right,
        };
        (part(range.start..middle), part(middle..range.end))
    }
}

impl AsRef<[u8]> for MemoryRange<Owned> {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: as for `bytes_mut`; the borrow is shared.
        unsafe { self.pages.bytes(&self.range) }
    }
}

impl MemoryRange<Locked> {
    /// The lock.
    pub fn lock(&self) -> &RobustRwLock {
        &self.right.lock
    }

    /// Takes the bytes from the lock, if nothing else in this process uses them.
    ///
    /// # Errors
    /// `self`, if something does, or if another process made the memory.
    pub fn into_owned(self) -> Result<MemoryRange<Owned>, Self> {
        if self.pages.is_made_here() {
            self.convert(Use::Owned, Owned(()))
        } else {
            Err(self)
        }
    }
}

impl MemoryRange<Double> {
    /// The lock.
    pub fn lock(&self) -> &RobustRwLock {
        &self.right.lock
    }
}
