//! Arrays divided among workers.

use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use ndarray::{Axis, Dimension};
use numpush_message::Element;
use numpush_shm_core::{Division, LockError, LockOptions, PartGuard, part_guard};

use crate::array::SharedArray;
use crate::array::blocks::{self, Blocks};
use crate::error::Error;
use crate::object::{Divide, Object, Part, Partition, RawObject, divide};

impl<T: Element + Pod, D: Dimension> SharedArray<T, D> {
    /// Divides the array along `axis` into `parts`, which workers write at the same time, each under the lock of its
    /// part. An axis of fewer elements has fewer parts. See [`Part`] for an example.
    ///
    /// The array stays locked for writing until the partition is dropped.
    ///
    /// # Errors
    /// [`Error::Lock`]; [`Error::Division`] if the axis does not exist, if `parts` is 0, if the array is not in C order,
    /// or if it has row locks; [`Error::Io`] without memory for the locks.
    pub fn partition(&self, axis: Axis, parts: usize) -> Result<Partition<Self>, Error> {
        let blocks = Blocks::along(self.layout(), size_of::<T>(), axis.0, parts)?;
        if self.spans().locked().len() != 1 {
            return Err(Error::Division {
                axis: axis.0,
                parts,
                shape: self.shape().into(),
                why: "it has row locks",
            });
        }
        divide(self, blocks.division, blocks.bytes)
    }

    /// Divides the array into blocks, as many along each axis as `blocks` say; an axis of fewer elements has fewer. They
    /// are numbered along the last axis first. See [`Partition`] for an example.
    ///
    /// At most four axes have more than one block.
    ///
    /// # Errors
    /// As [`Self::partition`], with [`Error::Blocks`], also if `blocks` are not as many as axes.
    pub fn partition_blocks(&self, blocks: impl AsRef<[usize]>) -> Result<Partition<Self>, Error> {
        let wanted = blocks.as_ref();
        let blocks = Blocks::of(self.layout(), size_of::<T>(), wanted)?;
        if self.spans().locked().len() != 1 {
            return Err(Error::Blocks {
                blocks: wanted.into(),
                shape: self.shape().into(),
                why: "it has row locks",
            });
        }
        divide(self, blocks.division, blocks.bytes)
    }
}

impl<T: Element + Pod, D: Dimension> Divide for SharedArray<T, D> {
    fn raw(&self) -> &Arc<RawObject> {
        self.object.raw()
    }

    fn divisible(raw: &Arc<RawObject>, division: Division) -> Result<Self, Error> {
        let object = Object::from_raw(Arc::clone(raw))?;
        let array = Self { object };
        blocks::check(division, array.layout())?;
        if array.spans().locked().len() != 1 {
            return Err(Error::Protocol {
                peer: "the owner".into(),
                what: "a part of an array with row locks",
            });
        }
        Ok(array)
    }
}

impl<T: Element + Pod, D: Dimension> Part<SharedArray<T, D>> {
    /// Elements of the part along each axis.
    pub fn shape(&self) -> D {
        let mut shape = self.value().layout().shape.clone();
        let lens = shape.slice_mut().iter_mut().zip(self.block());
        lens.for_each(|(len, range)| *len = range.len());
        shape
    }

    /// The part's range of indices along `axis`.
    ///
    /// # Panics
    /// If the array has no such axis.
    pub fn range(&self, axis: Axis) -> Range<usize> {
        self.block()[axis.0].clone()
    }

    /// The part's range of indices along each axis.
    pub fn block(&self) -> Vec<Range<usize>> {
        blocks::block_of(self.share().id, self.value().layout())
    }

    /// Locks the part for writing.
    ///
    /// # Errors
    /// [`LockError::Retired`] if the partition is gone, or the thread that made it; [`LockError::Poisoned`] if another
    /// worker died while it wrote this part.
    pub fn write(&mut self) -> Result<PartGuard<'_, T, D>, LockError> {
        self.write_with(LockOptions::default())
    }

    /// As [`Self::write`], without a wait.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_write(&mut self) -> Result<PartGuard<'_, T, D>, LockError> {
        self.write_with(LockOptions::no_wait())
    }

    /// Locks the part for writing, also after another worker did not finish. The part's poison is cleared: its one
    /// writer writes all of it.
    ///
    /// # Errors
    /// As [`Self::write`], without poison.
    pub fn write_poisoned(&mut self) -> Result<PartGuard<'_, T, D>, LockError> {
        self.write_with(LockOptions::default().accept_poison(true))
    }

    /// As [`Self::write`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names the holder.
    pub fn write_with(&mut self, options: LockOptions) -> Result<PartGuard<'_, T, D>, LockError> {
        let part = self.share().lock(options)?;
        let array = self.value();
        let guarded = &array.spans().locked()[0];
        part_guard(guarded, part, &array.layout().shape).map_err(|_| LockError::OtherPart)
    }
}
