//! Which items belong to which part.

use std::ops::Range;

use crate::lock::Division;

/// Items `range` of `len` items when they are dealt to `parts` as evenly as multiples of `grain` allow.
///
/// The parts of one division are disjoint and together are all items.
///
/// # Panics
/// If there are no parts or the grain is zero.
pub fn part_range(len: usize, parts: usize, number: usize, grain: usize) -> Range<usize> {
    assert!(
        number < parts && grain > 0,
        "part {number} of {parts} in grains of {grain}"
    );
    let grains = len.div_ceil(grain);
    let (each, more) = (grains / parts, grains % parts);
    let start = each * number + number.min(more);
    let end = start + each + usize::from(number < more);
    (start * grain).min(len)..(end * grain).min(len)
}

/// Items of the `len` items along `axis` that belong to block `number` of `division`.
///
/// The blocks of one division are disjoint and together are all items.
///
/// # Panics
/// If there is no such block.
pub fn block_range(division: Division, number: usize, axis: usize, len: usize) -> Range<usize> {
    assert!(
        number < division.blocks(),
        "block {number} of {}",
        division.blocks()
    );
    let (at, blocks) = division.place(number, axis);
    part_range(len, blocks, at, division.grain() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisions_are_disjoint_and_whole() {
        for (len, parts, grain) in [
            (10, 3, 1),
            (0, 2, 1),
            (2, 5, 1),
            (1000, 3, 64),
            (64, 2, 64),
            (7, 7, 2),
        ] {
            let mut next = 0;
            for number in 0..parts {
                let part = part_range(len, parts, number, grain);
                assert!(
                    part.start == next || part.is_empty(),
                    "{part:?} of {len} in {parts}"
                );
                assert!(part.start.is_multiple_of(grain) || part.is_empty());
                next = next.max(part.end);
            }
            assert_eq!(next, len);
        }
    }

    #[test]
    fn every_item_is_in_one_block() {
        let division = Division::new([(0, 3), (1, 2)], 1).unwrap();
        let mut owners = [[0; 5]; 7];
        for number in 0..6 {
            for row in block_range(division, number, 0, 7) {
                for column in block_range(division, number, 1, 5) {
                    owners[row][column] += 1;
                }
            }
        }
        assert_eq!(owners, [[1; 5]; 7]);
    }
}
