//! Parts of guarded bytes that workers write at the same time, each under its own lock.

use std::ops::Range;

use bytemuck::Pod;
use ndarray::{ArrayViewMut, Dimension, RawArrayViewMut, ShapeBuilder};

use crate::lock::{PartHold, WriteHold};
use crate::memory::{Locked, MemoryRange, RangeInUse};
use crate::part_range::{PartRange, part_range};

impl MemoryRange<Locked> {
    /// The same part of several runs of bytes, each with its number of items, to write.
    ///
    /// # Errors
    /// [`RangeInUse`] if this process knows the part under another lock.
    ///
    /// # Panics
    /// If the locks held are others, if bytes are not whole items, or if two runs overlap.
    pub fn part_bytes_mut<'a>(
        all: &[(&'a Self, PartRange, usize)],
        whole: &'a PartHold,
        part: &'a mut WriteHold,
    ) -> Result<Vec<&'a mut [u8]>, RangeInUse> {
        let runs: Vec<&Self> = all.iter().map(|(one, ..)| *one).collect();
        Self::assert_disjoint(&runs);
        let mut parts = Vec::with_capacity(all.len());
        for (one, division, items) in all {
            let bytes = one.range().len();
            assert!(
                *items > 0 && bytes.is_multiple_of(*items),
                "{bytes} bytes of {items} items"
            );
            let item = bytes / items;
            let base = one.part_pointer(whole, part, *division, [*items, 0])?;
            let Range { start, end } =
                part_range(*items, division.parts, division.number, division.grain);
            // SAFETY: a division lies inside the items, and these inside the mapped bytes.
            let start_pointer = unsafe { base.add(start * item) };
            // SAFETY: the part's lock is held alone and borrowed alone; the whole's lock lets nobody in but workers on
            // parts of this epoch, and divisions of one epoch are disjoint, because a part has one lock. The runs are
            // disjoint too.
            parts.push(unsafe {
                std::slice::from_raw_parts_mut(start_pointer.as_ptr(), (end - start) * item)
            });
        }
        Ok(parts)
    }

    /// A part of the bytes as elements of an array in C order, divided along `axis`, to write.
    ///
    /// # Errors
    /// [`RangeInUse`] if this process knows the part under another lock.
    ///
    /// # Panics
    /// If the locks held are others, or if the bytes are not the elements of such an array.
    pub fn part_view_mut<'a, T: Pod, D: Dimension>(
        &'a self,
        whole: &'a PartHold,
        part: &'a mut WriteHold,
        division: PartRange,
        shape: &D,
        axis: usize,
    ) -> Result<ArrayViewMut<'a, T, D>, RangeInUse> {
        let elements = shape
            .slice()
            .iter()
            .try_fold(1_usize, |product, &len| product.checked_mul(len));
        let bytes = elements.and_then(|elements| elements.checked_mul(size_of::<T>()));
        assert_eq!(
            bytes,
            Some(self.range().len()),
            "an array of shape {:?}",
            shape.slice()
        );
        let base = self
            .part_pointer(whole, part, division, [shape[axis], axis])?
            .cast::<T>();
        assert!(base.is_aligned(), "elements at {base:?}");
        let Range { start, end } =
            part_range(shape[axis], division.parts, division.number, division.grain);
        // C order: a step along an axis passes all elements of the axes after it.
        let mut strides = shape.clone();
        let mut step = 1;
        for at in (0..shape.ndim()).rev() {
            strides[at] = step;
            step *= shape[at].max(1);
        }
        let mut part_shape = shape.clone();
        part_shape[axis] = end - start;
        // SAFETY: inside the elements, or one past the last of none.
        let first = unsafe {
            base.add(if bytes == Some(0) {
                0
            } else {
                start * strides[axis]
            })
        };
        // SAFETY: shape and strides are those of the whole, cut along one axis; aligned, by the check above.
        let raw =
            unsafe { RawArrayViewMut::from_shape_ptr(part_shape.strides(strides), first.as_ptr()) };
        // SAFETY: as for `part_bytes_mut`: nobody else touches the elements of this part, in no process, and the view
        // touches no others.
        Ok(unsafe { raw.deref_into_view_mut() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{LockOptions, OwnedLock};
    use crate::memory::{PageOptions, SharedPages};
    use ndarray::Dim;

    #[test]
    fn parts_of_columns_interleave_without_touching() {
        let pages = SharedPages::new(4096, PageOptions::default()).unwrap();
        let (whole, parts) = (
            OwnedLock::new().unwrap(),
            [OwnedLock::new().unwrap(), OwnedLock::new().unwrap()],
        );
        let guarded = pages
            .take_exclusive(0..12 * 8)
            .unwrap()
            .into_locked(whole.lock());
        let mut held = whole.lock().write(LockOptions::default()).unwrap();
        let division = PartRange {
            parts: 2,
            number: 0,
            grain: 1,
        };
        let epoch = held.hand_out_parts(division.division(1));
        let shape = Dim([3, 4]);
        let work = |block: &OwnedLock, number: usize| {
            let joined = whole
                .lock()
                .join_parts(epoch, division.division(1))
                .unwrap();
            let mut own = block.lock().write(LockOptions::default()).unwrap();
            let division = PartRange { number, ..division };
            let mut view =
                guarded.part_view_mut::<u64, _>(&joined, &mut own, division, &shape, 1)?;
            assert_eq!(view.shape(), [3, 2]);
            view.fill(number as u64 + 1);
            Ok::<_, RangeInUse>(())
        };
        std::thread::scope(|scope| {
            scope.spawn(|| work(&parts[0], 0).unwrap());
            scope.spawn(|| work(&parts[1], 1).unwrap());
        });
        // The lock of one part does not open another.
        std::thread::scope(|scope| {
            assert!(scope.spawn(|| work(&parts[0], 1)).join().unwrap().is_err())
        });
        held.take_back_parts(None).unwrap();
        let bytes = guarded.bytes_exclusive(&held);
        let row: Vec<u64> = bytes[..32]
            .chunks(8)
            .map(|b| u64::from_ne_bytes(b.try_into().unwrap()))
            .collect();
        assert_eq!(row, [1, 1, 2, 2]);
    }
}
