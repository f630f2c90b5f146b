//! Memory that one process writes and others of its user read in turns: the two sides of a loan.
//!
//! Between processes the turns are a promise of the sender. Within a process they are counted, because both sides may live
//! in it: what is borrowed here is not written here.

use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use memmap2::{Advice, Mmap, MmapMut, MmapOptions};

use crate::credentials::SameUser;
use crate::failpoint::failpoint;
use crate::identity::FileId;
use crate::populate::{PAGE, is_supported};
use crate::seal::{FUTURE_WRITE, add_seals, lent_len};
use crate::turns::Turns;

/// Memory of this process that others map to read. Nobody else can map it for writing any more.
#[derive(Debug)]
pub struct LentMemory {
    descriptor: Arc<OwnedFd>,
    mapping: MmapMut,
    turns: Arc<Turns>,
}

/// Bytes of a [`LentMemory`], to write. Meanwhile nobody in this process borrows them.
#[derive(Debug)]
pub struct LentBytesMut<'a> {
    bytes: &'a mut [u8],
    turns: &'a Turns,
    range: Range<usize>,
}

/// Memory that cannot shrink and that only its maker, a process of the same user, can write.
///
/// It lends bytes by [`Self::lend`] only.
#[derive(Debug)]
pub struct PeerMapping {
    mapping: Mmap,
    turns: Arc<Turns>,
}

/// Bytes of a [`PeerMapping`]. A [`LentMemory`] of this process over the same memory does not write them while they live.
#[derive(Debug)]
pub struct PeerBytes {
    peer: Arc<PeerMapping>,
    range: Range<usize>,
}

impl LentMemory {
    /// Lends memory from now on that was just made, is mapped only by `mapping`, and whose descriptor nobody else has.
    pub(crate) fn new(descriptor: OwnedFd, mapping: MmapMut) -> io::Result<Self> {
        add_seals(&descriptor, FUTURE_WRITE)?;
        let turns = Turns::of(FileId::of(&descriptor)?);
        Ok(Self {
            descriptor: Arc::new(descriptor),
            mapping,
            turns,
        })
    }

    /// The descriptor; whoever gets it can read the memory, now and later.
    pub fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.descriptor
    }

    /// Bytes of the memory.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.mapping.is_empty()
    }

    /// True while this process itself borrows some of the bytes.
    pub fn is_borrowed(&self) -> bool {
        self.turns.is_used()
    }

    /// The bytes of `range`, to write. That no other process borrows them now is for the caller to know: it is who lent
    /// them.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if the memory ends before; [`io::ErrorKind::ResourceBusy`] while this process
    /// itself borrows some of them.
    pub fn write(&mut self, range: Range<usize>) -> io::Result<LentBytesMut<'_>> {
        let bytes = self.mapping.get_mut(range.clone());
        let bytes = bytes.ok_or(io::ErrorKind::InvalidInput)?;
        self.turns.begin_writing(&range)?;
        Ok(LentBytesMut {
            bytes,
            turns: &self.turns,
            range,
        })
    }

    /// Maps the pages of `range` now instead of at their first touch;
    /// [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html), MADV_POPULATE_WRITE. Before Linux 5.14 this
    /// touches them.
    ///
    /// # Errors
    /// What madvise(2) reports, [`io::ErrorKind::OutOfMemory`] instead of a fault; as [`Self::write`].
    pub fn populate(&mut self, range: Range<usize>) -> io::Result<()> {
        if self.mapping.get(range.clone()).is_none() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let advise = || {
            failpoint("madvise")?;
            self.mapping
                .advise_range(Advice::PopulateWrite, range.start, range.len())
        };
        if !is_supported(advise)? {
            let mut bytes = self.write(range)?;
            for page in bytes.chunks_mut(PAGE) {
                page[0] = std::hint::black_box(page[0]);
            }
        }
        Ok(())
    }
}

impl Deref for LentBytesMut<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl DerefMut for LentBytesMut<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes
    }
}

impl Drop for LentBytesMut<'_> {
    fn drop(&mut self) {
        self.turns.end_writing(&self.range);
    }
}

