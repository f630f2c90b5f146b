//! A record and where its parts lie: preamble, header, padding, then payload and checksums, or references.

use crate::model::{Body, Message};
use crate::wire::checksum::reference_sum;
use crate::wire::error::DecodeError;
use crate::wire::header::{self, Header};
use crate::wire::layout::{Align, PADDING, checksum_table_len, gap, to_usize};
use crate::wire::preamble::{PREAMBLE_LEN, Preamble};

/// A whole record.
#[non_exhaustive]
#[derive(Debug)]
pub enum Record {
    /// A message whose payload is there and checked.
    Message(Preamble, Message<'static>),
    /// A message whose payload lies in segments; [`Header::resolve`] makes the message.
    Referenced(Preamble, Header, Vec<Reference>),
    /// A control record and its body, which is empty for most kinds.
    Control(Preamble, Vec<u8>),
    /// A message of a kind that this version may drop, and has dropped. It has a number as any other. If it came by
    /// reference, what it lent is to be released.
    Skipped(Preamble),
}

impl Record {
    /// The preamble that it began with.
    pub fn preamble(&self) -> &Preamble {
        match self {
            Self::Message(preamble, ..)
            | Self::Referenced(preamble, ..)
            | Self::Control(preamble, ..)
            | Self::Skipped(preamble) => preamble,
        }
    }
}

/// Where a buffer lies: its length is in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Number of the segment, as its record said.
    pub segment: u32,
    /// Byte offset of the buffer in the segment.
    pub offset: u64,
}

impl Reference {
    /// Bytes of one reference.
    pub const LEN: usize = 16;

    /// Bytes after the last reference: the checksum of them all, and four bytes of padding.
    pub(crate) const SUM_LEN: usize = 8;

    /// The references of the record whose preamble has the checksum `record`, from their table and its sum.
    pub(crate) fn decode_table(record: u32, table: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let Some((references, sum)) = table.split_last_chunk::<{ Self::SUM_LEN }>() else {
            return Err(DecodeError::Truncated { missing: 0 });
        };
        let (claimed, computed) = (u64::from_le_bytes(*sum), reference_sum(record, references));
        if claimed != u64::from(computed) {
            let claimed = u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]);
            return Err(DecodeError::TableChecksum { claimed, computed });
        }
        let references = references.chunks_exact(Self::LEN);
        Ok(references.map(Self::decode).collect())
    }

    /// The bytes of it.
    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.segment.to_le_bytes());
        bytes[8..].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    /// Reads [`Self::LEN`] bytes: the segment's number, four bytes of padding, the offset.
    fn decode(bytes: &[u8]) -> Self {
        let segment = bytes
            .first_chunk()
            .map_or(0, |first| u32::from_le_bytes(*first));
        let offset = bytes
            .last_chunk()
            .map_or(0, |last| u64::from_le_bytes(*last));
        Self { segment, offset }
    }
}

impl Message<'_> {
    /// Bytes of all buffers and the padding after each, as they travel.
    pub fn payload_len(&self) -> u64 {
        let len = match &self.body {
            Body::Bytes(bytes) => Align::DEFAULT.up(bytes.len() as u64),
            Body::Array(array) => Align::DEFAULT.up(array.data().len() as u64),
            Body::Frame(_) => header::payload_len(self.buffer_lens(), 0, Align::DEFAULT),
        };
        len.unwrap_or(u64::MAX)
    }
}

impl Preamble {
    /// What a message takes of the receiver's credit, in bytes. 0 for a control record.
    ///
    /// A message takes more memory than its record has bytes: [`Self::PLACE`] for itself, and [`Self::HEADER_COST`] for each
    /// byte of the header, where an attribute of three bytes becomes two texts in a map.
    pub fn charge(&self) -> u64 {
        if !self.kind.is_message() {
            return 0;
        }
        let header = u64::from(self.header_len).saturating_mul(Self::HEADER_COST);
        self.record_len()
            .saturating_add(Self::PLACE)
            .saturating_add(header)
    }

    /// Credit that a message takes beyond the bytes of its record.
    pub const PLACE: u64 = 512;

    /// Credit that each byte of a header takes beyond that of its record.
    pub const HEADER_COST: u64 = 32;

    /// Bytes of the whole record.
    pub fn record_len(&self) -> u64 {
        if !self.kind.is_message() {
            return (PREAMBLE_LEN as u64).saturating_add(self.rest_len() as u64);
        }
        let head = (PREAMBLE_LEN as u64).saturating_add(self.head_len() as u64);
        if self.flags.references {
            return head;
        }
        head.saturating_add(self.payload_len)
            .saturating_add(self.trailer_len())
    }

    /// Zero bytes between the header and the payload: the payload begins at a multiple of 64 of the record.
    pub(crate) fn header_gap(&self) -> usize {
        gap(PREAMBLE_LEN.saturating_add(self.header_len as usize))
    }

    /// Bytes between the preamble and the payload: the header, its padding, and the references if there are any.
    pub(crate) fn head_len(&self) -> usize {
        let references = if self.flags.references {
            let table = (self.buffers as usize).saturating_mul(Reference::LEN);
            table.saturating_add(Reference::SUM_LEN)
        } else {
            0
        };
        (self.header_len as usize)
            .saturating_add(self.header_gap())
            .saturating_add(references)
    }

    /// Bytes of the checksums after the payload.
    pub(crate) fn trailer_len(&self) -> u64 {
        if self.flags.checksums {
            checksum_table_len(self.payload_len)
        } else {
            0
        }
    }

    /// Bytes of the record after its preamble.
    pub(crate) fn rest_len(&self) -> usize {
        if self.flags.references || !self.kind.is_message() {
            return self.head_len();
        }
        self.head_len()
            .saturating_add(to_usize(self.payload_len))
            .saturating_add(to_usize(self.trailer_len()))
    }
}

/// Checks that the padding after buffer `index` is zero.
pub(crate) fn check_padding(padding: &[u8], index: usize) -> Result<(), DecodeError> {
    // Mostly they are few, and a comparison is one call.
    let is_zero = match PADDING.get(..padding.len()) {
        Some(zeros) => padding == zeros,
        // Without an early end it is a few instructions for many bytes at once.
        None => padding.iter().fold(0, |all, &byte| all | byte) == 0,
    };
    if is_zero {
        Ok(())
    } else {
        Err(DecodeError::Padding { index })
    }
}
