//! The lock of `shm/core`: its own files, over loom's atomics and a robust mutex made of them.

pub(crate) mod atomic;
pub(crate) mod futex;
pub(crate) mod identity;
pub(crate) mod mapped;
pub(crate) mod robust;
pub(crate) mod rwlock;
pub(crate) mod table;
pub(crate) mod thread;

#[path = "../../../../shm/core/src/lock/acquire.rs"]
mod acquire;
#[path = "../../../../shm/core/src/lock/division.rs"]
pub(crate) mod division;
#[path = "../../../../shm/core/src/lock/drain.rs"]
mod drain;
#[path = "../../../../shm/core/src/lock/error.rs"]
pub(crate) mod error;
#[path = "../../../../shm/core/src/lock/guards.rs"]
pub(crate) mod guards;
#[path = "../../../../shm/core/src/lock/options.rs"]
pub(crate) mod options;
#[path = "../../../../shm/core/src/lock/place.rs"]
mod place;
#[path = "../../../../shm/core/src/lock/raw.rs"]
mod raw;
#[path = "../../../../shm/core/src/lock/record.rs"]
mod record;
#[path = "../../../../shm/core/src/lock/rw.rs"]
mod rw;
#[path = "../../../../shm/core/src/lock/wait.rs"]
mod wait;
#[path = "../../../../shm/core/src/lock/words.rs"]
pub(crate) mod words;
