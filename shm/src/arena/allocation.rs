//! Bytes of an arena: on their way to a message's buffer, out of it again, and back to the arena.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use numpush_message::{Buffer, BufferMut};
use numpush_shm_core::{MemoryRange, Owned, SharedPages, forks};

use super::state::Inner;
use crate::error::Error;

/// Bytes of an arena. Dropped, they are the arena's again.
#[derive(Debug)]
pub(crate) struct Allocation {
    // Dropped first: the claim ends before the bytes are free.
    pub(crate) claimed: MemoryRange<Owned>,
    pub(crate) home: Arc<Reservation>,
}

/// Where bytes go back to when the last who shares them is gone.
pub(crate) struct Reservation {
    pub(super) arena: Arc<Inner>,
    pub(super) pages: Arc<SharedPages>,
    pub(super) range: Range<usize>,
    pub(super) forks: u32,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.forks == forks() {
            self.arena.give(&self.pages, &self.range);
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reservation").field(&self.range).finish()
    }
}

/// A region on its way to be a buffer.
pub(super) struct ArenaBufferMut(Allocation);

impl ArenaBufferMut {
    pub(super) fn new(allocation: Allocation) -> Self {
        Self(allocation)
    }
}

impl BufferMut for ArenaBufferMut {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.0.claimed.bytes_mut()
    }

    fn freeze(self: Box<Self>) -> Buffer<'static> {
        Buffer::from_owner(self.0)
    }
}

/// Nobody writes the bytes while a buffer owns them.
impl AsRef<[u8]> for Allocation {
    fn as_ref(&self) -> &[u8] {
        self.claimed.as_ref()
    }
}

impl Allocation {
    /// Checks that `buffer` lies in an allocation that no more than `users` buffers have.
    pub(crate) fn check(buffer: &Buffer<'static>, users: usize) -> Result<(), Error> {
        if buffer.owner::<Self>().is_none() {
            return Err(Error::NotShared);
        }
        if buffer.owner_users() > users {
            return Err(Error::InUse {
                what: "a clone of the message's buffers reads it",
            });
        }
        Ok(())
    }

    /// The allocation that `buffer` lies in, which nobody else has.
    pub(crate) fn of(buffer: Buffer<'static>) -> Result<Self, Error> {
        Self::check(&buffer, 1)?;
        buffer.into_owner().map_err(|_| Error::NotShared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arena;
    use numpush_message::BufferAllocator as _;

    #[test]
    fn an_allocation_comes_back_out_of_its_last_slice() {
        let mut arena = Arena::new(1 << 20);
        let mut region = arena.allocate(1000).unwrap();
        region.as_mut_slice().fill(3);
        let buffer = region.freeze();
        let address = buffer.as_ptr();
        let slice = buffer.slice(100..200);
        assert!(matches!(
            Allocation::of(slice.clone()),
            Err(Error::InUse { .. })
        ));
        assert!(arena.adopt(slice.clone()).is_ok(), "its own memory");
        assert!(arena.adopt(vec![0; 8].into()).is_err(), "any other");
        assert!(
            Arena::new(1 << 20).adopt(slice.clone()).is_err(),
            "another's"
        );
        drop(buffer);
        assert_eq!(slice.owner_range(), Some(100..200));
        let allocation = Allocation::of(slice).unwrap();
        assert_eq!(allocation.as_ref().as_ptr(), address);
        drop(allocation);
        assert_eq!(arena.usage().used, 0);
        assert!(matches!(
            Allocation::of(vec![0; 8].into()),
            Err(Error::NotShared)
        ));
    }
}
