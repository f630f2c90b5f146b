//! Arrays that several processes read and write in place.

mod any;
mod commit;
mod layout;
mod partition;

pub use any::SharedDynArray;
pub use commit::DoubleBufferedArray;
pub use partition::{Part, Partition};

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytemuck::Pod;
use ndarray::{ArrayRef, Axis, Dimension, IntoDimension};
use numpush_message::{Array, Body, Buffer, Dtype, Element, Message};
use numpush_shm_core::{
    LockError, LockOptions, Locked, MemoryRange, Owned, Poison, ReadGuard, ReadHold, WriteGuard,
    WriteHold, part_range,
};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::arena::{Arena, Reservation, landed};
use crate::dtype::DtypeText;
use crate::error::Error;
use crate::handle::Handle;
use crate::object::{self, Locks, Object};
use layout::Layout;

/// What a process that opens an array is told of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Descriptor {
    pub(crate) dtype: DtypeText,
    pub(crate) shape: Vec<usize>,
    /// Bytes from element to element along each axis; `None` for C order.
    pub(crate) strides: Option<Vec<isize>>,
}

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
pub struct SharedArray<T, D> {
    value: Arc<Object>,
    layout: Layout<D>,
    elements: PhantomData<fn() -> T>,
}

impl<T: Element + Pod, D: Dimension> SharedArray<T, D> {
    /// An array of zeros.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if the arena's budget or the machine's memory does not have it; [`Error::Shape`].
    pub fn zeros(arena: &Arena, shape: impl IntoDimension<Dim = D>) -> Result<Self, Error> {
        let shape = shape.into_dimension();
        let len = byte_len::<T>(shape.slice())?;
        let allocation = arena.reserve_zeros(len)?;
        let meta = Descriptor {
            dtype: dtype::<T>(),
            shape: shape.slice().into(),
            strides: None,
        };
        let value = Object::new(
            object::Descriptor::Array(meta),
            vec![allocation.claimed],
            Locks::One,
            vec![allocation.home],
        )?;
        Self::from_value(value)
    }

    /// A copy of `array`, in C order: the one copy it takes to share what was not.
    ///
    /// # Errors
    /// As [`Self::zeros`].
    pub fn copy_of(arena: &Arena, array: &ArrayRef<T, D>) -> Result<Self, Error> {
        let len = byte_len::<T>(array.shape())?;
        let mut allocation = arena.reserve(len)?;
        layout::fill(allocation.claimed.bytes_mut(), array);
        let meta = Descriptor {
            dtype: dtype::<T>(),
            shape: array.shape().into(),
            strides: None,
        };
        let value = Object::new(
            object::Descriptor::Array(meta),
            vec![allocation.claimed],
            Locks::One,
            vec![allocation.home],
        )?;
        Self::from_value(value)
    }

    /// The array of a message that was received into an arena. Copies nothing.
    ///
    /// # Errors
    /// [`Error::NotShared`] if the message lies elsewhere; [`Error::InUse`] if a clone of its buffers is alive;
    /// [`Error::Dtype`] and [`Error::Axes`].
    pub fn from_message(message: Message<'static>) -> Result<Self, Error> {
        SharedDynArray::from_message(message)?.typed()
    }

