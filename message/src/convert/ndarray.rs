use bytemuck::checked;
use ndarray::{ArrayBase, ArrayRef, ArrayView, ArrayViewD, Axis, Data, Dimension, IxDyn};

use crate::model::{Array, Buffer, Dtype, Element, Message, NotDense, Scalar};

/// Why an array cannot be viewed as elements of a type.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// Another element type, or the other byte order.
    #[error("array of {found} cannot be viewed as {wanted}")]
    Dtype {
        /// Element type of the array.
        found: Dtype,
        /// Element type of the view.
        wanted: Scalar,
    },
    /// Another number of axes.
    #[error("array of shape {shape:?} cannot be viewed with {wanted} axes")]
    Dimensions {
        /// Elements along each axis of the array.
        shape: Vec<usize>,
        /// Axes of the view.
        wanted: usize,
    },
    /// The bytes do not lie where elements of this type may lie.
    #[error("array data at address {address:#x} is not aligned to {align} bytes")]
    Misaligned {
        /// Address of the first byte.
        address: usize,
        /// Alignment of the element type in bytes.
        align: usize,
    },
    /// Bytes that are no value of the type (a bool that is neither 0 nor 1).
    #[error("array of {wanted} holds bytes that are no such value")]
    BitPattern {
        /// Element type of the view.
        wanted: Scalar,
    },
}

impl<'a> Array<'a> {
    /// Borrows an ndarray whose elements fill one run of memory, in any order of axes. Copies nothing.
    ///
    /// `Array::try_from(&array)` and `Message::try_from(&array)` do the same.
    ///
    /// ```
    /// use ndarray::{Ix2, array};
    /// use numpush_message::Array;
    ///
    /// let matrix = array![[1.0, 2.0], [3.0, 4.0]];
    /// let columns_first = matrix.t();
    /// let array = Array::borrowed(&columns_first)?;
    /// assert_eq!(array.strides(), Some(&[8, 16][..]));
    /// assert_eq!(array.as_ndarray::<f64, Ix2>()?, columns_first);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`NotDense`] if the elements leave gaps, for example every second column: see [`Self::copy_of`].
    pub fn borrowed<T: Element, D: Dimension>(array: &'a ArrayRef<T, D>) -> Result<Self, NotDense> {
        let none: &'a [T] = &[];
        let elements = if array.is_empty() {
            Some(none)
        } else {
            array.as_slice_memory_order()
        };
        let bytes = elements.map(bytemuck::cast_slice).ok_or_else(|| NotDense {
            shape: array.shape().into(),
            strides: array.strides().into(),
        })?;
        from_parts(array, Buffer::borrowed(bytes))
    }

