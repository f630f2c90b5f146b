//! Guards that are arrays: a lock, and the view of what it guards.
//!
//! They are made by functions, not by methods: their makers are no business of those who get them.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use ndarray::{ArrayRef, ArrayView, ArrayViewMut, Dimension};
use smallvec::SmallVec;

use crate::lock::{PartHold, Poison, ReadHold, WriteHold};
use crate::memory::{Double, Locked, MemoryRange, RangeInUse};

/// An array while its lock is held for reading.
///
/// # Invariants
/// 1. `view` lies in what the locks of `held` guard. It is lent for as long as the guard lives, never copied out:
///    [`ArrayRef`] cannot be moved or swapped.
#[must_use = "dropped at once, it unlocks at once"]
pub struct ReadGuard<'a, T, D> {
    view: ArrayView<'a, T, D>,
    held: SmallVec<[ReadHold; 1]>,
}

/// An array while its lock is held for writing.
///
/// # Invariants
/// 1. As for [`ReadGuard`].
#[must_use = "dropped at once, it unlocks at once"]
pub struct WriteGuard<'a, T, D> {
    view: ArrayViewMut<'a, T, D>,
    held: SmallVec<[WriteHold; 1]>,
}

/// A part of an array while the part's lock is held.
///
/// # Invariants
/// 1. As for [`ReadGuard`].
#[must_use = "dropped at once, it unlocks at once"]
pub struct PartGuard<'a, T, D> {
    view: ArrayViewMut<'a, T, D>,
    _part: PartHold,
}

impl<T, D> WriteGuard<'_, T, D> {
    /// What an unfinished write left, for each lock that was poisoned.
    pub fn poison(&self) -> impl Iterator<Item = &Poison> {
        self.held.iter().filter_map(WriteHold::poison)
    }

    /// Declares that the elements are whole again. Without it the array stays poisoned.
    pub fn clear_poison(&mut self) {
        self.held.iter_mut().for_each(WriteHold::clear_poison);
    }
}

/// A view of the elements of `neighbours`, whose locks are `held`.
///
/// # Panics
/// As [`MemoryRange::run`], and if the bytes are not whole elements.
pub fn read_guard<'a, T: Pod, D: Dimension>(
    neighbours: &'a [MemoryRange<Locked>],
    held: SmallVec<[ReadHold; 1]>,
    layout: impl for<'x> FnOnce(&'x [T]) -> ArrayView<'x, T, D>,
) -> ReadGuard<'a, T, D> {
    let bytes: *const [u8] = MemoryRange::<Locked>::run(neighbours, &held);
    // SAFETY: valid while `neighbours` are borrowed and the locks are held, and both live in the guard (1).
    let bytes: &'a [u8] = unsafe { &*bytes };
    ReadGuard {
        view: layout(elements(bytes)),
        held,
    }
}

/// A view of the last commit of `pair`, whose lock is `held`.
///
/// # Panics
/// As [`MemoryRange::bytes`].
pub fn commit_guard<'a, T: Pod, D: Dimension>(
    pair: &'a MemoryRange<Double>,
    held: ReadHold,
    layout: impl for<'x> FnOnce(&'x [T]) -> ArrayView<'x, T, D>,
) -> ReadGuard<'a, T, D> {
    let bytes: *const [u8] = pair.bytes(&held);
    // SAFETY: valid while `pair` is borrowed and the lock is held, and both live in the guard (1).
    let bytes: &'a [u8] = unsafe { &*bytes };
    ReadGuard {
        view: layout(elements(bytes)),
        held: SmallVec::from_buf([held]),
    }
}

/// A view of the elements of `neighbours`, whose locks are `held`.
///
/// # Panics
/// As [`MemoryRange::run_mut`], and if the bytes are not whole elements.
pub fn write_guard<'a, T: Pod, D: Dimension>(
    neighbours: &'a [MemoryRange<Locked>],
    mut held: SmallVec<[WriteHold; 1]>,
    layout: impl for<'x> FnOnce(&'x mut [T]) -> ArrayViewMut<'x, T, D>,
) -> WriteGuard<'a, T, D> {
    let bytes: *mut [u8] = MemoryRange::<Locked>::run_mut(neighbours, &mut held);
    // SAFETY: valid while `neighbours` are borrowed and the locks are held, and both live in the guard (1). The
    // locks are private to the guard, so nobody makes a second borrow from them.
    let bytes: &'a mut [u8] = unsafe { &mut *bytes };
    WriteGuard {
        view: layout(elements_mut(bytes)),
        held,
    }
}

/// A view of a part of the elements of `guarded`.
///
/// # Errors
/// [`RangeInUse`] if this process knows the elements divided in another way.
///
/// # Panics
/// As [`MemoryRange::part_view_mut`].
pub fn part_guard<'a, T: Pod, D: Dimension>(
    guarded: &'a MemoryRange<Locked>,
    mut part: PartHold,
    shape: &D,
) -> Result<PartGuard<'a, T, D>, RangeInUse> {
    let mut view = guarded.part_view_mut::<T, D>(&mut part, shape)?;
    let (shape, strides) = (view.raw_dim(), strides_of(&view));
    let first = view.as_mut_ptr();
    // SAFETY: the same elements; valid while `guarded` is borrowed and the part is held, and both live in the guard (1).
    let view = unsafe {
        ArrayViewMut::from_shape_ptr(ndarray::ShapeBuilder::strides(shape, strides), first)
    };
    Ok(PartGuard { view, _part: part })
}

fn strides_of<T, D: Dimension>(view: &ArrayViewMut<'_, T, D>) -> D {
    let mut strides = view.raw_dim();
    for (to, from) in strides.slice_mut().iter_mut().zip(view.strides()) {
        *to = from.unsigned_abs();
    }
    strides
}

fn elements<T: Pod>(bytes: &[u8]) -> &[T] {
    // No bytes may lie anywhere.
    if bytes.is_empty() {
        &[]
    } else {
        bytemuck::cast_slice(bytes)
    }
}

fn elements_mut<T: Pod>(bytes: &mut [u8]) -> &mut [T] {
    if bytes.is_empty() {
        &mut []
    } else {
        bytemuck::cast_slice_mut(bytes)
    }
}

impl<T, D: Dimension> Deref for ReadGuard<'_, T, D> {
    type Target = ArrayRef<T, D>;

    fn deref(&self) -> &ArrayRef<T, D> {
        &self.view
    }
}

impl<T, D> ReadGuard<'_, T, D> {
    /// What an unfinished write left, if the lock was taken nevertheless.
    pub fn poison(&self) -> Option<Poison> {
        self.held.iter().find_map(ReadHold::poison)
    }
}

macro_rules! writable {
    ($($name:ident),*) => {
        $(impl<T, D: Dimension> Deref for $name<'_, T, D> {
            type Target = ArrayRef<T, D>;

            fn deref(&self) -> &ArrayRef<T, D> {
                &self.view
            }
        }

        impl<T, D: Dimension> DerefMut for $name<'_, T, D> {
            fn deref_mut(&mut self) -> &mut ArrayRef<T, D> {
                &mut self.view
            }
        })*
    };
}

writable!(WriteGuard, PartGuard);

macro_rules! debug {
    ($($name:ident),*) => {
        $(impl<T: fmt::Debug, D: Dimension> fmt::Debug for $name<'_, T, D> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.view.fmt(f)
            }
        })*
    };
}

debug!(ReadGuard, WriteGuard, PartGuard);