    /// Opens the array behind a handle.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::Dtype`] and [`Error::Axes`].
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        SharedDynArray::open(handle)?.typed()
    }

    pub(crate) fn from_value(value: Arc<Object>) -> Result<Self, Error> {
        let object::Descriptor::Array(meta) = &value.meta else {
            return Err(Error::Kind {
                found: value.meta.kind(),
                wanted: "an array",
            });
        };
        let found = meta.dtype()?;
        let wanted = Dtype::Scalar(T::SCALAR);
        if found != wanted {
            return Err(Error::Dtype { found, wanted });
        }
        let layout = Layout::new(meta, size_of::<T>())?;
        Ok(Self {
            value,
            layout,
            elements: PhantomData,
        })
    }

    /// Gives every `rows / locks` rows a lock of their own, so that writers of other rows need not wait for each
    /// other. The whole array is then locked by taking all of them.
    ///
    /// # Errors
    /// [`Error::InUse`] unless this is the only handle; [`Error::Division`] if there are no rows, or they do not lie
    /// one behind the other.
    pub fn with_row_locks(self, locks: usize) -> Result<Self, Error> {
        let shape = self.shape().to_owned();
        let rows = shape.first().copied().unwrap_or(0);
        let parts = locks.min(rows);
        if parts == 0 || !self.layout.is_c_order() || locks > MAX_ROW_LOCKS {
            return Err(Error::Division {
                axis: 0,
                parts: locks,
                shape,
            });
        }
        let row = self.value.len() / rows;
        let (meta, claims, homes) = Object::into_claims(self.value)?;
        let [claim]: [MemoryRange<Owned>; 1] = claims.try_into().map_err(|_| Error::InUse {
            what: "it has row locks already",
        })?;
        let mut pieces = Vec::with_capacity(parts);
        let mut rest = claim;
        for number in 0..parts - 1 {
            let (piece, behind) = rest.split(part_range(rows, parts, number, 1).len() * row);
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(rest);
        Self::from_value(Object::new(meta, pieces, Locks::Each, homes)?)
    }

    /// Elements along each axis.
    pub fn shape(&self) -> &[usize] {
        self.layout.shape.slice()
    }

    /// Bytes of all elements.
    pub fn byte_len(&self) -> usize {
        self.value.len()
    }

    /// The name by which another process opens the array.
    ///
    /// # Errors
    /// [`Error::Io`] if the thread that serves it cannot be started; [`Error::NotOwner`] in a forked child.
    pub fn handle(&self) -> Result<Handle, Error> {
        self.value.handle()
    }

    /// Locks the array for reading, beside other readers, and waits as long as a writer is inside.
    ///
    /// # Errors
    /// [`Error::Lock`]; [`LockError::Poisoned`] if a writer did not finish.
    pub fn read(&self) -> Result<ReadGuard<'_, T, D>, Error> {
        self.read_spans(LockOptions::default())
    }

    /// As [`Self::read`], but waits at most `timeout`.
    ///
    /// # Errors
    /// As [`Self::read`]; [`LockError::Timeout`] names who holds the lock.
    pub fn read_for(&self, timeout: Duration) -> Result<ReadGuard<'_, T, D>, Error> {
        self.read_spans(LockOptions {
            timeout: Some(timeout),
            accept_poison: false,
        })
    }

    /// As [`Self::read`], but also when a writer did not finish; the guard says so.
    ///
    /// # Errors
    /// As [`Self::read`], without poison.
    pub fn read_poisoned(&self) -> Result<ReadGuard<'_, T, D>, Error> {
        self.read_spans(LockOptions {
            timeout: None,
            accept_poison: true,
        })
    }

    /// Locks the array for writing, alone, and waits as long as others are inside.
    ///
    /// # Errors
    /// [`Error::Lock`]; [`LockError::Poisoned`] if the last writer did not finish: [`Self::write_poisoned`].
    pub fn write(&self) -> Result<WriteGuard<'_, T, D>, Error> {
        self.write_spans(LockOptions::default())
    }

    /// As [`Self::write`], but waits at most `timeout`.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names who holds the lock.
    pub fn write_for(&self, timeout: Duration) -> Result<WriteGuard<'_, T, D>, Error> {
        self.write_spans(LockOptions {
            timeout: Some(timeout),
            accept_poison: false,
        })
    }

    /// As [`Self::write`], but also when the last writer did not finish. The guard says what that left behind; the
    /// poison stays until its [`clear_poison`](WriteGuard::clear_poison) is called.
    ///
    /// # Errors
    /// As [`Self::write`], without poison.
    pub fn write_poisoned(&self) -> Result<WriteGuard<'_, T, D>, Error> {
        self.write_spans(LockOptions {
            timeout: None,
            accept_poison: true,
        })
    }

    fn read_spans(&self, attempt: LockOptions) -> Result<ReadGuard<'_, T, D>, Error> {
        let spans = self.value.guarded();
        let held = lock_shared(spans, attempt)?;
        Ok(ReadGuard::new(spans, held, |elements| {
            self.layout.view(elements)
        }))
    }

    fn write_spans(&self, attempt: LockOptions) -> Result<WriteGuard<'_, T, D>, Error> {
        let spans = self.value.guarded();
        let held = lock_exclusive(spans, attempt, 0..self.value.len())?;
        Ok(WriteGuard::new(spans, held, |elements| {
            self.layout.view_mut(elements)
        }))
    }

    /// Locks `rows` for reading. Without [row locks](Self::with_row_locks) that locks all of them.
    ///
    /// # Errors
    /// As [`Self::read`]; [`Error::Range`].
    pub fn read_rows(&self, rows: Range<usize>) -> Result<ReadGuard<'_, T, D>, Error> {
        let (spans, first) = self.spans_of(&rows)?;
        let held = lock_shared(spans, LockOptions::default())?;
        Ok(ReadGuard::new(spans, held, |elements| {
            self.layout.rows(elements, first, &rows)
        }))
    }

    /// Locks `rows` for writing. Without [row locks](Self::with_row_locks) that locks all of them.
    ///
    /// # Errors
    /// As [`Self::write`]; [`Error::Range`].
    pub fn write_rows(&self, rows: Range<usize>) -> Result<WriteGuard<'_, T, D>, Error> {
        let (spans, first) = self.spans_of(&rows)?;
        let row = self.value.len() / self.shape()[0].max(1);
        let dirty = (rows.start - first) * row..(rows.end - first) * row;
        let held = lock_exclusive(spans, LockOptions::default(), dirty)?;
        Ok(WriteGuard::new(spans, held, |elements| {
            self.layout.rows_mut(elements, first, &rows)
        }))
    }

    /// The spans that hold `rows`, and the first row in them.
    fn spans_of(&self, rows: &Range<usize>) -> Result<(&[MemoryRange<Locked>], usize), Error> {
        let len = self.shape().first().copied().unwrap_or(0);
        if rows.start >= rows.end || rows.end > len || !self.layout.is_c_order() {
            return Err(Error::Range {
                what: "rows",
                range: rows.clone(),
                len,
            });
        }
        let spans = self.value.guarded();
        let place = |number| part_range(len, spans.len(), number, 1);
        let first = (0..spans.len())
            .find(|&number| place(number).end > rows.start)
            .unwrap_or(0);
        let last = (first..spans.len())
            .find(|&number| place(number).end >= rows.end)
            .unwrap_or(first);
        Ok((&spans[first..=last], place(first).start))
    }

    /// Divides the array along `axis` into `parts`, which workers write at the same time, each under its own lock and
    /// none under that of the array. The array stays locked until the partition and all its parts are dropped. Parts are
    /// for other processes: this thread holds the array's lock, and divides a [guard's](Self::write) view for itself.
    ///
    /// # Errors
    /// As [`Self::write`]; [`Error::Division`]; [`Error::NotOwner`] in a process that has only opened the array.
    pub fn partition(&self, axis: Axis, parts: usize) -> Result<Partition<T, D>, Error> {
        Partition::new(self, axis, parts)
    }

    /// The array as a message that owns its bytes: it is shared no more. Copies nothing. (For bytes that the kernel lets
    /// nobody write, see [`Self::snapshot`].)
    ///
    /// # Errors
    /// [`Error::InUse`] if another clone, or another process, has the array.
    pub fn into_message(self) -> Result<Message<'static>, Error> {
        SharedDynArray::new(self.value)?.into_message()
    }

    /// A copy of the array as it is now, in memory that the kernel lets nobody write any more.
    ///
    /// # Errors
    /// As [`SharedDynArray::snapshot`].
    pub fn snapshot(&self) -> Result<Message<'static>, Error> {
        SharedDynArray::new(Arc::clone(&self.value))?.snapshot()
    }

    /// The same array with its element type and axes known at run time only.
    ///
    /// # Panics
    /// Never: it is an array.
    pub fn into_any(self) -> SharedDynArray {
        #[expect(
            clippy::expect_used,
            reason = "the value was an array when `self` was made"
        )]
        SharedDynArray::new(self.value).expect("an array")
    }
}

