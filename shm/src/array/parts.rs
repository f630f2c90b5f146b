//! Arrays divided among workers.

use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use ndarray::{Axis, Dimension};
use numpush_message::Element;
use numpush_shm_core::{LockError, LockOptions, PartGuard, PartRange, part_guard, part_range};

use crate::array::SharedArray;
use crate::error::Error;
use crate::object::{Divide, Object, Part, Partition, RawObject, divide};

impl<T: Element + Pod, D: Dimension> SharedArray<T, D> {
    /// Divides the array along `axis` into `parts`, which workers write at the same time, each under the lock of its
    /// part. An axis of fewer elements has fewer parts.
    ///
    /// The array stays locked until the partition and all its parts are dropped. Parts are for other processes: this
    /// thread holds the array's lock, and divides the view of a [guard](Self::write) for itself. See [`Part`] for an
    /// example.
    ///
    /// # Errors
    /// [`Error::Lock`]; [`Error::Division`] if the axis does not exist, if `parts` is 0, if the array is not in C order,
    /// or if it has row locks; [`Error::NotOwner`] in a process that has only opened the array.
    pub fn partition(&self, axis: Axis, parts: usize) -> Result<Partition<Self>, Error> {
        let len = self.divisible_len(axis.0, parts)?;
        let parts = parts.min(len.max(1));
        let row = self.byte_len().checked_div(len).unwrap_or(0);
        let bytes = |number| match axis.0 {
            0 => {
                let rows = part_range(len, parts, number, 1);
                rows.start * row..rows.end * row
            }
            // The bytes of all parts interleave.
            _ => 0..self.byte_len(),
        };
        divide(self, axis.0, 1, (0..parts).map(bytes).collect())
    }

    /// Elements along `axis`, if the array can be divided along it into `parts`.
    fn divisible_len(&self, axis: usize, parts: usize) -> Result<usize, Error> {
        let refused = |why| Error::Division {
            axis,
            parts,
            shape: self.shape().into(),
            why,
        };
        let &len = self
            .shape()
            .get(axis)
            .ok_or_else(|| refused("it has no such axis"))?;
        if parts == 0 {
            return Err(refused("at least one part is needed"));
        }
        if !self.layout().is_c_order() {
            return Err(refused("its elements are not in C order (row-major)"));
        }
        if self.spans().locked().len() != 1 {
            return Err(refused("it has row locks"));
        }
        Ok(len)
    }
}

impl<T: Element + Pod, D: Dimension> Divide for SharedArray<T, D> {
    fn raw(&self) -> &Arc<RawObject> {
        self.object.raw()
    }

    fn divisible(raw: &Arc<RawObject>, axis: usize, _grain: usize) -> Result<Self, Error> {
        let object = Object::from_raw(Arc::clone(raw))?;
        let array = Self { object };
        array.divisible_len(axis, 1)?;
        Ok(array)
    }
}

impl<T: Element + Pod, D: Dimension> Part<SharedArray<T, D>> {
    /// Elements of the part along each axis.
    pub fn shape(&self) -> D {
        let mut shape = self.value().layout().shape.clone();
        shape[self.axis().0] = self.range().len();
        shape
    }

    /// The part's range of indices along the divided axis.
    pub fn range(&self) -> Range<usize> {
        let PartRange {
            parts,
            number,
            grain,
        } = self.share().range;
        let len = self.value().shape()[self.axis().0];
        part_range(len, parts, number, grain)
    }

    /// The axis along which the array was divided.
    pub fn axis(&self) -> Axis {
        Axis(self.axis_number())
    }

    /// Locks the part for writing.
    ///
    /// # Errors
    /// [`LockError::Retired`] if the partition is gone; [`LockError::Poisoned`] if another worker died while it wrote
    /// this part.
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
        let share = self.share();
        let (whole, part) = share.lock(options)?;
        let array = self.value();
        let guarded = &array.spans().locked()[0];
        let shape = &array.layout().shape;
        let axis = self.axis_number();
        part_guard(guarded, whole, part, share.range, shape, axis).map_err(|_| LockError::OtherPart)
    }
}
