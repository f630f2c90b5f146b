//! Elements that other threads and other processes may write at any time.

use std::cell::UnsafeCell;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use bytemuck::Pod;

/// An element of memory that others may read and write at any time, like an atomic for any plain type.
///
/// Each access is atomic by the word: the alignment of `T`, at most 8 bytes. A `f64` or a `u32` is read whole; of a larger
/// type some words may be old and others new. Accesses order nothing else (as [`Ordering::Relaxed`]).
///
/// ```
/// use numpush_shm_core::NamedMemory;
///
/// let name = format!("doc-cell-{}", std::process::id());
/// let memory = NamedMemory::create(&name, 4096)?;
/// let cells = memory.cells::<f64>().expect("it was made for writing");
/// cells[3].set(0.5);
/// assert_eq!(cells[3].get(), 0.5);
/// # Ok::<_, numpush_shm_core::NamedError>(())
/// ```
///
/// # Invariants
/// 1. The element is only accessed by atomics of the width that `word` returns, from as many threads and processes as
///    there are.
#[repr(transparent)]
pub struct SharedCell<T>(UnsafeCell<T>);

// SAFETY: every access is atomic (1), and `Pod` types own nothing that belongs to a thread.
unsafe impl<T: Pod> Sync for SharedCell<T> {}

/// Width of the accesses to a `T` in bytes.
const fn word<T>() -> usize {
    if align_of::<T>() < 8 {
        align_of::<T>()
    } else {
        8
    }
}

/// Calls `$do` with the atomics of the width of `T`, and the integer they hold.
macro_rules! by_word {
    ($t:ty, $do:ident!($($arguments:tt)*)) => {
        match const { word::<$t>() } {
            1 => $do!(AtomicU8, u8, $($arguments)*),
            2 => $do!(AtomicU16, u16, $($arguments)*),
            4 => $do!(AtomicU32, u32, $($arguments)*),
            _ => $do!(AtomicU64, u64, $($arguments)*),
        }
    };
}

/// Copies each word of a cell into a value.
macro_rules! load {
    ($atomic:ty, $integer:ty, $from:expr, $to:expr) => {
        for (at, to) in $to.chunks_exact_mut(size_of::<$integer>()).enumerate() {
            // SAFETY: the chunks of the value are as many as the words of the cell.
            let word = unsafe { $from.cast::<$atomic>().add(at) };
            // SAFETY: inside the cell and aligned; only atomics access it (1).
            let word = unsafe { &*word };
            to.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
    };
}

/// Copies each word of a value into a cell.
macro_rules! store {
    ($atomic:ty, $integer:ty, $from:expr, $to:expr) => {
        for (at, from) in $from.chunks_exact(size_of::<$integer>()).enumerate() {
            let mut bytes = [0; size_of::<$integer>()];
            bytes.copy_from_slice(from);
            // SAFETY: the chunks of the value are as many as the words of the cell.
            let word = unsafe { $to.cast::<$atomic>().add(at) };
            // SAFETY: inside the cell and aligned; only atomics access it (1).
            let word = unsafe { &*word };
            word.store(<$integer>::from_ne_bytes(bytes), Ordering::Relaxed);
        }
    };
}

impl<T: Pod> SharedCell<T> {
    /// The element as it is now.
    #[inline]
    pub fn get(&self) -> T {
        let mut value = T::zeroed();
        let to = bytemuck::bytes_of_mut(&mut value);
        by_word!(T, load!(self.0.get(), to));
        value
    }

    /// Replaces the element.
    #[inline]
    pub fn set(&self, value: T) {
        let from = bytemuck::bytes_of(&value);
        by_word!(T, store!(from, self.0.get()));
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for SharedCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Copies the bytes at `from` while others may write them, by words where they are aligned.
///
/// # Safety
/// `from` points to as many bytes as `to` has, which are readable and only accessed by atomics, or by other processes.
pub(crate) unsafe fn copy_shared(from: *const u8, to: &mut [u8]) {
    let head = from.align_offset(size_of::<u64>()).min(to.len());
    let (first, rest) = to.split_at_mut(head);
    let byte = |at: usize| {
        // SAFETY: inside the bytes that the caller names.
        let byte = unsafe { from.cast::<AtomicU8>().add(at) };
        // SAFETY: as above; only atomics access it.
        unsafe { &*byte }.load(Ordering::Relaxed)
    };
    first
        .iter_mut()
        .enumerate()
        .for_each(|(at, to)| *to = byte(at));
    let mut words = rest.chunks_exact_mut(size_of::<u64>());
    let mut at = head;
    for to in &mut words {
        // SAFETY: inside the bytes that the caller names.
        let word = unsafe { from.add(at) };
        #[expect(
            clippy::cast_ptr_alignment,
            reason = "words begin after the unaligned head"
        )]
        // SAFETY: aligned, because `head` bytes come before it; only atomics access it.
        let word = unsafe { &*word.cast::<AtomicU64>() };
        to.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        at += size_of::<u64>();
    }
    let tail = words.into_remainder();
    tail.iter_mut()
        .enumerate()
        .for_each(|(more, to)| *to = byte(at + more));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell<T: Pod>(value: T) -> SharedCell<T> {
        SharedCell(UnsafeCell::new(value))
    }

    #[test]
    fn every_width_keeps_its_value() {
        assert_eq!(cell(7_u8).get(), 7);
        assert_eq!(cell(-7_i16).get(), -7);
        assert_eq!(cell([1.5_f32, -2.5]).get(), [1.5, -2.5]);
        assert_eq!(cell([1_u8, 2, 3]).get(), [1, 2, 3]);
        let complex = cell([0.0_f64; 2]);
        complex.set([1.5, -2.5]);
        assert_eq!(complex.get(), [1.5, -2.5]);
    }

    #[test]
    fn threads_read_and_write_whole_elements() {
        let shared = cell(0_u64);
        std::thread::scope(|scope| {
            for value in [u64::MAX, 0] {
                let shared = &shared;
                scope.spawn(move || (0..1000).for_each(|_| shared.set(value)));
            }
            for _ in 0..1000 {
                let value = shared.get();
                assert!(value == 0 || value == u64::MAX, "{value:x}");
            }
        });
    }

    #[test]
    fn bytes_at_any_offset_are_copied() {
        let bytes: Vec<u8> = (0..64).collect();
        for start in 0..9 {
            for len in [0, 1, 7, 8, 9, 31] {
                let mut copy = vec![0; len];
                // SAFETY: inside the bytes, which nobody writes.
                unsafe { copy_shared(bytes[start..].as_ptr(), &mut copy) };
                assert_eq!(copy, bytes[start..start + len]);
            }
        }
    }
}
