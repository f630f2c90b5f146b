//! The atomics of the lock's words, and the sizes that a model checker cannot afford. `tests/loom` builds the lock's files over loom's in their place.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64};

/// Hold words of a thread record: a cache line of them. A thread that holds more takes a second record.
pub(crate) const HOLDS: usize = 16;

/// Most threads that may use the locks of one table.
pub(crate) const MOST_RECORDS: usize = 1024;
