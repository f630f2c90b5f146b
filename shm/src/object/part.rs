//! Parts of a shared value, which workers write at the same time.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use numpush_shm_core::{DividedHold, Division, LockError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;
use crate::object::enclosed;
use crate::object::raw::RawObject;
use crate::object::share::{self, Share, ShareOffer, Shares};

/// A shared value that is divided into parts. Its [parts](Part) are for processes and for threads, also for the thread
/// that divides.
///
/// It holds the lock of the value, in the thread that made it. Its drop waits until nobody writes a part any more; after
/// that its parts cannot be locked. So it has to outlive the work: `pool.map(f, &partition, &x)` borrows it.
///
/// Any process that has the value may divide it. If that process or thread dies, nobody joins the work any more: a part
/// cannot be locked, and the value is poisoned when the last worker has left. A double-buffered array keeps its last commit.
///
/// ```
/// use ndarray::{Axis, Ix2};
/// use numpush_shm::{Arena, Part, SharedArray};
///
/// let shared = SharedArray::<f64, Ix2>::zeros(&Arena::shared(), (100, 100))?;
/// let quarters = shared.partition_blocks([2, 2])?;
/// // With rayon: `quarters.iter().par_bridge()`, or a `Vec` of the parts.
/// std::thread::scope(|scope| {
///     for mut part in &quarters {
///         let number = part.number() as f64;
///         scope.spawn(move || part.write().map(|mut block| block.fill(number)));
///     }
/// });
/// // This thread has the lock of the whole, and may have a part too.
/// let mut last = quarters.part(3).expect("four quarters");
/// assert_eq!(last.block(), [50..100, 50..100]);
/// last.write()?.fill(7.0);
/// drop(quarters);
/// assert_eq!(shared.read()?[[99, 99]], 7.0);
/// # Ok::<(), numpush_shm::Error>(())
/// ```
///
/// It stays with its thread, because only the thread that took the lock can let go of it:
///
/// ```compile_fail
/// # use ndarray::{Axis, Ix1};
/// # use numpush_shm::{Arena, SharedArray};
/// let shared = SharedArray::<f64, Ix1>::zeros(&Arena::shared(), 100)?;
/// let halves = shared.partition(Axis(0), 2)?;
/// std::thread::spawn(move || drop(halves));
/// # Ok::<(), numpush_shm::Error>(())
/// ```
#[must_use = "dropped at once, it takes its parts back at once"]
pub struct Partition<V> {
    // Dropped before the value: its drop works on the value's lock.
    divided: Rc<DividedHold>,
    shares: Shares,
    value: V,
}

/// The parts of a [`Partition`], in the order of their numbers.
pub struct Parts<'a, V> {
    shares: Shares,
    value: V,
    numbers: Range<usize>,
    partition: PhantomData<&'a ()>,
}

/// A part of a shared value: a block of the elements of a [`SharedArray`](crate::SharedArray) or of a
/// [`DoubleBufferedArray`](crate::DoubleBufferedArray), or a range of the rows of a [`SharedFrame`](crate::SharedFrame).
///
/// It can be sent to another process, as an argument of a task for example, or to another thread. Workers write the parts
/// of one value at the same time, each under the lock of its part. A clone is the same part.
///
/// ```
/// use ndarray::{Axis, Ix1};
/// use numpush_shm::{Arena, Part, Pool, SharedArray, Tasks};
///
/// fn fill(mut part: Part<SharedArray<f64, Ix1>>, value: f64) -> Result<usize, numpush_shm::Error> {
///     part.write()?.fill(value);
///     Ok(part.range(Axis(0)).start)
/// }
///
/// // A worker is this program again, and serves here.
/// Tasks::new().with(fill).serve();
/// let shared = SharedArray::<f64, Ix1>::zeros(&Arena::shared(), 1000)?;
/// let pool = Pool::new(2)?;
/// let starts: Result<Vec<usize>, _> =
///     pool.map(fill, &shared.partition(Axis(0), 4)?, &2.5)?.into_iter().collect();
/// assert_eq!(starts?, [0, 250, 500, 750]);
/// assert_eq!(shared.read()?.sum(), 2500.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Part<V> {
    share: Share,
    value: V,
}

