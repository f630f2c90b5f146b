//! The atomics of a value, and the check of a description that another process sent.

use std::marker::PhantomData;
use std::ops::Deref;

use numpush_shm_core::{Atomic, AtomicElement, LockError, LockOptions, MemoryRange, ReadHold};

use crate::arena::Arena;
use crate::error::Error;
use crate::object::{Describe, Object, Spans, make_locks};

/// Atomics that are in use: their memory is not used for anything else meanwhile.
#[derive(Debug)]
pub(super) struct Cells<'a, T> {
    range: &'a MemoryRange<Atomic>,
    held: ReadHold,
    element: PhantomData<fn() -> T>,
}

impl<'a, T: AtomicElement> Cells<'a, T> {
    /// The atomics of `object`. Waits for nobody: their lock is never held alone.
    pub(super) fn of<M>(object: &'a Object<M>) -> Result<Self, LockError> {
        // Whatever is described as atomics was checked to have them.
        let range = object.spans().atomic().ok_or(LockError::Retired)?;
        Ok(Self {
            range,
            held: range.lock().read(LockOptions::default())?,
            element: PhantomData,
        })
    }
}

impl<T: AtomicElement> Deref for Cells<'_, T> {
    type Target = [T::Atomic];

    #[inline]
    fn deref(&self) -> &[T::Atomic] {
        self.range.atomics::<T>(&self.held)
    }
}

/// Makes a value of zeros that are atomics of `T`, with so many locks.
pub(super) fn make_zeros<M: Describe, T: AtomicElement>(
    arena: &Arena,
    description: M,
    len: usize,
    locks: usize,
) -> Result<Object<M>, Error> {
    let allocation = arena.reserve_zeros(len * size_of::<T>())?;
    let locks = make_locks(locks)?;
    let (claim, home) = (allocation.claimed, allocation.home);
    let width = size_of::<T>();
    Ok(Object::new_atomic(description, claim, width, locks, home))
}

/// Checks that the bytes are `len` atomics of `T` under `locks` locks.
pub(super) fn check<T: AtomicElement>(
    spans: &Spans,
    len: usize,
    locks: usize,
) -> Result<(), Error> {
    spans.check_alignment(0, size_of::<T>())?;
    let bytes = len.checked_mul(size_of::<T>());
    let fits = spans
        .atomic()
        .is_some_and(|cells| cells.width() == size_of::<T>() && Some(cells.range().len()) == bytes);
    if fits && spans.locks().len() == locks {
        Ok(())
    } else {
        Err(Error::Protocol {
            peer: "the owner".into(),
            what: "atomics that do not fit their bytes",
        })
    }
}
