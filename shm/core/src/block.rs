//! A block of an array in C order, as a view.

use ndarray::{ArrayViewMut, Dimension, RawArrayViewMut, ShapeBuilder};

use std::ptr::NonNull;

use crate::lock::PartId;
use crate::part_range::block_range;

/// The elements of block `id` of an array in C order of the shape `shape`, which begins at `first`.
///
/// # Safety
/// The array lies at `first`, which is aligned, and nobody else touches the elements of the block while the view lives.
pub(crate) unsafe fn block_view<'a, T, D: Dimension>(
    first: NonNull<T>,
    shape: &D,
    id: PartId,
) -> ArrayViewMut<'a, T, D> {
    // C order: a step along an axis passes all elements of the axes after it.
    let (mut strides, mut lens) = (shape.clone(), shape.clone());
    let (mut step, mut offset) = (1, 0);
    for axis in (0..shape.ndim()).rev() {
        let range = block_range(id.division, id.number, axis, shape[axis]);
        strides[axis] = step;
        offset += range.start * step;
        lens[axis] = range.len();
        step *= shape[axis].max(1);
    }
    let is_empty = lens.slice().contains(&0);
    // SAFETY: inside the array, for the block has elements; or the array's beginning.
    let first = unsafe { first.add(if is_empty { 0 } else { offset }) };
    // SAFETY: shape and strides are those of the whole, cut along its axes; aligned, as the caller ensures.
    let raw = unsafe { RawArrayViewMut::from_shape_ptr(lens.strides(strides), first.as_ptr()) };
    // SAFETY: the view touches the elements of the block and no others, and the caller ensures that nobody else does.
    unsafe { raw.deref_into_view_mut() }
}

/// Bytes of an array of `T` of this shape, if they can be counted.
pub(crate) fn byte_len<T>(shape: &[usize]) -> Option<usize> {
    let mut lens = shape.iter();
    lens.try_fold(size_of::<T>(), |product, &len| product.checked_mul(len))
}
