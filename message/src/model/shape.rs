//! How the elements of an array lie in its bytes.

use crate::model::few::Few;

/// Most dimensions of an array; NumPy 1 has the same limit.
pub(crate) const MAX_DIMENSIONS: usize = 32;

/// Why a shape, strides and bytes do not make an array.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrayError {
    /// More dimensions than [`Array::MAX_DIMENSIONS`](crate::model::Array::MAX_DIMENSIONS).
    #[error("{count} dimensions are more than the limit of {max}")]
    Dimensions {
        /// Dimensions of the shape.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// The elements do not fit an address space.
    #[error("shape {shape:?} of {item} byte elements overflows")]
    Overflow {
        /// Elements along each axis.
        shape: Vec<usize>,
        /// Bytes of one element.
        item: usize,
    },
    /// More or fewer bytes than the elements have.
    #[error("{found} bytes of data, where shape {shape:?} of {item} byte elements has {expected}")]
    DataLength {
        /// Elements along each axis.
        shape: Vec<usize>,
        /// Bytes of one element.
        item: usize,
        /// Bytes of the data.
        found: usize,
        /// Bytes of all elements.
        expected: usize,
    },
    /// Strides that leave gaps, overlap or reach outside the data.
    #[error("strides {strides:?} are not a dense layout of shape {shape:?}")]
    Strides {
        /// Elements along each axis.
        shape: Vec<usize>,
        /// Bytes from one element to the next along each axis.
        strides: Vec<isize>,
    },
}

/// Bytes of an array, if they fit an address space. A dimension of zero does not excuse the others.
pub(crate) fn byte_len(shape: &[usize], item: usize) -> Result<usize, ArrayError> {
    if shape.len() > MAX_DIMENSIONS {
        return Err(ArrayError::Dimensions {
            count: shape.len(),
            max: MAX_DIMENSIONS,
        });
    }
    let bounded = shape
        .iter()
        .try_fold(item, |bytes, &len| bytes.checked_mul(len.max(1)));
    match bounded {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(shape.iter().product::<usize>() * item),
        _ => Err(ArrayError::Overflow {
            shape: shape.into(),
            item,
        }),
    }
}

/// Checks that an array of `shape` has `found` bytes.
pub(crate) fn check_byte_len(shape: &[usize], item: usize, found: usize) -> Result<(), ArrayError> {
    let expected = byte_len(shape, item)?;
    if found == expected {
        return Ok(());
    }
    Err(ArrayError::DataLength {
        shape: shape.into(),
        item,
        found,
        expected,
    })
}

/// Checks that `strides` lay the elements out densely; `None` if that is C order.
///
/// Sorted by size, the strides of a dense array are each the product of the faster dimensions; nothing else covers
/// every byte once.
pub(crate) fn canonical_strides(
    shape: &[usize],
    strides: &[isize],
    item: usize,
) -> Result<Option<Few<isize>>, ArrayError> {
    let fault = || ArrayError::Strides {
        shape: shape.into(),
        strides: strides.into(),
    };
    if strides.len() != shape.len() {
        return Err(fault());
    }
    if shape.contains(&0) {
        return Ok(None);
    }
    let mut axes: Few<usize> = (0..shape.len()).filter(|&axis| shape[axis] > 1).collect();
    let in_c_order = {
        let mut step = item;
        axes.iter().rev().all(|&axis| {
            let matches = isize::try_from(step) == Ok(strides[axis]);
            step *= shape[axis];
            matches
        })
    };
    if in_c_order {
        return Ok(None);
    }
    axes.sort_by_key(|&axis| strides[axis].unsigned_abs());
    let mut step = item;
    for &axis in axes.iter() {
        if strides[axis].unsigned_abs() != step {
            return Err(fault());
        }
        step *= shape[axis];
    }
    // Axes of one element get the stride zero, so that one layout has one description.
    let canonical = strides
        .iter()
        .zip(shape)
        .map(|(&step, &len)| if len == 1 { 0 } else { step })
        .collect();
    Ok(Some(canonical))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_dimension_does_not_excuse_an_overflow() {
        assert!(matches!(
            byte_len(&[0, usize::MAX, 2], 8),
            Err(ArrayError::Overflow { .. })
        ));
        assert!(matches!(
            byte_len(&[usize::MAX], 2),
            Err(ArrayError::Overflow { .. })
        ));
        assert!(matches!(
            byte_len(&[isize::MAX as usize / 8 + 1], 8),
            Err(ArrayError::Overflow { .. })
        ));
        assert_eq!(byte_len(&[0, 5], 8), Ok(0));
        assert_eq!(byte_len(&[], 8), Ok(8));
        assert!(matches!(
            byte_len(&[1; 33], 1),
            Err(ArrayError::Dimensions { count: 33, max: 32 })
        ));
    }
}
