//! How long a record may take.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::fault::Fault;

/// Measures how long we have waited for the record at hand.
///
/// Only the time between two looks counts that the driver spends in one call: bytes that wait in the kernel while the program
/// computes are not late.
#[derive(Debug)]
pub(super) struct Pace {
    patience: Duration,
    slowest: u64,
    /// When the driver looked last, while a record is at hand.
    looked: Option<Instant>,
    /// Waited for the record at hand, in all, and since its last byte.
    waited: Duration,
    silent: Duration,
    /// The driver says how much of the time between two looks is not the peer's.
    is_excused: bool,
}

impl Pace {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            patience: config.patience,
            slowest: config.slowest.max(1),
            looked: None,
            waited: Duration::ZERO,
            silent: Duration::ZERO,
            is_excused: false,
        }
    }

    /// A record is complete, or none has begun.
    pub(super) fn rest(&mut self) {
        self.looked = None;
        self.waited = Duration::ZERO;
        self.silent = Duration::ZERO;
    }

    /// The time until the next look is not the peer's.
    pub(super) fn pause(&mut self) {
        self.looked = None;
    }

    /// A call begins: the time since the last look was the program's, but for a moment. That moment is what a program sees that
    /// polls, and that never waits in a call.
    pub(super) fn resume(&mut self, now: Instant) {
        if self.is_excused {
            return;
        }
        if let Some(looked) = self.looked {
            let moment = now.checked_sub(self.patience / 16);
            self.looked = Some(moment.map_or(looked, |moment| looked.max(moment)));
        }
    }

    /// The driver waits between the calls too: of the time since the last look only `time` was not the peer's. From now on it
    /// says so before each look, until [`Self::hand_back`].
    pub(super) fn excuse(&mut self, time: Duration) {
        self.is_excused = true;
        self.looked = self.looked.and_then(|looked| looked.checked_add(time));
    }

    /// The driver waits in its calls again.
    pub(super) fn hand_back(&mut self) {
        self.is_excused = false;
    }

    /// The driver has looked, in the middle of a record, and found bytes or none.
    pub(super) fn look(&mut self, now: Instant, found: bool) {
        let since = self.looked.map_or(Duration::ZERO, |looked| {
            now.saturating_duration_since(looked)
        });
        self.looked = Some(now);
        self.waited = self.waited.saturating_add(since);
        self.silent = if found {
            Duration::ZERO
        } else {
            self.silent.saturating_add(since)
        };
    }

    /// How long a record may take; `payload` is its length once that is known.
    pub(super) fn allowance(&self, payload: Option<u64>) -> Duration {
        let payload = payload.unwrap_or(0);
        self.patience
            .saturating_add(Duration::from_secs(payload / self.slowest))
    }

    /// Fails if the record at hand is overdue.
    pub(super) fn check(&self, payload: Option<u64>) -> Result<(), Fault> {
        let after = self.allowance(payload);
        if self.waited >= after {
            return Err(Fault::Stalled { after });
        }
        if self.silent >= self.patience {
            let after = self.patience;
            return Err(Fault::Stalled { after });
        }
        Ok(())
    }

    /// When the record at hand is overdue if nothing more comes.
    pub(super) fn deadline(&self, payload: Option<u64>) -> Option<Instant> {
        let left = self
            .allowance(payload)
            .saturating_sub(self.waited)
            .min(self.patience.saturating_sub(self.silent));
        self.looked?.checked_add(left)
    }
}
