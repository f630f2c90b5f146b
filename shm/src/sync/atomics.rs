use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use bytemuck::Pod;
use numpush_message::{Dtype, Element};
use numpush_shm_core::{AtomicElement, LockError};
use serde::{Deserialize, Serialize};

use super::cells::{Cells, check};
use crate::arena::Arena;
use crate::dtype::DtypeText;
use crate::error::Error;
use crate::object::{Describe, Handle, Object, RawObject, make_locks};

/// Integers that processes change together, each as one: `u32`, `i32`, `u64` or `i64`.
///
/// The elements are the atomics of the standard library, so an access costs what it costs between threads. There is no
/// lock to take, and nobody who dies leaves anything half done. Clones are the same array, and so is what another process
/// gets when it is sent.
///
/// ```
/// use std::sync::atomic::Ordering::Relaxed;
///
/// use numpush_shm::{Arena, SharedAtomicArray};
///
/// let histogram = SharedAtomicArray::<u64>::zeros(&Arena::shared(), 256)?;
/// let cells = histogram.cells()?;
/// for byte in *b"shared" {
///     cells[usize::from(byte)].fetch_add(1, Relaxed);
/// }
/// assert_eq!(cells[usize::from(b's')].load(Relaxed), 1);
/// # Ok::<(), numpush_shm::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "T: AtomicElement + Element + Pod")]
pub struct SharedAtomicArray<T> {
    object: Object<AtomicDescription<T>>,
}

/// The atomics of a [`SharedAtomicArray`]. While there is one, the memory is not used for anything else, even if this
/// process was forked from the array's owner.
///
/// The guard stays in its thread; the slice of it goes to others.
#[derive(Debug)]
pub struct AtomicGuard<'a, T> {
    cells: Cells<'a, T>,
}

#[derive(Debug)]
struct AtomicDescription<T> {
    sent: SentAtomics,
    element: PhantomData<fn() -> T>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SentAtomics {
    dtype: DtypeText,
    len: usize,
}

impl<T: AtomicElement + Element + Pod> AtomicDescription<T> {
    fn new(len: usize) -> Self {
        let dtype = DtypeText::from(&Dtype::Scalar(T::SCALAR));
        Self {
            sent: SentAtomics { dtype, len },
            element: PhantomData,
        }
    }
}

impl<T: AtomicElement + Element + Pod> Describe for AtomicDescription<T> {
    const KIND: &'static str = "an atomic array";
    type Sent = SentAtomics;

    fn sent(&self) -> &SentAtomics {
        &self.sent
    }

    fn receive(sent: SentAtomics, spans: &crate::object::Spans) -> Result<Self, Error> {
        let wanted = Dtype::Scalar(T::SCALAR);
        match sent.dtype.parse() {
            Some(found) if found == wanted => check::<T>(spans, sent.len, 1)?,
            Some(found) => return Err(Error::Dtype { found, wanted }),
            None => {
                return Err(Error::Protocol {
                    peer: "the owner".into(),
                    what: "an unknown element type",
                });
            }
        }
        Ok(Self::new(sent.len))
    }

    fn summary(sent: &SentAtomics) -> String {
        let dtype = sent.dtype.parse().map(|dtype| dtype.to_string());
        format!("atomics {} [{}]", dtype.as_deref().unwrap_or("?"), sent.len)
    }
}

impl<T: AtomicElement + Element + Pod> SharedAtomicArray<T> {
    pub(crate) const KIND: &str = AtomicDescription::<T>::KIND;

    pub(crate) fn from_raw(raw: Arc<RawObject>) -> Result<Self, Error> {
        Object::from_raw(raw).map(|object| Self { object })
    }

    /// Makes an array of `len` zeros.
    ///
    /// # Errors
    /// As [`SharedArray::zeros`](crate::SharedArray::zeros).
    pub fn zeros(arena: &Arena, len: usize) -> Result<Self, Error> {
        Self::build(len, arena.reserve_zeros(Self::bytes(len)?)?)
    }

    /// Copies `values` into shared memory.
    ///
    /// # Errors
    /// As [`Self::zeros`].
    pub fn copy_of(arena: &Arena, values: &[T]) -> Result<Self, Error> {
        let mut allocation = arena.reserve(Self::bytes(values.len())?)?;
        let bytes = allocation.claimed.bytes_mut();
        bytes.copy_from_slice(bytemuck::cast_slice(values));
        Self::build(values.len(), allocation)
    }

    fn bytes(len: usize) -> Result<usize, Error> {
        let bytes = len.checked_mul(size_of::<T>());
        bytes.ok_or_else(|| numpush_message::AllocError::NoMemory { len: usize::MAX }.into())
    }

    fn build(len: usize, allocation: crate::arena::Allocation) -> Result<Self, Error> {
        let (claim, home) = (allocation.claimed, allocation.home);
        let (description, width) = (AtomicDescription::new(len), size_of::<T>());
        let object = Object::new_atomic(description, claim, width, make_locks(1)?, home);
        Ok(Self { object })
    }

    /// Opens the array of a handle.
    ///
    /// # Errors
    /// As [`SharedArray::open`](crate::SharedArray::open).
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Object::open(handle).map(|object| Self { object })
    }

    /// The handle by which another process opens the array.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.object.handle()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.object.description().sent.len
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all elements.
    pub fn byte_len(&self) -> usize {
        self.object.byte_len()
    }

    /// The elements, to read and to change beside everybody else. Waits for nobody. It costs as much as a
    /// [`SharedArray::read`](crate::SharedArray::read), so take it once and not for each element.
    ///
    /// # Errors
    /// [`LockError::TooMany`] and [`LockError::TooManyThreads`]; [`LockError::Retired`] in a process forked from the
    /// owner, when the owner has dropped the array.
    pub fn cells(&self) -> Result<AtomicGuard<'_, T>, LockError> {
        Cells::of(&self.object).map(|cells| AtomicGuard { cells })
    }
}

impl<T: AtomicElement> Deref for AtomicGuard<'_, T> {
    type Target = [T::Atomic];

    #[inline]
    fn deref(&self) -> &[T::Atomic] {
        &self.cells
    }
}

impl<T> Clone for SharedAtomicArray<T> {
    fn clone(&self) -> Self {
        Self {
            object: self.object.clone(),
        }
    }
}

impl<T> fmt::Debug for SharedAtomicArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.object.description().sent.len;
        let name = std::any::type_name::<T>();
        write!(f, "SharedAtomicArray<{name}>([{len}])")
    }
}
