//! Segments on both sides of a unix link: which the peer knows, which are lent, and when they come back.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use numpush_message::{
    ALIGNMENT, Backing, Buffer, BufferAllocator, DecodeError, Header, Message, Preamble, Reference,
    Stability,
};
use numpush_os::{self as os, Memfd, PeerMapping, SealedMapping};

use crate::stream::{Announcement, Medium, Plan, goes_by_file};
use crate::transfer::{PathReason, Transfer, TransferPath};

/// Memory that is filled once, sealed, and then passed to other processes without a copy.
///
/// ```
/// # use numpush_transports::unix::Segment;
/// let mut segment = Segment::new(1 << 20)?;
/// segment.as_mut_slice().fill(7);
/// let buffer = segment.seal()?;   // a Buffer whose descriptor a unix link passes on
/// assert_eq!(buffer[0], 7);
/// # Ok::<(), numpush_transports::unix::SegmentError>(())
/// ```
#[derive(Debug)]
pub struct Segment(Memfd);

/// A segment could not be made or sealed.
#[derive(Debug, thiserror::Error)]
#[error("segment of {len} bytes")]
pub struct SegmentError {
    /// Bytes of the segment.
    pub len: usize,
    /// Why.
    pub source: io::Error,
}

impl Segment {
    /// Makes a segment of `len` zero bytes, all of them allocated.
    ///
    /// # Errors
    /// [`SegmentError`] if memory or descriptors are short.
    pub fn new(len: usize) -> Result<Self, SegmentError> {
        Memfd::new(len)
            .map(Self)
            .map_err(|source| SegmentError { len, source })
    }

    /// The bytes, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.0.as_mut_slice()
    }

    /// Ends the writing for good and gives the bytes out.
    ///
    /// # Errors
    /// [`SegmentError`] if the kernel cannot map them again.
    pub fn seal(self) -> Result<Buffer<'static>, SegmentError> {
        let len = self.0.len();
        let (file, mapping) = self
            .0
            .seal()
            .map_err(|source| SegmentError { len, source })?;
        Ok(Buffer::from_owner(mapping).with_backing(Backing {
            file,
            offset: 0,
            stability: Stability::Sealed,
        }))
    }
}

/// The medium of a unix link.
pub(crate) struct Segments {
    /// The peer is of our own user: its memory may be read in place though it could write it.
    trusted: bool,
    lender: Lender,
    borrower: Borrower,
}

/// Our segments, and what the peer holds of them.
struct Lender {
    budget: u64,
    next_segment: u32,
    /// Segments of ours for plain memory.
    slots: Vec<Slot>,
    /// Other descriptors the peer has mapped, by their address; the descriptor is held so that the address stays ours.
    known: HashMap<usize, Known>,
    /// By message.
    lent: HashMap<u32, Lent>,
}

struct Slot {
    memory: Memfd,
    segment: u32,
    announced: bool,
    lent: bool,
}

struct Known {
    segment: u32,
    last_used: u32,
    _descriptor: Arc<OwnedFd>,
}

#[derive(Default)]
struct Lent {
    slot: Option<u32>,
    _held: Vec<Buffer<'static>>,
}

/// The peer's segments.
struct Borrower {
    segments: HashMap<u32, Arc<Foreign>>,
    returned: Arc<Mutex<Vec<u32>>>,
}

enum Foreign {
    Sealed(Arc<OwnedFd>, SealedMapping),
    Peer(Arc<OwnedFd>, PeerMapping),
    /// Of a user whose memory is only read by copy.
    Unmapped(std::fs::File, u64),
}

/// Descriptors of the user's own that the peer is asked to keep mapped.
const MAX_KNOWN: usize = 64;

/// Segments a peer may make us keep mapped.
const MAX_SEGMENTS: usize = 256;

/// Segments up to this many bytes in all are made without waiting for others to come back: two that take turns let
/// the sender fill one while the receiver reads the other.
const PIPELINE: usize = 32 << 20;

/// Segments are made in this grain, so that sizes that vary a little find one again.
const GRAIN: usize = 1 << 20;

/// Plain messages from this size on are worth a segment; below, one write is faster.
const SEGMENT_FROM: u64 = 64 << 10;

