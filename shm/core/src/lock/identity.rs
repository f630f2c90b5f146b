//! Which thread of which process this is, without a system call.

use std::cell::Cell;

pub use numpush_os::forks;
pub(crate) use numpush_os::watch_forks;

/// A thread: its process, itself, and the fork generation it was looked up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) forks: u32,
}

/// In place of a fork generation: nobody has asked yet.
const NEVER: u32 = u32::MAX;

thread_local! {
    static SELF: Cell<Identity> = const { Cell::new(Identity { pid: 0, tid: 0, forks: NEVER }) };
}

/// This thread. glibc caches neither number (getpid(2), notes), and a read lock must not pay two system calls.
#[inline]
pub(crate) fn this_thread() -> Identity {
    let forks = forks();
    let identity = SELF.get();
    if identity.forks == forks {
        identity
    } else {
        look_up(forks)
    }
}

#[cold]
fn look_up(forks: u32) -> Identity {
    let pid = std::process::id();
    let tid = nix::unistd::gettid().as_raw().cast_unsigned();
    let identity = Identity { pid, tid, forks };
    SELF.set(identity);
    identity
}
