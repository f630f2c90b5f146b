//! A message whose buffers come one by one, as in frames of another protocol.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::ops::Range;

use crate::model::{AllocError, BufferAllocator, BufferMut, Message};
use crate::wire::decode::Decoder;
use crate::wire::error::DecodeError;
use crate::wire::header::{Header, Seen};
use crate::wire::kind::Flags;
use crate::wire::layout::to_usize;
use crate::wire::limits::Limits;
use crate::wire::preamble::{PREAMBLE_LEN, Preamble};

/// Reads messages that do not come as a record: preamble and header in one piece, then each buffer without padding.
///
/// The header says which buffers follow. They land in one region of the allocator, each where it is aligned, as if they had come
/// in a record.
///
/// ```
/// use numpush_message::{Buffer, Encoder, Flags, HeapAllocator, Landing, Limits, Message, PREAMBLE_LEN};
///
/// let sent = Message::new(Buffer::from(vec![7; 100]));
/// let encoder = Encoder::new(&sent, Flags::default())?;
/// let head = &encoder.head()[..PREAMBLE_LEN + encoder.preamble().header_len as usize];
///
/// let mut landing = Landing::new(Limits::default());
/// landing.begin(head)?;
/// landing.find_room(&mut HeapAllocator::new())?;
/// assert_eq!(landing.expected(), Some(100));
/// // The bytes may come in any number of pieces.
/// for _ in 0..4 {
///     landing.spare()?[..25].fill(7);
///     landing.filled(25);
/// }
/// assert_eq!(landing.expected(), None);
/// assert_eq!(landing.finish()?, sent);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Landing {
    limits: Limits,
    seen: Seen,
    /// The preamble of the last record that `seen` keeps: one with the same bytes, and the same header, is not checked anew.
    last: Option<[u8; PREAMBLE_LEN]>,
    /// Bytes of a region before its first buffer.
    before: usize,
    message: Option<AtHand>,
}

/// The message that comes.
struct AtHand {
    payload_len: usize,
    /// Bytes of the region before that.
    before: usize,
    header: Header,
    /// `None` until there is room.
    region: Option<Box<dyn BufferMut>>,
    /// The buffer at hand, where it begins in the region, and how many bytes of it have come.
    index: usize,
    start: usize,
    filled: usize,
    /// The last buffer that came whole and was not empty.
    last: Range<usize>,
}

