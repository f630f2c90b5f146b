use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::vec;

use bytemuck::Pod;
use ndarray::{Axis, Dimension};
use numpush_message::Element;
use numpush_shm_core::{LockOptions, PartGuard, part_range};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::array::SharedArray;
use crate::array::layout::Layout;
use crate::division::{Share, ShareOffer, divide};
use crate::error::Error;
use crate::object;

/// The parts of an array. It is an iterator over them.
///
/// The array stays locked for writing until the partition and every part of it in this process are dropped; that drop
/// waits for workers that still write. Parts that were sent to other processes are refused there afterwards.
#[derive(Debug)]
pub struct Partition<T, D> {
    parts: vec::IntoIter<Part<T, D>>,
}

/// A part of an array: all elements whose index along one axis lies in a range. It can be sent to another process.
pub struct Part<T, D> {
    share: Share,
    layout: Layout<D>,
    axis: usize,
    elements: PhantomData<fn() -> T>,
}

#[derive(Serialize, Deserialize)]
struct OpenReply {
    share: ShareOffer,
    axis: usize,
}

impl<T: Element + Pod, D: Dimension> Partition<T, D> {
    pub(super) fn new(array: &SharedArray<T, D>, axis: Axis, parts: usize) -> Result<Self, Error> {
        let shape = array.shape();
        let one_lock = array.value.guarded().len() == 1;
        let Some(&len) = shape
            .get(axis.0)
            .filter(|_| parts > 0 && one_lock && array.layout.is_c_order())
        else {
            return Err(Error::Division {
                axis: axis.0,
                parts,
                shape: shape.into(),
            });
        };
        let parts = parts.min(len.max(1));
        // Behind the first axis the bytes of all parts interleave.
        let row = array.byte_len().checked_div(len).unwrap_or(0);
        let bytes = |number| match axis.0 {
            0 => {
                let rows = part_range(len, parts, number, 1);
                rows.start * row..rows.end * row
            }
            _ => 0..array.byte_len(),
        };
        let shares = divide(&array.value, 1, (0..parts).map(bytes).collect())?;
        let part = |share| Part {
            share,
            layout: array.layout.clone(),
            axis: axis.0,
            elements: PhantomData,
        };
        Ok(Self {
            parts: shares.into_iter().map(part).collect::<Vec<_>>().into_iter(),
        })
    }
}

impl<T: Element + Pod, D: Dimension> Part<T, D> {
    /// Elements along each axis.
    pub fn shape(&self) -> D {
        let mut shape = self.layout.shape.clone();
        shape[self.axis] = self.range().len();
        shape
    }

    /// The part's range of indices along the divided axis.
    pub fn range(&self) -> Range<usize> {
        let numpush_shm_core::PartRange {
            parts,
            number,
            grain,
        } = self.share.division;
        part_range(self.layout.shape[self.axis], parts, number, grain)
    }

    /// The axis along which the array was divided.
    pub fn axis(&self) -> Axis {
        Axis(self.axis)
    }

    /// Locks the part for writing.
    ///
    /// # Errors
    /// [`Error::Lock`]: [`Retired`](numpush_shm_core::LockError::Retired) if the partition is gone,
    /// [`Poisoned`](numpush_shm_core::LockError::Poisoned) if another worker died writing this part.
    pub fn write(&mut self) -> Result<PartGuard<'_, T, D>, Error> {
        self.guard(LockOptions::default())
    }

    /// As [`Self::write`], but also when another worker did not finish.
    ///
    /// # Errors
    /// As [`Self::write`], without poison.
    pub fn write_poisoned(&mut self) -> Result<PartGuard<'_, T, D>, Error> {
        self.guard(LockOptions {
            timeout: None,
            accept_poison: true,
        })
    }

    fn guard(&self, attempt: LockOptions) -> Result<PartGuard<'_, T, D>, Error> {
        let (whole, part) = self.share.lock(attempt)?;
        let division = self.share.division;
        PartGuard::new(
            &self.share.value.guarded()[0],
            whole,
            part,
            division,
            &self.layout.shape,
            self.axis,
        )
        .map_err(|_| Error::InUse {
            what: "the part is open under another lock",
        })
    }
}

impl<T, D> Iterator for Partition<T, D> {
    type Item = Part<T, D>;

    fn next(&mut self) -> Option<Part<T, D>> {
        self.parts.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.parts.size_hint()
    }
}

impl<T, D> ExactSizeIterator for Partition<T, D> {}

impl<T: Element + Pod, D: Dimension> Serialize for Part<T, D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let share = self.share.offer().map_err(serde::ser::Error::custom)?;
        OpenReply {
            share,
            axis: self.axis,
        }
        .serialize(serializer)
    }
}

impl<'de, T: Element + Pod, D: Dimension> Deserialize<'de> for Part<T, D> {
    fn deserialize<S: Deserializer<'de>>(deserializer: S) -> Result<Self, S::Error> {
        let OpenReply { share, axis } = OpenReply::deserialize(deserializer)?;
        let failed = serde::de::Error::custom::<Error>;
        let share = Share::open(share).map_err(failed)?;
        let array =
            SharedArray::<T, D>::from_value(std::sync::Arc::clone(&share.value)).map_err(failed)?;
        let is_whole =
            matches!(share.value.spans, object::Spans::Guarded(ref spans) if spans.len() == 1);
        if axis >= array.shape().len() || !is_whole || !array.layout.is_c_order() {
            return Err(failed(Error::Protocol {
                peer: "the owner".into(),
                what: "a part of an array without it",
            }));
        }
        Ok(Self {
            share,
            layout: array.layout,
            axis,
            elements: PhantomData,
        })
    }
}

impl<T, D: fmt::Debug> fmt::Debug for Part<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numpush_shm_core::PartRange { parts, number, .. } = self.share.division;
        write!(
            f,
            "Part({number} of {parts} along axis {} of {:?})",
            self.axis, self.layout.shape
        )
    }
}
