//! The system calls numpush makes.
//!
//! This is the only library crate of the workspace with `unsafe` code, and every function it exports is safe: a
//! mapping is made only over memory that cannot shrink, so that no later access can fault. It knows nothing of
//! messages.
//!
//! Linux only. Each function names its manual page.
#![expect(
    unsafe_code,
    reason = "system calls: the rest of the workspace forbids it"
)]

mod file;
mod lock;
mod mapping;
mod memory;
mod named;
mod pages;
mod part;
mod poll;
mod process;
mod socket;
mod transfer;
mod view;
mod worker;

pub use file::{commit_file, create_unnamed, is_immutable, lock_exclusive, read_at};
pub use lock::{
    CommitHold, Holder, LockAddress, LockError, LockOptions, LockState, MAX_HELD, MutexHold,
    OwnedLock, Poison, PoisonCause, ReadHold, RobustRwLock, WriteHold, forks,
};
pub use mapping::{FileMapping, PeerMapping, SealedMapping, SharedMapping, is_sealed};
pub use memory::Memfd;
pub use named::{NamedMapping, reap_names};
pub use pages::{
    Claimed, Guarded, HUGE_PAGE, HugePages, PageOptions, Pair, RangeInUse, SharedPages,
};
pub use part::{PartRange, part_range};
pub use poll::{Ready, wait};
pub use process::{
    Usage, available_memory, file_system_room, memory_limit, peak_memory, usage, user,
};
pub use socket::{
    Ancillary, Credentials, end_writing, keep_alive, peer_credentials, receive,
    receive_with_descriptor, send, send_with_descriptor, set_receive_tick, set_send_tick,
    unacknowledged,
};
pub use transfer::{send_file, splice};
pub use view::{PartGuard, ReadGuard, WriteGuard};
pub use worker::{
    end_process, ignore_interrupt, is_hung_up, kill, take_standard_input, wait_for_hangup,
};