/// A kind of value that can be divided: arrays and frames are.
pub(crate) trait Divide: Clone {
    fn raw(&self) -> &Arc<RawObject>;

    /// The value, if it can be divided in this way: another process says so.
    fn divisible(raw: &Arc<RawObject>, division: Division) -> Result<Self, Error>;
}

/// Locks `value` and divides it into as many parts as there are `bytes`: the bytes among which those of each part are.
pub(crate) fn divide<V: Divide>(
    value: &V,
    division: Division,
    bytes: impl IntoIterator<Item = Range<usize>>,
) -> Result<Partition<V>, Error> {
    let (divided, shares) = share::divide(value.raw(), division, bytes)?;
    Ok(Partition {
        divided,
        shares,
        value: value.clone(),
    })
}

impl<V: Clone> Partition<V> {
    /// The parts. They outlive the borrow, but cannot be locked after the partition is gone.
    pub fn iter(&self) -> Parts<'_, V> {
        Parts {
            shares: self.shares.clone(),
            value: self.value.clone(),
            numbers: 0..self.len(),
            partition: PhantomData,
        }
    }

    /// Part `number`, if there are so many.
    pub fn part(&self, number: usize) -> Option<Part<V>> {
        self.iter().nth(number)
    }
}

impl<V> Partition<V> {
    /// Number of parts.
    pub fn len(&self) -> usize {
        self.shares.len()
    }

    /// True if there are none, which is never so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the parts back and returns the number of commits.
    pub(crate) fn end(self) -> Result<u64, LockError> {
        self.divided.end()
    }
}

impl<V> Part<V> {
    /// Number of this part: the first is 0.
    pub fn number(&self) -> usize {
        self.share.id.number
    }

    pub(crate) fn share(&self) -> &Share {
        &self.share
    }

    pub(crate) fn value(&self) -> &V {
        &self.value
    }
}

impl<'a, V: Clone> IntoIterator for &'a Partition<V> {
    type Item = Part<V>;
    type IntoIter = Parts<'a, V>;

    fn into_iter(self) -> Parts<'a, V> {
        self.iter()
    }
}

impl<V: Clone> Iterator for Parts<'_, V> {
    type Item = Part<V>;

    fn next(&mut self) -> Option<Part<V>> {
        self.nth(0)
    }

    fn nth(&mut self, n: usize) -> Option<Part<V>> {
        let share = self.shares.share(self.numbers.nth(n)?)?;
        let value = self.value.clone();
        Some(Part { share, value })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.numbers.size_hint()
    }
}

impl<V: Clone> ExactSizeIterator for Parts<'_, V> {}

impl<V: Divide> Serialize for Part<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let share = self.share.offer().map_err(serde::ser::Error::custom)?;
        enclosed::note_part(self.share.value(), self.share.id);
        share.serialize(serializer)
    }
}

impl<'de, V: Divide> Deserialize<'de> for Part<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = ShareOffer::deserialize(deserializer)?;
        let open = || {
            let share = Share::open(share)?;
            let value = V::divisible(share.value(), share.id.division)?;
            Ok::<_, Error>((share, value))
        };
        let (share, value) = open().map_err(serde::de::Error::custom)?;
        Ok(Self { share, value })
    }
}

impl<V> fmt::Debug for Part<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.share.id;
        write!(f, "Part({} of {})", id.number, id.division.blocks())
    }
}

impl<V> fmt::Debug for Parts<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parts({:?})", self.numbers)
    }
}

impl<V> fmt::Debug for Partition<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partition({} parts)", self.len())
    }
}
