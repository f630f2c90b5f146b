//! Locks between processes that survive their holder's death. The design and its costs: `docs/design/0002-locks.md`.

mod acquire;
mod atomic;
mod clocklock;
mod divided;
mod division;
mod drain;
mod error;
mod futex;
mod guards;
mod identity;
mod mapped;
mod options;
mod owned;
mod part;
mod place;
mod raw;
mod record;
mod robust;
mod rw;
mod rwlock;
mod step;
mod table;
mod thread;
mod threads;
mod wait;
mod words;

pub use divided::{DividedHold, DividedPart};
pub use division::Division;
pub use error::{LockError, Poison, PoisonCause};
pub use guards::{CommitHold, MutexHold, ReadHold, WorkHold, WriteHold};
pub use identity::forks;
pub use options::{LockOptions, LockState};
pub use owned::OwnedLock;
pub use part::{PartHold, PartId};
pub use robust::Holder;
pub use rwlock::{LockAddress, RobustRwLock};
pub use step::StepHold;
pub use thread::MAX_HELD;
pub use threads::{LockThreadsError, MAX_LOCK_THREADS, set_lock_threads};

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
