use std::sync::Arc;

use numpush_message::{ALIGNMENT, Buffer, Frame, Message};
use numpush_shm_core::{LockError, LockOptions, MemoryRange, Owned};
use serde::{Deserialize, Serialize};

use crate::arena::{Arena, Reservation, freeze};
use crate::error::{ConvertError, Error};
use crate::frame::description::FrameDescription;
use crate::frame::message::from_message;
use crate::frame::{FrameReadGuard, FrameWriteGuard};
use crate::object::{Describe, Handle, Object, RawObject, Released, make_locks};
use crate::snapshot::sealed_copy;

/// A dataframe in shared memory: columns in Arrow's layout, under one lock.
///
/// Clones are the same frame. Sent to another process (it is `Serialize`, as its [`Handle`]) it is the same frame there.
/// Columns of numbers, booleans, dates and times are written in place, their validity included; strings and dictionaries
/// are read, and [replaced](Self::replace_column) as a whole. To add, replace or drop a column makes a new version of this
/// handle, over the same memory and under the same lock; other handles keep the columns they had.
///
/// ```
/// # #[cfg(feature = "arrow")] {
/// use std::sync::Arc;
///
/// use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
/// use numpush_shm::{Arena, SharedFrame};
///
/// let batch = RecordBatch::try_from_iter([
///     ("city", Arc::new(StringArray::from(vec!["Jena", "Ulm"])) as ArrayRef),
///     ("degrees", Arc::new(Float64Array::from(vec![Some(21.5), None]))),
/// ])?;
/// let frame = SharedFrame::from_batch(&Arena::shared(), &batch)?;
/// let mut guard = frame.write()?;
/// let mut degrees = guard.column::<f64>("degrees")?;
/// degrees.update(|value| *value += 273.15);
/// degrees.set(1, Some(290.0))?;
/// drop(guard);
/// assert_eq!(frame.read()?.values::<f64>("degrees")?, [294.65, 290.0]);
/// assert_eq!(frame.read()?.strings("city")?.get(0), Some("Jena"));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedFrame {
    pub(super) object: Object<FrameDescription>,
}

impl SharedFrame {
    /// Shares the dataframe of a message that was received into an arena. Copies nothing.
    ///
    /// # Errors
    /// As [`SharedArray::from_message`](crate::SharedArray::from_message).
    pub fn from_message(message: Message<'static>) -> Result<Self, ConvertError<Message<'static>>> {
        from_message(message).map(|object| Self { object })
    }

    /// Copies `frame` into shared memory.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if the arena's budget or the machine's memory does not have the bytes; [`Error::Shape`] if a
    /// buffer does not fit its column's type.
    pub fn copy_of(arena: &Arena, frame: &Frame<'_>) -> Result<Self, Error> {
        frame.validate()?;
        let mut buffers = Vec::new();
        let description = FrameDescription::new(frame, |buffer| {
            buffers.push(buffer);
            buffers.len() - 1
        });
        let claims: Result<Vec<_>, _> = buffers
            .into_iter()
            .map(|buffer| arena.copy_of(buffer))
            .collect();
        Self::build(description, claims?)
    }

    /// Copies an Arrow record batch into shared memory.
    ///
    /// # Errors
    /// As [`Self::copy_of`]; [`Error::Arrow`] names a column whose type is not supported.
    #[cfg(feature = "arrow")]
    pub fn from_batch(arena: &Arena, batch: &arrow_array::RecordBatch) -> Result<Self, Error> {
        Self::copy_of(arena, &Frame::from_batch(batch)?)
    }

    fn build(
        description: FrameDescription,
        mut claims: Vec<(MemoryRange<Owned>, Arc<Reservation>)>,
    ) -> Result<Self, Error> {
        if claims.is_empty() {
            // A lock guards bytes, if only none.
            let nothing = Arena::shared().reserve(0)?;
            claims.push((nothing.claimed, nothing.home));
        }
        let (claims, homes) = claims.into_iter().unzip();
        let object = Object::new(description, claims, make_locks(1)?, homes);
        Ok(Self { object })
    }

    pub(crate) const KIND: &str = FrameDescription::KIND;

    pub(crate) fn from_raw(raw: Arc<RawObject>) -> Result<Self, Error> {
        Object::from_raw(raw).map(|object| Self { object })
    }

    /// Opens the frame of a handle.
    ///
    /// # Errors
    /// [`Error::Stale`] if the frame is gone; [`Error::Busy`] if its owner does not answer within ten seconds;
    /// [`Error::Kind`] if the handle is of another kind of value.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Object::open(handle).map(|object| Self { object })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.description().rows
    }

