use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use numpush_shm_core::LockError;
use serde::{Deserialize, Serialize};

use super::atomics::{AtomicGuard, SharedAtomicArray};
use crate::arena::Arena;
use crate::error::Error;
use crate::object::Handle;

/// A number that processes count up together: the next row to work on, the tasks that are done.
///
/// Clones are the same counter, and so is what another process gets when it is sent. It is a [`SharedAtomicArray`] of one
/// element, and opens as one.
///
/// ```
/// use numpush_shm::SharedCounter;
///
/// let next_row = SharedCounter::new(0)?;
/// let rows: Vec<u64> = std::thread::scope(|scope| {
///     let threads = [0; 4].map(|_| scope.spawn(|| next_row.add(1).unwrap()));
///     threads.map(|thread| thread.join().unwrap()).into()
/// });
/// assert_eq!(rows.iter().sum::<u64>(), 0 + 1 + 2 + 3);
/// assert_eq!(next_row.get()?, 4);
/// # Ok::<(), numpush_shm::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "SharedAtomicArray<u64>", into = "SharedAtomicArray<u64>")]
pub struct SharedCounter {
    cells: SharedAtomicArray<u64>,
}

/// The atomic of a [`SharedCounter`].
#[derive(Debug)]
pub struct CounterGuard<'a> {
    cells: AtomicGuard<'a, u64>,
}

impl SharedCounter {
    /// Makes a counter with this value.
    ///
    /// # Errors
    /// [`Error::NoRoom`] or [`Error::Io`] if there is no memory for it.
    pub fn new(value: u64) -> Result<Self, Error> {
        let cells = SharedAtomicArray::copy_of(&Arena::shared(), &[value])?;
        Ok(Self { cells })
    }

    /// Opens the counter of a handle.
    ///
    /// # Errors
    /// As [`SharedAtomicArray::open`]; [`Error::Range`] if it is of another number of elements than one.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        SharedAtomicArray::open(handle)?.try_into()
    }

    /// The handle by which another process opens the counter.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.cells.handle()
    }

    /// The value now.
    ///
    /// # Errors
    /// As [`SharedAtomicArray::cells`].
    pub fn get(&self) -> Result<u64, LockError> {
        Ok(self.cell()?.load(Ordering::Acquire))
    }

    /// Adds `amount`, and returns the value from before. What this thread has written before is seen by whoever reads the
    /// new value.
    ///
    /// # Errors
    /// As [`SharedAtomicArray::cells`].
    pub fn add(&self, amount: u64) -> Result<u64, LockError> {
        Ok(self.cell()?.fetch_add(amount, Ordering::AcqRel))
    }

    /// Replaces the value, and returns the one from before.
    ///
    /// # Errors
    /// As [`SharedAtomicArray::cells`].
    pub fn set(&self, value: u64) -> Result<u64, LockError> {
        Ok(self.cell()?.swap(value, Ordering::AcqRel))
    }

    /// The atomic, for a loop that counts often.
    ///
    /// # Errors
    /// As [`SharedAtomicArray::cells`].
    pub fn cell(&self) -> Result<CounterGuard<'_>, LockError> {
        self.cells.cells().map(|cells| CounterGuard { cells })
    }
}

impl Deref for CounterGuard<'_> {
    type Target = AtomicU64;

    #[inline]
    fn deref(&self) -> &AtomicU64 {
        // A counter is made, or opened, with one element.
        &self.cells[0]
    }
}

impl TryFrom<SharedAtomicArray<u64>> for SharedCounter {
    type Error = Error;

    fn try_from(cells: SharedAtomicArray<u64>) -> Result<Self, Error> {
        match cells.len() {
            1 => Ok(Self { cells }),
            len => Err(Error::Range {
                what: "elements of a counter",
                range: 0..1,
                len,
            }),
        }
    }
}

impl From<SharedCounter> for SharedAtomicArray<u64> {
    fn from(counter: SharedCounter) -> Self {
        counter.cells
    }
}
