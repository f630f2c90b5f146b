//! How an array is divided into blocks.

use std::ops::Range;

use ndarray::Dimension;
use numpush_shm_core::{Division, PartId, block_range};

use crate::array::layout::Layout;
use crate::error::Error;

/// A division of an array, and the bytes from the first of each block to its last.
pub(super) struct Blocks {
    pub(super) division: Division,
    pub(super) bytes: Vec<Range<usize>>,
}

impl Blocks {
    /// Divides an array in `parts` along `axis`.
    pub(super) fn along<D: Dimension>(
        layout: &Layout<D>,
        item: usize,
        axis: usize,
        parts: usize,
    ) -> Result<Self, Error> {
        let shape = layout.shape.slice();
        let refused = |why| Error::Division {
            axis,
            parts,
            shape: shape.into(),
            why,
        };
        let &len = shape
            .get(axis)
            .ok_or_else(|| refused("it has no such axis"))?;
        if parts == 0 {
            return Err(refused("at least one part is needed"));
        }
        if !layout.is_c_order() {
            return Err(refused(NOT_C_ORDER));
        }
        let division = Division::new([(axis, parts.min(len.max(1)))], 1);
        let division = division.ok_or_else(|| refused(TOO_MANY))?;
        Ok(Self::new(division, shape, item))
    }

    /// Divides an array in as many blocks along each axis as `blocks` say.
    pub(super) fn of<D: Dimension>(
        layout: &Layout<D>,
        item: usize,
        blocks: &[usize],
    ) -> Result<Self, Error> {
        let shape = layout.shape.slice();
        let refused = |why| Error::Blocks {
            blocks: blocks.into(),
            shape: shape.into(),
            why,
        };
        if blocks.len() != shape.len() {
            return Err(refused("it has another number of axes"));
        }
        if blocks.contains(&0) {
            return Err(refused("at least one block is needed"));
        }
        if !layout.is_c_order() {
            return Err(refused(NOT_C_ORDER));
        }
        let fewer = blocks
            .iter()
            .zip(shape)
            .map(|(&blocks, &len)| blocks.min(len.max(1)));
        let division = Division::new(fewer.enumerate(), 1).ok_or_else(|| refused(TOO_MANY))?;
        Ok(Self::new(division, shape, item))
    }

    fn new(division: Division, shape: &[usize], item: usize) -> Self {
        let bytes = |number| {
            let (mut step, mut first, mut last) = (item, 0, 0);
            let mut is_empty = false;
            for (axis, &len) in shape.iter().enumerate().rev() {
                let range = block_range(division, number, axis, len);
                is_empty |= range.is_empty();
                first += range.start * step;
                last += range.end.saturating_sub(1) * step;
                step *= len;
            }
            first..if is_empty { first } else { last + item }
        };
        Self {
            division,
            bytes: (0..division.blocks()).map(bytes).collect(),
        }
    }
}

/// Refuses a division that another process claims of an array that has not so many axes, or other elements.
pub(super) fn check<D: Dimension>(division: Division, layout: &Layout<D>) -> Result<(), Error> {
    let axes = layout.shape.ndim();
    if division.grain() == 1 && layout.is_c_order() && division.cuts().all(|(axis, _)| axis < axes)
    {
        return Ok(());
    }
    Err(Error::Protocol {
        peer: "the owner".into(),
        what: "a part of an array that cannot be divided so",
    })
}

/// The indices of a part along each axis.
pub(super) fn block_of<D: Dimension>(id: PartId, layout: &Layout<D>) -> Vec<Range<usize>> {
    let lens = layout.shape.slice().iter().enumerate();
    lens.map(|(axis, &len)| block_range(id.division, id.number, axis, len))
        .collect()
}

/// A block that is wider by `width` elements on both sides along each axis, where the array has them.
pub(super) fn widened(block: &[Range<usize>], width: usize, shape: &[usize]) -> Vec<Range<usize>> {
    let axes = block.iter().zip(shape);
    axes.map(|(range, &len)| wider(range, width, len)).collect()
}

/// The same along one axis, of `len` elements.
pub(super) fn wider(range: &Range<usize>, width: usize, len: usize) -> Range<usize> {
    range.start.saturating_sub(width)..range.end.saturating_add(width).min(len)
}

const NOT_C_ORDER: &str = "its elements are not in C order (row-major)";
const TOO_MANY: &str = "it is divided along at most four of its first 256 axes, into at most 16777215 blocks along each";

#[cfg(test)]
mod tests {
    use ndarray::Ix2;

    use super::*;

    #[test]
    fn the_bytes_of_a_block_reach_from_its_first_element_to_its_last() {
        let layout = Layout::<Ix2>::new(&[4, 6], None, 8).unwrap();
        let blocks = Blocks::of(&layout, 8, &[2, 2]).unwrap();
        assert_eq!(blocks.bytes[0], 0..9 * 8);
        assert_eq!(blocks.bytes[3], 15 * 8..24 * 8);
        let rows = Blocks::along(&layout, 8, 0, 2).unwrap();
        assert_eq!(rows.bytes, [0..96, 96..192]);
        let none = Layout::<Ix2>::new(&[0, 6], None, 8).unwrap();
        assert_eq!(Blocks::of(&none, 8, &[2, 2]).unwrap().bytes, [0..0, 24..24]);
    }

    #[test]
    fn a_halo_ends_at_the_edges() {
        let block = [0..2, 4..6];
        assert_eq!(widened(&block, 1, &[8, 6]), [0..3, 3..6]);
        assert_eq!(widened(&block, usize::MAX, &[8, 6]), [0..8, 0..6]);
    }
}