impl Segments {
    pub(crate) fn new(trusted: bool, budget: u64) -> Self {
        let lender = Lender {
            budget,
            next_segment: 1,
            slots: Vec::new(),
            known: HashMap::new(),
            lent: HashMap::new(),
        };
        Self {
            trusted,
            lender,
            borrower: Borrower {
                segments: HashMap::new(),
                returned: Arc::default(),
            },
        }
    }
}

impl Medium for Segments {
    const DESCRIPTORS: bool = true;
    const KEEPS_SENT: bool = true;

    fn patience(&self, message: &Message<'_>) -> Option<Duration> {
        let plain = plain_len(&message.buffers());
        if plain < to_usize(SEGMENT_FROM) || self.lender.has_free(plain) {
            return None;
        }
        let used = self
            .lender
            .slots
            .iter()
            .map(|slot| slot.memory.len())
            .sum::<usize>();
        // Not a second segment of this size while the first may come back sooner than the second is made.
        (used > 0 && used + plain > PIPELINE).then(|| Duration::from_nanos(plain as u64))
    }

    fn plan(&mut self, message: &Message<'_>, id: u32, checksums: bool) -> Plan {
        let buffers = message.buffers();
        let plain = plain_len(&buffers);
        if checksums
            || (plain < to_usize(SEGMENT_FROM)
                && !buffers.iter().any(|buffer| by_reference(buffer)))
        {
            return Plan::Write(if checksums {
                PathReason::PlainMemory
            } else {
                PathReason::Small
            });
        }
        let mut announce = Vec::new();
        let mut slot = None;
        if plain > 0 {
            match self.lender.slot(plain, &mut announce) {
                Ok(index) => slot = Some(index),
                Err(reason) => return Plan::Write(reason),
            }
        }
        let mut references = Vec::with_capacity(buffers.len());
        let (mut at, mut copied, mut held) = (0, 0, Vec::new());
        for buffer in buffers {
            let backing = buffer.backing().filter(|_| by_reference(buffer));
            if let Some(backing) = backing {
                let segment = self.lender.introduce(&backing.file, id, &mut announce);
                references.push(Reference {
                    segment,
                    offset: backing.offset,
                });
                held.push(buffer.clone().into_owned_or_copy());
            } else if let Some(slot) =
                slot.and_then(|index: usize| self.lender.slots.get_mut(index))
            {
                slot.memory.as_mut_slice()[at..at + buffer.len()].copy_from_slice(buffer);
                references.push(Reference {
                    segment: slot.segment,
                    offset: at as u64,
                });
                at += room(buffer);
                copied += buffer.len() as u64;
            } else {
                references.push(Reference {
                    segment: 0,
                    offset: 0,
                });
            }
        }
        let slot = slot.and_then(|index| self.lender.slots.get_mut(index));
        let slot = slot.map(|slot| {
            slot.lent = true;
            slot.segment
        });
        self.lender.lent.insert(id, Lent { slot, _held: held });
        Plan::Refer {
            announce,
            references,
            copied,
        }
    }

