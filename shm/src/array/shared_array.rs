use std::fmt;
use std::ops::Range;

use bytemuck::Pod;
use ndarray::Dimension;
use numpush_message::{Element, Message};
use numpush_shm_core::{
    LockError, LockOptions, Locked, MemoryRange, Owned, ReadGuard, WriteGuard, part_range,
    read_guard, write_guard,
};
use serde::{Deserialize, Serialize};

use crate::array::description::TypedArray;
use crate::array::layout::Layout;
use crate::array::locks::{lock_exclusive, lock_shared};
use crate::array::message::{from_message, into_message};
use crate::error::{ConvertError, Error};
use crate::object::{Handle, Object, Released, Spans, make_locks};

/// An array in shared memory: elements of type `T`, `D` axes, and a lock that survives the death of its holder.
///
/// Clones are the same array. Sent to another process (it is `Serialize`, as its [`Handle`]) it is the same array
/// there. Its memory is free again when the last clone in the last process is gone.
///
/// ```
/// use ndarray::array;
/// use numpush_shm::{Arena, SharedArray};
///
/// let shared = SharedArray::copy_of(&Arena::shared(), &array![[1.0, 2.0], [3.0, 4.0]])?;
/// *shared.write()? *= 10.0;
/// assert_eq!(shared.read()?.sum(), 100.0);
/// # Ok::<(), numpush_shm::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "T: Element + Pod, D: Dimension")]
pub struct SharedArray<T, D> {
    pub(super) object: Object<TypedArray<T, D>>,
}

/// Most row locks of an array. Each takes 384 bytes, and a lock of the whole array takes all of them.
const MAX_ROW_LOCKS: usize = 256;

impl<T: Element + Pod, D: Dimension> SharedArray<T, D> {
    /// Shares the array of a message that was received into an arena. Copies nothing.
    ///
    /// # Errors
    /// The message, and one of: [`Error::NotShared`] if it lies elsewhere; [`Error::InUse`] if a clone of its buffers is
    /// alive; [`Error::Body`] if it is not an array; [`Error::Dtype`] and [`Error::Axes`]; [`Error::Misaligned`] if it is
    /// a slice of a buffer at an address where no `T` can lie; [`Error::Io`] without memory for a lock.
    pub fn from_message(message: Message<'static>) -> Result<Self, ConvertError<Message<'static>>> {
        from_message(message, align_of::<T>(), TypedArray::from_sent).map(|object| Self { object })
    }

    /// Opens the array of a handle.
    ///
    /// # Errors
    /// [`Error::Stale`] if the array is gone; [`Error::Busy`] if its owner does not answer within ten seconds;
    /// [`Error::Kind`], [`Error::Dtype`] and [`Error::Axes`] if it is another one.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Object::open(handle).map(|object| Self { object })
    }

    /// Gives every `rows / locks` rows a lock of their own, so that writers of different rows do not wait for each
    /// other. A lock of the whole array then takes all of them. `locks` is 1 to 256.
    ///
    /// # Errors
    /// The array, and one of: [`Error::InUse`] unless this is the only handle to it; [`Error::Division`] if it has no
    /// rows, more than 256 locks are asked for, it has row locks already, or it is not in C order.
    pub fn with_row_locks(self, locks: usize) -> Result<Self, ConvertError<Self>> {
        let shape = self.shape();
        let rows = shape.first().copied().unwrap_or(0);
        let parts = locks.min(rows);
        let why = if parts == 0 {
            Some("rows and locks are at least one")
        } else if locks > MAX_ROW_LOCKS {
            Some("an array has at most 256 row locks")
        } else if !self.layout().is_c_order() {
            Some("its elements are not in C order (row-major)")
        } else if self.spans().locked().len() != 1 {
            Some("it has row locks already")
        } else {
            None
        };
        if let Some(why) = why {
            let error = Error::Division {
                axis: 0,
                parts: locks,
                shape: shape.into(),
                why,
            };
            return Err(ConvertError::new(self, error));
        }
        let row = self.byte_len() / rows;
        let locks = match make_locks(parts) {
            Ok(locks) => locks,
            Err(error) => return Err(ConvertError::new(self, error)),
        };
        let released = self.object.release();
        let Released {
            description,
            claims: mut pieces,
            reservations,
        } = released.map_err(|(object, error)| ConvertError::new(Self { object }, error))?;
        for number in 0..parts - 1 {
            let Some(rest) = pieces.pop() else { break };
            let rows = part_range(rows, parts, number, 1);
            pieces.extend(<[MemoryRange<Owned>; 2]>::from(
                rest.split(rows.len() * row),
            ));
        }
        let description = TypedArray::clone(&description);
        let object = Object::new(description, pieces, locks, reservations);
        Ok(Self { object })
    }

