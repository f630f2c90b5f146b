use std::borrow::Cow;
use std::io::IoSlice;
use std::sync::Arc;

use crate::model::{Buffer, Message};
use crate::wire::checksum::{Chunks, Known, reference_sum};
use crate::wire::error::EncodeError;
use crate::wire::header::{self, Part};
use crate::wire::held::Held;
use crate::wire::kind::{Flags, RecordKind};
use crate::wire::layout::{Align, PADDING, SUM_STEP, gap};
use crate::wire::limits::Limits;
use crate::wire::preamble::{MAGIC, PREAMBLE_LEN, Preamble, written_sum};
use crate::wire::record::Reference;
use crate::wire::stamp::Stamp;

/// A message on its way out: returns the bytes that come next, and learns how many of them were written.
///
/// It owns the head (preamble, header, padding) and borrows the buffers, until [`Self::into_owned`]. The caller writes any
/// prefix of what [`Self::next`] returns or [`Self::gather`] lists, by any means, and reports it to [`Self::advance`].
/// What a session adds, the number of the message above all, comes by [`Self::stamp`] before the first byte goes.
///
/// ```
/// use numpush_message::{Array, Element, Encoder, Flags, Limits, Message};
///
/// let message = Message::from(Array::new(u8::SCALAR, &[5], vec![7; 5].into())?);
/// let mut encoder = Encoder::new(&message, Flags::default())?;
/// let mut written = Vec::new();
/// while let Some(next) = encoder.next() {
///     // A socket that takes 40 bytes at a time.
///     let count = next.bytes.len().min(40);
///     written.extend_from_slice(&next.bytes[..count]);
///     encoder.advance(count);
/// }
/// assert_eq!(Message::open(&written.into(), &Limits::default())?, message);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct Encoder<'m> {
    preamble: Preamble,
    head: Vec<u8>,
    buffers: Held<'m>,
    /// Zeros, as many as may stand after a buffer.
    padding: Cow<'static, [u8]>,
    align: Align,
    trailer: Vec<u8>,
    /// In a box: most messages have none, and the encoder is moved.
    checksums: Option<Box<Chunks>>,
    /// The sums of the payload, if they were taken before.
    known: Option<Arc<Known>>,
    /// 0 is the head, then each buffer and its padding, then the trailer.
    part: usize,
    at: usize,
}

/// Shorter payloads are summed before they are written, so that a record goes in one call. Others are summed as they go, while
/// they are in the cache.
const SUMMED_FIRST: u64 = 64 << 10;

/// writev(2) takes no more slices at once (`IOV_MAX` of Linux).
const MAX_SLICES: usize = 1024;

/// The part of a message that is to be written next.
#[derive(Debug)]
pub struct Payload<'e> {
    /// The bytes of it that have not been written.
    pub bytes: &'e [u8],
    /// The buffer they belong to; `None` for head, padding and trailer.
    pub buffer: Option<&'e Buffer<'e>>,
    /// Where in the buffer they begin.
    pub at: usize,
}

impl<'m> Encoder<'m> {
    /// Encodes the header of `message`, for a record outside a session.
    ///
    /// # Errors
    /// [`EncodeError`] if the message breaks a limit that every reader enforces.
    pub fn new(message: &'m Message<'m>, flags: Flags) -> Result<Self, EncodeError> {
        let mut encoder = Self::unstamped(message, flags)?;
        encoder.write_preamble();
        Ok(encoder)
    }

