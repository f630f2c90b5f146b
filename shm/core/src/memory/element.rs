//! The integers that are atomics in shared memory.

use std::fmt;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64};

/// An integer that the machine changes as one, without a lock, for threads of all processes.
///
/// # Safety
/// `Atomic` has the size of `Self`, an alignment of that size, and a value for any bytes.
pub unsafe trait AtomicElement: Copy + Send + Sync + 'static {
    /// The atomic of the type.
    type Atomic: fmt::Debug + Send + Sync;
}

macro_rules! atomic_element {
    ($($integer:ty => $atomic:ty),*) => {
        $(
            const _: () = assert!(size_of::<$atomic>() == size_of::<$integer>());
            const _: () = assert!(align_of::<$atomic>() == size_of::<$integer>());

            // SAFETY: size and alignment are checked above; the standard library's atomics have the representation of
            // their integers, and those have a value for any bytes.
            unsafe impl AtomicElement for $integer {
                type Atomic = $atomic;
            }
        )*
    };
}

atomic_element!(u32 => AtomicU32, i32 => AtomicI32, u64 => AtomicU64, i64 => AtomicI64);