    fn accept_segment(&mut self, record: &Preamble, descriptor: Option<OwnedFd>) -> io::Result<()> {
        let Some(descriptor) = descriptor else {
            self.borrower.segments.remove(&record.id);
            return Ok(());
        };
        if self.borrower.segments.len() >= MAX_SEGMENTS {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let foreign = Foreign::new(descriptor, self.trusted)?;
        self.borrower.segments.insert(record.id, Arc::new(foreign));
        Ok(())
    }

    fn resolve(
        &mut self,
        record: &Preamble,
        summary: Header,
        references: &[Reference],
        allocator: &mut dyn BufferAllocator,
    ) -> Result<(Message<'static>, Transfer), DecodeError> {
        let lease = Arc::new(Lease {
            id: record.id,
            returned: Arc::clone(&self.borrower.returned),
        });
        let mut transfer = Transfer {
            bytes: record.payload_len,
            path: TransferPath::Reference,
            reason: PathReason::StableDescriptor,
            ..Transfer::default()
        };
        let mut buffers = Vec::with_capacity(references.len());
        for (reference, &len) in references.iter().zip(&summary.buffers) {
            let len = to_usize(len);
            if len == 0 {
                buffers.push(Buffer::default());
                continue;
            }
            let foreign = self.borrower.segments.get(&reference.segment);
            let size = foreign.map_or(0, |foreign| foreign.len());
            let outside = DecodeError::Reference {
                segment: reference.segment,
                offset: reference.offset,
                len: len as u64,
                size,
            };
            let end = reference
                .offset
                .checked_add(len as u64)
                .filter(|&end| end <= size);
            let (Some(foreign), Some(_)) = (foreign, end) else {
                return Err(outside);
            };
            if let Foreign::Unmapped(file, _) = &**foreign {
                let mut region = allocator.allocate(len)?;
                os::read_at(file, region.bytes(), reference.offset).map_err(|_| outside)?;
                (transfer.path, transfer.reason) = (TransferPath::Read, PathReason::ForeignUser);
                buffers.push(region.finish());
            } else if allocator.insists() {
                let mut region = allocator.allocate(len)?;
                let start = to_usize(reference.offset);
                region
                    .bytes()
                    .copy_from_slice(&foreign.bytes()[start..start + len]);
                (transfer.path, transfer.reason) =
                    (TransferPath::SegmentCopy, PathReason::Allocator);
                transfer.copied += len as u64;
                buffers.push(region.finish());
            } else {
                buffers.push(foreign.lend(reference.offset, len, &lease));
            }
        }
        Ok((summary.resolve(buffers)?, transfer))
    }

    fn released(&mut self, id: u32) {
        let Some(lent) = self.lender.lent.remove(&id) else {
            return;
        };
        if let Some(slot) = self
            .lender
            .slots
            .iter_mut()
            .find(|slot| Some(slot.segment) == lent.slot)
        {
            slot.lent = false;
        }
    }

    fn take_releases(&mut self) -> Vec<u32> {
        let mut returned = self
            .borrower
            .returned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *returned)
    }
}

impl Lender {
    fn has_free(&self, len: usize) -> bool {
        self.slots
            .iter()
            .any(|slot| !slot.lent && slot.memory.len() >= len)
    }

    /// A segment with room for `len` bytes that is not lent: one there is, or a new one within the budget.
    fn slot(&mut self, len: usize, announce: &mut Vec<Announcement>) -> Result<usize, PathReason> {
        let free = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| !slot.lent && slot.memory.len() >= len);
        let index = match free.min_by_key(|(_, slot)| slot.memory.len()) {
            Some((index, _)) => index,
            None => self.add_slot(len.next_multiple_of(GRAIN), announce)?,
        };
        if let Some(slot) = self.slots.get_mut(index).filter(|slot| !slot.announced) {
            slot.announced = true;
            let descriptor = Some(Arc::clone(slot.memory.descriptor()));
            announce.push(Announcement {
                segment: slot.segment,
                descriptor,
            });
        }
        Ok(index)
    }

    fn add_slot(
        &mut self,
        len: usize,
        announce: &mut Vec<Announcement>,
    ) -> Result<usize, PathReason> {
        // Free segments that were too small make way: one of the right size replaces them.
        self.slots.retain(|slot| {
            if !slot.lent {
                announce.push(Announcement {
                    segment: slot.segment,
                    descriptor: None,
                });
            }
            slot.lent
        });
        let used: usize = self.slots.iter().map(|slot| slot.memory.len()).sum();
        if (used + len) as u64 > self.budget {
            return Err(PathReason::SegmentsHeld);
        }
        let memory = Memfd::new(len).map_err(|_| PathReason::NoSegment)?;
        memory
            .forbid_new_writers()
            .map_err(|_| PathReason::NoSegment)?;
        memory.populate().map_err(|_| PathReason::NoSegment)?;
        self.slots.push(Slot {
            memory,
            segment: self.next_segment,
            announced: false,
            lent: false,
        });
        self.next_segment += 1;
        Ok(self.slots.len() - 1)
    }

    /// The segment number of a descriptor, announced if the peer does not know it.
    fn introduce(
        &mut self,
        descriptor: &Arc<OwnedFd>,
        id: u32,
        announce: &mut Vec<Announcement>,
    ) -> u32 {
        let address = Arc::as_ptr(descriptor).addr();
        if let Some(known) = self.known.get_mut(&address) {
            known.last_used = id;
            return known.segment;
        }
        if self.known.len() >= MAX_KNOWN {
            // The one not used for longest is forgotten; what is lent of it stays mapped over there.
            let oldest = self
                .known
                .iter()
                .max_by_key(|(_, known)| id.wrapping_sub(known.last_used));
            if let Some(known) = oldest
                .map(|(&address, _)| address)
                .and_then(|oldest| self.known.remove(&oldest))
            {
                announce.push(Announcement {
                    segment: known.segment,
                    descriptor: None,
                });
            }
        }
        let segment = self.next_segment;
        self.next_segment += 1;
        self.known.insert(
            address,
            Known {
                segment,
                last_used: id,
                _descriptor: Arc::clone(descriptor),
            },
        );
        announce.push(Announcement {
            segment,
            descriptor: Some(Arc::clone(descriptor)),
        });
        segment
    }
}

