use std::sync::{Arc, Mutex, PoisonError};

use crate::model::allocator::{ALIGNMENT, AllocError, BufferAllocator, BufferMut, fill};
use crate::model::buffer::Buffer;
use crate::model::small;

/// The allocator on the heap. It keeps regions for the messages to come.
///
/// A fresh page costs more than the copy into it (3.2 GB/s against 9.6 GB/s into warm pages), so a region that its
/// reader has dropped is used again instead of going back to the allocator. Of each size from 16 KiB on at most one is
/// kept, a size being all lengths up to four times the smallest: small messages leave the region of large ones warm, and
/// what is kept is never more than a third over the largest.
///
/// What a peer claims costs nothing before it comes: the system gives memory to pages that are written, and to no others.
#[derive(Debug, Default)]
pub struct HeapAllocator {
    spares: Arc<Mutex<Spares>>,
}

impl HeapAllocator {
    /// An allocator with nothing kept yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl BufferAllocator for HeapAllocator {
    fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        if let Some(region) = small::region(len) {
            return Ok(region);
        }
        let kept = if len < KEEP_FROM {
            None
        } else {
            lock(&self.spares).take(len)
        };
        let mut block = match kept {
            Some(block) => block,
            None => Block::new(len)?,
        };
        block.len = len;
        Ok(Box::new(HeapRegion {
            block: Some(block),
            spares: Arc::clone(&self.spares),
        }))
    }

    fn copy_of(&mut self, bytes: &[u8], len: usize) -> Result<Buffer<'static>, AllocError> {
        if let Some(copy) = small::copy_of(bytes, len) {
            return Ok(copy);
        }
        let mut region = self.allocate(len)?;
        fill(region.as_mut_slice(), bytes);
        Ok(region.freeze())
    }

    /// Takes everything: memory on the heap is no better than any other.
    fn adopt(&mut self, buffer: Buffer<'static>) -> Result<Buffer<'static>, Buffer<'static>> {
        Ok(buffer)
    }
}

/// Regions smaller than this go back to the allocator, which keeps them warm itself.
const KEEP_FROM: usize = 16 << 10;

/// Regions that nobody uses, one of each size.
#[derive(Debug, Default)]
struct Spares {
    /// At `n`, one of `KEEP_FROM << 2n` bytes or more, and of less than four times as many.
    blocks: Vec<Option<Block>>,
}

impl Spares {
    /// A region for `len` bytes. One more than four times too large would hide memory from the rest of the program for the
    /// sake of a few pages.
    fn take(&mut self, len: usize) -> Option<Block> {
        let fits = |block: &mut Block| block.capacity() >= len && block.capacity() / 4 <= len;
        let sizes = size_of_region(len)..=size_of_region(len) + 1;
        sizes
            .into_iter()
            .find_map(|size| self.blocks.get_mut(size)?.take_if(fits))
    }

    /// Keeps a region, or one of its size that is larger. Returns the other one.
    fn keep(&mut self, block: Block) -> Option<Block> {
        let size = size_of_region(block.capacity());
        if self.blocks.len() <= size {
            self.blocks.resize_with(size + 1, || None);
        }
        let kept = self.blocks.get_mut(size)?;
        match kept {
            Some(larger) if larger.capacity() > block.capacity() => Some(block),
            _ => kept.replace(block),
        }
    }
}

/// The place of regions of `capacity` bytes among the spares.
fn size_of_region(capacity: usize) -> usize {
    let powers = (capacity / KEEP_FROM).checked_ilog2().unwrap_or(0) / 2;
    powers as usize
}

#[derive(Debug)]
struct Block {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Block {
    fn new(len: usize) -> Result<Self, AllocError> {
        let room = len.saturating_add(ALIGNMENT);
        // Fresh from the system it is zero without a write, so that no page of it is there yet.
        let memory: Vec<u8> =
            bytemuck::try_zeroed_vec(room).map_err(|()| AllocError::NoMemory { len })?;
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Ok(Self { memory, start, len })
    }

    fn capacity(&self) -> usize {
        self.memory.len() - ALIGNMENT
    }
}

struct HeapRegion {
    block: Option<Block>,
    spares: Arc<Mutex<Spares>>,
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
            // Freed after the lock: to unmap a gigabyte takes 50 ms.
            let _other = lock(&self.spares).keep(block);
        }
    }
}

fn lock(spares: &Mutex<Spares>) -> std::sync::MutexGuard<'_, Spares> {
    spares.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_aligned() {
        for len in [0, 1, 64, 256, 257, 944, 945, 1000, 1 << 20] {
            let mut region = HeapAllocator::new().allocate(len).unwrap();
            assert_eq!(region.as_mut_slice().len(), len);
            assert_eq!(region.as_mut_slice().as_ptr().align_offset(ALIGNMENT), 0);
        }
    }

    #[test]
    fn a_copy_is_aligned_and_has_zeros_behind() {
        let mut heap = HeapAllocator::new();
        for len in [0, 1, 64, 256, 257, 944, 945, 1000, 20_000] {
            drop(heap.allocate(len).map(|mut dirty| {
                dirty.as_mut_slice().fill(7);
                dirty.freeze()
            }));
            for count in [0, 1, len / 2, len, len + 1] {
                let copy = heap.copy_of(&vec![9; count], len).unwrap();
                assert_eq!(copy.as_ptr().align_offset(ALIGNMENT), 0);
                let is_whole = |(at, byte): (usize, &u8)| *byte == if at < count { 9 } else { 0 };
                assert!(copy.len() == len && copy.iter().enumerate().all(is_whole));
            }
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

    /// Fresh memory would be zero.
    fn is_warm(heap: &mut HeapAllocator, len: usize) -> bool {
        let mut region = heap.allocate(len).unwrap();
        let is_warm = region.as_mut_slice()[0] == 7;
        region.as_mut_slice().fill(7);
        is_warm
    }

    #[test]
    fn messages_of_other_sizes_leave_a_region_warm() {
        let mut heap = HeapAllocator::new();
        let sizes = [20_000, 100_000, 1 << 20, 5 << 20];
        for len in sizes {
            assert!(!is_warm(&mut heap, len), "{len} bytes");
        }
        for len in sizes.into_iter().chain(sizes.into_iter().rev()) {
            assert!(is_warm(&mut heap, len), "{len} bytes");
        }
        assert!(is_warm(&mut heap, 30_000), "up to four times too large");
    }

    #[test]
    fn one_region_of_each_size_is_kept() {
        let mut heap = HeapAllocator::new();
        let all: Vec<_> = (0..20)
            .map(|extra| heap.allocate((1 << 20) + extra * 4096).unwrap())
            .collect();
        drop(all);
        let kept: usize = {
            let spares = lock(&heap.spares);
            let blocks = spares.blocks.iter().flatten();
            blocks.map(Block::capacity).sum()
        };
        assert_eq!(kept, (1 << 20) + 19 * 4096);
    }

    #[test]
    fn a_region_is_at_most_four_times_too_large() {
        let mut heap = HeapAllocator::new();
        assert!(!is_warm(&mut heap, 1 << 20));
        assert!(is_warm(&mut heap, 1 << 18));
        assert!(!is_warm(&mut heap, (1 << 18) - 1));
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
