//! The peer's segments: which are mapped here, and which of its messages are still read.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use numpush_message::{
    Backing, Buffer, BufferAllocator, DecodeError, Header, Message, Preamble, Reference, Stability,
};
use numpush_os::{self as os, PeerMapping, SameUser, SealedMapping};

use super::segment::to_usize;
use crate::transfer::{PathReason, Transfer, TransferPath};

/// The peer's segments.
pub(super) struct Borrower {
    /// The peer is of our own user: its memory may be read in place though it could write it.
    trusted: Option<SameUser>,
    segments: HashMap<u32, Arc<Foreign>>,
    returned: Arc<Mutex<Vec<u64>>>,
}

enum Foreign {
    Sealed(Arc<OwnedFd>, Arc<SealedMapping>),
    Peer(Arc<OwnedFd>, Arc<PeerMapping>),
    /// Of a user whose memory is only read by copy.
    Unmapped(std::fs::File, u64),
}

/// Segments a peer may make us keep mapped.
pub(super) const MAX_SEGMENTS: u32 = 256;

impl Borrower {
    pub(super) fn new(trusted: Option<SameUser>) -> Self {
        Self {
            trusted,
            segments: HashMap::new(),
            returned: Arc::default(),
        }
    }

    pub(super) fn accept_segment(
        &mut self,
        record: &Preamble,
        descriptor: Option<OwnedFd>,
    ) -> io::Result<()> {
        let Ok(segment) = u32::try_from(record.id) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let Some(descriptor) = descriptor else {
            self.segments.remove(&segment);
            return Ok(());
        };
        if self.segments.len() >= MAX_SEGMENTS as usize {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let foreign = Foreign::new(descriptor, self.trusted)?;
        self.segments.insert(segment, Arc::new(foreign));
        Ok(())
    }

    pub(super) fn resolve(
        &mut self,
        record: &Preamble,
        header: Header,
        references: &[Reference],
        allocator: &mut dyn BufferAllocator,
    ) -> Result<(Message<'static>, Transfer), DecodeError> {
        let lease = Arc::new(Lease {
            id: record.id,
            returned: Arc::clone(&self.returned),
        });
        let mut transfer = Transfer {
            bytes: record.payload_len,
            path: TransferPath::Reference,
            reason: PathReason::StableDescriptor,
            ..Transfer::default()
        };
        let mut buffers = Vec::with_capacity(references.len());
        for (reference, &len) in references.iter().zip(&header.buffer_lens) {
            let len = to_usize(len);
            if len == 0 {
                buffers.push(Buffer::default());
                continue;
            }
            let foreign = self.segments.get(&reference.segment);
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
                os::read_at(file, region.as_mut_slice(), reference.offset).map_err(|_| outside)?;
                (transfer.path, transfer.reason) = (TransferPath::Read, PathReason::ForeignUser);
                buffers.push(region.freeze());
                continue;
            }
            let lent = foreign.lend(reference.offset, len, &lease);
            match allocator.adopt(lent.map_err(|_| outside)?) {
                Ok(buffer) => buffers.push(buffer),
                Err(lent) => {
                    let mut region = allocator.allocate(len)?;
                    region.as_mut_slice().copy_from_slice(&lent);
                    (transfer.path, transfer.reason) =
                        (TransferPath::SegmentCopy, PathReason::Allocator);
                    transfer.copied += len as u64;
                    buffers.push(region.freeze());
                }
            }
        }
        Ok((header.resolve(buffers)?, transfer))
    }

    pub(super) fn take_releases(&mut self) -> Vec<u64> {
        let mut returned = os::lock(&self.returned);
        std::mem::take(&mut *returned)
    }
}

impl Foreign {
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
        let lease = Arc::clone(lease);
        let (buffer, file, stability) = match &**self {
            Self::Sealed(file, mapping) => {
                let mapping = Arc::clone(mapping);
                let bytes = SealedBytes { mapping, range };
                let buffer = Buffer::from_owner(Loan {
                    bytes,
                    _lease: lease,
                });
                (buffer, file, Stability::Sealed)
            }
            Self::Peer(file, mapping) => {
                let bytes = mapping.lend(range)?;
                let buffer = Buffer::from_owner(Loan {
                    bytes,
                    _lease: lease,
                });
                (buffer, file, Stability::Held)
            }
            Self::Unmapped(..) => return Err(io::ErrorKind::Unsupported.into()),
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
    _lease: Arc<Lease>,
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
    returned: Arc<Mutex<Vec<u64>>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        os::lock(&self.returned).push(self.id);
    }
}
