//! Arrays to which rows are added.

use std::fmt;
use std::ops::Range;

use bytemuck::Pod;
use ndarray::{ArrayRef, Dimension, IntoDimension};
use numpush_message::{Element, Message};
use numpush_shm_core::{
    LockError, LockOptions, Locked, MemoryRange, ReadGuard, WriteGuard, WriteHold, read_guard,
    write_guard,
};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::arena::Arena;
use crate::array::description::Growable;
use crate::array::layout::{Layout, byte_len, fill};
use crate::array::message::snapshot;
use crate::elements::elements_mut;
use crate::error::Error;
use crate::object::{Handle, Object, make_locks};

/// A shared array that gets more rows, up to as many as it was made for, or fewer.
///
/// Its memory is taken when it is made, so it never moves: rows that are there are not copied when others come. The number
/// of rows lies beside them, under the same lock: whoever locks the array sees all of them. Clones are the same array, and
/// so is what another process gets when it is sent.
///
/// ```
/// use ndarray::{Ix2, array};
/// use numpush_shm::{Arena, GrowableArray};
///
/// let path = GrowableArray::<f64, Ix2>::with_capacity(&Arena::shared(), (1000, 3))?;
/// assert_eq!(path.append(&array![[0.0, 0.0, 1.0]])?, 0..1);
/// assert_eq!(path.append(&array![[0.1, 0.0, 0.9], [0.2, 0.1, 0.8]])?, 1..3);
/// assert_eq!(path.read()?.column(2).sum(), 2.7);
/// path.resize(1, 0.0)?;
/// assert_eq!(path.rows()?, 1);
/// # Ok::<(), numpush_shm::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "T: Element + Pod, D: Dimension")]
pub struct GrowableArray<T, D> {
    pub(super) object: Object<Growable<T, D>>,
}

/// The span of the elements, and that of their number of rows.
const ELEMENTS: usize = 0;
const ROWS: usize = 1;

impl<T: Element + Pod, D: Dimension> GrowableArray<T, D> {
    /// Makes an array of no rows, with room for those of `shape`. The arena is charged for all of them; memory fresh from
    /// the kernel is used only as rows come.
    ///
    /// # Errors
    /// As [`SharedArray::zeros`](crate::SharedArray::zeros); [`Error::Axes`] for a shape without axes.
    pub fn with_capacity(arena: &Arena, shape: impl IntoDimension<Dim = D>) -> Result<Self, Error> {
        let shape = shape.into_dimension();
        let description = Growable::new(shape.slice())?;
        let elements = arena.reserve(byte_len::<T>(shape.slice())?)?;
        let rows = arena.reserve_zeros(size_of::<u64>())?;
        let claims = vec![elements.claimed, rows.claimed];
        let homes = vec![elements.home, rows.home];
        let object = Object::new(description, claims, make_locks(1)?, homes);
        Ok(Self { object })
    }

