use std::sync::Arc;

use numpush_message::{Buffer, Column, Frame, Message};
use numpush_shm_core::{LockError, LockOptions, MemoryRange, Owned};
use serde::{Deserialize, Serialize};

use crate::arena::{Arena, Reservation, freeze};
use crate::error::{ConvertError, Error};
use crate::frame::description::{ColumnDescription, FrameDescription};
use crate::frame::message::from_message;
use crate::frame::{FrameReadGuard, FrameWriteGuard};
use crate::object::{Describe, Handle, Object, RawObject, Released, make_locks};

/// A dataframe in shared memory: columns in Arrow's layout, under one lock.
///
/// Clones are the same frame. Sent to another process (it is `Serialize`, as its [`Handle`]) it is the same frame there.
/// Columns of numbers, booleans, dates and times are written in place, their validity included; strings and dictionaries
/// are read. To add or drop a column makes a new version of this handle, over the same memory and under the same lock;
/// other handles keep the columns they had.
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

    /// Adds a column, which is copied into `arena`; the others stay where they are.
    ///
    /// # Errors
    /// [`Error::Column`] if the name is taken, or if the column has another number of rows; [`Error::NotOwner`] in a process
    /// that has only opened the frame.
    pub fn add_column(&mut self, arena: &Arena, column: &Column<'_>) -> Result<(), Error> {
        let fault = |fault: String| Error::Column {
            name: column.name().to_owned(),
            fault,
        };
        if self.columns().any(|name| name == column.name()) {
            return Err(fault("is in the frame already".into()));
        }
        let (rows, all) = (column.data().len(), self.rows());
        if rows != all {
            return Err(fault(format!("has {rows} rows in a frame of {all}")));
        }
        Frame::new(vec![column.clone()])?.validate()?;
        let mut homes = self.object.raw().reservations("add a column")?.to_owned();
        let mut spans = self.object.join(0..homes.len())?;
        let mut buffers = Vec::new();
        let first = spans.len();
        let described = ColumnDescription::new(column, &mut |buffer| {
            buffers.push(buffer);
            first + buffers.len() - 1
        });
        for buffer in buffers {
            let (claim, home) = arena.copy_of(buffer)?;
            spans.push(claim.into_locked(self.object.raw().lock()));
            homes.push(home);
        }
        let mut description = self.description().clone();
        description.columns.push(described);
        self.object = self.object.version(description, spans, homes)?;
        Ok(())
    }

    /// Drops a column; the others stay where they are. Its memory is free when no version has it any more.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name; [`Error::NotOwner`].
    pub fn drop_column(&mut self, name: &str) -> Result<(), Error> {
        let mut description = self.description().clone();
        description.column(name)?;
        description.columns.retain(|column| column.name != name);
        let mut kept = description.renumber();
        if kept.is_empty() {
            // A lock guards bytes: those of any former column will do.
            kept.push(0);
        }
        let all = self.object.raw().reservations("drop a column")?;
        let homes = kept.iter().map(|&span| Arc::clone(&all[span])).collect();
        let spans = self.object.join(kept.iter().copied())?;
        self.object = self.object.version(description, spans, homes)?;
        Ok(())
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
