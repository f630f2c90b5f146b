//! CRC-32C (Castagnoli, RFC 3720 appendix B.4), one per [`CHECKSUM_CHUNK`] of payload.

use crc_fast::{CrcAlgorithm, Digest};

use crate::wire::error::DecodeError;
use crate::wire::layout::CHECKSUM_CHUNK;

/// CRC-32C of `bytes`.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
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

/// Checksums of a payload that arrives in pieces of any size. Each is bound to its record and to its place by what is
/// summed before the bytes: the preamble's checksum, and the chunk's number.
pub(crate) struct Chunks {
    record: u32,
    digest: Sum,
    in_chunk: usize,
    sums: Vec<u32>,
}

impl Chunks {
    /// Sums of the record whose preamble has the checksum `record`.
    pub(crate) fn new(record: u32) -> Self {
        Self {
            record,
            digest: Sum::new(),
            in_chunk: 0,
            sums: Vec::new(),
        }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.in_chunk == 0 {
                self.begin_chunk();
            }
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
    fn finish(mut self) -> Vec<u32> {
        if self.in_chunk > 0 {
            self.end_chunk();
        }
        self.sums
    }

    /// What follows the payload: the sum of every chunk, and the sum of these. Nothing follows an empty payload.
    pub(crate) fn table(self) -> Vec<u8> {
        let mut table: Vec<u8> = self
            .finish()
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
        if !table.is_empty() {
            let sum = crc32c(&table);
            table.extend_from_slice(&sum.to_le_bytes());
        }
        table
    }

    /// Compares the sums with the table that followed the payload.
    pub(crate) fn verify(self, table: &[u8]) -> Result<(), DecodeError> {
        let Some((table, claimed)) = table.split_last_chunk() else {
            return Ok(());
        };
        let (claimed, computed) = (u32::from_le_bytes(*claimed), crc32c(table));
        if claimed != computed {
            return Err(DecodeError::TableChecksum { claimed, computed });
        }
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

    fn begin_chunk(&mut self) {
        self.digest.reset();
        self.digest.update(&self.record.to_le_bytes());
        self.digest.update(&(self.sums.len() as u64).to_le_bytes());
    }

    fn end_chunk(&mut self) {
        self.sums.push(self.digest.finish());
        self.in_chunk = 0;
    }
}

/// The sum of the references of the record whose preamble has the checksum `record`.
pub(crate) fn reference_sum(record: u32, table: &[u8]) -> u32 {
    let mut sum = Sum::new();
    sum.update(&record.to_le_bytes());
    sum.update(table);
    sum.finish()
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
        let sums = |record, size| {
            let mut chunks = Chunks::new(record);
            bytes.chunks(size).for_each(|part| chunks.update(part));
            chunks.finish()
        };
        assert_eq!(sums(5, bytes.len()), sums(5, 1001));
        let mut last = vec![5, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
        last.extend_from_slice(&bytes[CHECKSUM_CHUNK * 2..]);
        assert_eq!(sums(5, bytes.len())[2], crc32c(&last));
        assert_ne!(sums(6, bytes.len())[2], crc32c(&last), "another record");
    }

    #[test]
    fn equal_chunks_have_sums_of_their_own() {
        let mut chunks = Chunks::new(5);
        chunks.update(&vec![7; CHECKSUM_CHUNK * 2]);
        let sums = chunks.finish();
        assert_ne!(sums[0], sums[1]);
    }
}
