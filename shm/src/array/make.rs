//! How shared arrays are made.

use bytemuck::Pod;
use ndarray::{ArrayRef, ArrayViewMut, Dimension, IntoDimension};
use numpush_message::{Array, Buffer, Element};

use crate::arena::{Allocation, Arena};
use crate::array::SharedArray;
use crate::array::description::TypedArray;
use crate::array::layout::{byte_len, fill, view_c_order};
use crate::elements::elements_mut;
use crate::error::Error;
use crate::object::{Object, make_locks};

impl<T: Element + Pod, D: Dimension> SharedArray<T, D> {
    /// Makes an array of zeros, in C order. Memory fresh from the kernel is zero, and not written once more.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if the arena's budget or the machine's memory does not have the bytes; [`Error::Shape`] if the
    /// shape is too large for an address space.
    pub fn zeros(arena: &Arena, shape: impl IntoDimension<Dim = D>) -> Result<Self, Error> {
        let shape = shape.into_dimension();
        let len = byte_len::<T>(shape.slice())?;
        Self::build(shape.slice(), arena.reserve_zeros(len)?)
    }

    /// Makes an array in C order that nobody has written yet. Its elements are zeros, or what an earlier value of this
    /// arena has left, and whoever opens the array can read them: a process of the same user.
    ///
    /// It saves the zeros of memory that was used before, and nothing of fresh memory, which the kernel clears at the first
    /// touch of each page, whoever touches it.
    ///
    /// # Errors
    /// As [`Self::zeros`].
    pub fn uninit(arena: &Arena, shape: impl IntoDimension<Dim = D>) -> Result<Self, Error> {
        let shape = shape.into_dimension();
        let len = byte_len::<T>(shape.slice())?;
        Self::build(shape.slice(), arena.reserve(len)?)
    }

    /// Makes an array of copies of `element`, in C order.
    ///
    /// # Errors
    /// As [`Self::zeros`].
    pub fn from_elem(
        arena: &Arena,
        shape: impl IntoDimension<Dim = D>,
        element: T,
    ) -> Result<Self, Error> {
        let shape = shape.into_dimension();
        Self::filled(arena, &shape, |mut view| view.fill(element))
    }

    /// Makes an array of what `element` returns for each index, in C order. The elements are written where they stay.
    ///
    /// ```
    /// use ndarray::array;
    /// use numpush_shm::{Arena, SharedArray};
    ///
    /// let arena = Arena::shared();
    /// let unit = SharedArray::from_shape_fn(&arena, (2, 2), |(row, column)| f64::from(row == column))?;
    /// assert_eq!(*unit.read()?, array![[1.0, 0.0], [0.0, 1.0]]);
    /// # Ok::<(), numpush_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::zeros`]. If `element` panics there is no array.
    pub fn from_shape_fn(
        arena: &Arena,
        shape: impl IntoDimension<Dim = D>,
        mut element: impl FnMut(D::Pattern) -> T,
    ) -> Result<Self, Error> {
        let shape = shape.into_dimension();
        Self::filled(arena, &shape, |mut view| {
            view.indexed_iter_mut()
                .for_each(|(index, to)| *to = element(index));
        })
    }

    /// Copies `elements` into shared memory as an array of this shape, in C order.
    ///
    /// # Errors
    /// As [`Self::zeros`]; [`Error::Shape`] if the shape has another number of elements.
    pub fn from_shape_slice(
        arena: &Arena,
        shape: impl IntoDimension<Dim = D>,
        elements: &[T],
    ) -> Result<Self, Error> {
        let shape = shape.into_dimension();
        let (bytes, len) = (
            bytemuck::cast_slice(elements),
            byte_len::<T>(shape.slice())?,
        );
        if bytes.len() != len {
            // The data model has the error for it.
            Array::new(T::SCALAR, shape.slice(), Buffer::borrowed(bytes))?;
        }
        let mut allocation = arena.reserve(len)?;
        allocation.claimed.bytes_mut().copy_from_slice(bytes);
        Self::build(shape.slice(), allocation)
    }

    /// Copies `array` into shared memory, in C order.
    ///
    /// # Errors
    /// As [`Self::zeros`].
    pub fn copy_of(arena: &Arena, array: &ArrayRef<T, D>) -> Result<Self, Error> {
        let len = byte_len::<T>(array.shape())?;
        let mut allocation = arena.reserve(len)?;
        fill(allocation.claimed.bytes_mut(), array);
        Self::build(array.shape(), allocation)
    }

    fn filled(
        arena: &Arena,
        shape: &D,
        fill: impl FnOnce(ArrayViewMut<'_, T, D>),
    ) -> Result<Self, Error> {
        let mut allocation = arena.reserve(byte_len::<T>(shape.slice())?)?;
        let elements = elements_mut(allocation.claimed.bytes_mut());
        fill(view_c_order(shape, elements));
        Self::build(shape.slice(), allocation)
    }

    fn build(shape: &[usize], allocation: Allocation) -> Result<Self, Error> {
        let (claims, homes) = (vec![allocation.claimed], vec![allocation.home]);
        let object = Object::new(TypedArray::new(shape)?, claims, make_locks(1)?, homes);
        Ok(Self { object })
    }
}
