use std::fmt;
use std::sync::Arc;

use crate::model::array_layout::ArrayLayout;
use crate::model::buffer::Buffer;
use crate::model::dtype::Dtype;
use crate::model::shape::{self, ArrayError};

/// An n-dimensional array: an element type, a shape, and a buffer that holds every element once.
///
/// C order, Fortran order and any other dense order (permuted axes, negative strides) are equal: the strides say
/// where an element lies, and no byte of the buffer is outside all elements.
///
/// ```
/// use numpush_message::{Array, Element};
///
/// // Two rows of three, row after row.
/// let array = Array::new(u8::SCALAR, &[2, 3], vec![1, 2, 3, 4, 5, 6].into())?;
/// assert_eq!((array.shape(), array.len(), array.strides()), (&[2, 3][..], 6, None));
///
/// // The same elements, column after column.
/// let fortran = Array::with_strides(
///     u8::SCALAR,
///     &[2, 3],
///     &[1, 2],
///     vec![1, 4, 2, 5, 3, 6].into(),
/// )?;
/// assert_eq!(fortran.into_c_order_or_copy(), array);
/// # Ok::<_, numpush_message::ArrayError>(())
/// ```
///
/// With the feature `ndarray`, `Array::borrowed`, `from_owned` and `copy_of` make one of an ndarray, and `as_ndarray`
/// views it as one.
#[derive(Clone, PartialEq)]
pub struct Array<'a> {
    layout: Arc<ArrayLayout>,
    data: Buffer<'a>,
}

/// A view whose elements do not fill one run of memory, so that it cannot be shipped without a copy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("view of shape {shape:?} with strides {strides:?} is not dense in memory: copy it first")]
pub struct NotDense {
    /// Elements along each axis.
    pub shape: Vec<usize>,
    /// Elements (not bytes) from one to the next along each axis.
    pub strides: Vec<isize>,
}

impl<'a> Array<'a> {
    /// Most dimensions of an array.
    pub const MAX_DIMENSIONS: usize = shape::MAX_DIMENSIONS;

    /// An array in C order.
    ///
    /// # Errors
    /// [`ArrayError`] if `data` is not as long as shape and element type require, or if there are too many dimensions.
    pub fn new(
        dtype: impl Into<Dtype>,
        shape: &[usize],
        data: Buffer<'a>,
    ) -> Result<Self, ArrayError> {
        Self::build(dtype.into(), shape, None, data)
    }

    /// An array with `strides` in bytes. Along an axis with a negative stride the first element lies last in memory.
    ///
    /// # Errors
    /// As [`Self::new`], and [`ArrayError::Strides`] if they leave gaps, overlap or reach outside.
    pub fn with_strides(
        dtype: impl Into<Dtype>,
        shape: &[usize],
        strides: &[isize],
        data: Buffer<'a>,
    ) -> Result<Self, ArrayError> {
        Self::build(dtype.into(), shape, Some(strides), data)
    }

    fn build(
        dtype: Dtype,
        shape: &[usize],
        strides: Option<&[isize]>,
        data: Buffer<'a>,
    ) -> Result<Self, ArrayError> {
        let layout = ArrayLayout::new(dtype, shape.into(), strides, data.len())?;
        Ok(Self {
            layout: Arc::new(layout),
            data,
        })
    }

    /// An array whose layout was checked. Its data may have come from anybody.
    pub(crate) fn from_layout(
        layout: Arc<ArrayLayout>,
        data: Buffer<'a>,
    ) -> Result<Self, ArrayError> {
        if data.len() != layout.byte_len() {
            shape::check_byte_len(layout.shape(), layout.dtype().size(), data.len())?;
        }
        Ok(Self { layout, data })
    }

    /// The element type.
    pub fn dtype(&self) -> &Dtype {
        self.layout.dtype()
    }

    /// Elements along each axis; empty for a single value without axes.
    pub fn shape(&self) -> &[usize] {
        self.layout.shape()
    }

    /// Bytes from one element to the next along each axis, or `None` for C order.
    pub fn strides(&self) -> Option<&[isize]> {
        self.layout.strides()
    }

    pub(crate) fn layout(&self) -> &Arc<ArrayLayout> {
        &self.layout
    }

