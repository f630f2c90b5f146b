//! Regions for small messages: one allocation for the bytes and for the count of their users.

use std::sync::Arc;

use crate::model::allocator::{ALIGNMENT, BufferMut};
use crate::model::buffer::Buffer;

/// Memory of two sizes, so that the system's allocator finds it in its shortest lists: 1,032 bytes with the counts is the
/// longest that glibc keeps for a thread.
const TINY: usize = 256 + ALIGNMENT;
const SMALL: usize = 1008;

/// A region of `len` bytes, if that is little. What is in it does not matter.
pub(crate) fn region(len: usize) -> Option<Box<dyn BufferMut>> {
    if len <= TINY - ALIGNMENT {
        return Some(Box::new(Region::<TINY>::new(len)));
    }
    (len <= SMALL - ALIGNMENT).then(|| Box::new(Region::<SMALL>::new(len)) as _)
}

/// As [`region`], with a copy of `bytes` in front of zeros.
pub(crate) fn copy_of(bytes: &[u8], len: usize) -> Option<Buffer<'static>> {
    if len <= TINY - ALIGNMENT {
        return Region::<TINY>::new(len).filled(bytes);
    }
    if len <= SMALL - ALIGNMENT {
        return Region::<SMALL>::new(len).filled(bytes);
    }
    None
}

struct Memory<const N: usize>([u8; N]);

impl<const N: usize> AsRef<[u8]> for Memory<N> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes `start..start + len` of memory that nobody else uses.
struct Region<const N: usize> {
    memory: Arc<Memory<N>>,
    start: usize,
    len: usize,
}

impl<const N: usize> Region<N> {
    fn new(len: usize) -> Self {
        let memory = Arc::new(Memory([0; N]));
        let start = memory.0.as_ptr().align_offset(ALIGNMENT);
        Self { memory, start, len }
    }
}

impl<const N: usize> Region<N> {
    /// The buffer that begins with `bytes`. Memory that is new is zero.
    fn filled(mut self, bytes: &[u8]) -> Option<Buffer<'static>> {
        let all = &mut Arc::get_mut(&mut self.memory)?.0;
        let bytes = bytes.get(..self.len).unwrap_or(bytes);
        let end = self.start + bytes.len();
        all.get_mut(self.start..end)?.copy_from_slice(bytes);
        Some(Buffer::from_shared(
            self.memory,
            self.start..self.start + self.len,
        ))
    }
}

impl<const N: usize> BufferMut for Region<N> {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        match Arc::get_mut(&mut self.memory) {
            Some(memory) => &mut memory.0[self.start..self.start + self.len],
            None => &mut [],
        }
    }

    fn freeze(self: Box<Self>) -> Buffer<'static> {
        Buffer::from_shared(self.memory, self.start..self.start + self.len)
    }
}
