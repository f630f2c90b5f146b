use std::fmt;
use std::sync::Arc;

use bytemuck::Pod;
use ndarray::{ArrayRef, ArrayView, ArrayViewMut, Dimension, IntoDimension};
use numpush_message::{AllocError, Dtype, Element, Message};
use numpush_shm_core::{Double, LockError, LockOptions, MemoryRange, ReadGuard, commit_guard};
use serde::{Deserialize, Serialize};

use crate::arena::Arena;
use crate::array::SharedDynArray;
use crate::array::description::{DoubleBuffered, DynArray, TypedArray};
use crate::array::layout::{self, Layout, byte_len};
use crate::array::message::snapshot;
use crate::elements::elements_mut;
use crate::error::Error;
use crate::object::{Handle, Object, make_locks};

/// A shared array that is never seen half written.
///
/// It has two buffers. A [commit](Self::commit) writes the one that nobody reads, and makes it the one that is read with
/// a single store of one word. A writer that dies before that store has changed nothing, and readers do not wait for
/// writers. It takes twice the memory of a [`SharedArray`](crate::SharedArray).
///
/// ```
/// use ndarray::array;
/// use numpush_shm::{Arena, DoubleBufferedArray};
///
/// let prices = DoubleBufferedArray::copy_of(&Arena::shared(), &array![1.0, 2.0])?;
/// let before = prices.read()?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| prices.commit(|next| *next *= 10.0));
/// });
/// assert_eq!(*before, array![1.0, 2.0]); // A reader keeps what it began with.
/// drop(before);
/// assert_eq!(*prices.read()?, array![10.0, 20.0]);
/// # Ok::<(), numpush_shm::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "T: Element + Pod, D: Dimension")]
pub struct DoubleBufferedArray<T, D> {
    pub(super) object: Object<DoubleBuffered<T, D>>,
}

impl<T: Element + Pod, D: Dimension> DoubleBufferedArray<T, D> {
    /// Makes an array of zeros, in C order.
    ///
    /// # Errors
    /// As [`SharedArray::zeros`](crate::SharedArray::zeros).
    pub fn zeros(arena: &Arena, shape: impl IntoDimension<Dim = D>) -> Result<Self, Error> {
        let shape = shape.into_dimension();
        Self::build(arena, shape.slice(), |_| {})
    }

    /// Copies `array` into shared memory, in C order.
    ///
    /// # Errors
    /// As [`SharedArray::zeros`](crate::SharedArray::zeros).
    pub fn copy_of(arena: &Arena, array: &ArrayRef<T, D>) -> Result<Self, Error> {
        Self::build(arena, array.shape(), |bytes| layout::fill(bytes, array))
    }

    /// Makes an array of what `element` returns for each index, in C order.
    ///
    /// # Errors
    /// As [`SharedArray::from_shape_fn`](crate::SharedArray::from_shape_fn).
    pub fn from_shape_fn(
        arena: &Arena,
        shape: impl IntoDimension<Dim = D>,
        mut element: impl FnMut(D::Pattern) -> T,
    ) -> Result<Self, Error> {
        let shape = shape.into_dimension();
        Self::build(arena, shape.slice(), |bytes| {
            let mut view = layout::view_c_order(&shape, elements_mut(bytes));
            view.indexed_iter_mut()
                .for_each(|(index, to)| *to = element(index));
        })
    }

    fn build(arena: &Arena, shape: &[usize], fill: impl FnOnce(&mut [u8])) -> Result<Self, Error> {
        let len = byte_len::<T>(shape)?;
        let both = len.checked_mul(2).ok_or(AllocError::NoMemory { len })?;
        let mut allocation = arena.reserve_zeros(both)?;
        fill(&mut allocation.claimed.bytes_mut()[..len]);
        let (array, locks) = (TypedArray::new(shape)?, make_locks(1)?);
        let describe = |pair: &Arc<MemoryRange<Double>>| DoubleBuffered {
            array,
            pair: Arc::clone(pair),
        };
        Ok(Self {
            object: Object::new_pair(allocation.claimed, locks, allocation.home, describe),
        })
    }

