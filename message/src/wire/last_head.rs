//! The head that was written last: the next message of a connection mostly has the same.

use std::sync::Arc;

use crate::model::array_layout::ArrayLayout;
use crate::model::{Body, Message};
use crate::wire::encode::Encoder;
use crate::wire::error::EncodeError;
use crate::wire::kind::Flags;
use crate::wire::preamble::{PREAMBLE_LEN, Preamble};
use crate::wire::stamp::Stamp;

/// Longer heads are encoded anew: a connection on which little goes holds little.
const MOST: usize = 512;

/// The head of the last message that was encoded with it. A message of the same description copies that, and nothing of it is
/// encoded anew: bytes of the same length, or an array of the same dtype, shape and strides, without attributes.
///
/// ```
/// use numpush_message::{Array, Element, Encoder, Flags, LastHead, Message, Stamp};
///
/// let mut last = LastHead::default();
/// for id in 1..=3 {
///     let array = Array::new(f64::SCALAR, &[2], vec![0; 16].into())?;
///     let message = Message::from(array);
///     let mut encoder = last.encoder(&message, Flags::default())?;
///     let mut anew = Encoder::unstamped(&message, Flags::default())?;
///     let stamp = Stamp { id, ..Stamp::default() };
///     encoder.stamp(stamp);
///     anew.stamp(stamp);
///     assert_eq!(encoder.copy_rest(), anew.copy_rest());
/// }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct LastHead {
    last: Option<Last>,
    /// Preamble and header of a message that has no stamp, and whether they are those of `last`.
    plain: Vec<u8>,
    is_plain_known: bool,
}

#[derive(Debug)]
struct Last {
    /// Of an array; `None` for bytes.
    layout: Option<Arc<ArrayLayout>>,
    /// Bytes of the only buffer.
    len: usize,
    preamble: Preamble,
    head: Vec<u8>,
}

impl LastHead {
    /// A record of `message`, as [`Encoder::unstamped`] makes one.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn encoder<'m>(
        &mut self,
        message: &'m Message<'m>,
        flags: Flags,
    ) -> Result<Encoder<'m>, EncodeError> {
        if let Some(last) = self.last.as_ref().filter(|last| last.describes(message)) {
            let preamble = Preamble {
                flags,
                ..last.preamble
            };
            let head = Vec::from(&*last.head);
            return Ok(Encoder::again(message, preamble, head, None));
        }
        let encoder = Encoder::unstamped(message, flags)?;
        self.note(message, &encoder);
        Ok(encoder)
    }

    /// Preamble and header of `message` without flags and without a stamp, as protocols carry them that have both themselves.
    ///
    /// ```
    /// use numpush_message::{Buffer, Encoder, Flags, LastHead, Message, PREAMBLE_LEN};
    ///
    /// let message = Message::new(Buffer::from(vec![7; 100]));
    /// let encoder = Encoder::new(&message, Flags::default())?;
    /// let len = PREAMBLE_LEN + encoder.preamble().header_len as usize;
    /// let mut last = LastHead::default();
    /// assert_eq!(last.plain(&message)?, &encoder.head()[..len]);
    /// # Ok::<_, numpush_message::EncodeError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn plain(&mut self, message: &Message<'_>) -> Result<&[u8], EncodeError> {
        let describes = |last: &Option<Last>| last.as_ref().is_some_and(|it| it.describes(message));
        if !self.is_plain_known || !describes(&self.last) {
            let mut encoder = self.encoder(message, Flags::default())?;
            encoder.stamp(Stamp::default());
            let len = PREAMBLE_LEN + encoder.preamble().header_len as usize;
            self.plain.clear();
            self.plain
                .extend_from_slice(encoder.head().get(..len).unwrap_or(&[]));
            self.is_plain_known = describes(&self.last);
        }
        Ok(&self.plain)
    }

    fn note(&mut self, message: &Message<'_>, encoder: &Encoder<'_>) {
        self.is_plain_known = false;
        if !message.attributes.is_empty() || encoder.head().len() > MOST {
            return;
        }
        let (layout, len) = match &message.body {
            Body::Bytes(bytes) => (None, bytes.len()),
            Body::Array(array) => (Some(Arc::clone(array.layout())), array.data().len()),
            Body::Frame(_) => return,
        };
        let mut head = self.last.take().map_or_else(Vec::new, |last| last.head);
        head.clear();
        head.extend_from_slice(encoder.head());
        self.last = Some(Last {
            layout,
            len,
            preamble: *encoder.preamble(),
            head,
        });
    }
}

