//! References into memory that is unmapped some day.

use std::ops::Deref;
use std::ptr::NonNull;

/// A reference into a lock table.
///
/// # Invariants
/// 1. It points to a `T` in the mapping of a table, and is used only while the table is mapped. A
///    [`RobustRwLock`](super::RobustRwLock) keeps its table, and so does a thread for as long as it has a
///    [`Place`](super::place::Place) in it, which every hold has.
#[derive(Debug)]
pub(crate) struct Mapped<T: ?Sized>(NonNull<T>);

impl<T: ?Sized> Mapped<T> {
    /// # Safety
    /// `pointer` is valid while the table is mapped, and the caller keeps to invariant 1.
    pub(super) unsafe fn new(pointer: NonNull<T>) -> Self {
        Self(pointer)
    }

    #[inline]
    pub(super) fn address(self) -> usize {
        self.0.addr().get()
    }
}

impl<T> Mapped<[T]> {
    /// A reference to one element.
    pub(super) fn item(self, index: usize) -> Mapped<T> {
        Mapped(NonNull::from(&self[index]))
    }
}

impl<T: ?Sized> Deref for Mapped<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: invariant 1.
        unsafe { self.0.as_ref() }
    }
}

impl<T: ?Sized> Clone for Mapped<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Mapped<T> {}

// SAFETY: a reference to what many threads may use.
unsafe impl<T: ?Sized + Sync> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for Mapped<T> {}
