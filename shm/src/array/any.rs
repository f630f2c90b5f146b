use std::sync::Arc;

use bytemuck::Pod;
use ndarray::{Dimension, Ix1};
use numpush_message::{Array, Backing, Buffer, Dtype, Element, Message, Stability};
use numpush_os::Memfd;
use numpush_shm_core::{LockOptions, ReadGuard, WriteGuard};
use smallvec::SmallVec;

use crate::array::{SharedArray, claim_array, freeze, lock_exclusive, lock_shared};
use crate::client;
use crate::error::Error;
use crate::handle::Handle;
use crate::object::{self, Locks, Object};

/// A shared array whose element type and axes are known at run time only.
#[derive(Clone, Debug)]
pub struct SharedDynArray {
    value: Arc<Object>,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl SharedDynArray {
    /// The array of a message that was received into an arena. Copies nothing.
    ///
    /// # Errors
    /// As [`SharedArray::from_message`].
    pub fn from_message(message: Message<'static>) -> Result<Self, Error> {
        let (meta, claim, home) = claim_array(message)?;
        Self::new(Object::new(
            object::Descriptor::Array(meta),
            vec![claim],
            Locks::One,
            vec![home],
        )?)
    }

    /// Opens the array behind a handle.
    ///
    /// # Errors
    /// [`Error::Stale`], and [`Error::Kind`] if it is no array.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Self::new(client::open(handle)?)
    }

    pub(crate) fn new(value: Arc<Object>) -> Result<Self, Error> {
        let object::Descriptor::Array(meta) = &value.meta else {
            return Err(Error::Kind {
                found: value.meta.kind(),
                wanted: "an array",
            });
        };
        let (dtype, shape) = (meta.dtype()?, meta.shape.clone());
        // Text of another process is checked against the bytes that came with it.
        let len = shape
            .iter()
            .try_fold(dtype.size(), |product, &len| product.checked_mul(len));
        let buffers = if matches!(value.spans, object::Spans::Pair(_)) {
            2
        } else {
            1
        };
        if len.and_then(|len| len.checked_mul(buffers)) != Some(value.len()) {
            return Err(Error::Protocol {
                peer: "the owner".into(),
                what: "a shape that does not fit its bytes",
            });
        }
        Ok(Self {
            value,
            dtype,
            shape,
        })
    }

    /// The element type.
    pub fn dtype(&self) -> &Dtype {
        &self.dtype
    }

    /// Elements along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The name by which another process opens the array.
    ///
    /// # Errors
    /// As [`SharedArray::handle`].
    pub fn handle(&self) -> Result<Handle, Error> {
        self.value.handle()
    }

    /// The array with its element type and axes.
    ///
    /// # Errors
    /// [`Error::Dtype`] and [`Error::Axes`].
    pub fn typed<T: Element + Pod, D: Dimension>(self) -> Result<SharedArray<T, D>, Error> {
        if let object::Spans::Pair(_) = self.value.spans {
            return Err(Error::Kind {
                found: "a commit array",
                wanted: "an array",
            });
        }
        SharedArray::from_value(self.value)
    }

    /// The bytes of all elements, locked for reading. See [`Self::array`] for their meaning.
    ///
    /// # Errors
    /// As [`SharedArray::read`].
    pub fn read(&self) -> Result<ReadGuard<'_, u8, Ix1>, Error> {
        if let object::Spans::Pair(pair) = &self.value.spans {
            let held = pair.lock().read(LockOptions::default())?;
            return Ok(ReadGuard::of_pair(pair, held, |bytes| bytes.into()));
        }
        let spans = self.value.guarded();
        let held: SmallVec<_> = lock_shared(spans, LockOptions::default())?;
        Ok(ReadGuard::new(spans, held, |bytes| bytes.into()))
    }

    /// The bytes of all elements, locked for writing.
    ///
    /// # Errors
    /// As [`SharedArray::write`]; [`Error::Kind`] for a commit array, which is not written in place.
    pub fn write(&self) -> Result<WriteGuard<'_, u8, Ix1>, Error> {
        if let object::Spans::Pair(_) = &self.value.spans {
            return Err(Error::Kind {
                found: "a commit array",
                wanted: "an array",
            });
        }
        let spans = self.value.guarded();
        let held = lock_exclusive(spans, LockOptions::default(), 0..self.value.len())?;
        Ok(WriteGuard::new(spans, held, |bytes| bytes.into()))
    }

    /// The bytes of a guard as the array they are: to send it while it is locked, say. Copies nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] if the guard is another array's.
    pub fn array<'a>(&self, guard: &'a ReadGuard<'_, u8, Ix1>) -> Result<Array<'a>, Error> {
        let object::Descriptor::Array(meta) = &self.value.meta else {
            return Err(Error::Kind {
                found: self.value.meta.kind(),
                wanted: "an array",
            });
        };
        meta.array(Buffer::borrowed(guard.as_slice().unwrap_or(&[])))
    }

    /// A copy of the array as it is now, in memory that the kernel lets nobody write any more, by whatever descriptor or
    /// mapping (fcntl(2), F_SEAL_WRITE): to hand to whom one does not trust. Over `unix:` it goes as a descriptor.
    ///
    /// # Errors
    /// As [`SharedArray::read`]; [`Error::Io`] if the memory cannot be had.
    pub fn snapshot(&self) -> Result<Message<'static>, Error> {
        let object::Descriptor::Array(meta) = &self.value.meta else {
            return Err(Error::Kind {
                found: self.value.meta.kind(),
                wanted: "an array",
            });
        };
        let held = self.read()?;
        let mut memory = Memfd::new(held.len()).map_err(Error::io("make memory for a snapshot"))?;
        memory
            .as_mut_slice()
            .copy_from_slice(held.as_slice().unwrap_or(&[]));
        drop(held);
        let (file, mapping) = memory.seal().map_err(Error::io("seal a snapshot"))?;
        let backing = Backing {
            file,
            offset: 0,
            stability: Stability::Sealed,
        };
        meta.array(Buffer::from_owner(mapping).with_backing(backing))
            .map(Message::from)
    }

    /// The array as a message that owns its bytes: it is shared no more. Copies nothing.
    ///
    /// # Errors
    /// As [`SharedArray::into_message`].
    pub fn into_message(self) -> Result<Message<'static>, Error> {
        let (meta, claims, homes) = Object::into_claims(self.value)?;
        let (object::Descriptor::Array(meta), Ok([claim])) = (meta, <[_; 1]>::try_from(claims))
        else {
            return Err(Error::InUse {
                what: "it has row locks",
            });
        };
        meta.array(freeze(claim, homes.first().cloned()))
            .map(Message::from)
    }
}
