//! Records out of a stream of bytes, without I/O.

mod skip;
mod stages;

use crate::model::{AllocError, BufferAllocator};
use crate::wire::decode::stages::Stages;
use crate::wire::error::DecodeError;
use crate::wire::header::Seen;
use crate::wire::limits::Limits;
use crate::wire::preamble::Preamble;
use crate::wire::record::Record;

/// Reads records from bytes: it returns where the next bytes belong, and the caller reports how many came.
///
/// However the bytes are split, the records are the same. Large payloads are read in place, into memory of the
/// allocator. A record with at most [`Decoder::SMALL`] bytes after its preamble is read whole, so that two reads take it.
///
/// ```
/// use numpush_message::{
///     Array, Decoder, Element, Encoder, Flags, HeapAllocator, Limits, Message, Record,
/// };
///
/// let sent = Message::from(Array::new(u8::SCALAR, &[5], vec![7; 5].into())?);
/// let stream = Encoder::new(&sent, Flags::default())?.copy_rest();
///
/// let mut decoder = Decoder::new(Limits::default());
/// let mut heap = HeapAllocator::new();
/// let (mut rest, mut received) = (stream.as_slice(), Vec::new());
/// while !rest.is_empty() {
///     // What read(2) would do: fill the front of `spare`, and return how many bytes came.
///     let spare = decoder.spare()?;
///     let count = spare.len().min(rest.len()).min(40);
///     spare[..count].copy_from_slice(&rest[..count]);
///     rest = &rest[count..];
///     if let Some(Record::Message(_, message)) = decoder.filled(count, &mut heap)? {
///         received.push(message);
///     }
/// }
/// assert_eq!(received, [sent]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// After an error the decoder only returns errors: it does not know where the next record begins. A want of room is none of
/// these: see [`Self::filled`].
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    stages: Stages,
    seen: Seen,
    /// Why there is no room for the next bytes, if there is none.
    refused: Option<AllocError>,
}

impl Decoder {
    /// Records with at most this many bytes after their preamble are read whole, header and all.
    pub const SMALL: usize = stages::SMALL;

    /// A decoder that waits for the first byte of a record.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            stages: Stages::new(),
            seen: Seen::default(),
            refused: None,
        }
    }

    /// True if no byte of the next record has come.
    pub fn is_idle(&self) -> bool {
        self.stages.is_idle()
    }

    /// The preamble of the record at hand, once it has come.
    pub fn preamble(&self) -> Option<&Preamble> {
        self.stages.preamble()
    }

    /// Payload bytes of the record at hand, once its header has been accepted.
    pub fn payload_len(&self) -> Option<u64> {
        self.stages.payload_len()
    }

    /// Bytes that the record at hand still lacks, as far as that is known.
    pub fn missing(&self) -> u64 {
        self.stages.missing() as u64
    }

    /// True if there is no room for the next bytes: the allocator is asked again by [`Self::filled`] with a count of zero.
    pub fn wants_room(&self) -> bool {
        self.refused.is_some()
    }

    /// Where the next bytes belong. It is never empty, and ends no later than the record.
    ///
    /// # Errors
    /// [`DecodeError::Alloc`] while there is no room; [`DecodeError::Truncated`] after any other error.
    pub fn spare(&mut self) -> Result<&mut [u8], DecodeError> {
        match &self.refused {
            Some(refused) => Err(refused.clone().into()),
            None => self.stages.spare(),
        }
    }

    /// Reports that `count` bytes were written to the front of [`Self::spare`]; payloads go to memory of `allocator`, which
    /// is asked for room for what comes next. Returns the record if these bytes complete it.
    ///
    /// # Errors
    /// [`DecodeError`]: what is wrong with the bytes.
    ///
    /// [`DecodeError::Alloc`] if the allocator has no room for what comes next. The bytes are taken in and nothing is lost:
    /// call again with a count of zero when there is room. What the peer sends meanwhile waits where it is.
    pub fn filled(
        &mut self,
        count: usize,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<Option<Record>, DecodeError> {
        let mut record = None;
        self.fill(count, allocator, &mut record)?;
        Ok(record)
    }

    /// As [`Self::filled`], and leaves the record where the caller keeps it, if these bytes complete it: a record is large,
    /// and each move of it costs as much as a step of its decoding. What was there before is dropped, whatever comes.
    ///
    /// # Errors
    /// As [`Self::filled`].
    pub fn fill(
        &mut self,
        mut count: usize,
        allocator: &mut dyn BufferAllocator,
        record: &mut Option<Record>,
    ) -> Result<(), DecodeError> {
        loop {
            let (limits, seen) = (&self.limits, &mut self.seen);
            *record = None;
            self.stages.filled(count, limits, seen, record)?;
            if record.is_some() {
                self.refused = None;
                return Ok(());
            }
            let found = self.stages.find_room(allocator);
            self.refused = found.as_ref().err().cloned();
            if !found? {
                return Ok(());
            }
            count = 0;
        }
    }
}