    /// As [`Self::new`], for a record that [`Self::stamp`] completes before any of it is written: the preamble is summed
    /// once.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn unstamped(message: &'m Message<'m>, flags: Flags) -> Result<Self, EncodeError> {
        Self::of(message, flags, Align::DEFAULT)
    }

    /// As [`Self::new`], and every buffer begins at a multiple of `align` bytes from the start of the record: a power of
    /// two from 64, the default, to 2 MiB. In a file that is mapped, 4,096 gives each buffer pages of its own.
    ///
    /// # Errors
    /// [`EncodeError::Align`]; otherwise as [`Self::new`].
    pub fn with_align(
        message: &'m Message<'m>,
        flags: Flags,
        align: usize,
    ) -> Result<Self, EncodeError> {
        let align = Align::new(align).ok_or(EncodeError::Align { align })?;
        let mut encoder = Self::of(message, flags, align)?;
        encoder.write_preamble();
        Ok(encoder)
    }

    fn of(message: &'m Message<'m>, flags: Flags, align: Align) -> Result<Self, EncodeError> {
        header::check_message(message)?;
        let buffers = Held::of(message);
        let write = |buffers: &Held<'_>, out| {
            header::write_message(message, buffers.len(), buffers.lens(), align, out)
        };
        Self::build(RecordKind::of(message), flags, align, buffers, write)
    }

    /// A record of `bytes` as a part of another record. It is sent only to a side whose hello offers to take parts.
    ///
    /// # Errors
    /// [`EncodeError::PayloadOverflow`].
    pub fn part(part: Part, bytes: &'m Buffer<'m>, flags: Flags) -> Result<Self, EncodeError> {
        let write = |_: &Held<'_>, out| header::write_part(part, bytes.len(), out);
        let buffers = Held::One(bytes);
        let mut encoder = Self::build(RecordKind::Part, flags, Align::DEFAULT, buffers, write)?;
        encoder.write_preamble();
        Ok(encoder)
    }

    fn build(
        kind: RecordKind,
        flags: Flags,
        align: Align,
        buffers: Held<'m>,
        write: impl FnOnce(&Held<'m>, Vec<u8>) -> Vec<u8>,
    ) -> Result<Self, EncodeError> {
        let (count, max) = (buffers.len(), Limits::BUFFERS);
        let buffer_count = u32::try_from(count).ok().filter(|&count| count <= max);
        let buffer_count = buffer_count.ok_or(EncodeError::TooManyBuffers {
            count,
            max: max as usize,
        })?;
        // The room that most headers fit, so that the head is written without growing.
        let mut head = Vec::with_capacity(4 * PREAMBLE_LEN + 24 * count);
        head.resize(PREAMBLE_LEN, 0);
        let mut head = write(&buffers, head);
        let (len, max) = (
            (head.len() - PREAMBLE_LEN) as u64,
            Limits::header(kind, buffer_count),
        );
        let header_len = u32::try_from(len).ok().filter(|&len| u64::from(len) <= max);
        let header_len = header_len.ok_or(EncodeError::HeaderTooLong { len, max })?;
        head.resize(head.len() + gap(head.len()), 0);
        let lead = align.lead(head.len());
        head.resize(head.len() + lead, 0);
        let lens = buffers.lens().map(|len| len as u64);
        let payload_len = header::payload_len(lens, lead, align);
        let preamble = Preamble {
            flags,
            header_len,
            buffers: buffer_count,
            ..Preamble::control(kind, 0, payload_len.ok_or(EncodeError::PayloadOverflow)?)
        };
        Ok(Self::assemble(preamble, head, buffers, align))
    }

    fn assemble(preamble: Preamble, head: Vec<u8>, buffers: Held<'m>, align: Align) -> Self {
        Self {
            preamble,
            head,
            buffers,
            padding: match align {
                Align::DEFAULT => Cow::Borrowed(&PADDING),
                _ => Cow::Owned(vec![0; align.bytes()]),
            },
            align,
            trailer: Vec::new(),
            checksums: None,
            known: None,
            part: 0,
            at: 0,
        }
    }

    /// A record of `message`, whose head was encoded before, and whose payload was summed before if `known` says so.
    pub(super) fn again(
        message: &'m Message<'m>,
        preamble: Preamble,
        head: Vec<u8>,
        known: Option<Arc<Known>>,
    ) -> Self {
        let mut encoder = Self::assemble(preamble, head, Held::of(message), Align::DEFAULT);
        encoder.known = known;
        encoder
    }

    /// Sets what the session adds to the preamble. False if the first byte has gone, and nothing is changed then.
    pub fn stamp(&mut self, stamp: Stamp) -> bool {
        if self.is_begun() {
            return false;
        }
        let Stamp {
            id,
            ack,
            reply_to,
            channel,
        } = stamp;
        self.preamble = Preamble {
            id,
            ack,
            reply_to,
            channel,
            ..self.preamble
        };
        self.write_preamble();
        true
    }

    /// True if all of the record is known: no checksums follow that are taken as the payload is written.
    pub fn knows_checksums(&self) -> bool {
        self.checksums.is_none()
    }

    /// True if [`Self::advance`] was told of a byte.
    pub fn is_begun(&self) -> bool {
        self.part > 0 || self.at > 0
    }

    /// Writes the preamble and its sum to the front of the head, and begins the sums that are bound to it.
    fn write_preamble(&mut self) {
        let end = PREAMBLE_LEN + self.preamble.header_len as usize;
        let first = self.preamble.encode(&self.head[PREAMBLE_LEN..end]);
        self.head[..PREAMBLE_LEN].copy_from_slice(&first);
        let (sum, rest) = (written_sum(&first), end + self.preamble.header_gap());
        if self.preamble.flags.references {
            let end = self.head.len() - Reference::SUM_LEN;
            let sum = u64::from(reference_sum(sum, &self.head[rest..end]));
            self.head[end..].copy_from_slice(&sum.to_le_bytes());
        }
        (self.checksums, self.trailer) = (None, Vec::new());
        if self.preamble.flags.checksums {
            let mut checksums = Chunks::new(sum).with_known(self.known.clone());
            // Zeros of the payload before the first buffer.
            checksums.update(&self.head[rest..]);
            if self.preamble.payload_len >= SUMMED_FIRST {
                self.checksums = Some(Box::new(checksums));
            } else {
                let payload = (1..self.end_of_payload()).filter_map(|part| self.bytes_of(part));
                payload.for_each(|bytes| checksums.update(bytes));
                self.trailer = checksums.table();
            }
        }
    }

    /// The same record without borrows, as far as it has been written: shared buffers stay where they are, borrowed ones
    /// that are not yet written are copied to the heap. Returns also how many bytes were copied.
    pub fn into_owned(self) -> (Encoder<'static>, u64) {
        let (mut copied, next) = (0, self.part);
        let own = |index: usize, buffer: Buffer<'m>| {
            // Its bytes are part 2 * index + 1. What has gone is of no more use, but for its length.
            let is_written = next > 2 * index + 2;
            let buffer = if is_written {
                Buffer::default()
            } else {
                buffer
            };
            if buffer.is_borrowed() {
                copied += buffer.len() as u64;
            }
            buffer.into_owned_or_copy()
        };
        let buffers = self.buffers.into_owned(own);
        let encoder = Encoder {
            preamble: self.preamble,
            head: self.head,
            buffers,
            padding: self.padding,
            align: self.align,
            trailer: self.trailer,
            checksums: self.checksums,
            known: self.known,
            part: self.part,
            at: self.at,
        };
        (encoder, copied)
    }

    /// The same record with `references` in place of the payload, one for each buffer, before any of it is written. It
    /// holds no buffers.
    #[must_use]
    pub fn by_reference(mut self, references: &[Reference]) -> Self {
        self.preamble.flags = Flags {
            references: true,
            ..Flags::default()
        };
        self.buffers = Held::Owned(Vec::new());
        let end = PREAMBLE_LEN + self.preamble.header_len as usize;
        self.head.truncate(end + self.preamble.header_gap());
        for reference in references {
            self.head.extend_from_slice(&reference.encode());
        }
        self.head.resize(self.head.len() + Reference::SUM_LEN, 0);
        self.write_preamble();
        self
    }

    /// Copies what has not been written yet, to the end of the record.
    pub fn copy_rest(mut self) -> Vec<u8> {
        let mut record =
            Vec::with_capacity(usize::try_from(self.preamble.record_len()).unwrap_or(0));
        while let Some(next) = self.next() {
            let count = next.bytes.len();
            record.extend_from_slice(next.bytes);
            self.advance(count);
        }
        record
    }

    /// The message's preamble.
    pub fn preamble(&self) -> &Preamble {
        &self.preamble
    }

    /// Preamble, header and padding, and the references if there are any.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The buffers, in order.
    pub fn buffers(&self) -> impl ExactSizeIterator<Item = &Buffer<'m>> {
        (0..self.buffers.len()).map(|index| self.buffers.at(index))
    }

    /// What the message takes of the receiver's credit, in bytes: [`Preamble::charge`].
    pub fn charge(&self) -> u64 {
        self.preamble.charge()
    }

    /// Bytes that are not written yet, without checksums that are not known yet.
    pub fn rest_len(&self) -> u64 {
        if self.is_listed_whole() {
            return self.preamble.record_len();
        }
        let parts = (self.part..).map_while(|part| self.bytes_of(part));
        parts.map(|bytes| bytes.len() as u64).sum::<u64>() - self.at as u64
    }

    /// The bytes that come next; `None` when all are written.
    pub fn next(&self) -> Option<Payload<'_>> {
        let bytes = self.bytes_of(self.part)?;
        Some(Payload {
            bytes: &bytes[self.at..],
            buffer: self.buffer_of(self.part),
            at: self.at,
        })
    }

    /// Appends the bytes that come next to `slices`, at most `limit` of them, up to the first buffer that `set_aside`
    /// picks (to be written by other means, for example sendfile(2)). Returns the number of bytes.
    ///
    /// With checksums it lists at most 4 MiB: smaller steps cost more calls than they save reads from memory.
    pub fn gather<'e>(
        &'e self,
        slices: &mut Vec<IoSlice<'e>>,
        limit: usize,
        set_aside: impl Fn(&Buffer<'_>) -> bool,
    ) -> usize {
        debug_assert!(self.head.starts_with(&MAGIC), "it is stamped");
        let limit = if self.checksums.is_some() {
            limit.min(SUM_STEP)
        } else {
            limit
        };
        let (mut part, mut at, mut total) = (self.part, self.at, 0);
        while let Some(bytes) = self.bytes_of(part) {
            if total == limit
                || slices.len() == MAX_SLICES
                || self.buffer_of(part).is_some_and(&set_aside)
            {
                break;
            }
            let bytes = &bytes[at..];
            let take = &bytes[..bytes.len().min(limit - total)];
            if !take.is_empty() {
                slices.push(IoSlice::new(take));
            }
            total += take.len();
            (part, at) = (part + 1, 0);
        }
        total
    }

    /// Reports that the next `count` bytes are written. More than [`Self::next`] and what follows have are ignored.
    pub fn advance(&mut self, mut count: usize) {
        debug_assert!(self.head.starts_with(&MAGIC), "it is stamped");
        if self.is_listed_whole() && count as u64 == self.preamble.record_len() {
            // Mostly a small record goes at once.
            self.part = self.end_of_payload() + 1;
            return;
        }
        while let Some(left) = self.next().map(|next| next.bytes.len()) {
            let step = count.min(left);
            self.sum(step);
            self.at += step;
            count -= step;
            if step < left {
                return;
            }
            self.part += 1;
            self.at = 0;
            if self.part == self.end_of_payload() {
                self.write_trailer();
            }
            if count == 0 {
                self.skip_empty();
                return;
            }
        }
    }

    /// True if nothing is written, and the parts are the whole record.
    fn is_listed_whole(&self) -> bool {
        !self.is_begun() && self.checksums.is_none()
    }

    fn skip_empty(&mut self) {
        while self.bytes_of(self.part).is_some_and(<[u8]>::is_empty) {
            self.part += 1;
            self.at = 0;
            if self.part == self.end_of_payload() {
                self.write_trailer();
            }
        }
    }

    fn sum(&mut self, count: usize) {
        let Some(mut checksums) = self.checksums.take() else {
            return;
        };
        if self.part > 0 && self.part < self.end_of_payload() {
            checksums.update(&self.bytes_of(self.part).unwrap_or(&[])[self.at..self.at + count]);
        }
        self.checksums = Some(checksums);
    }

    fn write_trailer(&mut self) {
        if let Some(checksums) = self.checksums.take() {
            self.trailer = checksums.table();
        }
    }

    fn end_of_payload(&self) -> usize {
        1 + 2 * self.buffers.len()
    }

    fn buffer_of(&self, part: usize) -> Option<&Buffer<'m>> {
        let is_buffer = part % 2 == 1 && part < self.end_of_payload();
        is_buffer.then(|| self.buffers.at(part / 2))
    }

    /// The bytes of a part. The trailer of a large payload has bytes only after all of that is written.
    fn bytes_of(&self, part: usize) -> Option<&[u8]> {
        let end = self.end_of_payload();
        match part {
            0 => Some(&self.head),
            part if part < end => {
                let buffer: &[u8] = self.buffers.at((part - 1) / 2);
                Some(if part % 2 == 1 {
                    buffer
                } else {
                    &self.padding[..self.align.gap(buffer.len())]
                })
            }
            part if part == end && !self.trailer.is_empty() => Some(&self.trailer),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Encoder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("preamble", &self.preamble)
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}
