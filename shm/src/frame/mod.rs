//! Dataframes whose columns several processes read and write in place.

mod column;
mod guard;
mod meta;
mod part;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use numpush_message::{Body, Buffer, Column, Frame, Message};
use numpush_shm_core::{LockOptions, Locked, MemoryRange, Owned};

pub use column::{Bitmap, BitmapMut, BoolColumnMut, ColumnMut, StringColumn};
pub use guard::{FrameReadGuard, FrameWriteGuard};
pub(crate) use meta::Descriptor;
pub use part::{FramePart, FramePartGuard};

use crate::arena::{Allocation, Arena, Reservation, landed};
use crate::array::freeze;
use crate::client;
use crate::error::Error;
use crate::handle::Handle;
use crate::object::{self, Locks, Object};
use meta::ColumnMeta;

/// A dataframe in shared memory: columns in Arrow's layout, under one lock.
///
/// Clones are the same frame. Sent to another process (it is `Serialize`, as its [`Handle`]) it is the same there.
/// Columns of numbers, dates and times are written in place, their validity included; text and dictionaries are read.
/// To add or drop a column makes a new version of this handle, over the same memory and the same lock: handles that
/// were given out before keep the columns they had.
#[derive(Clone, Debug)]
pub struct SharedFrame {
    value: Arc<Object>,
}

impl SharedFrame {
    /// The dataframe of a message that was received into an arena. Copies nothing.
    ///
    /// # Errors
    /// As [`SharedArray::from_message`](crate::SharedArray::from_message).
    pub fn from_message(message: Message<'static>) -> Result<Self, Error> {
        let Body::Frame(frame) = message.body else {
            return Err(Error::Body {
                wanted: "dataframe",
            });
        };
        let mut pieces: Vec<(usize, usize)> = Vec::new();
        let mut allocations: HashMap<usize, Arc<Allocation>> = HashMap::new();
        let mut lost = false;
        let meta = Descriptor::new(&frame, |buffer| {
            pieces.push((buffer.as_ptr().addr(), buffer.len()));
            match landed(buffer) {
                Some((allocation, _)) => {
                    drop(allocations.insert(Arc::as_ptr(&allocation).addr(), allocation))
                }
                None => lost = true,
            }
            pieces.len() - 1
        });
        drop(frame);
        if lost {
            return Err(Error::NotShared);
        }
        let mut claims: Vec<Option<(MemoryRange<Owned>, Arc<Reservation>)>> =
            pieces.iter().map(|_| None).collect();
        for allocation in allocations.into_values() {
            let allocation = Arc::try_unwrap(allocation).map_err(|_| Error::InUse {
                what: "a clone of the message's buffers reads it",
            })?;
            cut(allocation, &pieces, &mut claims)?;
        }
        let all: Option<Vec<_>> = claims.into_iter().collect();
        Self::build(meta, all.ok_or(Error::NotShared)?)
    }

    /// A copy of `frame`: the one copy it takes to share what was not.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::Shape`] if a buffer is not what its type wants.
    pub fn copy_of(arena: &Arena, frame: &Frame<'_>) -> Result<Self, Error> {
        frame.validate()?;
        let mut buffers = Vec::new();
        let meta = Descriptor::new(frame, |buffer| {
            buffers.push(buffer);
            buffers.len() - 1
        });
        let claims: Result<Vec<_>, _> = buffers
            .into_iter()
            .map(|buffer| arena.copy_of(buffer))
            .collect();
        Self::build(meta, claims?)
    }

    /// A copy of an Arrow record batch.
    ///
    /// # Errors
    /// As [`Self::copy_of`]; [`Error::Arrow`] names a column whose type is not supported.
    #[cfg(feature = "arrow")]
    pub fn from_batch(arena: &Arena, batch: &arrow_array::RecordBatch) -> Result<Self, Error> {
        Self::copy_of(arena, &Frame::from_batch(batch)?)
    }

