//! The peer's segments: which are mapped here, and which of its messages are still read.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use numpush_message::{Backing, Buffer, BufferAllocator, DecodeError, Reference, Stability};
use numpush_os::{self as os, ForkMutex, PeerMapping, SameUser, SealedMapping};

use super::segment::to_usize;
use crate::budget::{Place, Share};
use crate::transfer::{PathReason, Transfer, TransferPath};

/// The peer's segments.
pub(crate) struct Borrower {
    /// The peer is of our own user: its memory may be read in place though it could write it.
    trusted: Option<SameUser>,
    /// What we keep at most. A segment has its place until it is unmapped.
    share: Share,
    segments: HashMap<u32, Arc<Foreign>>,
    returned: Arc<ForkMutex<Vec<u64>>>,
}

/// Memory of the peer, mapped until it is forgotten and the last buffer that lies in it is gone.
struct Foreign {
    memory: Memory,
    _place: Place,
}

enum Memory {
    Sealed(Arc<OwnedFd>, Arc<SealedMapping>),
    Peer(Arc<OwnedFd>, Arc<PeerMapping>),
    /// Of a user whose memory is only read by copy.
    Unmapped(std::fs::File, u64),
}

/// What a peer did wrong about its segments.
#[derive(Debug, thiserror::Error)]
enum SegmentFault {
    #[error("segment {segment} is one more than the {limit} that this side offered to keep")]
    TooMany { segment: u32, limit: u32 },
    #[error("segment {segment} was announced before, and is not forgotten")]
    Twice { segment: u32 },
    #[error("segment {segment} cannot be forgotten: it was never announced")]
    Unknown { segment: u32 },
    #[error("0 is no number of a segment")]
    Zero,
}

impl From<SegmentFault> for io::Error {
    fn from(fault: SegmentFault) -> Self {
        let kind = match fault {
            SegmentFault::TooMany { .. } => io::ErrorKind::QuotaExceeded,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, fault)
    }
}

impl Borrower {
    /// A borrower that keeps as many segments mapped as its share has places.
    pub(super) fn new(trusted: Option<SameUser>, share: Share) -> Self {
        Self {
            trusted,
            share,
            segments: HashMap::new(),
            returned: Arc::default(),
        }
    }

    /// Maps the segment that is announced, or forgets it if no descriptor came.
    pub(super) fn accept_segment(
        &mut self,
        segment: u32,
        descriptor: Option<OwnedFd>,
    ) -> io::Result<()> {
        let Some(descriptor) = descriptor else {
            return self.forget(segment);
        };
        if segment == 0 {
            return Err(SegmentFault::Zero.into());
        }
        if self.segments.contains_key(&segment) {
            return Err(SegmentFault::Twice { segment }.into());
        }
        let limit = self.share.count();
        let place = self.share.place();
        let place = place.ok_or(SegmentFault::TooMany { segment, limit })?;
        let foreign = Foreign {
            memory: Memory::new(descriptor, self.trusted)?,
            _place: place,
        };
        self.segments.insert(segment, Arc::new(foreign));
        Ok(())
    }

    fn forget(&mut self, segment: u32) -> io::Result<()> {
        let forgotten = self.segments.remove(&segment);
        forgotten.ok_or(SegmentFault::Unknown { segment })?;
        Ok(())
    }

    /// The buffers of message `id`. After an error nothing of it is borrowed.
    pub(super) fn resolve(
        &mut self,
        id: u64,
        lens: &[u64],
        references: &[Reference],
        allocator: &mut dyn BufferAllocator,
    ) -> Result<(Vec<Buffer<'static>>, Transfer), DecodeError> {
        let lease = Arc::new(Lease {
            id,
            returned: Arc::clone(&self.returned),
            is_void: AtomicBool::new(false),
        });
        let mut transfer = Transfer {
            path: TransferPath::Reference,
            reason: PathReason::StableDescriptor,
            ..Transfer::default()
        };
        let buffers: Result<Vec<_>, _> = references
            .iter()
            .zip(lens)
            .map(|(reference, &len)| self.buffer(reference, len, &lease, allocator, &mut transfer))
            .collect();
        if buffers.is_err() {
            lease.is_void.store(true, Ordering::Relaxed);
        }
        Ok((buffers?, transfer))
    }