impl Landing {
    /// Waits for a message.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            seen: Seen::default(),
            last: None,
            before: 0,
            message: None,
        }
    }

    /// Keeps a byte before each buffer where one can be written for a moment, also before the first: see [`Self::last_mut`]. That costs
    /// 64 bytes of the region, so that buffers stay aligned.
    #[must_use]
    pub fn with_byte_before(mut self) -> Self {
        self.before = 64;
        self
    }

    /// Begins a message with its preamble and its header, and nothing behind it. What came of another one is dropped.
    ///
    /// # Errors
    /// [`DecodeError`]: what is wrong with them.
    pub fn begin(&mut self, head: &[u8]) -> Result<(), DecodeError> {
        self.message = None;
        let missing = |len: usize| DecodeError::Truncated {
            missing: len.saturating_sub(head.len()) as u64,
        };
        let first = head.first_chunk().ok_or_else(|| missing(PREAMBLE_LEN))?;
        if self.last.as_ref() == Some(first)
            && let Some((payload_len, header)) =
                self.seen.last(head.get(PREAMBLE_LEN..).unwrap_or(&[]))
        {
            let (payload_len, header) = (to_usize(payload_len), header.clone());
            self.message = Some(AtHand::new(payload_len, self.before, header));
            return Ok(());
        }
        self.last = None;
        let preamble = self.check(first)?;
        let end = PREAMBLE_LEN.saturating_add(preamble.header_len as usize);
        let bytes = head.get(PREAMBLE_LEN..end).ok_or_else(|| missing(end))?;
        if head.len() > end {
            let count = head.len().saturating_sub(end) as u64;
            return Err(DecodeError::TrailingBytes { count });
        }
        Preamble::check_sum(first, bytes)?;
        let header = Header::decode(&preamble, bytes, &mut self.seen)?;
        header.body.check_whole()?;
        let is_kept = self.seen.again(&preamble, bytes).is_some();
        self.last = is_kept.then_some(*first);
        let payload_len = to_usize(preamble.payload_len);
        self.message = Some(AtHand::new(payload_len, self.before, header));
        Ok(())
    }

    /// A message that is there whole: its head, and its only buffer. `None`, and nothing has happened, if the head is another than
    /// the last one, or says another length: begin it as any other.
    ///
    /// # Errors
    /// [`DecodeError::Alloc`] if there is no room: nothing has happened. Any other says that its contents contradict its type.
    pub fn again(
        &mut self,
        head: &[u8],
        buffer: &[u8],
        allocator: &mut dyn BufferAllocator,
    ) -> Result<Option<Message<'static>>, DecodeError> {
        let Some((first, rest)) = head.split_first_chunk() else {
            return Ok(None);
        };
        let (true, None) = (self.last.as_ref() == Some(first), &self.message) else {
            return Ok(None);
        };
        let Some((payload_len, header)) = self.seen.last(rest) else {
            return Ok(None);
        };
        let len = to_usize(payload_len);
        let is_it = header.lens.iter().eq([&(buffer.len() as u64)]) && buffer.len() <= len;
        // One with a lead is of another encoder.
        if !is_it || header.lead > 0 || len > Decoder::SMALL {
            return Ok(None);
        }
        let header = header.clone();
        let bytes = allocator.copy_of(buffer, len)?;
        header.cut(bytes, 0).map(Some)
    }

    /// Looks at the preamble of a message before its header has come. Returns the bytes of both together.
    ///
    /// # Errors
    /// [`DecodeError`]: what is wrong with it.
    pub fn head_len(&self, first: &[u8; PREAMBLE_LEN]) -> Result<usize, DecodeError> {
        let preamble = self.check(first)?;
        Ok(PREAMBLE_LEN.saturating_add(preamble.header_len as usize))
    }

    fn check(&self, first: &[u8; PREAMBLE_LEN]) -> Result<Preamble, DecodeError> {
        let preamble = Preamble::decode(first)?;
        if !preamble.kind.is_message() || preamble.kind.is_ancillary() {
            let kind = preamble.kind.to_wire();
            return Err(DecodeError::UnknownKind { kind });
        }
        if preamble.flags != Flags::default() {
            let flags = preamble.flags.to_wire();
            return Err(DecodeError::UnknownFlags { flags });
        }
        preamble.check(&self.limits)?;
        Ok(preamble)
    }

    /// Payload bytes of the message at hand, padding included.
    pub fn payload_len(&self) -> usize {
        self.message.as_ref().map_or(0, |it| it.payload_len)
    }

    /// Asks `allocator` for the room of the message at hand, unless it has it. What a peer claims is not allocated on its word.
    ///
    /// # Errors
    /// [`AllocError`] if there is none: ask again.
    pub fn find_room(&mut self, allocator: &mut dyn BufferAllocator) -> Result<(), AllocError> {
        if let Some(message) = &mut self.message
            && message.region.is_none()
        {
            let len = message.region_len();
            message.region = Some(if len <= Decoder::SMALL {
                allocator.allocate(len)?
            } else {
                allocator.claim(len)?
            });
        }
        Ok(())
    }

    /// Bytes of the buffer at hand, the next one that is not empty; `None` once all have come.
    pub fn expected(&self) -> Option<u64> {
        let message = self.message.as_ref()?;
        message.header.lens.get(message.index).copied()
    }

    /// Bytes of buffer `index`; `None` if the message at hand has no such one.
    pub fn len_of(&self, index: usize) -> Option<u64> {
        let message = self.message.as_ref()?;
        message.header.lens.get(index).copied()
    }

    /// Number of buffers of the message at hand.
    pub fn buffers(&self) -> usize {
        self.message.as_ref().map_or(0, |it| it.header.lens.len())
    }

    /// Where the next bytes of the buffer at hand belong. It is empty only if nothing is to come.
    ///
    /// # Errors
    /// [`AllocError`] if there is no room for them: ask again.
    pub fn spare(&mut self) -> Result<&mut [u8], AllocError> {
        let Some(message) = &mut self.message else {
            return Ok(&mut []);
        };
        let Some(end) = message.end() else {
            return Ok(&mut []);
        };
        let len = message.region_len();
        let Some(region) = &mut message.region else {
            return Ok(&mut []);
        };
        let at = message.start.saturating_add(message.filled);
        if region.as_mut_slice().len() <= at {
            region.ensure(at.saturating_add(1).min(len))?;
        }
        let writable = region.as_mut_slice();
        let end = end.min(writable.len());
        Ok(writable.get_mut(at..end).unwrap_or(&mut []))
    }

    /// Reports that `count` bytes were written to the front of [`Self::spare`].
    pub fn filled(&mut self, count: usize) {
        if let Some(message) = &mut self.message {
            message.filled = message.filled.saturating_add(count);
            message.pass_empty();
        }
    }

    /// The last buffer that came whole, and the byte before it, which belongs to another one or to nobody: whoever writes it puts back
    /// what was there. Only [with a byte before](Self::with_byte_before) each buffer. For bytes that are opened where they lie.
    ///
    /// ```
    /// use numpush_message::{Buffer, Encoder, Flags, HeapAllocator, Landing, Limits, Message, PREAMBLE_LEN};
    ///
    /// let sent = Message::new(Buffer::from(vec![7; 100]));
    /// let encoder = Encoder::new(&sent, Flags::default())?;
    /// let head = &encoder.head()[..PREAMBLE_LEN + encoder.preamble().header_len as usize];
    /// let mut landing = Landing::new(Limits::default()).with_byte_before();
    /// landing.begin(head)?;
    /// landing.find_room(&mut HeapAllocator::new())?;
    /// landing.spare()?.fill(6);
    /// landing.filled(100);
    /// for byte in &mut landing.last_mut().unwrap_or_default()[1..] {
    ///     *byte += 1;
    /// }
    /// assert_eq!(landing.finish()?, sent);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn last_mut(&mut self) -> Option<&mut [u8]> {
        let message = self.message.as_mut()?;
        let from = message.last.start.checked_sub(1)?;
        let end = message.last.end;
        message.region.as_mut()?.as_mut_slice().get_mut(from..end)
    }

    /// The message, once all of it has come.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if it has not; [`DecodeError::Alloc`] if there is no room for its end: ask again. Any other says
    /// that its contents contradict its type, and the message is dropped.
    pub fn finish(&mut self) -> Result<Message<'static>, DecodeError> {
        let missing = DecodeError::Truncated { missing: 0 };
        let message = self.message.as_mut().ok_or_else(|| missing.clone())?;
        let is_whole = message.header.lens.get(message.index).is_none();
        let (len, before) = (message.region_len(), message.before);
        let region = message.region.as_mut().filter(|_| is_whole);
        let region = region.ok_or_else(|| missing.clone())?;
        region.ensure(len)?;
        message.clear_gaps();
        let message = self.message.take();
        let Some((header, region)) = message.and_then(|it| Some((it.header, it.region?))) else {
            return Err(missing);
        };
        header.cut(region.freeze(), before)
    }

    /// Ends the message at hand, of which nothing is to come any more. Returns the region that it had, for a caller that has to
    /// choose where it is dropped.
    pub fn cancel(&mut self) -> Option<Box<dyn BufferMut>> {
        self.message.take()?.region
    }
}

