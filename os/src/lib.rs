//! The system calls numpush makes.
//!
//! Every function this crate exports is safe: a mapping is made only over memory that cannot shrink, so that no later
//! access can fault. The crate knows nothing of messages and nothing of locks. With `numpush-shm-core` it is one of the
//! two library crates that have `unsafe` code.
//!
//! Linux only. Each function names its manual page.
#![expect(unsafe_code, reason = "system calls: the crates above forbid it")]

mod affinity;
mod ancillary;
mod bell;
mod broken_pipe;
mod connect;
mod credentials;
mod events;
mod failpoint;
mod file;
mod folder;
mod fork;
mod futex;
mod group;
mod identity;
mod limit;
mod loan;
mod mapping;
mod memory;
mod owner_lock;
mod parent_only;
mod poll;
mod populate;
mod process;
#[cfg(feature = "tokio")]
mod reactor;
mod retry;
mod room;
mod runs;
mod seal;
mod sealed_copy;
mod snapshot;
mod socket;
mod sync;
mod timer;
mod transfer;
mod turns;
mod unanswered;
mod version;
mod watch;
mod worker;

pub use affinity::{bind_to_processors, online_processors, processors};
pub use ancillary::{Ancillary, receive_with_descriptor};
pub use bell::Bell;
pub use connect::{connect_abstract, start_connect, try_connect_unix};
pub use credentials::{Credentials, SameUser, peer_credentials, user};
pub use events::{Event, Events};
pub use failpoint::failpoint;
#[cfg(feature = "failpoints")]
pub use failpoint::{Failed, fail_call, fail_nth, kill_nth, passed_points, stop_failing};
pub use file::{
    LockedFile, commit_file, create_unnamed, is_immutable, lock_exclusive, lock_shared, read_at,
    remove_name, sync_file,
};
pub use folder::{Distrust, Folder, is_removed};
pub use fork::{ForkMutex, GlobalMutex, forks, watch_forks};
pub use futex::{sleep_while, wake};
pub use group::GroupMemory;
pub use identity::FileId;
pub use limit::{descriptor_limit, out_of_descriptors};
pub use loan::{LentBytesMut, LentMemory, PeerBytes, PeerMapping};
pub use mapping::{FileMapping, SealedMapping};
pub use memory::{Memfd, allocate, size_to_allocate};
pub use owner_lock::{OwnerLock, is_locked};
pub use parent_only::ParentOnly;
pub use poll::{Ready, wait};
pub use populate::{PAGE, is_supported, page_size};
pub use process::{
    Usage, available_memory, file_system_room, memory_limit, peak_memory, total_memory, usage,
};
#[cfg(feature = "tokio")]
pub use reactor::Watched;
pub use retry::retry;
pub use runs::FreeRuns;
pub use seal::{NO_RESIZE, add_seals, is_sealed, lent_len, sealed_len};
pub use sealed_copy::sealed_copy;
pub use snapshot::{CopyFile, FileSnapshot};
pub use socket::{
    end_writing, hang_up, keep_alive, receive, send, send_with_descriptor, set_nonblocking,
    set_receive_tick, set_send_tick, unacknowledged, unread,
};
pub use sync::lock;
pub use timer::Timer;
pub use transfer::{send_file, splice};
#[cfg(any(test, feature = "failpoints"))]
pub use unanswered::cut_off;
pub use unanswered::unanswered;
pub use version::{gnu_c_library, kernel_release};
pub use watch::FolderWatch;
pub use worker::{
    end_process, ignore_interrupt, is_hung_up, kill, take_standard_input, wait_for_hangup,
};