    /// Copies the elements of any ndarray to the heap, in C order.
    ///
    /// # Panics
    /// Never: an array that exists has a size that fits.
    pub fn copy_of<T: Element, D: Dimension>(array: &ArrayRef<T, D>) -> Array<'static> {
        let elements: Vec<T> = array.iter().copied().collect();
        let data = Buffer::from_owner(Elements(elements));
        #[expect(
            clippy::expect_used,
            reason = "the array exists, so its size fits; its data were just laid out"
        )]
        Array::new(T::SCALAR, array.shape(), data).expect("an array in C order is dense")
    }

    /// Takes an ndarray, which can then be handed over as it is: an owned or a reference-counted one. Copies nothing.
    ///
    /// # Errors
    /// [`NotDense`] if its elements do not fill one run of memory.
    ///
    /// # Panics
    /// Never: the layout was accepted for the borrowed view before.
    pub fn from_owned<T, S, D>(array: ArrayBase<S, D>) -> Result<Array<'static>, NotDense>
    where
        T: Element,
        S: Data<Elem = T> + Send + Sync + 'static,
        D: Dimension + 'static,
    {
        let layout = Array::borrowed(&array)?;
        let (shape, strides, dtype) = (
            layout.shape().to_owned(),
            layout.strides().map(<[_]>::to_owned),
            layout.dtype().clone(),
        );
        let data = Buffer::from_owner(Owned(array));
        let array = match strides {
            Some(strides) => Array::with_strides(dtype, &shape, &strides, data),
            None => Array::new(dtype, &shape, data),
        };
        #[expect(
            clippy::expect_used,
            reason = "the same layout was accepted for the borrowed view just above"
        )]
        Ok(array.expect("the owner has the layout of its view"))
    }

    /// The elements as an ndarray view with axes `D`: [`Ix2`](type@ndarray::Ix2) for a matrix, [`IxDyn`](type@IxDyn) for
    /// any number of axes. Copies nothing.
    ///
    /// Where the type of the view is written out, it need not be repeated:
    ///
    /// ```
    /// use ndarray::{ArrayView2, Ix2};
    /// use numpush_message::{Array, Element};
    ///
    /// let array = Array::new(u16::SCALAR, &[2, 3], vec![0; 12].into())?;
    /// let matrix: ArrayView2<'_, u16> = array.as_ndarray()?;
    /// assert_eq!(matrix.dim(), (2, 3));
    /// assert_eq!(array.as_ndarray::<u16, Ix2>()?.sum(), 0);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ViewError`] if the element type is not `T` in this machine's byte order, if the array has another number of
    /// axes, or if the data are not aligned for `T`.
    ///
    /// # Panics
    /// Never: an array holds as many elements as its shape says.
    pub fn as_ndarray<T: Element, D: Dimension>(&self) -> Result<ArrayView<'_, T, D>, ViewError> {
        if *self.dtype() != Dtype::Scalar(T::SCALAR) {
            return Err(ViewError::Dtype {
                found: self.dtype().clone(),
                wanted: T::SCALAR,
            });
        }
        let data = self.data();
        let elements: &[T] = match checked::try_cast_slice(data) {
            Ok(elements) => elements,
            // An empty buffer may lie anywhere.
            Err(_) if data.is_empty() => &[],
            Err(checked::CheckedCastError::InvalidBitPattern) => {
                return Err(ViewError::BitPattern { wanted: T::SCALAR });
            }
            Err(_) => {
                return Err(ViewError::Misaligned {
                    address: data.as_ptr().addr(),
                    align: align_of::<T>(),
                });
            }
        };
        let order = self.memory_order();
        let shape: Vec<usize> = order.iter().map(|&axis| self.shape()[axis]).collect();
        #[expect(
            clippy::expect_used,
            reason = "`Array` holds as many elements as its shape says, checked when built"
        )]
        let mut view =
            ArrayViewD::from_shape(IxDyn(&shape), elements).expect("shape fits the elements");
        let mut places = vec![0; order.len()];
        order
            .iter()
            .enumerate()
            .for_each(|(place, &axis)| places[axis] = place);
        view = view.permuted_axes(IxDyn(&places));
        for (axis, &step) in self.strides().unwrap_or(&[]).iter().enumerate() {
            if step < 0 {
                view.invert_axis(Axis(axis));
            }
        }
        view.into_dimensionality()
            .map_err(|_| ViewError::Dimensions {
                shape: self.shape().into(),
                wanted: D::NDIM.unwrap_or_default(),
            })
    }
}

impl<'a, T: Element, D: Dimension> TryFrom<&'a ArrayRef<T, D>> for Array<'a> {
    type Error = NotDense;

    fn try_from(array: &'a ArrayRef<T, D>) -> Result<Self, NotDense> {
        Self::borrowed(array)
    }
}

impl<'a, T, S, D> TryFrom<&'a ArrayBase<S, D>> for Array<'a>
where
    T: Element,
    S: Data<Elem = T>,
    D: Dimension,
{
    type Error = NotDense;

    fn try_from(array: &'a ArrayBase<S, D>) -> Result<Self, NotDense> {
        Self::borrowed(array)
    }
}

impl<'a, T: Element, D: Dimension> TryFrom<&'a ArrayRef<T, D>> for Message<'a> {
    type Error = NotDense;

    fn try_from(array: &'a ArrayRef<T, D>) -> Result<Self, NotDense> {
        Array::borrowed(array).map(Self::from)
    }
}

impl<'a, T, S, D> TryFrom<&'a ArrayBase<S, D>> for Message<'a>
where
    T: Element,
    S: Data<Elem = T>,
    D: Dimension,
{
    type Error = NotDense;

    fn try_from(array: &'a ArrayBase<S, D>) -> Result<Self, NotDense> {
        Array::borrowed(array).map(Self::from)
    }
}

impl<'v, T: Element, D: Dimension> TryFrom<&'v Array<'_>> for ArrayView<'v, T, D> {
    type Error = ViewError;

    fn try_from(array: &'v Array<'_>) -> Result<Self, ViewError> {
        array.as_ndarray()
    }
}