    /// The elements' bytes, in memory order.
    pub fn data(&self) -> &Buffer<'a> {
        &self.data
    }

    /// Takes the elements' bytes out of the array.
    pub fn into_data(self) -> Buffer<'a> {
        self.data
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// True if the array has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same elements in C order: shared if they are in it already, else copied one by one.
    pub fn into_c_order_or_copy(self) -> Self {
        let layout = Arc::clone(&self.layout);
        let (shape, Some(strides)) = (layout.shape(), layout.strides()) else {
            return self;
        };
        let item = layout.dtype().size();
        let span: usize = strides
            .iter()
            .zip(shape)
            .filter(|(step, _)| **step < 0)
            .map(reach)
            .sum();
        let mut copy = Vec::with_capacity(self.data.len());
        let mut index = vec![0; shape.len()];
        let mut at = span;
        for _ in 0..self.len() {
            copy.extend_from_slice(&self.data[at..at + item]);
            // Counts `index` up like an odometer, and moves `at` along.
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                at = at.wrapping_add_signed(strides[axis]);
                if index[axis] < shape[axis] {
                    break;
                }
                let back = strides[axis].wrapping_mul(index[axis].cast_signed());
                at = at.wrapping_add_signed(back.wrapping_neg());
                index[axis] = 0;
            }
        }
        Array {
            layout: Arc::new(layout.in_c_order()),
            data: copy.into(),
        }
    }

    pub(crate) fn into_owned_or_copy(self) -> Array<'static> {
        Array {
            layout: self.layout,
            data: self.data.into_owned_or_copy(),
        }
    }

    /// Axes from the slowest to the fastest, by the size of their stride; the order of the elements in memory.
    #[cfg(feature = "ndarray")]
    pub(crate) fn memory_order(&self) -> Vec<usize> {
        let shape = self.shape();
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        if let Some(strides) = self.strides() {
            axes.sort_by_key(|&axis| std::cmp::Reverse(rank(shape[axis], strides[axis])));
        }
        axes
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array")
            .field("dtype", self.dtype())
            .field("shape", &self.shape())
            .field("strides", &self.strides())
            .field("data", &self.data)
            .finish()
    }
}

/// Bytes between the first and the last element along an axis.
fn reach((step, len): (&isize, &usize)) -> usize {
    step.unsigned_abs() * (len - 1)
}

/// Axes of one element may have any stride; ranked first they never stand between two that matter.
#[cfg(feature = "ndarray")]
fn rank(len: usize, stride: isize) -> usize {
    if len == 1 {
        usize::MAX
    } else {
        stride.unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dtype::Scalar;

    fn array(shape: &[usize], strides: &[isize]) -> Result<Array<'static>, ArrayError> {
        let len = shape.iter().product::<usize>() * 4;
        Array::with_strides(
            "<f4".parse::<Scalar>().unwrap(),
            shape,
            strides,
            vec![0; len].into(),
        )
    }

    #[test]
    fn c_order_is_made_of_any_dense_order() {
        let byte = "|u1".parse::<Scalar>().unwrap();
        let fortran =
            Array::with_strides(byte, &[2, 3], &[1, 2], vec![0, 3, 1, 4, 2, 5].into()).unwrap();
        assert_eq!(&**fortran.into_c_order_or_copy().data(), [0, 1, 2, 3, 4, 5]);
        let reversed =
            Array::with_strides(byte, &[2, 3], &[-3, -1], vec![5, 4, 3, 2, 1, 0].into()).unwrap();
        assert_eq!(
            &**reversed.into_c_order_or_copy().data(),
            [0, 1, 2, 3, 4, 5]
        );
    }

    #[test]
    fn c_order_has_no_strides() {
        assert_eq!(array(&[3, 4], &[16, 4]).unwrap().strides(), None);
        assert_eq!(array(&[3, 1, 4], &[16, 999, 4]).unwrap().strides(), None);
        assert_eq!(array(&[0, 4], &[7, 7]).unwrap().strides(), None);
        assert_eq!(array(&[], &[]).unwrap().strides(), None);
    }

    #[test]
    fn dense_strides_are_kept() {
        assert_eq!(
            array(&[3, 4], &[4, 12]).unwrap().strides(),
            Some(&[4, 12][..])
        );
        assert_eq!(
            array(&[3, 4], &[-16, 4]).unwrap().strides(),
            Some(&[-16, 4][..])
        );
        assert_eq!(
            array(&[1, 3, 4], &[5, 4, 12]).unwrap().strides(),
            Some(&[0, 4, 12][..])
        );
    }

    #[test]
    fn strides_with_gaps_or_overlap_are_refused() {
        for strides in [
            [32, 4],
            [16, 8],
            [4, 4],
            [0, 4],
            [16, 0],
            [isize::MIN, 4],
            [16, isize::MAX],
        ] {
            assert!(
                matches!(array(&[3, 4], &strides), Err(ArrayError::Strides { .. })),
                "{strides:?}"
            );
        }
        assert!(array(&[3, 4], &[4]).is_err());
    }
}