    /// One buffer of a message.
    fn buffer(
        &self,
        reference: &Reference,
        len: u64,
        lease: &Arc<Lease>,
        allocator: &mut dyn BufferAllocator,
        transfer: &mut Transfer,
    ) -> Result<Buffer<'static>, DecodeError> {
        if len == 0 {
            return Ok(Buffer::default());
        }
        let &Reference { segment, offset } = reference;
        let foreign = self.segments.get(&segment);
        let size = foreign.map_or(0, |foreign| foreign.memory.len());
        let outside = DecodeError::Reference {
            segment,
            offset,
            len,
            size,
        };
        let end = offset.checked_add(len).filter(|&end| end <= size);
        let (Some(foreign), Some(_)) = (foreign, end) else {
            return Err(outside);
        };
        let len = to_usize(len);
        if let Memory::Unmapped(file, _) = &foreign.memory {
            let mut region = allocator.allocate(len)?;
            os::read_at(file, region.as_mut_slice(), offset).map_err(|_| outside)?;
            (transfer.path, transfer.reason) = (TransferPath::Read, PathReason::ForeignUser);
            return Ok(region.freeze());
        }
        let lent = foreign.lend(offset, len, lease).map_err(|_| outside)?;
        allocator.adopt(lent).or_else(|lent| {
            let mut region = allocator.allocate(len)?;
            region.as_mut_slice().copy_from_slice(&lent);
            (transfer.path, transfer.reason) = (TransferPath::SegmentCopy, PathReason::Allocator);
            transfer.copied += len as u64;
            Ok(region.freeze())
        })
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        self.segments.clear();
        self.share.end();
    }

    /// The peer is of another user: what it could still write is not read in place.
    pub(super) fn copies(&self) -> bool {
        self.trusted.is_none()
    }

    pub(super) fn take_releases(&mut self) -> Vec<u64> {
        std::mem::take(&mut *self.returned.lock())
    }
}

impl Memory {
    fn new(descriptor: OwnedFd, trusted: Option<SameUser>) -> io::Result<Self> {
        if os::is_sealed(&descriptor) {
            let mapping = SealedMapping::new(&descriptor)?;
            return Ok(Self::Sealed(Arc::new(descriptor), Arc::new(mapping)));
        }
        let Some(peer) = trusted else {
            // It will be read by copy, but like the others it must be memory that cannot shrink.
            let len = os::lent_len(&descriptor)? as u64;
            return Ok(Self::Unmapped(descriptor.into(), len));
        };
        let mapping = PeerMapping::new(&descriptor, &peer)?;
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
}

impl Foreign {
    /// A buffer over a range that was checked, which returns the loan of its message when the last clone is gone.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] if the peer is this process and writes the memory it has lent.
    fn lend(
        self: &Arc<Self>,
        offset: u64,
        len: usize,
        lease: &Arc<Lease>,
    ) -> io::Result<Buffer<'static>> {
        let range = to_usize(offset)..to_usize(offset) + len;
        let (buffer, file, stability) = match &self.memory {
            Memory::Sealed(file, mapping) => {
                let mapping = Arc::clone(mapping);
                let loan = Loan::new(SealedBytes { mapping, range }, self, lease);
                (Buffer::from_owner(loan), file, Stability::Sealed)
            }
            Memory::Peer(file, mapping) => {
                let loan = Loan::new(mapping.lend(range)?, self, lease);
                (Buffer::from_owner(loan), file, Stability::Held)
            }
            Memory::Unmapped(..) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(buffer.with_backing(Backing {
            file: Arc::clone(file),
            offset,
            stability,
        }))
    }
}

struct Loan<B> {
    // Dropped first: the bytes are not borrowed any more when the peer learns that it may write them.
    bytes: B,
    _foreign: Arc<Foreign>,
    _lease: Arc<Lease>,
}

impl<B> Loan<B> {
    fn new(bytes: B, foreign: &Arc<Foreign>, lease: &Arc<Lease>) -> Self {
        Self {
            bytes,
            _foreign: Arc::clone(foreign),
            _lease: Arc::clone(lease),
        }
    }
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Loan<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

struct SealedBytes {
    mapping: Arc<SealedMapping>,
    range: Range<usize>,
}

impl AsRef<[u8]> for SealedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.mapping[self.range.clone()]
    }
}

