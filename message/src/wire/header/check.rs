//! Checks of a header, and the message that it makes of its buffers.

use crate::model::packed::{Packed, Values};
use crate::model::{Array, Attributes, Body, Frame, Message};
use crate::wire::error::DecodeError;
use crate::wire::header::parts::{ArrayHeader, FrameHeader, Header, HeaderBody, Part};
use crate::wire::header::read;
use crate::wire::header::seen::Seen;
use crate::wire::layout::Align;
use crate::wire::preamble::{PREAMBLE_LEN, Preamble};

impl Header {
    /// Reads a header and checks all of it that can be checked without the payload.
    ///
    /// `seen` is what the last records had, which the next one mostly has too. It becomes what this one has.
    pub(crate) fn decode(
        preamble: &Preamble,
        bytes: &[u8],
        seen: &mut Seen,
    ) -> Result<Self, DecodeError> {
        if let Some(header) = seen.again(preamble, bytes) {
            return Ok(header.clone());
        }
        let mut header = read::read(preamble, bytes, seen)?;
        let head = PREAMBLE_LEN
            .saturating_add(bytes.len())
            .saturating_add(preamble.header_gap());
        header.lead = header.align.lead(head);
        header.check_lens(preamble)?;
        seen.note(preamble, bytes, &header);
        Ok(header)
    }

    /// Where each buffer begins, in bytes from the start of the record; `preamble` is the record's. In a record by
    /// reference it is where it would begin without.
    pub fn buffer_offsets(&self, preamble: &Preamble) -> impl Iterator<Item = u64> {
        let head =
            PREAMBLE_LEN as u64 + u64::from(preamble.header_len) + preamble.header_gap() as u64;
        let (mut at, align) = (head + self.lead as u64, self.align);
        self.lens.iter().map(move |&len| {
            let next = at.saturating_add(align.up(len).unwrap_or(u64::MAX));
            std::mem::replace(&mut at, next)
        })
    }

    /// Checks that the buffers and their padding fill the payload, and that the body has this many buffers.
    fn check_lens(&self, preamble: &Preamble) -> Result<(), DecodeError> {
        let claimed = preamble.payload_len;
        let sum = payload_len(self.lens.iter().copied(), self.lead, self.align);
        if sum != Some(claimed) {
            return Err(DecodeError::PayloadLength {
                sum: sum.unwrap_or(u64::MAX),
                claimed,
            });
        }
        let expected = match &self.body {
            HeaderBody::Bytes | HeaderBody::Array(_) | HeaderBody::Part(_) => 1,
            HeaderBody::Frame(frame) => frame.schema.buffers,
        };
        if self.lens.len() != expected || preamble.buffers as usize != expected {
            return Err(DecodeError::BufferCount {
                found: self.lens.len(),
                expected,
            });
        }
        if let HeaderBody::Part(Part { offset, total, .. }) = self.body {
            let end = offset.checked_add(self.lens[0]);
            if end.is_none_or(|end| total != 0 && end > total) {
                return Err(DecodeError::OverLimit {
                    what: "end of a part",
                    value: end.unwrap_or(u64::MAX),
                    max: total,
                });
            }
        }
        Ok(())
    }
}

impl HeaderBody {
    /// Fails if the header is that of a part, before its bytes are waited for.
    pub(crate) fn check_whole(&self) -> Result<(), DecodeError> {
        match *self {
            Self::Part(Part {
                offset, transfer, ..
            }) => Err(DecodeError::Part { offset, transfer }),
            _ => Ok(()),
        }
    }

    /// The message over `values`, which have the lengths of the header. Checks their contents.
    pub(crate) fn into_message(
        self,
        attributes: Attributes,
        values: Values,
    ) -> Result<Message<'static>, DecodeError> {
        self.check_whole()?;
        let body: Body<'static> = match self {
            // A part was refused above.
            Self::Bytes | Self::Part(_) => values.into_first().into(),
            Self::Array(ArrayHeader { layout }) => {
                Array::from_layout(layout, values.into_first())?.into()
            }
            Self::Frame(FrameHeader {
                rows,
                schema,
                counts,
            }) => Frame::from_packed(Packed::new(rows, schema, counts, values)?).into(),
        };
        Ok(Message { body, attributes })
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
