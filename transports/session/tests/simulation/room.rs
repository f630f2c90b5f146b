//! An allocator that refuses at random, and later does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use numpush_message::{AllocError, Buffer, BufferAllocator, BufferMut, HeapAllocator};

use crate::random::Random;

pub(crate) struct Stingy {
    random: Random,
    heap: HeapAllocator,
    /// Refuses now and then.
    pub(crate) refuses: Arc<AtomicBool>,
    /// More can never be had.
    pub(crate) max: usize,
}

impl Stingy {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            random,
            heap: HeapAllocator::new(),
            refuses: Arc::new(AtomicBool::new(false)),
            max: usize::MAX,
        }
    }
}

impl BufferAllocator for Stingy {
    fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        if len > self.max {
            let max = self.max;
            return Err(AllocError::TooLarge { len, max });
        }
        refuse(&self.refuses, &mut self.random, len)?;
        self.heap.allocate(len)
    }

    fn claim(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        Ok(Box::new(StingyRegion {
            region: self.allocate(len)?,
            len,
            granted: 0,
            refuses: Arc::clone(&self.refuses),
            random: self.random.split(),
        }))
    }
}

/// A region whose bytes become writable in steps.
struct StingyRegion {
    region: Box<dyn BufferMut>,
    len: usize,
    granted: usize,
    refuses: Arc<AtomicBool>,
    random: Random,
}

impl BufferMut for StingyRegion {
    fn ensure(&mut self, len: usize) -> Result<(), AllocError> {
        if len <= self.granted {
            return Ok(());
        }
        refuse(&self.refuses, &mut self.random, len)?;
        let more = self.random.of(len..=self.len);
        self.granted = more;
        Ok(())
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.region.as_mut_slice()[..self.granted]
    }

    fn freeze(self: Box<Self>) -> Buffer<'static> {
        assert_eq!(self.granted, self.len);
        self.region.freeze()
    }
}

fn refuse(refuses: &AtomicBool, random: &mut Random, len: usize) -> Result<(), AllocError> {
    if refuses.load(Relaxed) && random.once_in(3) {
        return Err(AllocError::NoMemory { len });
    }
    Ok(())
}