impl AtHand {
    fn new(payload_len: usize, before: usize, header: Header) -> Self {
        let mut message = Self {
            payload_len,
            before,
            start: before.saturating_add(header.lead),
            header,
            region: None,
            index: 0,
            filled: 0,
            last: 0..0,
        };
        message.pass_empty();
        message
    }

    /// Bytes of the whole region.
    fn region_len(&self) -> usize {
        self.before.saturating_add(self.payload_len)
    }

    /// Where the buffer at hand ends.
    fn end(&self) -> Option<usize> {
        let len = self.header.lens.get(self.index)?;
        Some(self.start.saturating_add(to_usize(*len)))
    }

    /// Goes on to the next buffer if the one at hand is whole, which one without bytes is from the start.
    fn pass_empty(&mut self) {
        while let Some(end) = self.end() {
            let len = end.saturating_sub(self.start);
            if self.filled < len {
                return;
            }
            if len > 0 {
                self.last = self.start..end;
            }
            self.start = end.saturating_add(self.header.align.gap(len));
            self.index = self.index.saturating_add(1);
            self.filled = 0;
        }
    }

    /// Writes the zeros that stand between buffers: a region may have held something else before.
    fn clear_gaps(&mut self) {
        let Some(region) = &mut self.region else {
            return;
        };
        let all = region.as_mut_slice();
        let mut clear = |from: usize, to: usize| {
            if let Some(gap) = all.get_mut(from..to) {
                gap.fill(0);
            }
        };
        let mut at = self.before.saturating_add(self.header.lead);
        clear(0, at);
        for len in self.header.lens.iter().map(|len| to_usize(*len)) {
            let end = at.saturating_add(len);
            at = end.saturating_add(self.header.align.gap(len));
            clear(end, at);
        }
    }
}

impl fmt::Debug for AtHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtHand")
            .field("payload_len", &self.payload_len)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]
mod tests;
