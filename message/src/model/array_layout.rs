//! What an array is, apart from its bytes. Arrays that came with the same header share it.

use crate::model::dtype::Dtype;
use crate::model::few::Few;
use crate::model::shape::{self, ArrayError};

/// Element type, shape and strides that fit one another.
#[derive(Debug, PartialEq)]
pub(crate) struct ArrayLayout {
    dtype: Dtype,
    shape: Few<usize>,
    /// Bytes from one element to the next along each axis; `None` for C order.
    strides: Option<Few<isize>>,
    byte_len: usize,
}

impl ArrayLayout {
    /// The layout of arrays of `byte_len` bytes.
    pub(crate) fn new(
        dtype: Dtype,
        shape: Few<usize>,
        strides: Option<&[isize]>,
        byte_len: usize,
    ) -> Result<Self, ArrayError> {
        let item = dtype.size();
        shape::check_byte_len(&shape, item, byte_len)?;
        let strides = match strides {
            Some(strides) => shape::canonical_strides(&shape, strides, item)?,
            None => None,
        };
        Ok(Self {
            dtype,
            shape,
            strides,
            byte_len,
        })
    }

    /// The same elements in C order.
    pub(crate) fn in_c_order(&self) -> Self {
        Self {
            dtype: self.dtype.clone(),
            shape: self.shape.clone(),
            strides: None,
            byte_len: self.byte_len,
        }
    }

    pub(crate) fn dtype(&self) -> &Dtype {
        &self.dtype
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn strides(&self) -> Option<&[isize]> {
        self.strides.as_deref()
    }

    /// Bytes of all elements.
    pub(crate) fn byte_len(&self) -> usize {
        self.byte_len
    }
}