/// What one message lends; returned when its last buffer is dropped, on any thread.
struct Lease {
    id: u64,
    returned: Arc<ForkMutex<Vec<u64>>>,
    /// The message could not be had, and lends nothing.
    is_void: AtomicBool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !*self.is_void.get_mut() {
            self.returned.lock().push(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;

    use numpush_message::HeapAllocator;
    use numpush_os::Memfd;

    use super::*;

    const LEN: usize = 1 << 16;

    fn borrower(limit: u64) -> Borrower {
        let (one, _other) = UnixStream::pair().unwrap();
        let trusted = os::peer_credentials(&one).unwrap().same_user();
        assert!(trusted.is_some());
        Borrower::new(trusted, Share::of(limit))
    }

    fn descriptor(fill: u8) -> OwnedFd {
        let mut memory = Memfd::new(LEN).unwrap();
        memory.as_mut_slice().fill(fill);
        memory.lend().unwrap().descriptor().try_clone().unwrap()
    }

    fn announce(borrower: &mut Borrower, segment: u32) -> io::Result<()> {
        borrower.accept_segment(segment, Some(descriptor(1)))
    }

    fn resolve(
        borrower: &mut Borrower,
        id: u64,
        places: &[(u32, u64, u64)],
    ) -> Result<Vec<Buffer<'static>>, DecodeError> {
        let references = places
            .iter()
            .map(|&(segment, offset, _)| Reference { segment, offset });
        let references: Vec<_> = references.collect();
        let lens: Vec<_> = places.iter().map(|&(_, _, len)| len).collect();
        let mut heap = HeapAllocator::new();
        let resolved = borrower.resolve(id, &lens, &references, &mut heap);
        resolved.map(|(buffers, _)| buffers)
    }

    /// Mappings of a memory in this process.
    fn mappings(inode: u64) -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let is_it =
            |line: &&str| line.split_whitespace().nth(4) == Some(inode.to_string().as_str());
        maps.lines().filter(is_it).count()
    }

    #[test]
    fn more_segments_than_were_offered_are_named() {
        let mut borrower = borrower(2);
        announce(&mut borrower, 1).unwrap();
        announce(&mut borrower, 2).unwrap();
        let error = announce(&mut borrower, 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        let expected = "segment 3 is one more than the 2 that this side offered to keep";
        assert_eq!(error.to_string(), expected);
        let lent = resolve(&mut borrower, 1, &[(1, 0, 64)]).unwrap();
        borrower.accept_segment(1, None).unwrap();
        announce(&mut borrower, 3).unwrap_err();
        drop(lent);
        announce(&mut borrower, 3).unwrap();
        borrower.accept_segment(2, None).unwrap();
        announce(&mut borrower, 2).unwrap();
    }

    #[test]
    fn numbers_that_are_wrong_are_named() {
        let mut borrower = borrower(10);
        announce(&mut borrower, 1).unwrap();
        assert!(announce(&mut borrower, 1).is_err());
        assert!(announce(&mut borrower, 0).is_err());
        let error = borrower.accept_segment(2, None).unwrap_err();
        let expected = "segment 2 cannot be forgotten: it was never announced";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn memory_is_unmapped_when_it_is_forgotten_and_nobody_reads_it() {
        let mut borrower = borrower(10);
        let memory = descriptor(7);
        let file = std::fs::File::from(memory.try_clone().unwrap());
        let inode = file.metadata().unwrap().ino();
        borrower.accept_segment(1, Some(memory)).unwrap();
        let lent = resolve(&mut borrower, 1, &[(1, 0, 64), (1, 64, 64)]).unwrap();
        assert_eq!(mappings(inode), 1);
        borrower.accept_segment(1, None).unwrap();
        resolve(&mut borrower, 2, &[(1, 0, 64)]).unwrap_err();
        assert_eq!(*lent[1], [7; 64]);
        drop(lent);
        assert_eq!(mappings(inode), 0);
    }

    #[test]
    fn a_message_that_cannot_be_had_is_not_released_and_may_be_tried_again() {
        let mut borrower = borrower(10);
        announce(&mut borrower, 1).unwrap();
        let outside = [(1, 0, 64), (1, LEN as u64, 1)];
        resolve(&mut borrower, 1, &outside).unwrap_err();
        assert!(borrower.take_releases().is_empty());
        let one = resolve(&mut borrower, 1, &outside[..1]).unwrap();
        let two = resolve(&mut borrower, 2, &[(1, 0, 64), (1, 64, 64)]).unwrap();
        let part = two[1].slice(0..8);
        drop(two);
        assert!(borrower.take_releases().is_empty(), "a part of it is read");
        drop(part);
        drop(one);
        assert_eq!(borrower.take_releases(), [2, 1]);
    }
}
