//! Locks between processes that survive their holder's death, and the shared memory they guard.
//!
//! This crate knows bytes, ranges, locks and views. It knows no messages, no arenas and no owners: `numpush-shm` builds
//! those on it. With `numpush-os` it is one of the two library crates that have `unsafe` code; every function it exports
//! is safe, but for those that open memory with a name.
//!
//! Linux only. Each function that makes a system call names its manual page.
#![expect(
    unsafe_code,
    reason = "mutexes and memory between processes: the crates above forbid it"
)]

mod block;
mod cell;
mod lock;
mod memory;
mod named;
mod part_range;
mod partition;
mod view;

pub use cell::SharedCell;
pub use lock::{
    CommitHold, DividedHold, DividedPart, Division, Holder, LockAddress, LockError, LockOptions,
    LockState, LockThreadsError, MAX_HELD, MAX_LOCK_THREADS, MutexHold, OwnedLock, PartHold,
    PartId, Poison, PoisonCause, ReadHold, RobustRwLock, StepHold, WorkHold, WriteHold, forks,
    set_lock_threads,
};
pub use memory::{
    Atomic, AtomicElement, Double, GrowingPages, HUGE_PAGE, HugePages, Locked, MemoryRange,
    NodePolicy, Owned, PageOptions, RangeInUse, SharedPages, when_unmapped,
};
pub use named::{NamedError, NamedMemory, reap_names};
pub use part_range::{block_range, part_range};
pub use partition::{BytesBeside, DividedRun, StepViews};
pub use view::{
    PartGuard, ReadGuard, WriteGuard, commit_guard, part_guard, read_guard, write_guard,
};