fn from_parts<'a, T: Element, D: Dimension>(
    array: &ArrayRef<T, D>,
    data: Buffer<'a>,
) -> Result<Array<'a>, NotDense> {
    let item = isize::try_from(size_of::<T>()).unwrap_or(isize::MAX);
    let strides: Vec<isize> = array.strides().iter().map(|step| step * item).collect();
    Array::with_strides(T::SCALAR, array.shape(), &strides, data).map_err(|_| NotDense {
        shape: array.shape().into(),
        strides: array.strides().into(),
    })
}

struct Elements<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Elements<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

struct Owned<S: Data, D: Dimension>(ArrayBase<S, D>);

impl<T: Element, S: Data<Elem = T>, D: Dimension> AsRef<[u8]> for Owned<S, D> {
    fn as_ref(&self) -> &[u8] {
        self.0
            .as_slice_memory_order()
            .map_or(&[], bytemuck::cast_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, ShapeBuilder, s};

    fn cube() -> Array3<i32> {
        Array3::from_shape_vec((2, 3, 4), (0..24).collect()).unwrap()
    }

    #[test]
    fn views_share_memory_and_come_back_equal() {
        let cube = cube();
        let mut flipped = cube.view();
        flipped.invert_axis(Axis(1));
        let swapped = cube.view().permuted_axes([2, 0, 1]);
        let mut both = swapped;
        both.invert_axis(Axis(0));
        both.invert_axis(Axis(2));
        for view in [
            cube.view(),
            flipped,
            swapped,
            both,
            cube.slice(s![1..2, .., ..]),
            cube.slice(s![..0, .., ..]),
        ] {
            let array = Array::borrowed(&view).unwrap();
            assert_eq!(array.as_ndarray::<i32, IxDyn>().unwrap(), view.into_dyn());
            let memory = cube.as_slice().unwrap().as_ptr_range();
            assert!(array.data().is_empty() || memory.contains(&array.data().as_ptr().cast()));
        }
        let fortran = ndarray::Array2::<f64>::ones((3, 5).f());
        assert_eq!(
            Array::borrowed(&fortran).unwrap().strides(),
            Some(&[8, 24][..])
        );
        let point = ndarray::arr0(7_u16);
        assert_eq!(
            Array::borrowed(&point)
                .unwrap()
                .as_ndarray::<u16, IxDyn>()
                .unwrap(),
            point.view().into_dyn()
        );
    }

    #[test]
    fn a_view_with_gaps_is_refused_and_gathered_by_name() {
        let cube = cube();
        let gaps = cube.slice(s![.., .., ..;2]);
        assert_eq!(Array::borrowed(&gaps).unwrap_err().shape, [2, 3, 2]);
        assert_eq!(
            Array::copy_of(&gaps).as_ndarray::<i32, IxDyn>().unwrap(),
            gaps.into_dyn()
        );
        let row = ndarray::arr1(&[1, 2]);
        let repeated = row.broadcast((3, 2)).unwrap();
        assert!(Array::borrowed(&repeated).is_err());
    }

    #[test]
    fn conversions_are_also_there_by_their_trait() {
        let cube = cube();
        let message = Message::try_from(&cube).unwrap();
        let array = message.as_array().unwrap();
        let view = ndarray::ArrayView3::<'_, i32>::try_from(array).unwrap();
        assert_eq!(view, cube);
        assert_eq!(
            Array::try_from(&view).unwrap().data().as_ptr(),
            cube.as_ptr().cast()
        );
        assert!(Array::try_from(&*cube).is_ok());
        assert!(Message::try_from(&cube.slice(s![.., .., ..;2])).is_err());
        let error = array.as_ndarray::<i32, ndarray::Ix2>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "array of shape [2, 3, 4] cannot be viewed with 2 axes"
        );
    }

    #[test]
    fn an_owned_array_is_taken_without_a_copy() {
        let cube = cube();
        let address = cube.as_ptr();
        let array = Array::from_owned(cube).unwrap();
        assert_eq!(array.data().as_ptr(), address.cast());
    }

    #[test]
    fn a_wrong_type_is_named() {
        let array = Array::new("<f8".parse::<Scalar>().unwrap(), &[1], vec![0; 8].into()).unwrap();
        assert_eq!(
            array.as_ndarray::<i64, IxDyn>().unwrap_err().to_string(),
            "array of <f8 cannot be viewed as <i8"
        );
        let wrong = Array::new("|b1".parse::<Scalar>().unwrap(), &[1], vec![2].into()).unwrap();
        assert!(matches!(
            wrong.as_ndarray::<bool, IxDyn>(),
            Err(ViewError::BitPattern { .. })
        ));
    }
}
