//! A record and where its parts lie: preamble, header, padding, then payload and checksums, or references.

use crate::model::Message;
use crate::wire::error::DecodeError;
use crate::wire::header::{self, Header};
use crate::wire::layout::{checksum_table_len, gap, to_usize};
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

    /// The bytes of it.
    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.segment.to_le_bytes());
        bytes[8..].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    /// Reads [`Self::LEN`] bytes: the segment's number, four bytes of padding, the offset.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
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
        let lens = self.buffers().map(|buffer| buffer.len() as u64);
        header::payload_len(lens).unwrap_or(u64::MAX)
    }
}

impl Preamble {
    /// Bytes of the whole record if it is a message: what it takes of the receiver's credit. 0 for a control record.
    pub fn charge(&self) -> u64 {
        if !self.kind.is_message() {
            return 0;
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
            self.buffers as usize
        } else {
            0
        };
        (self.header_len as usize)
            .saturating_add(self.header_gap())
            .saturating_add(references.saturating_mul(Reference::LEN))
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
    if padding.iter().all(|&byte| byte == 0) {
        Ok(())
    } else {
        Err(DecodeError::Padding { index })
    }
}
