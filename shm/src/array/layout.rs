use std::ops::Range;

use bytemuck::Pod;
use ndarray::{ArrayRef, ArrayView, ArrayViewMut, Axis, Dimension, ShapeBuilder, Slice};
use numpush_message::{Array, Buffer, Element};

use crate::error::Error;

/// Where the elements of an array lie.
#[derive(Clone, Debug)]
pub(crate) struct Layout<D> {
    pub(crate) shape: D,
    /// Elements from one to the next along each axis, without their sign; `None` for C order.
    steps: Option<D>,
    /// Axes that run backwards.
    inverted: Vec<usize>,
}

impl<D: Dimension> Layout<D> {
    /// `strides` are bytes from one element to the next along each axis, of elements of `item` bytes; `None` for C order.
    pub(crate) fn new(
        shape: &[usize],
        strides: Option<&[isize]>,
        item: usize,
    ) -> Result<Self, Error> {
        let axes = shape.len();
        if D::NDIM.is_some_and(|wanted| wanted != axes) {
            return Err(Error::Axes {
                shape: shape.into(),
                wanted: D::NDIM.unwrap_or(0),
            });
        }
        let shape = dimension::<D>(shape);
        let Some(strides) = strides else {
            return Ok(Self {
                shape,
                steps: None,
                inverted: Vec::new(),
            });
        };
        let steps: Vec<usize> = strides
            .iter()
            .map(|stride| stride.unsigned_abs() / item)
            .collect();
        let inverted = (0..axes).filter(|&axis| strides[axis] < 0).collect();
        Ok(Self {
            shape,
            steps: Some(dimension::<D>(&steps)),
            inverted,
        })
    }

    /// Elements from one to the next along each axis; `None` if an axis runs backwards.
    pub(crate) fn steps(&self) -> Option<Vec<usize>> {
        if !self.inverted.is_empty() {
            return None;
        }
        if let Some(steps) = &self.steps {
            return Some(steps.slice().into());
        }
        let mut step = 1;
        let mut next = |&len: &usize| {
            let this = step;
            step *= len.max(1);
            this
        };
        let mut steps: Vec<usize> = self.shape.slice().iter().rev().map(&mut next).collect();
        steps.reverse();
        Some(steps)
    }

    pub(crate) fn is_c_order(&self) -> bool {
        self.steps.is_none()
    }

    pub(crate) fn view<'x, T>(&self, elements: &'x [T]) -> ArrayView<'x, T, D> {
        let mut view = match &self.steps {
            None => ArrayView::from_shape(self.shape.clone(), elements),
            Some(steps) => {
                ArrayView::from_shape(self.shape.clone().strides(steps.clone()), elements)
            }
        }
        .unwrap_or_else(|error| fail(&error));
        self.inverted
            .iter()
            .for_each(|&axis| view.invert_axis(Axis(axis)));
        view
    }

    pub(crate) fn view_mut<'x, T>(&self, elements: &'x mut [T]) -> ArrayViewMut<'x, T, D> {
        let mut view = match &self.steps {
            None => ArrayViewMut::from_shape(self.shape.clone(), elements),
            Some(steps) => {
                ArrayViewMut::from_shape(self.shape.clone().strides(steps.clone()), elements)
            }
        }
        .unwrap_or_else(|error| fail(&error));
        self.inverted
            .iter()
            .for_each(|&axis| view.invert_axis(Axis(axis)));
        view
    }

    /// `rows` of an array in C order, of whose rows `elements` begin with the one of number `first`.
    pub(crate) fn rows<'x, T>(
        &self,
        elements: &'x [T],
        first: usize,
        rows: &Range<usize>,
    ) -> ArrayView<'x, T, D> {
        let shape = self.with_rows(elements.len());
        let view = ArrayView::from_shape(shape, elements).unwrap_or_else(|error| fail(&error));
        view.slice_axis_move(Axis(0), Slice::from(rows.start - first..rows.end - first))
    }

    pub(crate) fn rows_mut<'x, T>(
        &self,
        elements: &'x mut [T],
        first: usize,
        rows: &Range<usize>,
    ) -> ArrayViewMut<'x, T, D> {
        let shape = self.with_rows(elements.len());
        let view = ArrayViewMut::from_shape(shape, elements).unwrap_or_else(|error| fail(&error));
        view.slice_axis_move(Axis(0), Slice::from(rows.start - first..rows.end - first))
    }

    /// The shape with as many rows as `elements` are.
    fn with_rows(&self, elements: usize) -> D {
        let mut shape = self.shape.clone();
        let row: usize = shape.slice()[1..].iter().product();
        shape[0] = elements.checked_div(row).unwrap_or(shape[0]);
        shape
    }
}

/// Elements in C order, to write.
pub(crate) fn view_c_order<'x, T, D: Dimension>(
    shape: &D,
    elements: &'x mut [T],
) -> ArrayViewMut<'x, T, D> {
    ArrayViewMut::from_shape(shape.clone(), elements).unwrap_or_else(|error| fail(&error))
}

pub(super) fn dimension<D: Dimension>(lens: &[usize]) -> D {
    let mut dimension = D::zeros(lens.len());
    dimension.slice_mut().copy_from_slice(lens);
    dimension
}

/// The bytes were counted from the shape when the value was made, and its offer was checked when it was opened.
pub(super) fn fail(error: &ndarray::ShapeError) -> ! {
    panic!("a shared array's shape does not fit its bytes: {error}")
}

/// Writes the elements of `array` to `bytes`, in C order.
pub(crate) fn fill<T: Pod, D: Dimension>(bytes: &mut [u8], array: &ArrayRef<T, D>) {
    if bytes.is_empty() {
        return;
    }
    let to: &mut [T] = bytemuck::cast_slice_mut(bytes);
    match array.as_slice() {
        Some(elements) => to.copy_from_slice(elements),
        None => to.iter_mut().zip(array).for_each(|(to, from)| *to = *from),
    }
}

/// Bytes of an array of `T`, if they fit an address space.
pub(crate) fn byte_len<T: Element>(shape: &[usize]) -> Result<usize, Error> {
    let bytes = shape.iter().try_fold(size_of::<T>(), |product, &len| {
        product.checked_mul(len.max(1))
    });
    let fits = bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok());
    if !fits {
        // The data model has the error for it.
        Array::new(T::SCALAR, shape, Buffer::default())?;
    }
    Ok(shape.iter().product::<usize>() * size_of::<T>())
}