/// Most row locks of an array; each takes 1.3 KiB, and all are taken to lock the whole.
const MAX_ROW_LOCKS: usize = 32;

/// Bytes that a claim owns and nobody else has open.
struct Frozen {
    claim: MemoryRange<Owned>,
    _home: Option<Arc<Reservation>>,
}

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        self.claim.as_ref()
    }
}

/// A buffer of bytes that are shared no more.
pub(crate) fn freeze(claim: MemoryRange<Owned>, home: Option<Arc<Reservation>>) -> Buffer<'static> {
    Buffer::from_owner(Frozen { claim, _home: home })
}

/// The claim on the bytes of `buffer`, which landed in an arena and which nobody else has.
pub(crate) fn claim_array(
    message: Message<'static>,
) -> Result<(Descriptor, MemoryRange<Owned>, Arc<Reservation>), Error> {
    let Body::Array(array) = message.body else {
        return Err(Error::Body { wanted: "array" });
    };
    let (allocation, offset) = landed(array.data()).ok_or(Error::NotShared)?;
    let meta = Descriptor {
        dtype: array.dtype().into(),
        shape: array.shape().into(),
        strides: array.strides().map(<[isize]>::to_owned),
    };
    let len = array.data().len();
    drop(array);
    let allocation = Arc::try_unwrap(allocation).map_err(|_| Error::InUse {
        what: "a clone of the message's buffers reads it",
    })?;
    let (_, claim) = allocation.claimed.split(offset);
    let (claim, _) = claim.split(len);
    Ok((meta, claim, allocation.home))
}

