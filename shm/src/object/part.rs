//! Parts of a shared value, which workers write at the same time.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::vec;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;
use crate::object::enclosed;
use crate::object::raw::RawObject;
use crate::object::share::{Share, ShareOffer};

/// The parts of a shared value: an iterator over them.
///
/// The value stays locked for writing until the partition and every part of it in this process are dropped. The last
/// drop waits for workers that still write. Afterwards, the parts that were sent to other processes cannot be locked.
pub struct Partition<V> {
    parts: vec::IntoIter<Part<V>>,
}

/// A part of a shared value: the elements of a [`SharedArray`](crate::SharedArray) whose index along one axis lies in a
/// range, or a range of the rows of a [`SharedFrame`](crate::SharedFrame).
///
/// It can be sent to another process, as an argument of a task for example. Workers write the parts of one value at the
/// same time, each under the lock of its part. A part is for another process: the thread that made the partition holds
/// the lock of the whole value.
///
/// ```
/// use ndarray::{Axis, Ix1};
/// use numpush_shm::{Arena, Part, Pool, SharedArray, Tasks};
///
/// fn fill(mut part: Part<SharedArray<f64, Ix1>>, value: f64) -> Result<usize, numpush_shm::Error> {
///     part.write()?.fill(value);
///     Ok(part.range().start)
/// }
///
/// // A worker is this program again, and serves here.
/// Tasks::new().with(fill).serve();
/// let shared = SharedArray::<f64, Ix1>::zeros(&Arena::shared(), 1000)?;
/// let pool = Pool::new(2)?;
/// let starts: Result<Vec<usize>, _> =
///     pool.map(fill, shared.partition(Axis(0), 4)?, &2.5)?.into_iter().collect();
/// assert_eq!(starts?, [0, 250, 500, 750]);
/// assert_eq!(shared.read()?.sum(), 2500.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Part<V> {
    // Dropped before the value: see `Share`.
    share: Share,
    value: V,
}

/// A kind of value that can be divided: arrays and frames are.
pub(crate) trait Divide: Clone {
    fn raw(&self) -> &Arc<RawObject>;

    /// The value, if it can be divided along `axis` in multiples of `grain`: another process says so.
    fn divisible(raw: &Arc<RawObject>, axis: usize, grain: usize) -> Result<Self, Error>;
}

/// Locks `value` and divides it along `axis`, in multiples of `grain`, into as many parts as there are `bytes`: the bytes
/// that each part may write.
pub(crate) fn divide<V: Divide>(
    value: &V,
    axis: usize,
    grain: usize,
    bytes: Vec<Range<usize>>,
) -> Result<Partition<V>, Error> {
    let shares = Share::divide(value.raw(), axis, grain, bytes)?;
    let part = |share| Part {
        share,
        value: value.clone(),
    };
    let parts: Vec<Part<V>> = shares.into_iter().map(part).collect();
    Ok(Partition {
        parts: parts.into_iter(),
    })
}

impl<V> Part<V> {
    /// Number of this part: the first is 0.
    pub fn number(&self) -> usize {
        self.share.range.number
    }

    pub(crate) fn share(&self) -> &Share {
        &self.share
    }

    pub(crate) fn value(&self) -> &V {
        &self.value
    }

    /// The axis along which the value was divided; 0 for a frame.
    pub(crate) fn axis_number(&self) -> usize {
        self.share.axis
    }
}

impl<V> Iterator for Partition<V> {
    type Item = Part<V>;

    fn next(&mut self) -> Option<Part<V>> {
        self.parts.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.parts.size_hint()
    }
}

impl<V> ExactSizeIterator for Partition<V> {}

impl<V: Divide> Serialize for Part<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let share = self.share.offer().map_err(serde::ser::Error::custom)?;
        enclosed::note(self.share.value());
        share.serialize(serializer)
    }
}

impl<'de, V: Divide> Deserialize<'de> for Part<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = ShareOffer::deserialize(deserializer)?;
        let open = || {
            let share = Share::open(share)?;
            let value = V::divisible(share.value(), share.axis, share.range.grain)?;
            Ok::<_, Error>((share, value))
        };
        let (share, value) = open().map_err(serde::de::Error::custom)?;
        Ok(Self { share, value })
    }
}

impl<V> fmt::Debug for Part<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = self.share.range;
        write!(
            f,
            "Part({} of {}, axis {})",
            range.number, range.parts, self.share.axis
        )
    }
}

impl<V> fmt::Debug for Partition<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partition({} parts)", self.parts.len())
    }
}
