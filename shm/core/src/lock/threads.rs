//! How many threads may use the locks that this process makes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::unistd::{SysconfVar, sysconf};

use super::atomic::MOST_RECORDS;

/// Most threads that [`set_lock_threads`] may be asked for.
pub const MAX_LOCK_THREADS: usize = MOST_RECORDS;

/// A number of threads that a lock has no room for.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{threads} threads were asked for, and locks have room for 1 to {max}")]
pub struct LockThreadsError {
    /// How many were asked for.
    pub threads: usize,
    /// How many there may be.
    pub max: usize,
}

/// What was asked for; 0 if nothing was.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Makes room for `threads` threads, of all processes together, in the locks of every value that this process makes from now
/// on. Default: sixteen for each processor of the machine, 256 at least and [`MAX_LOCK_THREADS`] at most. A thread counts
/// from its first lock on, until it ends or uses the locks of other owners. One more gets
/// [`LockError::TooManyThreads`](super::LockError::TooManyThreads). Each takes 128 bytes in each table of locks.
///
/// ```
/// use numpush_shm_core::{LockThreadsError, MAX_LOCK_THREADS, set_lock_threads};
///
/// set_lock_threads(MAX_LOCK_THREADS)?;
/// assert_eq!(
///     set_lock_threads(4096).unwrap_err().to_string(),
///     "4096 threads were asked for, and locks have room for 1 to 1024"
/// );
/// # Ok::<(), LockThreadsError>(())
/// ```
///
/// # Errors
/// [`LockThreadsError`] if that is none, or more than [`MAX_LOCK_THREADS`].
pub fn set_lock_threads(threads: usize) -> Result<(), LockThreadsError> {
    if !(1..=MAX_LOCK_THREADS).contains(&threads) {
        return Err(LockThreadsError {
            threads,
            max: MAX_LOCK_THREADS,
        });
    }
    THREADS.store(threads, Ordering::Relaxed);
    Ok(())
}

/// How many threads the locks that are made now have room for.
pub(super) fn lock_threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => default_threads(),
        threads => threads,
    }
}

fn default_threads() -> usize {
    // The C library reads a file to count processors.
    static DEFAULT: OnceLock<usize> = OnceLock::new();
    *DEFAULT.get_or_init(|| {
        let processors = sysconf(SysconfVar::_NPROCESSORS_CONF).ok().flatten();
        let processors = processors.and_then(|count| usize::try_from(count).ok());
        let threads = processors.map_or(MAX_LOCK_THREADS, |count| count.saturating_mul(16));
        threads.clamp(256, MAX_LOCK_THREADS)
    })
}
