//! A message that is encoded once, for many records.

use std::sync::{Arc, OnceLock};

use crate::model::Message;
use crate::wire::checksum::Known;
use crate::wire::encode::Encoder;
use crate::wire::error::EncodeError;
use crate::wire::kind::{Flags, RecordKind};
use crate::wire::layout::{Align, PADDING};
use crate::wire::preamble::Preamble;

/// A message for many receivers: its header is encoded once, and its payload is summed once, when a record with checksums is
/// first asked for. Each record has a copy of the header, with the number that its session gives it, and binds the sums to that.
///
/// ```
/// use numpush_message::{Buffer, Flags, Limits, Message, Prepared, Stamp};
///
/// let message = Message::new(Buffer::copy_of(b"to all"));
/// let prepared = Prepared::new(&message)?;
/// for id in 1..=3 {
///     let mut encoder = prepared.encoder(Flags::with_checksums(true));
///     encoder.stamp(Stamp { id, ..Stamp::default() });
///     let record = encoder.copy_rest();
///     assert_eq!(Message::open(&record.into(), &Limits::default())?, message);
/// }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Prepared<'m> {
    message: &'m Message<'m>,
    preamble: Preamble,
    head: Arc<[u8]>,
    sums: Arc<OnceLock<Arc<Known>>>,
}

impl<'m> Prepared<'m> {
    /// Encodes the header of `message`.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn new(message: &'m Message<'m>) -> Result<Self, EncodeError> {
        let encoder = Encoder::unstamped(message, Flags::default())?;
        Ok(Self {
            message,
            preamble: *encoder.preamble(),
            head: encoder.head().into(),
            sums: Arc::default(),
        })
    }

    /// The same bytes in other memory: a copy of the message, of which nothing is encoded or summed again. `None` if it is no
    /// copy, as far as the lengths of its buffers show.
    ///
    /// The caller answers for its bytes and its description: the receiver of anything else gets the first message's header, or a
    /// fault of the checksums.
    pub fn moved<'n>(&self, copy: &'n Message<'n>) -> Option<Prepared<'n>> {
        let kinds = [self.message, copy].map(RecordKind::of);
        let lens = self.message.buffer_lens();
        let is_copy = kinds[0] == kinds[1] && lens.eq(copy.buffer_lens());
        is_copy.then(|| Prepared {
            message: copy,
            preamble: self.preamble,
            head: Arc::clone(&self.head),
            sums: Arc::clone(&self.sums),
        })
    }

    /// The message.
    pub fn message(&self) -> &'m Message<'m> {
        self.message
    }

    /// A record of it, as [`Encoder::unstamped`] makes one.
    pub fn encoder(&self, flags: Flags) -> Encoder<'m> {
        let preamble = Preamble {
            flags,
            ..self.preamble
        };
        let known = flags.checksums.then(|| Arc::clone(self.known()));
        Encoder::again(self.message, preamble, Vec::from(&*self.head), known)
    }

    fn known(&self) -> &Arc<Known> {
        self.sums.get_or_init(|| {
            let buffers = self.message.buffers();
            let parts = buffers.flat_map(|buffer| {
                let bytes: &[u8] = buffer;
                [bytes, &PADDING[..Align::DEFAULT.gap(bytes.len())]]
            });
            Arc::new(Known::of(parts))
        })
    }
}

impl std::fmt::Debug for Prepared<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("preamble", &self.preamble)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Array, Buffer, Column, ColumnData, ColumnType, Element, Frame};
    use crate::wire::stamp::Stamp;

    fn messages() -> Vec<Message<'static>> {
        let array = Array::new(f64::SCALAR, &[300_001], vec![3; 300_001 * 8].into()).unwrap();
        let column = |name: &str, rows: usize| {
            let buffers = vec![Buffer::default(), vec![1; 8 * 1000].into()];
            let data = ColumnData::new(ColumnType::Float64, rows, buffers).unwrap();
            Column::new(name, data).unwrap()
        };
        vec![
            Message::new(Buffer::default()),
            Message::new(Buffer::copy_of(b"short")),
            Message::from(array).with_attribute("unit", "m"),
            Message::from(Frame::new(vec![column("a", 1000), column("b", 1000)]).unwrap()),
        ]
    }

    /// What a receiver reads cannot show how it was made.
    #[test]
    fn its_records_are_those_of_an_encoder() {
        for message in messages() {
            let prepared = Prepared::new(&message).unwrap();
            for (id, checksums) in (1..).zip([false, true, true]) {
                let flags = Flags::with_checksums(checksums);
                let stamp = Stamp {
                    id,
                    ..Stamp::default()
                };
                let mut plain = Encoder::unstamped(&message, flags).unwrap();
                let mut again = prepared.encoder(flags);
                assert!(plain.stamp(stamp) && again.stamp(stamp));
                assert!(again.stamp(Stamp { ack: 7, ..stamp }) && again.stamp(stamp));
                assert!(again.copy_rest() == plain.copy_rest());
            }
        }
    }

    #[test]
    fn all_its_records_share_one_header_and_one_sum() {
        let message = messages().remove(2);
        let prepared = Prepared::new(&message).unwrap();
        let _ = prepared.encoder(Flags::default());
        assert!(prepared.sums.get().is_none(), "nobody wants sums");
        let copy = message.clone();
        let moved = prepared.moved(&copy).unwrap();
        let _ = moved.encoder(Flags::with_checksums(true));
        assert!(Arc::ptr_eq(prepared.known(), moved.known()));
        assert!(Arc::ptr_eq(&prepared.head, &moved.head));
        assert!(prepared.moved(&messages()[1]).is_none());
    }
}
