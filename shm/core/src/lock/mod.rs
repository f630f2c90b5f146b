//! Locks between processes that survive their holder's death. The design and its costs: `docs/design/0002-locks.md`.

mod atomic;
mod error;
mod guards;
mod held;
mod identity;
mod robust;
mod rw;
mod table;

pub use error::{LockError, Poison, PoisonCause};
pub use guards::{CommitHold, MutexHold, ReadHold, WriteHold};
pub use held::MAX_HELD;
pub use identity::forks;
pub(crate) use identity::watch_forks;
pub use robust::Holder;
pub use rw::{LockOptions, LockState, RobustRwLock};
pub(crate) use table::inode;
pub use table::{LockAddress, OwnedLock};

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