    /// Elements along each axis.
    pub fn shape(&self) -> &[usize] {
        self.layout().shape.slice()
    }

    /// Bytes of all elements.
    pub fn byte_len(&self) -> usize {
        self.object.byte_len()
    }

    /// The handle by which another process opens the array.
    ///
    /// # Errors
    /// [`Error::Io`] if the thread that serves handles cannot be started; [`Error::NotOwner`] in a forked child.
    pub fn handle(&self) -> Result<Handle, Error> {
        self.object.handle()
    }

    /// Locks the array for reading, together with other readers. Waits while a writer holds the lock.
    ///
    /// A thread that reads may read again. A thread that writes is refused instead of waiting for itself.
    ///
    /// # Errors
    /// [`LockError::Poisoned`] if a writer did not finish: see [`Self::read_poisoned`]; [`LockError::WouldDeadlock`] if
    /// this thread writes; [`LockError::TooMany`]; [`LockError::TooManyThreads`].
    pub fn read(&self) -> Result<ReadGuard<'_, T, D>, LockError> {
        self.read_with(LockOptions::default())
    }

    /// As [`Self::read`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`Self::read`]; [`LockError::Timeout`] names the holder.
    pub fn read_with(&self, options: LockOptions) -> Result<ReadGuard<'_, T, D>, LockError> {
        let spans = self.spans().locked();
        let held = lock_shared(spans, options)?;
        Ok(read_guard(spans, held, |elements| {
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

    /// As [`Self::read`], also if a writer did not finish. The guard reports what the writer left.
    ///
    /// # Errors
    /// As [`Self::read`], without poison.
    pub fn read_poisoned(&self) -> Result<ReadGuard<'_, T, D>, LockError> {
        self.read_with(LockOptions::default().accept_poison(true))
    }

    /// Locks the array for writing, alone. Waits while others hold the lock.
    ///
    /// # Errors
    /// As [`Self::read`], and [`LockError::WouldDeadlock`] also if this thread reads; for poison see
    /// [`Self::write_poisoned`].
    pub fn write(&self) -> Result<WriteGuard<'_, T, D>, LockError> {
        self.write_with(LockOptions::default())
    }

    /// As [`Self::write`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names the holder.
    pub fn write_with(&self, options: LockOptions) -> Result<WriteGuard<'_, T, D>, LockError> {
        let spans = self.spans().locked();
        let held = lock_exclusive(spans, options, 0..self.byte_len())?;
        Ok(write_guard(spans, held, |elements| {
            self.layout().view_mut(elements)
        }))
    }

    /// As [`Self::write`], without a wait.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_write(&self) -> Result<WriteGuard<'_, T, D>, LockError> {
        self.write_with(LockOptions::no_wait())
    }

    /// As [`Self::write`], also if the last writer did not finish. The guard reports what the writer left; the array
    /// stays poisoned until the guard's [`clear_poison`](WriteGuard::clear_poison) is called.
    ///
    /// # Errors
    /// As [`Self::write`], without poison.
    pub fn write_poisoned(&self) -> Result<WriteGuard<'_, T, D>, LockError> {
        self.write_with(LockOptions::default().accept_poison(true))
    }

    /// Locks `rows` for reading; without [row locks](Self::with_row_locks), all rows.
    ///
    /// # Errors
    /// [`Error::Lock`] as [`Self::read`]; [`Error::Range`] if the rows are none or not in the array, or if the array is
    /// not in C order.
    pub fn read_rows(&self, rows: Range<usize>) -> Result<ReadGuard<'_, T, D>, Error> {
        self.read_rows_with(LockOptions::default(), rows)
    }

    /// As [`Self::read_rows`], with a timeout, without a wait, or with poison accepted.
    ///
    /// # Errors
    /// As [`Self::read_rows`].
    pub fn read_rows_with(
        &self,
        options: LockOptions,
        rows: Range<usize>,
    ) -> Result<ReadGuard<'_, T, D>, Error> {
        let (spans, first) = self.spans_of(&rows)?;
        let held = lock_shared(spans, options)?;
        Ok(read_guard(spans, held, |elements| {
            self.layout().rows(elements, first, &rows)
        }))
    }

    /// Locks `rows` for writing; without [row locks](Self::with_row_locks), all rows.
    ///
    /// # Errors
    /// [`Error::Lock`] as [`Self::write`]; [`Error::Range`] as [`Self::read_rows`].
    pub fn write_rows(&self, rows: Range<usize>) -> Result<WriteGuard<'_, T, D>, Error> {
        self.write_rows_with(LockOptions::default(), rows)
    }

    /// As [`Self::write_rows`], with a timeout, without a wait, or with poison accepted.
    ///
    /// # Errors
    /// As [`Self::write_rows`].
    pub fn write_rows_with(
        &self,
        options: LockOptions,
        rows: Range<usize>,
    ) -> Result<WriteGuard<'_, T, D>, Error> {
        let (spans, first) = self.spans_of(&rows)?;
        let row = self.byte_len() / self.shape()[0].max(1);
        let dirty = (rows.start - first) * row..(rows.end - first) * row;
        let held = lock_exclusive(spans, options, dirty)?;
        Ok(write_guard(spans, held, |elements| {
            self.layout().rows_mut(elements, first, &rows)
        }))
    }

    /// The spans that hold `rows`, and the first row in them.
    fn spans_of(&self, rows: &Range<usize>) -> Result<(&[MemoryRange<Locked>], usize), Error> {
        let len = self.shape().first().copied().unwrap_or(0);
        if rows.start >= rows.end || rows.end > len || !self.layout().is_c_order() {
            return Err(Error::Range {
                what: "rows",
                range: rows.clone(),
                len,
            });
        }
        let spans = self.spans().locked();
        let place = |number| part_range(len, spans.len(), number, 1);
        let first = (0..spans.len())
            .find(|&number| place(number).end > rows.start)
            .unwrap_or(0);
        let last = (first..spans.len())
            .find(|&number| place(number).end >= rows.end)
            .unwrap_or(first);
        Ok((&spans[first..=last], place(first).start))
    }

    /// Turns the array into a message that owns its bytes. Copies nothing. The array is not shared any more; for bytes
    /// that the kernel protects against every writer, see [`Self::snapshot`].
    ///
    /// # Errors
    /// The array, and [`Error::InUse`] if another clone or another process has it, or if it has row locks.
    pub fn into_message(self) -> Result<Message<'static>, ConvertError<Self>> {
        let Self { object } = self;
        into_message(object).map_err(|(object, error)| ConvertError::new(Self { object }, error))
    }

    pub(super) fn layout(&self) -> &Layout<D> {
        &self.object.description().layout
    }

    pub(super) fn spans(&self) -> &Spans {
        self.object.spans()
    }
}

impl<T, D> Clone for SharedArray<T, D> {
    fn clone(&self) -> Self {
        Self {
            object: self.object.clone(),
        }
    }
}

impl<T: Element + Pod, D: Dimension> TryFrom<Message<'static>> for SharedArray<T, D> {
    type Error = ConvertError<Message<'static>>;

    fn try_from(message: Message<'static>) -> Result<Self, ConvertError<Message<'static>>> {
        Self::from_message(message)
    }
}

impl<T, D: fmt::Debug> fmt::Debug for SharedArray<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedArray{:?}", self.object.description())
    }
}