impl Last {
    /// True if the head of `message` is this one.
    fn describes(&self, message: &Message<'_>) -> bool {
        let is_same = match (&message.body, &self.layout) {
            (Body::Bytes(bytes), None) => bytes.len() == self.len,
            (Body::Array(array), Some(layout)) => {
                let is_same = Arc::ptr_eq(array.layout(), layout) || array.layout() == layout;
                is_same && array.data().len() == self.len
            }
            _ => false,
        };
        is_same && message.attributes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Array, Buffer, Column, ColumnData, ColumnType, Element, Field, Frame, RecordType, Scalar,
    };

    /// Messages that differ from the one before in one thing each.
    fn messages() -> Vec<Message<'static>> {
        let array = |dtype: Scalar, shape: &[usize], len| {
            Message::from(Array::new(dtype, shape, vec![7; len].into()).unwrap())
        };
        let fortran = Array::with_strides(f64::SCALAR, &[2, 3], &[8, 16], vec![7; 48].into());
        let data = ColumnData::new(
            ColumnType::Float64,
            1,
            vec![Buffer::default(), vec![0; 8].into()],
        );
        let column = Column::new("x", data.unwrap()).unwrap();
        vec![
            array(u8::SCALAR, &[64], 64),
            array(i8::SCALAR, &[64], 64),
            array(i8::SCALAR, &[65], 65),
            array(i8::SCALAR, &[13, 5], 65),
            array(f64::SCALAR, &[2, 3], 48),
            Message::from(fortran.unwrap()),
            fortran_with_attribute(),
            array(f64::SCALAR, &[6], 48),
            Message::new(Buffer::copy_of(&[7; 48])),
            Message::new(Buffer::copy_of(&[7; 49])),
            Message::from(Frame::new(vec![column]).unwrap()),
            Message::new(Buffer::copy_of(&[7; 49])),
        ]
    }

    fn fortran_with_attribute() -> Message<'static> {
        let fortran = Array::with_strides(f64::SCALAR, &[2, 3], &[8, 16], vec![7; 48].into());
        let mut message = Message::from(fortran.unwrap());
        message.attributes.insert("unit".into(), "m".into());
        message
    }

    fn record(mut encoder: Encoder<'_>) -> Vec<u8> {
        let stamp = Stamp {
            id: 5,
            ..Stamp::default()
        };
        encoder.stamp(stamp);
        encoder.copy_rest()
    }

    #[test]
    fn a_record_has_the_bytes_that_it_has_without() {
        let mut last = LastHead::default();
        for message in messages() {
            for checksums in [false, true, false] {
                let flags = Flags::with_checksums(checksums);
                let plain = record(Encoder::unstamped(&message, flags).unwrap());
                assert_eq!(record(last.encoder(&message, flags).unwrap()), plain);
            }
            let mut anew = Encoder::new(&message, Flags::default()).unwrap();
            anew.stamp(Stamp::default());
            for _ in 0..2 {
                let plain = last.plain(&message).unwrap();
                assert!(plain.len() > PREAMBLE_LEN && anew.head().starts_with(plain));
            }
        }
    }

    #[test]
    fn a_long_head_is_not_kept() {
        let fields =
            (0..40).map(|index| Field::new(format!("a_long_name_{index}"), f64::SCALAR, 8 * index));
        let record = RecordType::new(fields.collect(), 320).unwrap();
        let long = Array::new(record, &[1], vec![0; 320].into()).map(Message::from);
        let short = Message::new(Buffer::copy_of(b"short"));
        let mut last = LastHead::default();
        for message in [&long.unwrap(), &short] {
            last.encoder(message, Flags::default()).unwrap();
        }
        let kept = last.last.unwrap();
        assert!(kept.head.len() <= MOST && kept.head.capacity() <= 2 * MOST);
    }
}
