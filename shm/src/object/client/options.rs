//! What a process can choose about the values of others that it opens.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How a process opens the values of other processes, and how much it keeps open of what it has closed: a task that gets
/// the same argument again opens it without a word to the owner. [`set_lease_options`] makes them those of the process.
///
/// ```
/// use std::time::Duration;
/// use numpush_shm::{LeaseOptions, set_lease_options};
///
/// // A service that opens each value once, and that must not wait for long.
/// set_lease_options(LeaseOptions::new().patience(Duration::from_millis(500)).keep_values(0));
/// # set_lease_options(LeaseOptions::new());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseOptions {
    patience: Duration,
    keep_values: usize,
    keep_bytes: usize,
    keep_for: Duration,
}

impl Default for LeaseOptions {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            keep_values: 64,
            keep_bytes: 1 << 30,
            keep_for: Duration::from_secs(1),
        }
    }
}

impl LeaseOptions {
    /// The defaults, which each method names.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long an owner has to answer, the connection to it included; 10 seconds by default. Who opens a value gets
    /// [`Error::Busy`](crate::Error::Busy) after that.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Most values that are kept open after they were closed; 64 by default, and none with 0.
    #[must_use]
    pub fn keep_values(mut self, values: usize) -> Self {
        self.keep_values = values;
        self
    }

    /// Most bytes of the values that are kept open after they were closed; 1 GiB by default. A value that alone has more
    /// is not kept.
    #[must_use]
    pub fn keep_bytes(mut self, bytes: usize) -> Self {
        self.keep_bytes = bytes;
        self
    }

    /// How long a closed value is kept open, and a connection of which nothing is open; one second by default. It is looked
    /// at twice in that time, so that it may be half as long again.
    #[must_use]
    pub fn keep_for(mut self, time: Duration) -> Self {
        self.keep_for = time;
        self
    }
}

/// Makes `options` those of this process, for every value that is opened or closed from now on.
pub fn set_lease_options(options: LeaseOptions) {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    PATIENCE.store(millis(options.patience), Ordering::Relaxed);
    KEEP_FOR.store(millis(options.keep_for), Ordering::Relaxed);
    KEEP_VALUES.store(options.keep_values, Ordering::Relaxed);
    KEEP_BYTES.store(options.keep_bytes, Ordering::Relaxed);
}

// Each stands for itself.
static PATIENCE: AtomicU64 = AtomicU64::new(10_000);
static KEEP_FOR: AtomicU64 = AtomicU64::new(1_000);
static KEEP_VALUES: AtomicUsize = AtomicUsize::new(64);
static KEEP_BYTES: AtomicUsize = AtomicUsize::new(1 << 30);

/// How long an owner has to answer.
pub(super) fn patience() -> Duration {
    Duration::from_millis(PATIENCE.load(Ordering::Relaxed))
}

/// How long a closed value is kept open, and a connection without values is kept.
pub(super) fn keep_for() -> Duration {
    Duration::from_millis(KEEP_FOR.load(Ordering::Relaxed))
}

/// Most values, and most bytes of them, that are kept open.
pub(super) fn most_kept() -> (usize, usize) {
    let most = |limit: &AtomicUsize| limit.load(Ordering::Relaxed);
    (most(&KEEP_VALUES), most(&KEEP_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_a_process_begin_with_the_defaults() {
        let LeaseOptions {
            patience: wait,
            keep_values,
            keep_bytes,
            keep_for: kept,
        } = LeaseOptions::new();
        assert_eq!((patience(), keep_for()), (wait, kept));
        assert_eq!(most_kept(), (keep_values, keep_bytes));
    }
}
