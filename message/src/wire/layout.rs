//! Where the parts of a message lie, counted from its first byte.

use crate::model::allocator::ALIGNMENT;

/// One CRC-32C covers this many payload bytes.
pub const CHECKSUM_CHUNK: usize = 1 << 20;

/// Zeros for the gaps between buffers.
pub(crate) static PADDING: [u8; ALIGNMENT] = [0; ALIGNMENT];

/// Sums are taken in steps of this many bytes: more steps cost more calls than they save reads from memory.
pub(crate) const SUM_STEP: usize = 4 << 20;

/// Largest [`Align`].
const MAX_ALIGN: usize = 2 << 20;

/// Every buffer begins at a multiple of it from the start of the record: a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Align(usize);

impl Align {
    /// What records have that do not say it.
    pub(crate) const DEFAULT: Self = Self(ALIGNMENT);

    /// 64 to 2 MiB, a power of two.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        let fits = bytes.is_power_of_two() && (ALIGNMENT..=MAX_ALIGN).contains(&bytes);
        fits.then_some(Self(bytes))
    }

    pub(crate) fn bytes(self) -> usize {
        self.0
    }

    /// `len` rounded up; `None` past `u64::MAX`.
    pub(crate) fn up(self, len: u64) -> Option<u64> {
        let mask = self.0 as u64 - 1;
        Some(len.checked_add(mask)? & !mask)
    }

    /// Zero bytes between a part of `len` bytes and the next one.
    pub(crate) fn gap(self, len: usize) -> usize {
        len.wrapping_neg() & (self.0 - 1)
    }

    /// Zero bytes at the front of the payload of a record whose header, padded to 64, ends at `head`.
    pub(crate) fn lead(self, head: usize) -> usize {
        self.gap(head)
    }
}

/// Zero bytes after a part of `len` bytes, up to the next multiple of [`ALIGNMENT`].
pub(crate) fn gap(len: usize) -> usize {
    Align::DEFAULT.gap(len)
}

/// Bytes of the checksums after `payload_len` payload bytes: one of each chunk, and one of all these.
pub(crate) fn checksum_table_len(payload_len: u64) -> u64 {
    match payload_len.div_ceil(CHECKSUM_CHUNK as u64) {
        0 => 0,
        chunks => chunks * 4 + 4,
    }
}

/// A length from the wire as a `usize`. A length that does not fit saturates; it is refused elsewhere.
pub(crate) fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_up_agrees_with_the_gap() {
        for len in [0usize, 1, 63, 64, 65, 127, 128, 4095] {
            for align in [64, 4096].map(|bytes| Align::new(bytes).unwrap()) {
                assert_eq!(align.up(len as u64), Some((len + align.gap(len)) as u64));
            }
        }
        assert_eq!(Align::DEFAULT.up(u64::MAX - 3), None);
        for bad in [0, 1, 32, 65, 3 << 10, 4 << 20] {
            assert_eq!(Align::new(bad), None);
        }
    }
}
