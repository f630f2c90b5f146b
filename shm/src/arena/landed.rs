//! Messages that landed in an arena, and how they become shared values.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use numpush_message::{Buffer, BufferMut};

use crate::arena::Allocation;

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
        let allocation = Arc::new(self.0);
        let address = allocation.claimed.as_ref().as_ptr().addr();
        let mut all = numpush_os::lock(&LANDED);
        all.insert(address, Arc::downgrade(&allocation));
        drop(all);
        Buffer::from_owner(Landed {
            allocation,
            address,
        })
    }
}

/// What a buffer owns: bytes that nobody writes while it lives.
struct Landed {
    allocation: Arc<Allocation>,
    address: usize,
}

impl AsRef<[u8]> for Landed {
    fn as_ref(&self) -> &[u8] {
        self.allocation.claimed.as_ref()
    }
}

impl Drop for Landed {
    fn drop(&mut self) {
        numpush_os::lock(&LANDED).remove(&self.address);
    }
}

/// Every allocation that a buffer owns, by the address of its first byte.
static LANDED: Mutex<BTreeMap<usize, Weak<Allocation>>> = Mutex::new(BTreeMap::new());

/// The allocation `bytes` lie in, and where in it they begin.
pub(crate) fn landed(bytes: &[u8]) -> Option<(Arc<Allocation>, usize)> {
    let address = bytes.as_ptr().addr();
    let all = numpush_os::lock(&LANDED);
    let (start, weak) = all.range(..=address).next_back()?;
    let allocation = weak.upgrade()?;
    let offset = address - start;
    (offset + bytes.len() <= allocation.claimed.range().len()).then_some((allocation, offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arena;
    use numpush_message::BufferAllocator as _;

    #[test]
    fn a_landed_buffer_is_found_by_its_bytes() {
        let mut arena = Arena::new(1 << 20);
        let mut region = arena.allocate(1000).unwrap();
        region.as_mut_slice().fill(3);
        let buffer = region.freeze();
        let (_, offset) = landed(&buffer[100..200]).unwrap();
        assert_eq!(offset, 100);
        assert!(landed(&[0; 8]).is_none());
        let address = buffer.as_ptr();
        drop(buffer);
        assert_eq!(arena.usage().used, 0);
        assert_eq!(
            arena.allocate(1000).unwrap().as_mut_slice().as_ptr(),
            address
        );
    }
}
