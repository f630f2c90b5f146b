//! Which thread of which process this is, without a system call, and whether it was forked.

use std::cell::Cell;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// How often this process came out of a fork(2): what was held before belongs to the parent.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// A thread: its process, itself, and the fork generation it was looked up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) forks: u32,
}

thread_local! {
    static SELF: Cell<Option<Identity>> = const { Cell::new(None) };
}

/// This thread. glibc caches neither number (getpid(2), notes), and a read lock must not pay two system calls.
#[inline]
pub(crate) fn this_thread() -> Identity {
    let forks = forks();
    match SELF.get() {
        Some(identity) if identity.forks == forks => identity,
        _ => look_up(forks),
    }
}

#[cold]
fn look_up(forks: u32) -> Identity {
    let pid = std::process::id();
    let tid = nix::unistd::gettid().as_raw().cast_unsigned();
    let identity = Identity { pid, tid, forks };
    SELF.set(Some(identity));
    identity
}

/// How often this process came out of a fork(2) since it first made or met a lock. What it held, leased or listened to
/// under another number is its parent's.
#[inline]
pub fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

extern "C" fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Lets the C library count forks from now on; pthread_atfork(3). Called before the first lock exists.
pub(crate) fn watch_forks() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: the handler only adds to an atomic, which a child of any fork may do.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
    });
}
