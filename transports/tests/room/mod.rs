//! An allocator that has no room, and later has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use numpush_message::{AllocError, BufferAllocator, BufferMut, HeapAllocator};

/// Hands out regions of the heap, as long as there is room.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) left: Arc<AtomicUsize>,
    pub(crate) max: usize,
}

impl BufferAllocator for Room {
    fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        let (left, max) = (self.left.load(Ordering::Relaxed), self.max);
        if len > max {
            return Err(AllocError::TooLarge { len, max });
        }
        if len > left {
            let (used, budget) = (max - left, max);
            return Err(AllocError::Budget { len, used, budget });
        }
        self.left.store(left - len, Ordering::Relaxed);
        HeapAllocator::new().allocate(len)
    }
}