impl Foreign {
    fn new(descriptor: OwnedFd, trusted: bool) -> io::Result<Self> {
        if os::is_sealed(&descriptor) {
            let mapping = SealedMapping::new(&descriptor)?;
            return Ok(Self::Sealed(Arc::new(descriptor), mapping));
        }
        // Mapped even if it will only be read: that checks that it is memory, and that it cannot shrink.
        let mapping = PeerMapping::new(&descriptor)?;
        if !trusted {
            return Ok(Self::Unmapped(descriptor.into(), mapping.len() as u64));
        }
        mapping.populate()?;
        Ok(Self::Peer(Arc::new(descriptor), mapping))
    }

    fn len(&self) -> u64 {
        match self {
            Self::Sealed(_, mapping) => mapping.len() as u64,
            Self::Peer(_, mapping) => mapping.len() as u64,
            Self::Unmapped(_, len) => *len,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Sealed(_, mapping) => mapping,
            Self::Peer(_, mapping) => mapping,
            Self::Unmapped(..) => &[],
        }
    }

    /// A buffer over a range that was checked, which returns the loan of its message when the last clone is gone.
    fn lend(self: &Arc<Self>, offset: u64, len: usize, lease: &Arc<Lease>) -> Buffer<'static> {
        let start = to_usize(offset);
        let buffer = Buffer::from_owner(Loan {
            foreign: Arc::clone(self),
            start,
            len,
            _lease: Arc::clone(lease),
        });
        let (file, stability) = match &**self {
            Self::Sealed(file, _) => (file, Stability::Sealed),
            Self::Peer(file, _) => (file, Stability::Held),
            Self::Unmapped(..) => return buffer,
        };
        buffer.with_backing(Backing {
            file: Arc::clone(file),
            offset,
            stability,
        })
    }
}

struct Loan {
    foreign: Arc<Foreign>,
    start: usize,
    len: usize,
    _lease: Arc<Lease>,
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        &self.foreign.bytes()[self.start..self.start + self.len]
    }
}

/// What one message lends; given back when the last buffer of it is dropped, on whatever thread.
struct Lease {
    id: u32,
    returned: Arc<Mutex<Vec<u32>>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.returned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.id);
    }
}

/// Buffers that lie in memory behind a descriptor go as references to it.
fn by_reference(buffer: &Buffer<'_>) -> bool {
    goes_by_file(buffer) && is_memory(buffer) && !buffer.is_borrowed()
}

/// Bytes that have to be copied into a segment.
fn plain_len(buffers: &[&Buffer<'_>]) -> usize {
    buffers
        .iter()
        .filter(|buffer| !by_reference(buffer))
        .map(|buffer| room(buffer))
        .sum()
}

/// A file cannot be mapped by the peer: it could shrink.
fn is_memory(buffer: &Buffer<'_>) -> bool {
    buffer
        .backing()
        .is_some_and(|backing| backing.stability != Stability::File)
}

/// Bytes a buffer takes in a segment.
fn room(buffer: &Buffer<'_>) -> usize {
    buffer.len().next_multiple_of(ALIGNMENT)
}

fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
