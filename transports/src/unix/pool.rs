//! Our own segments, in which plain memory is lent: few and growing, handed out in runs.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use numpush_message::{ALIGNMENT, Buffer};
use numpush_os::{FreeRuns, LentMemory, Memfd, PAGE};

use crate::transfer::PathReason;

/// Segments for plain memory.
pub(super) struct Pool {
    /// Bytes that the segments may have in all.
    budget: usize,
    /// Oldest first: they are filled first, so that the others become unused.
    segments: Vec<Segment>,
    /// The most bytes that were lent at once, forgotten by and by as more are lent.
    peak: usize,
}

struct Segment {
    number: u32,
    memory: LentMemory,
    free: FreeRuns,
    /// Bytes of its runs that are taken.
    taken: usize,
    /// The pages before this are mapped already.
    touched: usize,
    /// The peer has its descriptor.
    announced: bool,
}

/// Bytes of a segment that one message has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) segment: u32,
    pub(super) range: Range<usize>,
}

/// Plain messages from this size on are worth a segment; below, one write is faster.
pub(super) const SEGMENT_FROM: usize = 64 << 10;

/// A first segment for no more than a few bytes beside other segments.
const SMALL_GRAIN: usize = 64 << 10;

/// Segments are a multiple of this long, unless memory is short.
const GRAIN: usize = 1 << 20;

/// Segments double what there is until they are this long. So few suffice, and what is not used of them is bounded.
const LARGEST_GROWTH: usize = 64 << 20;

/// A burst is forgotten after this many times its bytes. Sooner, and a sender whose receiver is slow at times would make
/// again and again what it has just removed.
const MEMORY: usize = 8;

impl Pool {
    pub(super) fn new(budget: u64) -> Self {
        Self {
            budget: usize::try_from(budget).unwrap_or(usize::MAX),
            segments: Vec::new(),
            peak: 0,
        }
    }

    /// Bytes of all segments.
    pub(super) fn total(&self) -> usize {
        let lens = self.segments.iter().map(|segment| segment.memory.len());
        lens.sum()
    }

    /// Bytes that messages have.
    pub(super) fn taken(&self) -> usize {
        self.segments.iter().map(|segment| segment.taken).sum()
    }

    /// True if a run of `len` bytes is free.
    pub(super) fn has(&self, len: usize) -> bool {
        let mut segments = self.segments.iter();
        segments.any(|segment| segment.free.largest() >= len)
    }

    /// Takes `len` bytes of a segment that there is.
    pub(super) fn take(&mut self, len: usize) -> Option<Run> {
        let run = self
            .segments
            .iter_mut()
            .find_map(|segment| segment.take(len))?;
        self.peak = self.taken().max(self.peak.saturating_sub(len / MEMORY));
        Some(run)
    }

    /// Bytes of the segment that is made for `len` bytes while there is enough memory; `None` if the budget has no room for
    /// it, with nothing left that no message uses.
    pub(super) fn growth(&self, len: usize) -> Option<usize> {
        let unused = self.segments.iter().filter(|segment| segment.taken == 0);
        let unused: usize = unused.map(|segment| segment.memory.len()).sum();
        let room = self.budget.saturating_sub(self.total() - unused);
        let sizes = [self.generous(len), len.checked_next_multiple_of(PAGE)];
        sizes.into_iter().flatten().find(|&size| size <= room)
    }

    /// As much as there is already: each segment doubles the whole.
    fn generous(&self, len: usize) -> Option<usize> {
        let grain = if len < SEGMENT_FROM {
            SMALL_GRAIN
        } else {
            GRAIN
        };
        let growth = len.max(self.total().min(LARGEST_GROWTH));
        growth.checked_next_multiple_of(grain)
    }

    /// Makes a segment with room for `len` bytes.
    pub(super) fn grow(&mut self, number: u32, len: usize) -> Result<(), PathReason> {
        let room = self.budget.saturating_sub(self.total());
        let generous = self.generous(len).filter(|&generous| generous <= room);
        let exact = len.checked_next_multiple_of(PAGE);
        let exact = exact.filter(|&exact| exact <= room);
        let Some(exact) = exact else {
            return Err(PathReason::SegmentsHeld);
        };
        let made = generous.map(Memfd::new);
        let made = match made {
            Some(Ok(memory)) => Ok(memory),
            _ => Memfd::new(exact),
        };
        let memory = made
            .and_then(Memfd::lend)
            .map_err(|_| PathReason::NoSegment)?;
        self.segments.push(Segment {
            number,
            free: FreeRuns::whole(memory.len()),
            memory,
            taken: 0,
            touched: 0,
            announced: false,
        });
        Ok(())
    }

