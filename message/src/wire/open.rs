//! Messages that are already in memory: a mapped file, or buffers that lie in segments.

use crate::model::packed::Values;
use crate::model::{Buffer, Message};
use crate::wire::checksum::Chunks;
use crate::wire::error::DecodeError;
use crate::wire::header::{Header, Seen};
use crate::wire::layout::to_usize;
use crate::wire::limits::Limits;
use crate::wire::preamble::{PREAMBLE_LEN, Preamble, written_sum};
use crate::wire::record::check_padding;

impl Message<'static> {
    /// The message whose record fills `bytes` from end to end, for example in a mapped file. Copies nothing.
    ///
    /// # Errors
    /// [`DecodeError`]: what is wrong with the bytes.
    pub fn open(bytes: &Buffer<'static>, limits: &Limits) -> Result<Self, DecodeError> {
        let (preamble, header) = Header::parse(bytes, limits)?;
        if preamble.flags.references {
            return Err(DecodeError::UnknownFlags { flags: 2 });
        }
        let start = PREAMBLE_LEN.saturating_add(preamble.head_len());
        let len = PREAMBLE_LEN.saturating_add(preamble.rest_len());
        if bytes.len() > len {
            return Err(DecodeError::TrailingBytes {
                count: bytes.len().saturating_sub(len) as u64,
            });
        }
        let missing = DecodeError::Truncated {
            missing: len.saturating_sub(bytes.len()) as u64,
        };
        let end = start.saturating_add(to_usize(preamble.payload_len));
        let (Some(payload), Some(table)) = (bytes.get(start..end), bytes.get(end..len)) else {
            return Err(missing);
        };
        if preamble.flags.checksums {
            let mut sums = Chunks::new(bytes.first_chunk().map_or(0, written_sum));
            sums.update(payload);
            sums.verify(table)?;
        }
        header.cut(bytes.clone(), start)
    }
}

impl Header {
    /// Reads preamble and header of the record at the start of `bytes`. The payload may be missing.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] with the number of missing bytes; any other [`DecodeError`] says what is wrong.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<(Preamble, Self), DecodeError> {
        let missing = |len: usize| DecodeError::Truncated {
            missing: len.saturating_sub(bytes.len()) as u64,
        };
        let first = bytes.first_chunk().ok_or_else(|| missing(PREAMBLE_LEN))?;
        let preamble = Preamble::decode(first)?;
        if !preamble.kind.is_message() || preamble.kind.is_ancillary() {
            return Err(DecodeError::UnknownKind {
                kind: preamble.kind.to_wire(),
            });
        }
        preamble.check(limits)?;
        let end = PREAMBLE_LEN.saturating_add(preamble.header_len as usize);
        let header = bytes.get(PREAMBLE_LEN..end).ok_or_else(|| missing(end))?;
        Preamble::check_sum(first, header)?;
        let header = Self::decode(&preamble, header, &mut Seen::default())?;
        let padding = bytes.get(end..end.saturating_add(preamble.header_gap()));
        check_padding(padding.unwrap_or(&[]), 0)?;
        Ok((preamble, header))
    }

    /// The message over `buffers`, which lie where the references said.
    ///
    /// # Errors
    /// [`DecodeError`] if a buffer has another length than the header says, or if its contents contradict its type.
    pub fn resolve(self, buffers: Vec<Buffer<'static>>) -> Result<Message<'static>, DecodeError> {
        if buffers.len() != self.lens.len() {
            return Err(DecodeError::BufferCount {
                found: buffers.len(),
                expected: self.lens.len(),
            });
        }
        for (index, (buffer, &expected)) in buffers.iter().zip(self.lens.iter()).enumerate() {
            let found = buffer.len() as u64;
            if found != expected {
                return Err(DecodeError::BufferLength {
                    index,
                    found,
                    expected,
                });
            }
        }
        let values = Values::Each(buffers);
        self.body.into_message(self.attributes, values)
    }

    /// Cuts the payload, which begins at `start` of `bytes`, into the buffers of the message.
    pub(crate) fn cut(
        self,
        bytes: Buffer<'static>,
        start: usize,
    ) -> Result<Message<'static>, DecodeError> {
        let (all, first): (&[u8], _) = (&bytes, start.saturating_add(self.lead));
        check_padding(all.get(start..first).unwrap_or(&[]), 0)?;
        let mut at = first;
        // All padding is checked first, so that no buffer is built for a message that will be refused.
        for (index, &len) in self.lens.iter().enumerate() {
            if len == 0 {
                continue;
            }
            let len = to_usize(len);
            let end = at.saturating_add(len);
            let next = end.saturating_add(self.align.gap(len));
            let Some(padding) = all.get(end..next) else {
                let missing = next.saturating_sub(all.len()) as u64;
                return Err(DecodeError::Truncated { missing });
            };
            check_padding(padding, index)?;
            at = next;
        }
        let values = Values::Cut {
            payload: bytes,
            first,
            align: self.align.bytes(),
            lens: self.lens,
        };
        self.body.into_message(self.attributes, values)
    }
}