    /// Opens the array of a handle.
    ///
    /// # Errors
    /// As [`SharedArray::open`](crate::SharedArray::open).
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Object::open(handle).map(|object| Self { object })
    }

    /// The handle by which another process opens the array.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.object.handle()
    }

    /// Most rows, and the elements of each along the other axes.
    pub fn capacity(&self) -> &[usize] {
        self.layout().shape.slice()
    }

    /// Bytes of the rows there is room for, and of their number.
    pub fn byte_len(&self) -> usize {
        self.object.byte_len()
    }

    /// Number of rows now.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn rows(&self) -> Result<usize, LockError> {
        let held = self.object.spans().read(LockOptions::default())?;
        Ok(self.rows_in(self.span(ROWS).bytes(&held)))
    }

    /// Locks the rows for reading.
    ///
    /// # Errors
    /// As [`SharedArray::read`](crate::SharedArray::read).
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
        let held = self.object.spans().read(options)?;
        let rows = 0..self.rows_in(self.span(ROWS).bytes(&held));
        let elements = std::slice::from_ref(self.span(ELEMENTS));
        Ok(read_guard(
            elements,
            SmallVec::from_buf([held]),
            |elements| self.layout().rows(elements, 0, &rows),
        ))
    }

    /// Locks the rows for writing.
    ///
    /// # Errors
    /// As [`SharedArray::write`](crate::SharedArray::write).
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

    /// As [`Self::write`], also if the last writer did not finish. Rows that it was about to add are not there: their number
    /// is written after them.
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
        let held = self.object.spans().write(options)?;
        let rows = 0..self.rows_in(self.span(ROWS).bytes_exclusive(&held));
        let elements = std::slice::from_ref(self.span(ELEMENTS));
        Ok(write_guard(
            elements,
            SmallVec::from_buf([held]),
            |elements| self.layout().rows_mut(elements, 0, &rows),
        ))
    }

    /// Copies `more` after the rows that are there, under the lock. Returns the numbers of the new rows.
    ///
    /// # Errors
    /// [`Error::Lock`] as [`Self::write`]; [`Error::Capacity`] if there is no room for them; [`Error::Rows`] if they
    /// have another shape. The array is as it was then.
    pub fn append(&self, more: &ArrayRef<T, D>) -> Result<Range<usize>, Error> {
        self.append_with(LockOptions::default(), more)
    }

    /// As [`Self::append`], with a timeout.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_with(
        &self,
        options: LockOptions,
        more: &ArrayRef<T, D>,
    ) -> Result<Range<usize>, Error> {
        let (found, wanted) = (&more.shape()[1..], &self.capacity()[1..]);
        if found != wanted {
            let (found, wanted) = (found.into(), wanted.into());
            return Err(Error::Rows { found, wanted });
        }
        let mut held = self.object.spans().write(options)?;
        let first = self.rows_in(self.span(ROWS).bytes_exclusive(&held));
        let rows = first..first.saturating_add(more.shape()[0]);
        self.check_room(rows.end)?;
        self.change(&mut held, &rows, |elements| fill(elements, more));
        Ok(rows)
    }

    /// Makes it an array of so many rows: drops the last ones, or adds rows of copies of `element`.
    ///
    /// # Errors
    /// [`Error::Lock`] as [`Self::write`]; [`Error::Capacity`] if there is no room for so many.
    pub fn resize(&self, rows: usize, element: T) -> Result<(), Error> {
        self.check_room(rows)?;
        let mut held = self.object.spans().write(LockOptions::default())?;
        let before = self.rows_in(self.span(ROWS).bytes_exclusive(&held));
        let added = before.min(rows)..rows;
        self.change(&mut held, &added, |bytes| elements_mut(bytes).fill(element));
        Ok(())
    }

    /// Copies the rows as they are now into memory that the kernel protects against every writer.
    ///
    /// # Errors
    /// As [`SharedDynArray::snapshot`](crate::SharedDynArray::snapshot).
    pub fn snapshot(&self) -> Result<Message<'static>, Error> {
        snapshot(&*self.read()?)
    }

    /// Writes `rows` with `write`, and says then that they are the last.
    fn change(&self, held: &mut WriteHold, rows: &Range<usize>, write: impl FnOnce(&mut [u8])) {
        let row = self
            .span(ELEMENTS)
            .range()
            .len()
            .checked_div(self.capacity()[0]);
        let row = row.unwrap_or(0);
        let bytes = rows.start * row..rows.end * row;
        held.set_dirty(bytes.clone());
        write(&mut self.span(ELEMENTS).bytes_mut(held)[bytes]);
        let count = (rows.end as u64).to_ne_bytes();
        self.span(ROWS).bytes_mut(held).copy_from_slice(&count);
    }

    fn check_room(&self, rows: usize) -> Result<(), Error> {
        let capacity = self.capacity()[0];
        if rows > capacity {
            return Err(Error::Capacity { rows, capacity });
        }
        Ok(())
    }

    /// The number of rows that `bytes` are; never more than there is room for, whatever another process wrote.
    fn rows_in(&self, bytes: &[u8]) -> usize {
        let rows = bytes.try_into().map_or(0, u64::from_ne_bytes);
        usize::try_from(rows)
            .map_or(usize::MAX, |rows| rows)
            .min(self.capacity()[0])
    }

    fn layout(&self) -> &Layout<D> {
        &self.object.description().array.layout
    }

    fn span(&self, number: usize) -> &MemoryRange<Locked> {
        &self.object.spans().locked()[number]
    }
}

impl<T, D> Clone for GrowableArray<T, D> {
    fn clone(&self) -> Self {
        Self {
            object: self.object.clone(),
        }
    }
}