impl Descriptor {
    pub(crate) fn dtype(&self) -> Result<Dtype, Error> {
        self.dtype.parse().ok_or_else(|| Error::Protocol {
            peer: "the owner".into(),
            what: "an unknown element type",
        })
    }

    /// The array over `data`.
    pub(crate) fn array<'a>(&self, data: Buffer<'a>) -> Result<Array<'a>, Error> {
        let dtype = self.dtype()?;
        Ok(match &self.strides {
            Some(strides) => Array::with_strides(dtype, &self.shape, strides, data)?,
            None => Array::new(dtype, &self.shape, data)?,
        })
    }
}

pub(crate) fn dtype<T: Element>() -> DtypeText {
    (&Dtype::Scalar(T::SCALAR)).into()
}

/// Bytes of an array of `T`, if they fit an address space.
pub(crate) fn byte_len<T: Element>(shape: &[usize]) -> Result<usize, Error> {
    let bytes = shape.iter().try_fold(size_of::<T>(), |product, &len| {
        product.checked_mul(len.max(1))
    });
    let fits = bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok());
    if !fits {
        // The data model has the words for it.
        Array::new(T::SCALAR, shape, Buffer::default())?;
    }
    Ok(shape.iter().product::<usize>() * size_of::<T>())
}

/// One deadline for several locks.
struct Deadline(Option<Instant>);

impl Deadline {
    fn new(attempt: LockOptions) -> Self {
        Self(attempt.timeout.map(|timeout| Instant::now() + timeout))
    }

    fn left(&self, attempt: LockOptions) -> LockOptions {
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        LockOptions {
            timeout: self.0.map(left),
            ..attempt
        }
    }
}

fn lock_shared(
    spans: &[MemoryRange<Locked>],
    attempt: LockOptions,
) -> Result<SmallVec<[ReadHold; 1]>, Error> {
    if let [one] = spans {
        return Ok(SmallVec::from_buf([one
            .lock()
            .read(attempt)
            .map_err(|error| placed(error, 0, one))?]));
    }
    let deadline = Deadline::new(attempt);
    let mut offset = 0;
    let mut held = SmallVec::with_capacity(spans.len());
    for span in spans {
        held.push(
            span.lock()
                .read(deadline.left(attempt))
                .map_err(|error| placed(error, offset, span))?,
        );
        offset += span.range().len();
    }
    Ok(held)
}

/// Locks `spans` in order, of whose bytes `dirty` may be written.
fn lock_exclusive(
    spans: &[MemoryRange<Locked>],
    attempt: LockOptions,
    dirty: Range<usize>,
) -> Result<SmallVec<[WriteHold; 1]>, Error> {
    let deadline = Deadline::new(attempt);
    let mut offset = 0;
    let mut held = SmallVec::with_capacity(spans.len());
    for span in spans {
        let len = span.range().len();
        let mut lock = span
            .lock()
            .write(deadline.left(attempt))
            .map_err(|error| placed(error, offset, span))?;
        let inside = |at: usize| at.saturating_sub(offset).min(len);
        lock.set_dirty(inside(dirty.start)..inside(dirty.end));
        held.push(lock);
        offset += len;
    }
    Ok(held)
}

/// The error with its dirty bytes counted from the start of the array and ended at the end of the span.
fn placed(error: LockError, offset: usize, span: &MemoryRange<Locked>) -> LockError {
    match error {
        LockError::Poisoned(Poison { cause, pid, dirty }) => {
            let len = span.range().len();
            let dirty = dirty.start.min(len) + offset..dirty.end.min(len) + offset;
            LockError::Poisoned(Poison { cause, pid, dirty })
        }
        other => other,
    }
}

impl<T, D: Clone> Clone for SharedArray<T, D> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            layout: self.layout.clone(),
            elements: PhantomData,
        }
    }
}

impl<T: Element + Pod, D: Dimension> TryFrom<Message<'static>> for SharedArray<T, D> {
    type Error = Error;

    fn try_from(message: Message<'static>) -> Result<Self, Error> {
        Self::from_message(message)
    }
}

impl<T, D: fmt::Debug> fmt::Debug for SharedArray<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SharedArray<{}>({:?})",
            std::any::type_name::<T>(),
            self.layout.shape
        )
    }
}

#[cfg(test)]
mod tests;
