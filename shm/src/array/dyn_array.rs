use std::fmt;
use std::sync::Arc;

use bytemuck::Pod;
use ndarray::{Dimension, Ix1};
use numpush_message::{Array, Buffer, Dtype, Element, Message};
use numpush_shm_core::{
    LockError, LockOptions, ReadGuard, WriteGuard, commit_guard, read_guard, write_guard,
};
use serde::{Deserialize, Serialize};

use crate::array::SharedArray;
use crate::array::description::{DynArray, TypedArray, not_plain};
use crate::array::locks::{lock_exclusive, lock_shared};
use crate::array::message::{from_message, into_message};
use crate::error::{ConvertError, Error};
use crate::object::{Describe, Handle, Object, RawObject};
use crate::snapshot::sealed_copy;

/// A shared array whose element type and axes are known at run time only. A [`DoubleBufferedArray`] is one too, to read.
///
/// Its guards hold the bytes of the elements.
///
/// ```
/// use ndarray::{Ix1, array};
/// use numpush_shm::{Arena, SharedArray, SharedDynArray};
///
/// let shared = SharedArray::copy_of(&Arena::shared(), &array![1_i32, 2, 3])?;
/// let any = SharedDynArray::open(&shared.handle()?)?;
/// assert_eq!((any.dtype().to_string(), any.shape()), ("<i4".into(), &[3][..]));
/// assert_eq!(any.read()?.len(), 12);
/// assert_eq!(any.typed::<i32, Ix1>()?.read()?.sum(), 6);
/// # Ok::<(), numpush_shm::Error>(())
/// ```
///
/// [`DoubleBufferedArray`]: crate::DoubleBufferedArray
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedDynArray {
    pub(super) object: Object<DynArray>,
}

impl SharedDynArray {
    /// Shares the array of a message that was received into an arena. Copies nothing.
    ///
    /// # Errors
    /// As [`SharedArray::from_message`].
    pub fn from_message(message: Message<'static>) -> Result<Self, ConvertError<Message<'static>>> {
        from_message(message, 1, DynArray::new).map(|object| Self { object })
    }

    pub(crate) const KIND: &str = DynArray::KIND;

    pub(crate) fn from_raw(raw: Arc<RawObject>) -> Result<Self, Error> {
        Object::from_raw(raw).map(|object| Self { object })
    }

    /// Opens the array of a handle.
    ///
    /// # Errors
    /// [`Error::Stale`] if the array is gone; [`Error::Busy`] if its owner does not answer within ten seconds;
    /// [`Error::Kind`] if the handle is of another kind of value.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Object::open(handle).map(|object| Self { object })
    }

    /// The element type.
    pub fn dtype(&self) -> &Dtype {
        &self.object.description().dtype
    }

