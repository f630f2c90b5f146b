//! The frames of a message of another program.

use std::collections::VecDeque;
use std::fmt;

use numpush_message::{AllocError, Buffer, BufferAllocator, BufferMut, DecodeError, Decoder};

/// Most frames of one message.
const MOST: u32 = 1024;

/// Bytes before a frame that is opened where it lies, so that it stays aligned.
const BEFORE: usize = 64;

/// Frames that come one by one, each into memory of its own.
pub(super) struct RawFrames {
    whole: Vec<Buffer<'static>>,
    /// What came before it was known that this is no message of ours, and has no memory yet: whole frames, and the start of
    /// the one at hand.
    early: VecDeque<Vec<u8>>,
    lead: Vec<u8>,
    /// Bytes of the frames that have begun, and the most there may be.
    total: u64,
    most: u64,
    count: u32,
    /// Bytes of the frame at hand, its memory once there is some, and how many bytes of it have come.
    len: usize,
    /// Bytes of that memory before it.
    before: usize,
    region: Option<Box<dyn BufferMut>>,
    filled: usize,
}

impl RawFrames {
    /// A message of at most `most` bytes that begins with the frames `early`. Of the one at hand, of `len` bytes, `lead` has come. Each frame
    /// has room for a byte before it if it is to be `unsealed` where it lies.
    pub(super) fn new(
        most: u64,
        unsealed: bool,
        early: Vec<Vec<u8>>,
        lead: Vec<u8>,
        len: u64,
    ) -> Result<Self, DecodeError> {
        let mut frames = Self {
            whole: Vec::new(),
            early: VecDeque::new(),
            lead: Vec::new(),
            total: 0,
            most,
            count: 0,
            before: if unsealed { BEFORE } else { 0 },
            len: 0,
            region: None,
            filled: 0,
        };
        for frame in early {
            frames.begin(frame.len() as u64)?;
            frames.early.push_back(frame);
        }
        frames.begin(len)?;
        frames.lead = lead;
        Ok(frames)
    }

    /// Begins a frame of `len` bytes.
    pub(super) fn begin(&mut self, len: u64) -> Result<(), DecodeError> {
        self.total = self.total.saturating_add(len);
        self.count += 1;
        if self.total > self.most {
            return Err(DecodeError::PayloadTooLong {
                len: self.total,
                max: self.most,
            });
        }
        if self.count > MOST {
            return Err(DecodeError::TooManyBuffers {
                count: self.count,
                max: MOST,
            });
        }
        self.len = usize::try_from(len).unwrap_or(usize::MAX);
        Ok(())
    }

    /// True if bytes of the frame at hand are worth a read of their own.
    pub(super) fn is_large(&self) -> bool {
        self.len > Decoder::SMALL
    }

    /// Bytes of all frames that have begun.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Asks for the memory of the frame at hand, unless it has some, and for that of those before it. Adds the bytes that were
    /// copied there to `copied`. What a peer claims is not allocated on its word.
    pub(super) fn find_room(
        &mut self,
        allocator: &mut dyn BufferAllocator,
        copied: &mut u64,
    ) -> Result<(), AllocError> {
        while let Some(frame) = self.early.front() {
            let mut region = allocator.allocate(frame.len())?;
            region.as_mut_slice().copy_from_slice(frame);
            *copied += frame.len() as u64;
            self.whole.push(region.freeze());
            self.early.pop_front();
        }
        if self.region.is_none() {
            let len = self.region_len();
            self.region = Some(match self.is_large() {
                true => allocator.claim(len)?,
                false => allocator.allocate(len)?,
            });
        }
        while !self.lead.is_empty() {
            let lead = std::mem::take(&mut self.lead);
            let placed = self.spare().map(|spare| {
                let count = spare.len().min(lead.len());
                spare
                    .iter_mut()
                    .zip(&lead)
                    .for_each(|(to, from)| *to = *from);
                count
            });
            let count = *placed.as_ref().unwrap_or(&0);
            if count == 0 && placed.is_ok() {
                // The region is shorter than it was to be.
                break;
            }
            self.filled += count;
            *copied += count as u64;
            self.lead = lead.get(count..).map_or_else(Vec::new, Vec::from);
            placed?;
        }
        Ok(())
    }

    /// Bytes of the memory of the frame at hand.
    fn region_len(&self) -> usize {
        self.before.saturating_add(self.len)
    }

    /// Where the next bytes of the frame at hand belong, once it has memory.
    pub(super) fn spare(&mut self) -> Result<&mut [u8], AllocError> {
        let (at, end) = (self.before + self.filled, self.region_len());
        let Some(region) = &mut self.region else {
            return Ok(&mut []);
        };
        if region.as_mut_slice().len() <= at {
            region.ensure(at.saturating_add(1).min(end))?;
        }
        let writable = region.as_mut_slice();
        let end = end.min(writable.len());
        Ok(writable.get_mut(at..end).unwrap_or(&mut []))
    }

    /// The frame at hand, which has come whole, and a byte before it that is nobody's.
    pub(super) fn sealed_mut(&mut self) -> Option<&mut [u8]> {
        let (from, end) = (self.before.checked_sub(1)?, self.region_len());
        self.region.as_mut()?.as_mut_slice().get_mut(from..end)
    }

    /// Reports that `count` bytes were written to the front of [`Self::spare`].
    pub(super) fn filled(&mut self, count: usize) {
        self.filled += count;
    }

    /// The frame at hand has come whole, and has memory.
    pub(super) fn end(&mut self) -> Result<(), AllocError> {
        let (before, end) = (self.before, self.region_len());
        if let Some(region) = &mut self.region {
            region.ensure(end)?;
        }
        if let Some(region) = self.region.take() {
            let bytes = region.freeze();
            self.whole.push(match before {
                0 => bytes,
                before => bytes.slice(before..end),
            });
        }
        self.filled = 0;
        Ok(())
    }

    /// All frames, the last of which has come.
    pub(super) fn finish(self) -> Vec<Buffer<'static>> {
        self.whole
    }
}

impl fmt::Debug for RawFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawFrames")
            .field("count", &self.count)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}
