//! Columns of bits: validity, and booleans.

/// A bitmap: one bit a row, the first row in the lowest bit. Rows past its end are set.
///
/// ```
/// # #[cfg(feature = "arrow")] {
/// use numpush_shm::{Arena, SharedFrame};
/// # use arrow_array::{ArrayRef, Float64Array, RecordBatch};
///
/// # let values: ArrayRef = std::sync::Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0)]));
/// # let batch = RecordBatch::try_from_iter([("price", values)])?;
/// let frame = SharedFrame::from_batch(&Arena::shared(), &batch)?;
/// let guard = frame.read()?;
/// let valid = guard.validity("price")?.expect("it has a null");
/// assert_eq!((valid.len(), valid.count()), (3, 2));
/// assert!(valid.iter().eq([true, false, true]));
/// assert!(valid.words().eq([0b101]));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Bitmap<'a> {
    bytes: &'a [u8],
    rows: usize,
}

impl<'a> Bitmap<'a> {
    pub(super) fn new(bytes: &'a [u8], rows: usize) -> Self {
        Self { bytes, rows }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The bit of `row`.
    pub fn get(&self, row: usize) -> bool {
        bit(self.bytes, row)
    }

    /// The bits of all rows.
    pub fn iter(&self) -> impl Iterator<Item = bool> + use<'a> {
        let bytes = self.bytes;
        (0..self.rows).map(move |row| bit(bytes, row))
    }

    /// The bits of 64 rows at a time, the first row in the lowest bit. Bits after the last row are not set.
    pub fn words(&self) -> impl Iterator<Item = u64> + use<'a> {
        words(self.bytes, self.rows)
    }

    /// How many rows are set.
    pub fn count(&self) -> usize {
        self.words().map(|word| word.count_ones() as usize).sum()
    }
}

/// A bitmap, to write: one bit a row, the first row in the lowest bit.
#[derive(Debug)]
pub struct BitmapMut<'a>(pub(super) &'a mut [u8]);

impl BitmapMut<'_> {
    /// The bit of `row`.
    pub fn get(&self, row: usize) -> bool {
        bit(self.0, row)
    }

    /// Sets the bit of `row`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn set(&mut self, row: usize, bit: bool) {
        let mask = 1 << (row % 8);
        let byte = &mut self.0[row / 8];
        *byte = if bit { *byte | mask } else { *byte & !mask };
    }
}

/// The bit of `row`, which is set if there are not so many.
pub(super) fn bit(bytes: &[u8], row: usize) -> bool {
    let byte = bytes.get(row / 8);
    byte.is_none_or(|byte| byte >> (row % 8) & 1 == 1)
}

/// The bits of `rows` rows, 64 at a time. Those of rows without a byte are set, and those after the last row are not.
pub(super) fn words(bytes: &[u8], rows: usize) -> impl Iterator<Item = u64> + use<'_> {
    (0..rows.div_ceil(64)).map(move |at| {
        let mut word = [0xFF; 8];
        let rest = bytes.get(at * 8..).unwrap_or_default();
        let len = rest.len().min(8);
        word[..len].copy_from_slice(&rest[..len]);
        let left = rows - at * 64;
        let beyond = if left < 64 { u64::MAX << left } else { 0 };
        u64::from_le_bytes(word) & !beyond
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_bits() {
        let bytes: Vec<u8> = (0..20_u8).map(|at| at.wrapping_mul(37)).collect();
        for rows in [0, 1, 7, 8, 63, 64, 65, 150, 160, 200] {
            let bits = Bitmap::new(&bytes, rows);
            let each: Vec<bool> = (0..rows).map(|row| bits.get(row)).collect();
            assert!(bits.iter().eq(each.iter().copied()));
            let words: Vec<u64> = bits.words().collect();
            assert_eq!(words.len(), rows.div_ceil(64));
            for (row, &bit) in each.iter().enumerate() {
                assert_eq!(
                    words[row / 64] >> (row % 64) & 1 == 1,
                    bit,
                    "row {row} of {rows}"
                );
            }
            assert_eq!(bits.count(), each.iter().filter(|&&bit| bit).count());
            assert_eq!((bits.len(), bits.is_empty()), (rows, rows == 0));
        }
    }
}
