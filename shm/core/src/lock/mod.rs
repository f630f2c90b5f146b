//! Locks between processes that survive their holder's death. The design and its costs: `docs/design/0002-locks.md`.

mod acquire;
mod atomic;
mod clocklock;
mod error;
mod guards;
mod held;
mod identity;
mod options;
mod owned;
mod robust;
mod rw;
mod table;
mod wait;
mod words;

pub use error::{LockError, Poison, PoisonCause};
pub use guards::{CommitHold, MutexHold, ReadHold, WriteHold};
pub use held::MAX_HELD;
pub use identity::forks;
pub use options::{LockOptions, LockState};
pub use owned::OwnedLock;
pub use robust::Holder;
pub use rw::RobustRwLock;
pub use table::LockAddress;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