    /// Copies `buffers` one after another into a run that has room for them.
    pub(super) fn fill<'b>(
        &mut self,
        run: &Run,
        buffers: impl Iterator<Item = &'b Buffer<'b>>,
    ) -> io::Result<()> {
        let segment = self.find(run.segment).ok_or(io::ErrorKind::NotFound)?;
        let Range { start, end } = run.range;
        if end > segment.touched {
            segment.memory.populate(start.max(segment.touched)..end)?;
            segment.touched = end;
        }
        let mut bytes = segment.memory.write(start..end)?;
        let mut at = 0;
        for buffer in buffers {
            bytes[at..at + buffer.len()].copy_from_slice(buffer);
            at += room(buffer);
        }
        Ok(())
    }

    /// Takes back what [`Self::take`] has handed out.
    pub(super) fn give(&mut self, run: &Run) {
        if let Some(segment) = self.find(run.segment) {
            segment.free.give(run.range.start, run.range.len());
            segment.taken -= run.range.len();
        }
    }

    /// Removes segments that no message uses, for as long as the rest suffices for what was lent at once of late. Returns
    /// the numbers of those that the peer knows.
    pub(super) fn shrink(&mut self) -> Vec<u32> {
        let enough = self.peak + self.peak / 4;
        let mut total = self.total();
        let mut stop = false;
        self.remove(|segment| {
            let rest = total - segment.memory.len();
            // Smaller ones are not removed in its place: they would be needed to do without it later.
            stop |= segment.taken == 0 && (rest < enough || rest == 0);
            let goes = segment.taken == 0 && !stop;
            if goes {
                total = rest;
            }
            goes
        })
    }

    /// Removes segments that no message uses until `len` bytes more are within the budget, if all of them make that much
    /// room. Returns the numbers of those that the peer knows.
    pub(super) fn make_room(&mut self, len: usize) -> Vec<u32> {
        let unused = self.segments.iter().filter(|segment| segment.taken == 0);
        let unused: usize = unused.map(|segment| segment.memory.len()).sum();
        let mut total = self.total();
        let limit = self.budget.saturating_sub(len);
        if total <= limit || total - unused > limit || len > self.budget {
            return Vec::new();
        }
        self.remove(|segment| {
            let goes = segment.taken == 0 && total > limit;
            if goes {
                total -= segment.memory.len();
            }
            goes
        })
    }

    /// Removes up to `count` segments that the peer knows and no message uses. Returns their numbers.
    pub(super) fn remove_unused(&mut self, mut count: usize) -> Vec<u32> {
        self.remove(|segment| {
            let goes = segment.announced && segment.taken == 0 && count > 0;
            count -= usize::from(goes);
            goes
        })
    }

    /// Number of the segments that the peer knows and no message uses.
    pub(super) fn unused(&self) -> usize {
        let unused = |segment: &&Segment| segment.announced && segment.taken == 0;
        self.segments.iter().filter(unused).count()
    }

    /// Number of the segments that the peer knows.
    pub(super) fn announced(&self) -> usize {
        let announced = self.segments.iter().filter(|segment| segment.announced);
        announced.count()
    }

    /// The peer knows the segment, if it is one of ours.
    pub(super) fn set_announced(&mut self, number: u32) {
        if let Some(segment) = self.find(number) {
            segment.announced = true;
        }
    }

    /// The descriptor of a segment that the peer does not know.
    pub(super) fn unannounced(&self, number: u32) -> Option<Arc<OwnedFd>> {
        let mut segments = self.segments.iter();
        let segment = segments.find(|segment| segment.number == number && !segment.announced)?;
        Some(Arc::clone(segment.memory.descriptor()))
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.segments.iter().any(|segment| segment.number == number)
    }

    fn find(&mut self, number: u32) -> Option<&mut Segment> {
        let mut segments = self.segments.iter_mut();
        segments.find(|segment| segment.number == number)
    }

    /// Removes segments, newest first: the oldest are filled first. Returns the numbers of those that the peer knows.
    fn remove(&mut self, mut goes: impl FnMut(&Segment) -> bool) -> Vec<u32> {
        let mut known = Vec::new();
        for at in (0..self.segments.len()).rev() {
            if goes(&self.segments[at]) {
                let segment = self.segments.remove(at);
                known.extend(segment.announced.then_some(segment.number));
            }
        }
        known
    }
}

impl Segment {
    fn take(&mut self, len: usize) -> Option<Run> {
        let start = self.free.take(len)?;
        self.taken += len;
        Some(Run {
            segment: self.number,
            range: start..start + len,
        })
    }
}

/// Bytes that a buffer takes in a segment.
pub(super) fn room(buffer: &Buffer<'_>) -> usize {
    buffer.len().next_multiple_of(ALIGNMENT)
}
