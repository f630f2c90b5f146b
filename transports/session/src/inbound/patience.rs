//! How long the record at hand may take, as the driver asks and tells.

use std::time::{Duration, Instant};

use crate::inbound::Inbound;

impl<D> Inbound<D> {
    /// A call of the program begins: time that passed before it is not the peer's.
    pub fn resume(&mut self, now: Instant) {
        self.pace.resume(now);
    }

    /// A call begins of a driver that has waited for the peer since the last one too, but for `time`. From then on
    /// [`Self::resume`] changes nothing, until [`Self::hand_back`].
    pub fn excuse(&mut self, time: Duration) {
        self.pace.excuse(time);
    }

    /// The driver waits for the peer in its calls again, and nowhere else.
    pub fn hand_back(&mut self) {
        self.pace.hand_back();
    }

    /// When the record at hand is overdue; `None` between two records.
    pub fn deadline(&self) -> Option<Instant> {
        if self.is_idle() {
            return None;
        }
        self.pace.deadline(self.decoder.payload_len())
    }

    /// How long the record at hand may take.
    pub fn allowance(&self) -> Duration {
        self.pace.allowance(self.decoder.payload_len())
    }
}
