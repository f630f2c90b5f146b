//! How guarded bytes are divided among workers.

/// Most axes along which a value is divided.
const MOST_CUTS: usize = 4;
/// The highest axis and the most blocks along one that a word of the lock has bits for.
const MOST_AXIS: usize = 0xFF;
const MOST_BLOCKS: usize = 0xFF_FFFF;

/// How guarded bytes are divided: into blocks along at most four axes, dealt in multiples of a grain. It is recorded in
/// the lock, so that no worker can come with another division.
///
/// Blocks are numbered in C order: along the last of the axes first.
///
/// ```
/// use numpush_shm_core::{Division, block_range};
///
/// let quarters = Division::new([(0, 2), (1, 2)], 1).expect("two axes");
/// assert_eq!(quarters.blocks(), 4);
/// assert_eq!([0, 1].map(|axis| block_range(quarters, 2, axis, 10)), [5..10, 0..5]);
/// ```
///
/// # Invariants
/// 1. `cuts` are of different axes, lowest axis first, each with two blocks at least; those that are not needed are zero.
/// 2. `grain` and the product of all blocks are not zero, and both fit their types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    grain: u32,
    cuts: [Cut; MOST_CUTS],
}

/// Blocks along one axis: the axis in the upper 8 bits, their number in the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cut(u32);

impl Cut {
    fn axis(self) -> usize {
        self.0 as usize >> 24
    }

    fn blocks(self) -> usize {
        self.0 as usize & MOST_BLOCKS
    }
}

impl Division {
    /// As many blocks along an axis as the pairs of both say, and one along any other, in multiples of `grain` items.
    ///
    /// Returns `None` if an axis comes twice or is over 255, if more than four axes have more than one block, if one has
    /// none or more than 16,777,215, or if the grain is zero.
    pub fn new(blocks: impl IntoIterator<Item = (usize, usize)>, grain: u32) -> Option<Self> {
        let mut cuts = [Cut::default(); MOST_CUTS];
        let mut count = 0;
        let mut wanted: Vec<(usize, usize)> = blocks.into_iter().collect();
        wanted.sort_unstable();
        let is_twice = wanted.windows(2).any(|pair| pair[0].0 == pair[1].0);
        if is_twice || grain == 0 {
            return None;
        }
        for (axis, blocks) in wanted {
            if axis > MOST_AXIS || blocks == 0 || blocks > MOST_BLOCKS {
                return None;
            }
            if blocks > 1 {
                let word = u32::try_from(axis << 24 | blocks).ok()?;
                *cuts.get_mut(count)? = Cut(word);
                count += 1;
            }
        }
        let division = Self { grain, cuts };
        let mut all = division.cuts();
        all.try_fold(1_usize, |product, (_, blocks)| product.checked_mul(blocks))?;
        Some(division)
    }

    /// Number of blocks.
    pub fn blocks(self) -> usize {
        self.cuts().map(|(_, blocks)| blocks).product()
    }

    /// The axes that have more than one block, and how many, lowest axis first.
    pub fn cuts(self) -> impl DoubleEndedIterator<Item = (usize, usize)> {
        let cuts = self.cuts.into_iter().filter(|cut| *cut != Cut::default());
        cuts.map(|cut| (cut.axis(), cut.blocks()))
    }

    /// Items are dealt in multiples of this.
    pub fn grain(self) -> u32 {
        self.grain
    }

    /// Which of the blocks along `axis` block `number` is one of, and how many there are.
    pub(crate) fn place(self, number: usize, axis: usize) -> (usize, usize) {
        let mut rest = number;
        for (cut, blocks) in self.cuts().rev() {
            if cut == axis {
                return (rest % blocks, blocks);
            }
            rest /= blocks;
        }
        (0, 1)
    }

    /// The division in the words of a lock.
    pub(super) fn words(self) -> [u64; 3] {
        let [first, second, third, fourth] = self.cuts.map(|cut| u64::from(cut.0));
        [
            self.grain.into(),
            first | second << 32,
            third | fourth << 32,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lock_has_no_words_for_is_refused() {
        let is_some = |blocks: &[(usize, usize)], grain| {
            Division::new(blocks.iter().copied(), grain).is_some()
        };
        assert!(is_some(&[], 1) && is_some(&[(255, 0xFF_FFFF)], 1));
        assert!(is_some(
            &[(0, 2), (1, 1), (2, 2), (3, 2), (4, 1), (5, 2)],
            1
        ));
        assert!(!is_some(&[(0, 2)], 0), "no grain");
        assert!(!is_some(&[(0, 0)], 1), "no block");
        assert!(!is_some(&[(0, 1 << 24)], 1) && !is_some(&[(256, 2)], 1));
        assert!(!is_some(&[(3, 2), (3, 2)], 1), "an axis twice");
        assert!(!is_some(&[0, 1, 2, 3, 4].map(|axis| (axis, 2)), 1));
        assert!(!is_some(&[0, 1, 2].map(|axis| (axis, 0xFF_FFFF)), 1));
    }

    #[test]
    fn two_divisions_have_different_words() {
        let all = [
            Division::new([(0, 2)], 1),
            Division::new([(1, 2)], 1),
            Division::new([(0, 4)], 1),
            Division::new([(0, 2)], 2),
            Division::new([(0, 2), (1, 2)], 1),
            Division::new([(0, 2), (2, 2)], 1),
            Division::new([(0, 2), (1, 3), (2, 4), (3, 5)], 1),
            Division::new([], 1),
        ];
        let mut words: Vec<[u64; 3]> = all.iter().map(|one| one.unwrap().words()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all.len());
    }

    #[test]
    fn blocks_are_numbered_along_the_last_axis_first() {
        let division = Division::new([(0, 2), (2, 3)], 1).unwrap();
        let place = |number| [0, 1, 2].map(|axis| division.place(number, axis));
        assert_eq!(place(0), [(0, 2), (0, 1), (0, 3)]);
        assert_eq!(place(2), [(0, 2), (0, 1), (2, 3)]);
        assert_eq!(place(3), [(1, 2), (0, 1), (0, 3)]);
    }
}
