//! The atomics of the lock's words. `tests/loom` builds the lock's files over loom's in their place.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, fence};
