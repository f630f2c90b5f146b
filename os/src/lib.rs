//! The system calls numpush makes.
//!
//! Every function this crate exports is safe: a mapping is made only over memory that cannot shrink, so that no later
//! access can fault. The crate knows nothing of messages and nothing of locks. With `numpush-shm-core` it is one of the
//! two library crates that have `unsafe` code.
//!
//! Linux only. Each function names its manual page.
#![expect(unsafe_code, reason = "system calls: the crates above forbid it")]

mod file;
mod mapping;
mod memory;
mod poll;
mod process;
mod socket;
mod transfer;
mod worker;

pub use file::{commit_file, create_unnamed, is_immutable, lock_exclusive, read_at};
pub use mapping::{
    FileMapping, NO_RESIZE, PeerMapping, SealedMapping, SharedMapping, is_sealed, sealed_len,
};
pub use memory::{Memfd, add_seals, allocate, size_to_allocate};
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
pub use worker::{
    end_process, ignore_interrupt, is_hung_up, kill, take_standard_input, wait_for_hangup,
};