    fn build(
        meta: Descriptor,
        mut claims: Vec<(MemoryRange<Owned>, Arc<Reservation>)>,
    ) -> Result<Self, Error> {
        if claims.is_empty() {
            // A lock needs something to guard, if only no bytes.
            let nothing = Arena::shared().reserve(0)?;
            claims.push((nothing.claimed, nothing.home));
        }
        let (claims, homes) = claims.into_iter().unzip();
        Ok(Self {
            value: Object::new(object::Descriptor::Frame(meta), claims, Locks::One, homes)?,
        })
    }

    /// Opens the frame behind a handle.
    ///
    /// # Errors
    /// [`Error::Stale`], and [`Error::Kind`] if it is no frame.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Self::from_value(client::open(handle)?)
    }

    pub(crate) fn from_value(value: Arc<Object>) -> Result<Self, Error> {
        let object::Descriptor::Frame(meta) = &value.meta else {
            return Err(Error::Kind {
                found: value.meta.kind(),
                wanted: "a frame",
            });
        };
        // What another process says of its columns must fit the bytes it gave.
        let spans = value.guarded();
        let len = |span: usize| {
            spans
                .get(span)
                .map(|span: &MemoryRange<Locked>| span.range().len())
        };
        if !meta
            .columns
            .iter()
            .all(|column| part::fits(column, meta.rows, len))
        {
            return Err(Error::Protocol {
                peer: "the owner".into(),
                what: "columns that do not fit their bytes",
            });
        }
        Ok(Self { value })
    }

    fn meta(&self) -> &Descriptor {
        match &self.value.meta {
            object::Descriptor::Frame(meta) => meta,
            _ => unreachable!("every way to make a frame looks"),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.meta().rows
    }

    /// Names of the columns, in order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.meta()
            .columns
            .iter()
            .map(|column| column.name.as_str())
    }

    /// Bytes of all columns.
    pub fn byte_len(&self) -> usize {
        self.value.len()
    }

    /// The name by which another process opens the frame.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.value.handle()
    }

    /// Locks the frame for reading.
    ///
    /// # Errors
    /// As [`SharedArray::read`](crate::SharedArray::read).
    pub fn read(&self) -> Result<FrameReadGuard<'_>, Error> {
        FrameReadGuard::new(&self.value, self.meta(), LockOptions::default())
    }

    /// As [`Self::read`], but waits at most `timeout`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_for(&self, timeout: Duration) -> Result<FrameReadGuard<'_>, Error> {
        FrameReadGuard::new(
            &self.value,
            self.meta(),
            LockOptions {
                timeout: Some(timeout),
                accept_poison: false,
            },
        )
    }

    /// Locks the frame for writing.
    ///
    /// # Errors
    /// As [`SharedArray::write`](crate::SharedArray::write).
    pub fn write(&self) -> Result<FrameWriteGuard<'_>, Error> {
        FrameWriteGuard::new(&self.value, self.meta(), LockOptions::default())
    }

    /// As [`Self::write`], but waits at most `timeout`.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_for(&self, timeout: Duration) -> Result<FrameWriteGuard<'_>, Error> {
        FrameWriteGuard::new(
            &self.value,
            self.meta(),
            LockOptions {
                timeout: Some(timeout),
                accept_poison: false,
            },
        )
    }

    /// As [`Self::write`], but also when the last writer did not finish.
    ///
    /// # Errors
    /// As [`Self::write`], without poison.
    pub fn write_poisoned(&self) -> Result<FrameWriteGuard<'_>, Error> {
        FrameWriteGuard::new(
            &self.value,
            self.meta(),
            LockOptions {
                timeout: None,
                accept_poison: true,
            },
        )
    }

    /// Divides the frame by rows into `parts`, which workers write at the same time. Parts begin at multiples of 512
    /// rows, so that no two share a byte of a bitmap; a frame of fewer rows has fewer parts. The frame stays locked
    /// until all of them are dropped.
    ///
    /// # Errors
    /// As [`SharedArray::partition`](crate::SharedArray::partition).
    pub fn partition(&self, parts: usize) -> Result<Vec<FramePart>, Error> {
        FramePart::divide(&self.value, self.rows(), parts)
    }

    /// Adds a column, which is copied into `arena`; the others stay where they are.
    ///
    /// # Errors
    /// [`Error::Column`] if there is one of that name, or if it has another number of rows; [`Error::NotOwner`].
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
        let mut homes = self.value.homes("add a column")?.to_owned();
        let mut spans = self.value.joined(0..homes.len())?;
        let mut buffers = Vec::new();
        let first = spans.len();
        let described = ColumnMeta::new(column, &mut |buffer| {
            buffers.push(buffer);
            first + buffers.len() - 1
        });
        for buffer in buffers {
            let (claim, home) = arena.copy_of(buffer)?;
            spans.push(claim.into_locked(self.value.lock()));
            homes.push(home);
        }
        let mut meta = self.meta().clone();
        meta.columns.push(described);
        self.value = self
            .value
            .version(object::Descriptor::Frame(meta), spans, homes)?;
        Ok(())
    }

    /// Drops a column; the others stay where they are. Its memory is free when no version has it any more.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name; [`Error::NotOwner`].
    pub fn drop_column(&mut self, name: &str) -> Result<(), Error> {
        let mut meta = self.meta().clone();
        meta.column(name)?;
        meta.columns.retain(|column| column.name != name);
        let mut kept = meta.renumber();
        if kept.is_empty() {
            // The lock stays with some bytes, whosever they were.
            kept.push(0);
        }
        let all = self.value.homes("drop a column")?;
        let homes = kept.iter().map(|&span| Arc::clone(&all[span])).collect();
        let spans = self.value.joined(kept.iter().copied())?;
        self.value = self
            .value
            .version(object::Descriptor::Frame(meta), spans, homes)?;
        Ok(())
    }

    /// The frame with its bytes: it is shared no more. Copies nothing.
    ///
    /// # Errors
    /// [`Error::InUse`] if another clone or version, or another process, has the frame.
    pub fn into_frame(self) -> Result<Frame<'static>, Error> {
        let (meta, claims, homes) = Object::into_claims(self.value)?;
        let object::Descriptor::Frame(meta) = meta else {
            return Err(Error::Body {
                wanted: "dataframe",
            });
        };
        let freeze = |(claim, home)| freeze(claim, Some(home));
        let buffers: Vec<Buffer<'static>> = claims.into_iter().zip(homes).map(freeze).collect();
        meta.frame(|span| buffers[span].clone())
    }

    /// The frame as an Arrow record batch over the same bytes: it is shared no more. Copies nothing.
    ///
    /// # Errors
    /// As [`Self::into_frame`].
    #[cfg(feature = "arrow")]
    pub fn into_batch(self) -> Result<arrow_array::RecordBatch, Error> {
        Ok(self.into_frame()?.to_batch()?)
    }
}

