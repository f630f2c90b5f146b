//! Parts of an array as values of their own, over the same memory and under the same locks.

use std::fmt;

use bytemuck::Pod;
use ndarray::{Dimension, IxDyn, SliceArg};
use numpush_message::{Element, Message};
use numpush_shm_core::{
    LockError, LockOptions, Locked, MemoryRange, ReadGuard, WriteGuard, read_guard, write_guard,
};
use serde::{Deserialize, Serialize};

use crate::array::SharedArray;
use crate::array::description::TypedArray;
use crate::array::locks::{lock_exclusive, lock_shared};
use crate::array::message::snapshot;
use crate::array::place::{Place, SliceHandle};
use crate::error::Error;

/// A part of a [`SharedArray`]: some of its elements, with axes of its own.
///
/// It is the same memory under the same lock: a lock of the slice is one of the array, or of those [row
/// locks](SharedArray::with_row_locks) whose rows it has elements of. Sent to another process, or opened by its
/// [`SliceHandle`], it is the same slice there; the whole array is open there with it.
///
/// ```
/// use ndarray::{Ix1, array, s};
/// use numpush_shm::{Arena, SharedArray, SharedSlice};
///
/// let shared = SharedArray::copy_of(&Arena::shared(), &array![[1, 2, 3], [4, 5, 6], [7, 8, 9]])?;
/// let corners = shared.slice(s![..;2, ..;2])?;
/// corners.write()?.fill(0);
/// assert_eq!(*shared.read()?, array![[0, 2, 0], [4, 5, 6], [0, 8, 0]]);
/// let row = SharedSlice::<i32, Ix1>::open(&shared.slice(s![1, ..])?.handle()?)?;
/// assert_eq!(row.read()?.sum(), 15);
/// # Ok::<(), numpush_shm::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(
    try_from = "SentSlice<T>",
    into = "SentSlice<T>",
    bound = "T: Element + Pod, D: Dimension"
)]
pub struct SharedSlice<T, D> {
    array: SharedArray<T, IxDyn>,
    place: Place,
    shape: D,
    steps: D,
}

/// A slice as processes send it to each other.
#[derive(Serialize, Deserialize)]
#[serde(bound = "T: Element + Pod")]
struct SentSlice<T> {
    array: SharedArray<T, IxDyn>,
    place: Place,
}

impl<T: Element + Pod, D: Dimension> SharedArray<T, D> {
    /// The slice of the array that `ndarray` makes of `info`, for which see [`ndarray::s!`]. Copies nothing, and takes no
    /// lock.
    ///
    /// # Errors
    /// [`Error::Range`] if an index does not exist, or if a step is not positive; [`Error::Axes`] if `info` is of
    /// another number of axes; [`Error::Order`] if an axis of the array runs backwards in memory.
    pub fn slice<I: SliceArg<D>>(&self, info: I) -> Result<SharedSlice<T, I::OutDim>, Error> {
        let steps = self.layout().steps().ok_or(Error::Order)?;
        let whole = Place::new(0, self.shape().into(), steps);
        let array = TypedArray::from_sent(self.object.description().sent.clone())?;
        let object = self.object.clone().described(|_| array);
        SharedSlice::new(SharedArray { object }, whole.slice(info.as_ref())?)
    }
}

impl<T: Element + Pod, D: Dimension> SharedSlice<T, D> {
    fn new(array: SharedArray<T, IxDyn>, place: Place) -> Result<Self, Error> {
        place.check::<T>(array.byte_len())?;
        let (shape, steps) = place.dimensions()?;
        Ok(Self {
            array,
            place,
            shape,
            steps,
        })
    }

    /// Opens the slice of a handle.
    ///
    /// # Errors
    /// As [`SharedArray::open`]; [`Error::Range`] if the slice does not lie in the array.
    pub fn open(handle: &SliceHandle) -> Result<Self, Error> {
        let SliceHandle { array, place } = handle;
        Self::new(SharedArray::open(array)?, place.clone())
    }

    /// The handle by which another process opens the slice.
    ///
    /// # Errors
    /// As [`SharedArray::handle`].
    pub fn handle(&self) -> Result<SliceHandle, Error> {
        Ok(SliceHandle {
            array: self.array.handle()?,
            place: self.place.clone(),
        })
    }

    /// Elements along each axis.
    pub fn shape(&self) -> &[usize] {
        self.shape.slice()
    }

