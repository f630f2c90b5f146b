//! What to ask of a lock, and what it looks like.

use std::time::Duration;

use super::error::Poison;
use super::robust::Holder;

/// How to take a lock: by default without a timeout, and not while it is poisoned.
///
/// ```
/// use std::time::Duration;
///
/// use numpush_shm_core::LockOptions;
///
/// let options = LockOptions::new().timeout(Duration::from_secs(5)).accept_poison(true);
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default)]
pub struct LockOptions {
    /// Longest wait. Default: `None`, which waits until the holder lets go or dies.
    pub timeout: Option<Duration>,
    /// Whether to take the lock although the last writer did not finish. Default: false.
    pub accept_poison: bool,
}

impl LockOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the lock as it is now, or returns [`LockError::Timeout`](super::error::LockError::Timeout) at once, with the
    /// holder. So do the verbs that begin with `try_`. A holder that is dead is no holder.
    pub fn no_wait() -> Self {
        Self::new().timeout(Duration::ZERO)
    }

    /// Waits at most `timeout`, then returns [`LockError::Timeout`](super::error::LockError::Timeout). Zero does not wait.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Takes the lock although the last writer did not finish.
    #[must_use]
    pub fn accept_poison(mut self, accept_poison: bool) -> Self {
        self.accept_poison = accept_poison;
        self
    }
}

/// What a lock looks like at one moment.
#[derive(Clone, Debug, Default)]
pub struct LockState {
    /// Who writes, commits or has handed out parts.
    pub writer: Option<Holder>,
    /// Who reads, or works on a part.
    pub readers: Vec<Holder>,
    /// What an unfinished write left. A writer that is inside shows here too, unless it is named above.
    pub poison: Option<Poison>,
    /// Parts are handed out.
    pub partitioned: bool,
    /// Processes that wait for the lock, as they said; some may have died since.
    pub waiting: Vec<u32>,
    /// Holders that died and were cleaned up after.
    pub deaths: u32,
}