    /// Elements along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.object.description().sent.shape
    }

    /// Bytes of all elements; of both buffers of a double-buffered array.
    pub fn byte_len(&self) -> usize {
        self.object.byte_len()
    }

    /// The handle by which another process opens the array.
    ///
    /// # Errors
    /// As [`SharedArray::handle`].
    pub fn handle(&self) -> Result<Handle, Error> {
        self.object.handle()
    }

    /// The array with its element type and axes.
    ///
    /// # Errors
    /// [`Error::Dtype`] and [`Error::Axes`] if it has others; [`Error::Kind`] if it is double-buffered;
    /// [`Error::Misaligned`] if it was shared at an address where no `T` can lie.
    pub fn typed<T: Element + Pod, D: Dimension>(self) -> Result<SharedArray<T, D>, Error> {
        if self.object.spans().double().is_some() {
            return Err(not_plain());
        }
        let array = TypedArray::from_sent(self.object.description().sent.clone())?;
        self.object.spans().check_alignment(0, align_of::<T>())?;
        Ok(SharedArray {
            object: self.object.described(|_| array),
        })
    }

    /// Locks the array for reading. The guard holds the bytes of the elements; see [`Self::array`] for their meaning.
    ///
    /// # Errors
    /// As [`SharedArray::read`].
    pub fn read(&self) -> Result<ReadGuard<'_, u8, Ix1>, LockError> {
        self.read_with(LockOptions::default())
    }

    /// As [`Self::read`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`SharedArray::read_with`].
    pub fn read_with(&self, options: LockOptions) -> Result<ReadGuard<'_, u8, Ix1>, LockError> {
        if let Some(pair) = self.object.spans().double() {
            let held = pair.lock().read(options)?;
            return Ok(commit_guard(pair, held, |bytes| bytes.into()));
        }
        let spans = self.object.spans().locked();
        let held = lock_shared(spans, options)?;
        Ok(read_guard(spans, held, |bytes| bytes.into()))
    }

    /// As [`Self::read`], without a wait.
    ///
    /// # Errors
    /// As [`SharedArray::try_read`].
    pub fn try_read(&self) -> Result<ReadGuard<'_, u8, Ix1>, LockError> {
        self.read_with(LockOptions::no_wait())
    }

    /// As [`Self::read`], also if a writer did not finish.
    ///
    /// # Errors
    /// As [`SharedArray::read_poisoned`].
    pub fn read_poisoned(&self) -> Result<ReadGuard<'_, u8, Ix1>, LockError> {
        self.read_with(LockOptions::default().accept_poison(true))
    }

    /// Locks the array for writing. The guard holds the bytes of the elements.
    ///
    /// # Errors
    /// [`Error::Lock`] as [`SharedArray::write`]; [`Error::Kind`] if the array is double-buffered, which is not written
    /// in place.
    pub fn write(&self) -> Result<WriteGuard<'_, u8, Ix1>, Error> {
        self.write_with(LockOptions::default())
    }

    /// As [`Self::write`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names the holder.
    pub fn write_with(&self, options: LockOptions) -> Result<WriteGuard<'_, u8, Ix1>, Error> {
        if self.object.spans().double().is_some() {
            return Err(not_plain());
        }
        let spans = self.object.spans().locked();
        let held = lock_exclusive(spans, options, 0..self.byte_len())?;
        Ok(write_guard(spans, held, |bytes| bytes.into()))
    }

    /// As [`Self::write`], without a wait.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_write(&self) -> Result<WriteGuard<'_, u8, Ix1>, Error> {
        self.write_with(LockOptions::no_wait())
    }

    /// As [`Self::write`], also if the last writer did not finish.
    ///
    /// # Errors
    /// As [`Self::write`], without poison.
    pub fn write_poisoned(&self) -> Result<WriteGuard<'_, u8, Ix1>, Error> {
        self.write_with(LockOptions::default().accept_poison(true))
    }

    /// The bytes of a guard as the array they are, for example to send it while it is locked. Copies nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] if the guard is of another array.
    pub fn array<'a>(&self, guard: &'a ReadGuard<'_, u8, Ix1>) -> Result<Array<'a>, Error> {
        let bytes = guard.as_slice().unwrap_or(&[]);
        self.object
            .description()
            .sent
            .array(Buffer::borrowed(bytes))
    }

    /// Copies the array as it is now into memory that the kernel protects against every writer, whatever descriptor or
    /// mapping he has (fcntl(2), F_SEAL_WRITE): for receivers that are not trusted. Over `unix:` it goes as a
    /// descriptor.
    ///
    /// # Errors
    /// [`Error::Lock`] as [`SharedArray::read`]; [`Error::Io`] if there is no memory for the copy.
    pub fn snapshot(&self) -> Result<Message<'static>, Error> {
        let held = self.read()?;
        let bytes = held.as_slice().unwrap_or(&[]);
        let buffer = sealed_copy(bytes.len(), |to| to.copy_from_slice(bytes))?;
        drop(held);
        self.object
            .description()
            .sent
            .array(buffer)
            .map(Message::from)
    }

    /// Turns the array into a message that owns its bytes. Copies nothing. The array is not shared any more.
    ///
    /// # Errors
    /// As [`SharedArray::into_message`].
    pub fn into_message(self) -> Result<Message<'static>, ConvertError<Self>> {
        let refused = |(object, error)| ConvertError::new(Self { object }, error);
        into_message(self.object).map_err(refused)
    }
}

impl TryFrom<Message<'static>> for SharedDynArray {
    type Error = ConvertError<Message<'static>>;

    fn try_from(message: Message<'static>) -> Result<Self, ConvertError<Message<'static>>> {
        Self::from_message(message)
    }
}

impl fmt::Debug for SharedDynArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedDynArray<{}>({:?})", self.dtype(), self.shape())
    }
}

impl<T: Element + Pod, D: Dimension> SharedArray<T, D> {
    /// Copies the array as it is now into memory that the kernel protects against every writer.
    ///
    /// # Errors
    /// As [`SharedDynArray::snapshot`].
    pub fn snapshot(&self) -> Result<Message<'static>, Error> {
        self.clone().into_dyn().snapshot()
    }

    /// The same array with its element type and axes known at run time only.
    pub fn into_dyn(self) -> SharedDynArray {
        let dtype = Dtype::Scalar(T::SCALAR);
        SharedDynArray {
            object: self.object.described(|array| DynArray {
                sent: array.sent.clone(),
                dtype,
            }),
        }
    }
}
