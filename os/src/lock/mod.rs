//! Locks between processes that survive their holder's death. The design and its costs: `docs/design/0002-locks.md`.

mod control;
mod error;
mod guards;
mod held;
mod identity;
mod robust;
mod rw;

pub(crate) use control::inode;
pub use control::{Block, Place};
pub use error::{LockError, Poison, PoisonCause};
pub use guards::{Committing, Exclusive, Mutual, Shared};
pub use held::MAX_HELD;
pub use identity::forks;
pub use robust::Holder;
pub use rw::{Attempt, Lock, LockState};
