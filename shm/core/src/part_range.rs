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

/// How guarded bytes are divided: as items of `item` bytes each, dealt in multiples of `grain` items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRange {
    /// Number of parts.
    pub parts: usize,
    /// The part that is meant.
    pub number: usize,
    /// Items are dealt in multiples of this.
    pub grain: usize,
}

impl PartRange {
    /// The division that the part is one of, along `axis`.
    pub fn division(self, axis: usize) -> Division {
        let [parts, grain, axis] = [self.parts, self.grain, axis].map(|word| word as u64);
        Division { parts, grain, axis }
    }
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
}