    /// Opens the array of a handle.
    ///
    /// # Errors
    /// As [`SharedArray::open`](crate::SharedArray::open).
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Object::open(handle).map(|object| Self { object })
    }

    /// Elements along each axis.
    pub fn shape(&self) -> &[usize] {
        self.layout().shape.slice()
    }

    /// Bytes of both buffers.
    pub fn byte_len(&self) -> usize {
        self.object.byte_len()
    }

    /// The handle by which another process opens the array.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.object.handle()
    }

    /// Locks the last commit for reading: it stays as it is for as long as the guard lives. Does not wait for a writer.
    ///
    /// # Errors
    /// As [`SharedArray::read`](crate::SharedArray::read), never with poison.
    pub fn read(&self) -> Result<ReadGuard<'_, T, D>, LockError> {
        self.read_with(LockOptions::default())
    }

    /// As [`Self::read`], with a timeout.
    ///
    /// # Errors
    /// As [`Self::read`]; [`LockError::Timeout`] names a holder.
    pub fn read_with(&self, options: LockOptions) -> Result<ReadGuard<'_, T, D>, LockError> {
        let held = self.pair().lock().read(options)?;
        Ok(commit_guard(self.pair(), held, |elements| {
            self.layout().view(elements)
        }))
    }

    /// As [`Self::read`], without a wait.
    ///
    /// # Errors
    /// As [`Self::read`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_read(&self) -> Result<ReadGuard<'_, T, D>, LockError> {
        self.read_with(LockOptions::no_wait())
    }

    /// Number of commits so far.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn commits(&self) -> Result<u64, LockError> {
        let held = self.pair().lock().read(LockOptions::default())?;
        Ok(held.commits())
    }

    /// Changes a copy of the last commit, makes it the new commit and returns its number, from 1 on. If `change` panics
    /// or its process dies, the last commit stays.
    ///
    /// # Errors
    /// As [`Self::commit_with`].
    pub fn commit(
        &self,
        change: impl FnOnce(&mut ArrayViewMut<'_, T, D>),
    ) -> Result<u64, LockError> {
        self.commit_with(LockOptions::default(), change)
    }

    /// As [`Self::commit`], with a timeout for other writers and for slow readers.
    ///
    /// # Errors
    /// [`LockError::WouldDeadlock`] if this thread reads or commits already; [`LockError::Timeout`] names the holder.
    pub fn commit_with(
        &self,
        options: LockOptions,
        change: impl FnOnce(&mut ArrayViewMut<'_, T, D>),
    ) -> Result<u64, LockError> {
        self.replace_with(options, |last, next| {
            next.assign(last);
            change(next);
        })
    }

    /// As [`Self::commit`], without a wait: `change` is called only if nobody else commits or still reads the commit before
    /// the last.
    ///
    /// # Errors
    /// As [`Self::commit_with`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_commit(
        &self,
        change: impl FnOnce(&mut ArrayViewMut<'_, T, D>),
    ) -> Result<u64, LockError> {
        self.commit_with(LockOptions::no_wait(), change)
    }

    /// As [`Self::commit`], without the copy. `write` gets the last commit, and a buffer with the elements of an earlier
    /// one, all of which it should write.
    ///
    /// # Errors
    /// As [`Self::commit_with`].
    pub fn replace(
        &self,
        write: impl FnOnce(&ArrayView<'_, T, D>, &mut ArrayViewMut<'_, T, D>),
    ) -> Result<u64, LockError> {
        self.replace_with(LockOptions::default(), write)
    }

    /// As [`Self::replace`], without a wait: see [`Self::try_commit`].
    ///
    /// # Errors
    /// As [`Self::try_commit`].
    pub fn try_replace(
        &self,
        write: impl FnOnce(&ArrayView<'_, T, D>, &mut ArrayViewMut<'_, T, D>),
    ) -> Result<u64, LockError> {
        self.replace_with(LockOptions::no_wait(), write)
    }

    /// As [`Self::replace`], with a timeout for other writers and for slow readers.
    ///
    /// # Errors
    /// As [`Self::commit_with`].
    pub fn replace_with(
        &self,
        options: LockOptions,
        write: impl FnOnce(&ArrayView<'_, T, D>, &mut ArrayViewMut<'_, T, D>),
    ) -> Result<u64, LockError> {
        let mut held = self.pair().lock().commit(options)?;
        let (last, next) = self.pair().both(&mut held);
        let (last, next) = (bytemuck::cast_slice(last), bytemuck::cast_slice_mut(next));
        write(&self.layout().view(last), &mut self.layout().view_mut(next));
        Ok(held.publish())
    }

    /// The same array with its element type and axes known at run time only, to read.
    pub fn into_dyn(self) -> SharedDynArray {
        let dtype = Dtype::Scalar(T::SCALAR);
        SharedDynArray {
            object: self.object.described(|double| DynArray {
                sent: double.array.sent.clone(),
                dtype,
            }),
        }
    }

    /// Copies the last commit as it is now into memory that the kernel protects against every writer.
    ///
    /// # Errors
    /// As [`SharedDynArray::snapshot`](crate::SharedDynArray::snapshot).
    pub fn snapshot(&self) -> Result<Message<'static>, Error> {
        snapshot(&*self.read()?)
    }

    pub(super) fn layout(&self) -> &Layout<D> {
        &self.object.description().array.layout
    }

    pub(super) fn pair(&self) -> &MemoryRange<Double> {
        &self.object.description().pair
    }
}

impl<T, D> Clone for DoubleBufferedArray<T, D> {
    fn clone(&self) -> Self {
        Self {
            object: self.object.clone(),
        }
    }
}

impl<T, D: fmt::Debug> fmt::Debug for DoubleBufferedArray<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let array = &self.object.description().array;
        write!(f, "DoubleBufferedArray{array:?}")
    }
}