impl PeerMapping {
    /// Maps a memory descriptor that a peer sent.
    ///
    /// `_peer` is the proof that the sender runs as the user of this process. Such a peer can write the memory of this
    /// process anyway, so its promise not to write what is borrowed here is all that can be had. From any other peer copy
    /// the bytes, or demand a [`SealedMapping`](crate::SealedMapping).
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if it lacks one of the seals SHRINK, GROW and FUTURE_WRITE (or WRITE), or
    /// has pages that nobody has allocated; else what mmap(2) reports.
    pub fn new(memory: impl AsFd, _peer: &SameUser) -> io::Result<Arc<Self>> {
        let len = lent_len(memory.as_fd())?;
        let turns = Turns::of(FileId::of(memory.as_fd())?);
        failpoint("mmap")?;
        // SAFETY: the seals were just checked, and a seal is never taken off: the bytes do not go. In this process only a
        // `LentMemory` can write them, which takes turns with what `lend` returns. Otherwise only the peer can, which may
        // write any memory of this process.
        let mapping = unsafe { MmapOptions::new().len(len).map(&memory.as_fd()) }?;
        Ok(Arc::new(Self { mapping, turns }))
    }

    /// Bytes of the memory.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.mapping.is_empty()
    }

    /// Borrows bytes, on the peer's word that it does not write them meanwhile.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if the memory ends before; [`io::ErrorKind::ResourceBusy`] if the peer is this
    /// process, and writes them now.
    pub fn lend(self: &Arc<Self>, range: Range<usize>) -> io::Result<PeerBytes> {
        if self.mapping.get(range.clone()).is_none() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.turns.begin_reading(&range)?;
        Ok(PeerBytes {
            peer: Arc::clone(self),
            range,
        })
    }

    /// Maps every page now instead of at its first touch;
    /// [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html), MADV_POPULATE_READ. Before Linux 5.14 this
    /// touches them.
    ///
    /// # Errors
    /// What madvise(2) reports, [`io::ErrorKind::OutOfMemory`] instead of a fault.
    pub fn populate(&self) -> io::Result<()> {
        let advise = || {
            failpoint("madvise")?;
            self.mapping.advise(Advice::PopulateRead)
        };
        if !is_supported(advise)? {
            for page in self.mapping.chunks(PAGE) {
                std::hint::black_box(page[0]);
            }
        }
        Ok(())
    }
}

impl AsRef<[u8]> for PeerBytes {
    fn as_ref(&self) -> &[u8] {
        &self.peer.mapping[self.range.clone()]
    }
}

impl Drop for PeerBytes {
    fn drop(&mut self) {
        self.peer.turns.end_reading(&self.range);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::{Memfd, peer_credentials};

    fn same_user() -> SameUser {
        let (one, _other) = UnixStream::pair().unwrap();
        peer_credentials(&one).unwrap().same_user().unwrap()
    }

    #[test]
    fn memory_that_its_maker_does_not_lend_is_refused() {
        let refused = |memory: &OwnedFd| PeerMapping::new(memory, &same_user()).unwrap_err().kind();
        let memory = crate::allocate(10, "t").unwrap();
        assert_eq!(refused(&memory), io::ErrorKind::PermissionDenied);
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(refused(&file.into()), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_peer_sees_what_the_owner_wrote() {
        let mut memory = Memfd::new(10).unwrap().lend().unwrap();
        memory.write(0..10).unwrap().fill(7);
        let peer = PeerMapping::new(memory.descriptor(), &same_user()).unwrap();
        peer.populate().unwrap();
        assert_eq!(peer.lend(0..10).unwrap().as_ref(), [7; 10]);
        assert!(peer.lend(0..11).is_err());
    }

    #[test]
    fn what_is_borrowed_here_is_not_written_here() {
        let mut memory = Memfd::new(10).unwrap().lend().unwrap();
        let peer = PeerMapping::new(memory.descriptor(), &same_user()).unwrap();
        let again = PeerMapping::new(memory.descriptor(), &same_user()).unwrap();
        let (one, two) = (peer.lend(0..5).unwrap(), again.lend(0..5).unwrap());
        drop(one);
        let refused = memory.write(4..6).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
        memory.write(5..10).unwrap().fill(7);
        drop(two);
        let writing = memory.write(0..10).unwrap();
        assert!(peer.lend(0..1).is_err());
        drop(writing);
        assert!(peer.lend(0..1).is_ok());
    }

    #[test]
    fn nobody_maps_lent_memory_for_writing() {
        let memory = Memfd::new(4096).unwrap().lend().unwrap();
        let mapped = MmapOptions::new().len(4096).map_raw(&**memory.descriptor());
        assert_eq!(mapped.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
