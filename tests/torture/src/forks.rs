//! fork(2) in a victim.
#![expect(unsafe_code, reason = "fork(2), which the library itself never calls")]

use nix::unistd::{ForkResult, fork};

/// Forks. True in the child, which has this thread only.
pub(crate) fn is_child() -> nix::Result<bool> {
    // SAFETY: the child goes on in Rust with the locks of the library, which are made for that, and with the allocator,
    // whose locks glibc frees in a child. No other thread of this program holds a lock that the child takes.
    let forked = unsafe { fork() }?;
    Ok(matches!(forked, ForkResult::Child))
}
