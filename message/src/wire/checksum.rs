//! CRC-32C (Castagnoli, RFC 3720 appendix B.4), one per [`CHECKSUM_CHUNK`] of payload.

use std::sync::Arc;

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
    /// The sums of the same payload, which need not be taken again.
    known: Option<Arc<Known>>,
}

/// The sums of a payload's chunks alone: what they are bound to is not in them, so that many records can share them.
#[derive(Debug)]
pub(crate) struct Known {
    sums: Vec<u32>,
    /// [`shift`] of the last chunk's length.
    last_shift: u32,
}

impl Known {
    /// Sums a payload that lies in `parts`.
    pub(crate) fn of<'p>(parts: impl Iterator<Item = &'p [u8]>) -> Self {
        let (mut sums, mut digest, mut in_chunk) = (Vec::new(), Sum::new(), 0);
        for mut bytes in parts {
            while !bytes.is_empty() {
                if in_chunk == CHECKSUM_CHUNK {
                    sums.push(digest.finish());
                    digest.reset();
                    in_chunk = 0;
                }
                let (now, later) = bytes.split_at(bytes.len().min(CHECKSUM_CHUNK - in_chunk));
                digest.update(now);
                in_chunk += now.len();
                bytes = later;
            }
        }
        if in_chunk > 0 {
            sums.push(digest.finish());
        }
        Self {
            sums,
            last_shift: shift(in_chunk),
        }
    }

    /// The sum of every chunk as [`Chunks`] has it, for the record whose preamble has the checksum `record`.
    fn bound_to(&self, record: u32) -> Vec<u32> {
        let last = self.sums.len().saturating_sub(1);
        let bind = |(at, &sum): (usize, &u32)| {
            let before = binding(record, at);
            let shift = if at < last {
                CHUNK_SHIFT
            } else {
                self.last_shift
            };
            product(shift, before) ^ sum
        };
        self.sums.iter().enumerate().map(bind).collect()
    }
}

/// The sum of what stands before chunk `at` of a record.
fn binding(record: u32, at: usize) -> u32 {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&record.to_le_bytes());
    bytes[4..].copy_from_slice(&(at as u64).to_le_bytes());
    crc32c(&bytes)
}

/// [`shift`] of a whole chunk.
const CHUNK_SHIFT: u32 = shift(CHECKSUM_CHUNK);

/// The polynomial of CRC-32C, of which bit 31 is the factor of x^0.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The product of two polynomials modulo [`POLYNOMIAL`].
const fn product(by: u32, mut of: u32) -> u32 {
    let (mut bit, mut sum) = (1 << 31, 0);
    while bit != 0 {
        if by & bit != 0 {
            sum ^= of;
        }
        of = (of >> 1) ^ if of & 1 == 1 { POLYNOMIAL } else { 0 };
        bit >>= 1;
    }
    sum
}

/// x^(8 * `bytes`): times it is what a sum becomes in that of `bytes` more bytes. crc-fast can join sums, too, in 130,000
/// instructions.
const fn shift(mut bytes: usize) -> u32 {
    let (mut power, mut square) = (1 << 31, 1 << 23);
    while bytes != 0 {
        if bytes & 1 == 1 {
            power = product(power, square);
        }
        square = product(square, square);
        bytes >>= 1;
    }
    power
}

impl Chunks {
    /// Sums of the record whose preamble has the checksum `record`.
    pub(crate) fn new(record: u32) -> Self {
        Self {
            record,
            digest: Sum::new(),
            in_chunk: 0,
            sums: Vec::new(),
            known: None,
        }
    }

    /// The same for a payload whose sums are known.
    pub(crate) fn with_known(self, known: Option<Arc<Known>>) -> Self {
        Self { known, ..self }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        if self.known.is_some() {
            return;
        }
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
        if let Some(known) = &self.known {
            return known.bound_to(self.record);
        }
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
    fn known_sums_are_bound_as_taken_ones_are() {
        for len in [
            0,
            1,
            64,
            CHECKSUM_CHUNK,
            2 * CHECKSUM_CHUNK,
            2 * CHECKSUM_CHUNK + 77,
        ] {
            let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
            for size in [1001, CHECKSUM_CHUNK, 3 * CHECKSUM_CHUNK] {
                let known = Arc::new(Known::of(bytes.chunks(size)));
                for record in [0, 5, u32::MAX] {
                    let mut taken = Chunks::new(record);
                    taken.update(&bytes);
                    let mut bound = Chunks::new(record).with_known(Some(Arc::clone(&known)));
                    bound.update(b"it takes no sum");
                    assert_eq!(bound.table(), taken.table(), "{len} {record}");
                }
            }
        }
    }

    #[test]
    fn equal_chunks_have_sums_of_their_own() {
        let mut chunks = Chunks::new(5);
        chunks.update(&vec![7; CHECKSUM_CHUNK * 2]);
        let sums = chunks.finish();
        assert_ne!(sums[0], sums[1]);
    }
}
