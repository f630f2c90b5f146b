//! Checks of a header, and the message that it makes of its buffers.

use crate::model::packed::{Packed, Values};
use crate::model::shape;
use crate::model::{Array, Body, Frame, Message};
use crate::wire::error::DecodeError;
use crate::wire::header::parts::{FrameHeader, Header, HeaderBody, Part};
use crate::wire::header::read;
use crate::wire::header::seen::Seen;
use crate::wire::layout::Align;
use crate::wire::preamble::{PREAMBLE_LEN, Preamble};

impl Header {
    /// Reads a header and checks all of it that can be checked without the payload.
    ///
    /// `seen` is the schema of the last frame, which the next one mostly has too, and becomes that of this one.
    pub(crate) fn decode(
        preamble: &Preamble,
        bytes: &[u8],
        seen: &mut Seen,
    ) -> Result<Self, DecodeError> {
        let mut header = read::read(preamble, bytes, seen)?;
        let head = PREAMBLE_LEN
            .saturating_add(bytes.len())
            .saturating_add(preamble.header_gap());
        header.lead = header.align.lead(head);
        header.check_lens(preamble)?;
        Ok(header)
    }

    /// Where each buffer begins, in bytes from the start of the record; `preamble` is the record's. In a record by
    /// reference it is where it would begin without.
    pub fn buffer_offsets(&self, preamble: &Preamble) -> impl Iterator<Item = u64> {
        let head =
            PREAMBLE_LEN as u64 + u64::from(preamble.header_len) + preamble.header_gap() as u64;
        let (mut at, align) = (head + self.lead as u64, self.align);
        self.buffer_lens.iter().map(move |&len| {
            let next = at.saturating_add(align.up(len).unwrap_or(u64::MAX));
            std::mem::replace(&mut at, next)
        })
    }

    /// Fails if the header is that of a part, before its bytes are waited for.
    pub(crate) fn check_whole(&self) -> Result<(), DecodeError> {
        match self.body {
            HeaderBody::Part(Part {
                offset, transfer, ..
            }) => Err(DecodeError::Part { offset, transfer }),
            _ => Ok(()),
        }
    }

    /// Checks that the buffers and their padding fill the payload, and that the body has this many buffers.
    fn check_lens(&self, preamble: &Preamble) -> Result<(), DecodeError> {
        let claimed = preamble.payload_len;
        let sum = payload_len(self.buffer_lens.iter().copied(), self.lead, self.align);
        if sum != Some(claimed) {
            return Err(DecodeError::PayloadLength {
                sum: sum.unwrap_or(u64::MAX),
                claimed,
            });
        }
        let expected = match &self.body {
            HeaderBody::Bytes | HeaderBody::Array { .. } | HeaderBody::Part(_) => 1,
            HeaderBody::Frame(frame) => frame.schema.buffers,
        };
        if self.buffer_lens.len() != expected || preamble.buffers as usize != expected {
            return Err(DecodeError::BufferCount {
                found: self.buffer_lens.len(),
                expected,
            });
        }
        if let HeaderBody::Part(Part { offset, total, .. }) = self.body {
            let end = offset.checked_add(self.buffer_lens[0]);
            if end.is_none_or(|end| total != 0 && end > total) {
                return Err(DecodeError::OverLimit {
                    what: "end of a part",
                    value: end.unwrap_or(u64::MAX),
                    max: total,
                });
            }
        }
        if let HeaderBody::Array {
            dtype,
            shape,
            strides,
        } = &self.body
        {
            let found = usize::try_from(self.buffer_lens[0]).unwrap_or(usize::MAX);
            shape::check_byte_len(shape, dtype.size(), found)?;
            if let Some(given) = strides
                && shape::canonical_strides(shape, given, dtype.size())?.as_ref() != Some(given)
            {
                return Err(DecodeError::NotCanonical);
            }
        }
        Ok(())
    }

    /// The message over `values`, which have the lengths [`Self::buffer_lens`]. Checks their contents.
    pub(crate) fn into_message(self, values: Values) -> Result<Message<'static>, DecodeError> {
        self.check_whole()?;
        let body: Body<'static> = match self.body {
            // A part was refused above.
            HeaderBody::Bytes | HeaderBody::Part(_) => values.into_first().into(),
            HeaderBody::Array {
                dtype,
                shape,
                strides,
            } => Array::build(dtype, shape, strides, values.into_first())?.into(),
            HeaderBody::Frame(FrameHeader {
                rows,
                schema,
                counts,
            }) => Frame::from_packed(Packed::new(rows, schema, counts, values)?).into(),
        };
        let mut message = Message::new(body);
        message.attributes = self.attributes;
        Ok(message)
    }
}

/// Bytes of buffers with the lengths `lens`, of the padding after each, and of `lead` bytes before them; `None` if they
/// cannot be counted.
pub(crate) fn payload_len(
    mut lens: impl Iterator<Item = u64>,
    lead: usize,
    align: Align,
) -> Option<u64> {
    lens.try_fold(lead as u64, |sum, len| sum.checked_add(align.up(len)?))
}