impl<T, D: fmt::Debug> fmt::Debug for GrowableArray<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrowableArray{:?}", self.object.description().array)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Ix1, Ix2, array};

    use super::*;
    use crate::{GrowableDynArray, SharedArray, SharedValue};

    #[test]
    fn rows_come_and_go() {
        let arena = Arena::new(1 << 20);
        let grows = GrowableArray::<i32, Ix2>::with_capacity(&arena, (4, 2)).unwrap();
        assert_eq!(grows.read().unwrap().dim(), (0, 2));
        assert_eq!(grows.append(&array![[1, 2], [3, 4]]).unwrap(), 0..2);
        let elsewhere = GrowableArray::<i32, Ix2>::open(&grows.handle().unwrap()).unwrap();
        assert_eq!(elsewhere.append(&array![[5, 6]].view()).unwrap(), 2..3);
        assert_eq!(*grows.read().unwrap(), array![[1, 2], [3, 4], [5, 6]]);
        grows.write().unwrap()[[2, 1]] = 9;
        assert_eq!(elsewhere.read().unwrap()[[2, 1]], 9);
        grows.resize(1, 0).unwrap();
        grows.resize(3, 7).unwrap();
        assert_eq!(*elsewhere.read().unwrap(), array![[1, 2], [7, 7], [7, 7]]);
        assert_eq!((grows.rows(), grows.capacity()), (Ok(3), &[4, 2][..]));
    }

    #[test]
    fn there_is_room_for_no_more_than_was_asked_for() {
        let arena = Arena::new(1 << 20);
        let grows = GrowableArray::<u8, Ix2>::with_capacity(&arena, (2, 3)).unwrap();
        let refused = grows.append(&Array2::zeros((3, 3))).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "no room for 3 rows in an array that was made for 2"
        );
        assert!(matches!(grows.resize(3, 0), Err(Error::Capacity { .. })));
        let refused = grows.append(&Array2::zeros((1, 2))).unwrap_err();
        assert!(matches!(refused, Error::Rows { .. }), "{refused}");
        assert_eq!(grows.rows(), Ok(0));
        let none = GrowableArray::<u8, Ix2>::with_capacity(&arena, (0, 3)).unwrap();
        assert_eq!(none.append(&Array2::zeros((0, 3))).unwrap(), 0..0);
        assert_eq!(none.read().unwrap().len(), 0);
        let thin = GrowableArray::<u8, Ix2>::with_capacity(&arena, (5, 0)).unwrap();
        assert_eq!(thin.append(&Array2::zeros((2, 0))).unwrap(), 0..2);
        assert_eq!(thin.read().unwrap().dim(), (2, 0));
        let axes = GrowableArray::<u8, ndarray::Ix0>::with_capacity(&arena, ());
        assert!(matches!(axes, Err(Error::Axes { .. })));
    }

    #[test]
    fn threads_append_each_row_once() {
        let grows = GrowableArray::<u64, Ix1>::with_capacity(&Arena::shared(), 400).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let grows = &grows;
                scope.spawn(move || {
                    (0..100).for_each(|row| _ = grows.append(&array![thread * 100 + row]).unwrap());
                });
            }
        });
        let mut rows = grows.read().unwrap().to_vec();
        rows.sort_unstable();
        assert!(rows.into_iter().eq(0..400));
    }

    #[test]
    fn rows_that_were_not_finished_are_not_there() {
        let grows = GrowableArray::<u8, Ix1>::with_capacity(&Arena::shared(), 8).unwrap();
        grows.append(&array![1, 2]).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut held = grows.object.spans().write(LockOptions::new()).unwrap();
                held.set_dirty(2..4);
                grows.span(ELEMENTS).bytes_mut(&mut held)[2] = 3;
                #[expect(clippy::mem_forget, reason = "the thread dies with the lock")]
                std::mem::forget(held);
            });
        });
        let error = grows.append(&array![3]).unwrap_err();
        assert!(
            matches!(&error, Error::Lock(LockError::Poisoned(poison)) if poison.dirty == (2..4)),
            "{error}"
        );
        let mut held = grows.write_poisoned().unwrap();
        assert_eq!(*held, array![1, 2]);
        held.clear_poison();
        drop(held);
        assert_eq!(grows.append(&array![3]).unwrap(), 2..3);
    }

    #[test]
    fn it_opens_as_no_other_array() {
        let grows = GrowableArray::<u8, Ix1>::with_capacity(&Arena::shared(), 8).unwrap();
        let handle = grows.handle().unwrap();
        assert!(SharedArray::<u8, Ix1>::open(&handle).is_err());
        assert!(GrowableArray::<u16, Ix1>::open(&handle).is_err());
        let array = SharedArray::<u8, Ix1>::zeros(&Arena::shared(), 8).unwrap();
        assert!(GrowableArray::<u8, Ix1>::open(&array.handle().unwrap()).is_err());
        let any = GrowableDynArray::open(&handle).unwrap();
        assert_eq!(
            (any.dtype().to_string(), any.capacity()),
            ("|u1".into(), &[8][..])
        );
        assert!(any.clone().typed::<u16, Ix1>().is_err());
        assert_eq!(any.typed::<u8, Ix1>().unwrap().rows(), Ok(0));
        let value = SharedValue::open(&handle).unwrap();
        assert!(matches!(value, SharedValue::Growable(_)));
    }
}