    /// Names of the columns, in order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.description()
            .columns
            .iter()
            .map(|column| column.name.as_str())
    }

    /// Bytes of all columns.
    pub fn byte_len(&self) -> usize {
        self.object.byte_len()
    }

    /// The handle by which another process opens the frame.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.object.handle()
    }

    /// Locks the frame for reading.
    ///
    /// # Errors
    /// As [`SharedArray::read`](crate::SharedArray::read).
    pub fn read(&self) -> Result<FrameReadGuard<'_>, LockError> {
        self.read_with(LockOptions::default())
    }

    /// As [`Self::read`], without a wait.
    ///
    /// # Errors
    /// As [`Self::read`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_read(&self) -> Result<FrameReadGuard<'_>, LockError> {
        self.read_with(LockOptions::no_wait())
    }

    /// As [`Self::read`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`SharedArray::read_with`](crate::SharedArray::read_with).
    pub fn read_with(&self, options: LockOptions) -> Result<FrameReadGuard<'_>, LockError> {
        FrameReadGuard::new(&self.object, options)
    }

    /// As [`Self::read`], also if a writer did not finish.
    ///
    /// # Errors
    /// As [`Self::read`], without poison.
    pub fn read_poisoned(&self) -> Result<FrameReadGuard<'_>, LockError> {
        self.read_with(LockOptions::default().accept_poison(true))
    }

    /// Locks the frame for writing.
    ///
    /// # Errors
    /// As [`SharedArray::write`](crate::SharedArray::write).
    pub fn write(&self) -> Result<FrameWriteGuard<'_>, LockError> {
        self.write_with(LockOptions::default())
    }

    /// As [`Self::write`], without a wait.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_write(&self) -> Result<FrameWriteGuard<'_>, LockError> {
        self.write_with(LockOptions::no_wait())
    }

    /// As [`Self::write`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`SharedArray::write_with`](crate::SharedArray::write_with).
    pub fn write_with(&self, options: LockOptions) -> Result<FrameWriteGuard<'_>, LockError> {
        FrameWriteGuard::new(&self.object, options)
    }

    /// As [`Self::write`], also if the last writer did not finish.
    ///
    /// # Errors
    /// As [`Self::write`], without poison.
    pub fn write_poisoned(&self) -> Result<FrameWriteGuard<'_>, LockError> {
        self.write_with(LockOptions::default().accept_poison(true))
    }

    /// Turns the frame into one that owns its bytes. Copies nothing. The frame is not shared any more.
    ///
    /// # Errors
    /// The frame, and [`Error::InUse`] if another clone or version, or another process, has it.
    ///
    /// # Panics
    /// Never: its description was checked when the frame was made.
    pub fn into_frame(self) -> Result<Frame<'static>, ConvertError<Self>> {
        let Released {
            description,
            claims,
            reservations,
        } = self
            .object
            .release()
            .map_err(|(object, error)| ConvertError::new(Self { object }, error))?;
        let freeze = |(claim, home)| freeze(claim, Some(home));
        let buffers = claims.into_iter().zip(reservations).map(freeze);
        let buffers: Vec<Buffer<'static>> = buffers.collect();
        #[expect(
            clippy::expect_used,
            reason = "the description was checked against the bytes when the frame was made"
        )]
        let frame = description
            .frame(|span| buffers[span].clone())
            .expect("a checked description");
        Ok(frame)
    }

    /// As [`Self::into_frame`], as a message.
    ///
    /// # Errors
    /// As [`Self::into_frame`].
    pub fn into_message(self) -> Result<Message<'static>, ConvertError<Self>> {
        self.into_frame().map(Message::from)
    }

    /// Copies the frame as it is now into memory that the kernel protects against every writer. Over `unix:` its columns go
    /// as one descriptor.
    ///
    /// # Errors
    /// As [`SharedArray::snapshot`](crate::SharedArray::snapshot).
    pub fn snapshot(&self) -> Result<Message<'static>, Error> {
        let held = self.read()?;
        let mut places = Vec::new();
        let mut len = 0_usize;
        for span in self.object.spans().locked() {
            let end = len + span.range().len();
            places.push(len..end);
            len = end.next_multiple_of(ALIGNMENT);
        }
        let copy = sealed_copy(len, |to| {
            for (number, place) in places.iter().enumerate() {
                to[place.clone()].copy_from_slice(held.bytes(Some(number)));
            }
        })?;
        drop(held);
        let frame = self
            .description()
            .frame(|span| copy.slice(places[span].clone()))?;
        Ok(frame.into())
    }

    /// Turns the frame into an Arrow record batch over the same bytes. Copies nothing. The frame is not shared any more.
    ///
    /// # Errors
    /// As [`Self::into_frame`]; [`Error::Arrow`].
    #[cfg(feature = "arrow")]
    pub fn into_batch(self) -> Result<arrow_array::RecordBatch, Error> {
        Ok(self.into_frame()?.to_batch()?)
    }

    pub(super) fn description(&self) -> &FrameDescription {
        self.object.description()
    }
}

impl TryFrom<Message<'static>> for SharedFrame {
    type Error = ConvertError<Message<'static>>;

    fn try_from(message: Message<'static>) -> Result<Self, ConvertError<Message<'static>>> {
        Self::from_message(message)
    }
}