    /// A slice of this slice.
    ///
    /// # Errors
    /// As [`SharedArray::slice`].
    pub fn slice<I: SliceArg<D>>(&self, info: I) -> Result<SharedSlice<T, I::OutDim>, Error> {
        SharedSlice::new(self.array.clone(), self.place.slice(info.as_ref())?)
    }

    /// The array that it is a slice of.
    pub fn array(&self) -> &SharedArray<T, IxDyn> {
        &self.array
    }

    /// Locks the slice for reading.
    ///
    /// # Errors
    /// As [`SharedArray::read`].
    pub fn read(&self) -> Result<ReadGuard<'_, T, D>, LockError> {
        self.read_with(LockOptions::default())
    }

    /// As [`Self::read`], without a wait.
    ///
    /// # Errors
    /// As [`Self::read`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_read(&self) -> Result<ReadGuard<'_, T, D>, LockError> {
        self.read_with(LockOptions::no_wait())
    }

    /// As [`Self::read`], also if a writer did not finish.
    ///
    /// # Errors
    /// As [`Self::read`], without poison.
    pub fn read_poisoned(&self) -> Result<ReadGuard<'_, T, D>, LockError> {
        self.read_with(LockOptions::default().accept_poison(true))
    }

    /// As [`Self::read`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`Self::read`]; [`LockError::Timeout`] names the holder.
    pub fn read_with(&self, options: LockOptions) -> Result<ReadGuard<'_, T, D>, LockError> {
        let (spans, offset) = self.spans();
        let held = lock_shared(spans, options)?;
        Ok(read_guard(spans, held, |elements| {
            self.place
                .view(elements, offset / size_of::<T>(), &self.shape, &self.steps)
        }))
    }

    /// Locks the slice for writing.
    ///
    /// # Errors
    /// As [`SharedArray::write`].
    pub fn write(&self) -> Result<WriteGuard<'_, T, D>, LockError> {
        self.write_with(LockOptions::default())
    }

    /// As [`Self::write`], without a wait.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_write(&self) -> Result<WriteGuard<'_, T, D>, LockError> {
        self.write_with(LockOptions::no_wait())
    }

    /// As [`Self::write`], also if the last writer did not finish.
    ///
    /// # Errors
    /// As [`Self::write`], without poison.
    pub fn write_poisoned(&self) -> Result<WriteGuard<'_, T, D>, LockError> {
        self.write_with(LockOptions::default().accept_poison(true))
    }

    /// As [`Self::write`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names the holder.
    pub fn write_with(&self, options: LockOptions) -> Result<WriteGuard<'_, T, D>, LockError> {
        let (spans, offset) = self.spans();
        let bytes = self.place.bytes(size_of::<T>());
        let dirty = bytes.start - offset..bytes.end - offset;
        let held = lock_exclusive(spans, options, dirty)?;
        Ok(write_guard(spans, held, |elements| {
            self.place
                .view_mut(elements, offset / size_of::<T>(), &self.shape, &self.steps)
        }))
    }

    /// Copies the slice as it is now into memory that the kernel protects against every writer.
    ///
    /// # Errors
    /// As [`SharedDynArray::snapshot`](crate::SharedDynArray::snapshot).
    pub fn snapshot(&self) -> Result<Message<'static>, Error> {
        snapshot(&*self.read()?)
    }

    /// The spans with elements of the slice, one at least, and the bytes of the array before them.
    fn spans(&self) -> (&[MemoryRange<Locked>], usize) {
        let all = self.array.spans().locked();
        let bytes = self.place.bytes(size_of::<T>());
        let (mut first, mut offset) = (0, 0);
        while first + 1 < all.len() && offset + all[first].range().len() <= bytes.start {
            offset += all[first].range().len();
            first += 1;
        }
        let (mut last, mut end) = (first, offset + all[first].range().len());
        while last + 1 < all.len() && end < bytes.end {
            last += 1;
            end += all[last].range().len();
        }
        (&all[first..=last], offset)
    }
}

impl<T: Element + Pod, D: Dimension> TryFrom<SentSlice<T>> for SharedSlice<T, D> {
    type Error = Error;

    fn try_from(sent: SentSlice<T>) -> Result<Self, Error> {
        Self::new(sent.array, sent.place)
    }
}

impl<T, D> From<SharedSlice<T, D>> for SentSlice<T> {
    fn from(slice: SharedSlice<T, D>) -> Self {
        Self {
            array: slice.array,
            place: slice.place,
        }
    }
}

impl<T, D> fmt::Debug for SharedSlice<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedSlice({:?} of {:?})", self.place, self.array)
    }
}
