//! Where the parts of a message lie, counted from its first byte.

use crate::model::allocator::ALIGNMENT;

/// One CRC-32C covers this many payload bytes.
pub const CHECKSUM_CHUNK: usize = 1 << 20;

/// Zeros for the gaps between buffers.
pub(crate) static PADDING: [u8; ALIGNMENT] = [0; ALIGNMENT];

/// `len` rounded up to the next multiple of [`ALIGNMENT`]; `None` past `u64::MAX`.
pub(crate) fn align_up(len: u64) -> Option<u64> {
    Some(len.checked_add(ALIGNMENT as u64 - 1)? & !(ALIGNMENT as u64 - 1))
}

/// Zero bytes between a part of `len` bytes and the next one.
pub(crate) fn gap(len: usize) -> usize {
    len.wrapping_neg() & (ALIGNMENT - 1)
}

/// Bytes of the checksum table after `payload_len` payload bytes.
pub(crate) fn checksum_table_len(payload_len: u64) -> u64 {
    payload_len.div_ceil(CHECKSUM_CHUNK as u64) * 4
}

/// A length from the wire as a `usize`. A length that does not fit saturates; it is refused elsewhere.
pub(crate) fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn align_up_agrees_with_gap() {
        for len in [0usize, 1, 63, 64, 65, 127, 128, 4095] {
            assert_eq!(align_up(len as u64), Some((len + gap(len)) as u64));
        }
        assert_eq!(align_up(u64::MAX - 3), None);
    }
}
