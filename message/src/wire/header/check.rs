//! Checks of a header, and the message that it makes of its buffers.

use crate::model::shape;
use crate::model::{Array, Body, Buffer, Column, ColumnData, ColumnError, Dictionary, Frame};
use crate::model::{FrameError, Message};
use crate::wire::error::DecodeError;
use crate::wire::header::parts::{Header, HeaderBody, ValuesHeader};
use crate::wire::header::read;
use crate::wire::kind::RecordKind;
use crate::wire::layout::align_up;
use crate::wire::preamble::Preamble;

impl Header {
    /// Reads a header and checks all of it that can be checked without the payload.
    pub(crate) fn decode(preamble: &Preamble, bytes: &[u8]) -> Result<Self, DecodeError> {
        if preamble.kind == RecordKind::Part {
            let what = "a part of a message";
            return Err(DecodeError::NotOffered { what });
        }
        if preamble.flags.compressed {
            let what = "a compressed payload";
            return Err(DecodeError::NotOffered { what });
        }
        let header = read::read(preamble.kind, bytes)?;
        header.check_lens(preamble)?;
        Ok(header)
    }

    /// Checks that the buffers and their padding fill the payload, and that the body has this many buffers.
    fn check_lens(&self, preamble: &Preamble) -> Result<(), DecodeError> {
        let claimed = preamble.payload_len;
        let sum = payload_len(self.buffer_lens.iter().copied());
        if sum != Some(claimed) {
            return Err(DecodeError::PayloadLength {
                sum: sum.unwrap_or(u64::MAX),
                claimed,
            });
        }
        let expected = match &self.body {
            HeaderBody::Bytes | HeaderBody::Array { .. } => 1,
            HeaderBody::Frame { columns, .. } => columns
                .iter()
                .map(|column| column.values.count_buffers())
                .sum(),
        };
        if self.buffer_lens.len() != expected || preamble.buffers as usize != expected {
            return Err(DecodeError::BufferCount {
                found: self.buffer_lens.len(),
                expected,
            });
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

    /// The message over `buffers`, which have the lengths [`Self::buffer_lens`]. Checks their contents.
    pub(crate) fn into_message(
        self,
        mut buffers: impl Iterator<Item = Buffer<'static>>,
    ) -> Result<Message<'static>, DecodeError> {
        let body: Body<'static> = match self.body {
            HeaderBody::Bytes => buffers.next().unwrap_or_default().into(),
            HeaderBody::Array {
                dtype,
                shape,
                strides,
            } => Array::build(dtype, shape, strides, buffers.next().unwrap_or_default())?.into(),
            HeaderBody::Frame {
                rows,
                columns,
                metadata,
            } => {
                let mut built = Vec::with_capacity(columns.len());
                for column in columns {
                    let data = values(column.values, &mut buffers).map_err(|fault| {
                        FrameError::Column {
                            column: column.name.clone(),
                            fault,
                        }
                    })?;
                    let (name, nullable) = (column.name, column.nullable);
                    built.push(Column::from_checked(name, nullable, column.metadata, data));
                }
                let frame = Frame::from_named(rows, built, metadata)?;
                frame.validate()?;
                frame.into()
            }
        };
        let mut message = Message::new(body);
        message.attributes = self.attributes;
        Ok(message)
    }
}

/// Bytes of buffers with the lengths `lens` and of the padding after each; `None` if they cannot be counted.
pub(crate) fn payload_len(mut lens: impl Iterator<Item = u64>) -> Option<u64> {
    lens.try_fold(0_u64, |sum, len| sum.checked_add(align_up(len)?))
}

fn values(
    header: ValuesHeader,
    buffers: &mut impl Iterator<Item = Buffer<'static>>,
) -> Result<ColumnData<'static>, ColumnError> {
    let own = header.column_type.storage().buffers();
    let own = buffers.by_ref().take(own).collect();
    let dictionary = match header.dictionary {
        Some(dictionary) => {
            let values = values(dictionary.values, buffers)?;
            Some(Box::new(
                Dictionary::new(values).with_ordered(dictionary.ordered),
            ))
        }
        None => None,
    };
    ColumnData::from_parts(
        header.column_type,
        header.len,
        header.null_count,
        own,
        dictionary,
    )
}