/// Cuts those of `pieces` (address and length) out of `allocation` that lie in it.
fn cut(
    allocation: Allocation,
    pieces: &[(usize, usize)],
    claims: &mut [Option<(MemoryRange<Owned>, Arc<Reservation>)>],
) -> Result<(), Error> {
    let Allocation { claimed, home } = allocation;
    let start = claimed.as_ref().as_ptr().addr();
    let end = start + claimed.range().len();
    let mut inside: Vec<(usize, usize, usize)> = pieces
        .iter()
        .enumerate()
        .filter(|(_, (address, _))| (start..end).contains(address))
        .map(|(number, &(address, len))| (address - start, len, number))
        .collect();
    inside.sort_unstable();
    let (mut rest, mut at) = (claimed, 0);
    for (offset, len, number) in inside {
        let skip = offset.checked_sub(at).ok_or(Error::InUse {
            what: "two columns share a buffer",
        })?;
        let (_, from) = rest.split(skip);
        let (piece, behind) = from.split(len);
        claims[number] = Some((piece, Arc::clone(&home)));
        (rest, at) = (behind, offset + len);
    }
    Ok(())
}

impl TryFrom<Message<'static>> for SharedFrame {
    type Error = Error;

    fn try_from(message: Message<'static>) -> Result<Self, Error> {
        Self::from_message(message)
    }
}

#[cfg(test)]
mod tests;
