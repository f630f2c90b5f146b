//! CRC-32C (Castagnoli, RFC 3720 appendix B.4), one per [`CHECKSUM_CHUNK`] of payload.

use crc_fast::{CrcAlgorithm, Digest};

use crate::wire::error::DecodeError;
use crate::wire::layout::CHECKSUM_CHUNK;

/// CRC-32C of `bytes`.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    narrow(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes))
}

/// CRC-32C of bytes that come in pieces.
pub(crate) struct Sum(Digest);

impl Sum {
    pub(crate) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(&self) -> u32 {
        narrow(self.0.finalize())
    }

    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }
}

/// Checksums of a payload that arrives in pieces of any size.
pub(crate) struct Chunks {
    digest: Sum,
    in_chunk: usize,
    sums: Vec<u32>,
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Self {
            digest: Sum::new(),
            in_chunk: 0,
            sums: Vec::new(),
        }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHECKSUM_CHUNK - self.in_chunk));
            self.digest.update(now);
            self.in_chunk += now.len();
            bytes = later;
            if self.in_chunk == CHECKSUM_CHUNK {
                self.end_chunk();
            }
        }
    }

    /// The sum of every chunk, in order.
    pub(crate) fn finish(mut self) -> Vec<u32> {
        if self.in_chunk > 0 {
            self.end_chunk();
        }
        self.sums
    }

    /// Compares the sums with the table that followed the payload.
    pub(crate) fn verify(self, table: &[u8]) -> Result<(), DecodeError> {
        let claims = table.chunks_exact(4);
        for (chunk, (computed, claimed)) in self.finish().into_iter().zip(claims).enumerate() {
            let claimed = claimed.try_into().map_or(0, u32::from_le_bytes);
            if computed != claimed {
                return Err(DecodeError::PayloadChecksum {
                    chunk,
                    claimed,
                    computed,
                });
            }
        }
        Ok(())
    }

    fn end_chunk(&mut self) {
        self.sums.push(self.digest.finish());
        self.digest.reset();
        self.in_chunk = 0;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a 32-bit CRC in a 64-bit return type"
)]
fn narrow(sum: u64) -> u32 {
    sum as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_of_the_check_string() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn any_split_gives_the_same_sums() {
        let bytes: Vec<u8> = (0..=250).cycle().take(CHECKSUM_CHUNK * 2 + 77).collect();
        let sums = |size| {
            let mut chunks = Chunks::new();
            bytes.chunks(size).for_each(|part| chunks.update(part));
            chunks.finish()
        };
        assert_eq!(sums(bytes.len()), sums(1001));
        assert_eq!(sums(bytes.len())[2], crc32c(&bytes[CHECKSUM_CHUNK * 2..]));
    }
}
