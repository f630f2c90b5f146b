use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;
use ndarray::{ArrayRef, ArrayView, ArrayViewMut, Dimension, IntoDimension};
use numpush_message::{Dtype, Element};
use numpush_shm_core::{Double, LockOptions, MemoryRange, ReadGuard};

use crate::arena::Arena;
use crate::array::layout::{self, Layout};
use crate::array::{Descriptor, byte_len, dtype};
use crate::client;
use crate::error::Error;
use crate::handle::Handle;
use crate::object::{self, Object, Spans};

/// A shared array that is never seen half written.
///
/// It has two buffers. A [commit](Self::commit) writes the one that nobody reads and makes it the one that is read with
/// a single store of one word. A writer that dies before that store has changed nothing, and readers do not wait for
/// writers. It takes twice the memory.
pub struct DoubleBufferedArray<T, D> {
    value: Arc<Object>,
    layout: Layout<D>,
    elements: PhantomData<fn() -> T>,
}

impl<T: Element + Pod, D: Dimension> DoubleBufferedArray<T, D> {
    /// An array of zeros.
    ///
    /// # Errors
    /// As [`SharedArray::zeros`](crate::SharedArray::zeros).
    pub fn zeros(arena: &Arena, shape: impl IntoDimension<Dim = D>) -> Result<Self, Error> {
        let shape = shape.into_dimension();
        Self::build(arena, shape.slice(), |_| {})
    }

    /// A copy of `array`, in C order.
    ///
    /// # Errors
    /// As [`SharedArray::zeros`](crate::SharedArray::zeros).
    pub fn copy_of(arena: &Arena, array: &ArrayRef<T, D>) -> Result<Self, Error> {
        Self::build(arena, array.shape(), |bytes| layout::fill(bytes, array))
    }

    fn build(arena: &Arena, shape: &[usize], fill: impl FnOnce(&mut [u8])) -> Result<Self, Error> {
        let len = byte_len::<T>(shape)?;
        let both = len
            .checked_mul(2)
            .ok_or(numpush_message::AllocError::NoMemory { len })?;
        let mut allocation = arena.reserve_zeros(both)?;
        fill(&mut allocation.claimed.bytes_mut()[..len]);
        let meta = Descriptor {
            dtype: dtype::<T>(),
            shape: shape.into(),
            strides: None,
        };
        Self::from_value(Object::new_pair(
            object::Descriptor::Array(meta),
            allocation.claimed,
            allocation.home,
        )?)
    }

    /// Opens the array behind a handle.
    ///
    /// # Errors
    /// As [`SharedArray::open`](crate::SharedArray::open).
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Self::from_value(client::open(handle)?)
    }

    fn from_value(value: Arc<Object>) -> Result<Self, Error> {
        let (object::Descriptor::Array(meta), Spans::Pair(pair)) = (&value.meta, &value.spans)
        else {
            return Err(Error::Kind {
                found: value.meta.kind(),
                wanted: "a commit array",
            });
        };
        let (found, wanted) = (meta.dtype()?, Dtype::Scalar(T::SCALAR));
        if found != wanted {
            return Err(Error::Dtype { found, wanted });
        }
        if byte_len::<T>(&meta.shape)?.checked_mul(2) != Some(pair.range().len()) {
            return Err(Error::Protocol {
                peer: "the owner".into(),
                what: "a shape that does not fit its bytes",
            });
        }
        let layout = Layout::new(meta, size_of::<T>())?;
        Ok(Self {
            value,
            layout,
            elements: PhantomData,
        })
    }

    fn pair(&self) -> &MemoryRange<Double> {
        match &self.value.spans {
            Spans::Pair(pair) => pair,
            Spans::Guarded(_) => {
                unreachable!("a commit array has two buffers: `from_value` looked")
            }
        }
    }

    /// Elements along each axis.
    pub fn shape(&self) -> &[usize] {
        self.layout.shape.slice()
    }

    /// The name by which another process opens the array.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.value.handle()
    }

    /// The last commit, which stays as it is for as long as the guard lives. Does not wait for a writer.
    ///
    /// # Errors
    /// [`Error::Lock`], never with poison.
    pub fn read(&self) -> Result<ReadGuard<'_, T, D>, Error> {
        let held = self.pair().lock().read(LockOptions::default())?;
        Ok(ReadGuard::of_pair(self.pair(), held, |elements| {
            self.layout.view(elements)
        }))
    }

    /// Number of commits so far.
    ///
    /// # Errors
    /// [`Error::Lock`].
    pub fn commits(&self) -> Result<u64, Error> {
        Ok(self.pair().lock().read(LockOptions::default())?.commits())
    }

    /// Changes a copy of the last commit and makes it the new one; gives its number. If `change` panics or its process
    /// dies, the last commit stays.
    ///
    /// # Errors
    /// [`Error::Lock`].
    pub fn commit(&self, change: impl FnOnce(&mut ArrayViewMut<'_, T, D>)) -> Result<u64, Error> {
        self.replace(None, |last, next| {
            next.assign(last);
            change(next);
        })
    }

    /// As [`Self::commit`], without the copy: `write` gets the last commit and a buffer with the contents of an earlier
    /// one, all of which it should write. Waits at most `timeout` for other writers and for slow readers.
    ///
    /// # Errors
    /// [`Error::Lock`].
    pub fn replace(
        &self,
        timeout: Option<Duration>,
        write: impl FnOnce(&ArrayView<'_, T, D>, &mut ArrayViewMut<'_, T, D>),
    ) -> Result<u64, Error> {
        let mut held = self.pair().lock().commit(LockOptions {
            timeout,
            accept_poison: false,
        })?;
        let (last, next) = self.pair().both(&mut held);
        let (last, next) = (bytemuck::cast_slice(last), bytemuck::cast_slice_mut(next));
        write(&self.layout.view(last), &mut self.layout.view_mut(next));
        Ok(held.publish())
    }
}

impl<T, D: Clone> Clone for DoubleBufferedArray<T, D> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            layout: self.layout.clone(),
            elements: PhantomData,
        }
    }
}

impl<T, D: fmt::Debug> fmt::Debug for DoubleBufferedArray<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DoubleBufferedArray<{}>({:?})",
            std::any::type_name::<T>(),
            self.layout.shape
        )
    }
}
