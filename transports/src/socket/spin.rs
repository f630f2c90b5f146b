//! Looking without sleeping.

use std::time::{Duration, Instant};

/// Until when a call looks without sleeping.
#[derive(Debug, Default)]
pub(super) struct Spin(Option<Instant>);

impl Spin {
    /// The end of it: `time` after the first wait of the call, however many follow.
    pub(super) fn end(&mut self, time: Duration, now: Instant) -> Instant {
        *self.0.get_or_insert(now + time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It began anew at each wait: a large message to a slow peer kept a processor busy all the time.
    #[test]
    fn later_waits_of_a_call_spin_no_longer() {
        let (time, first) = (Duration::from_micros(20), Instant::now());
        let mut spin = Spin::default();
        assert_eq!(spin.end(time, first), first + time);
        let later = first + Duration::from_secs(1);
        assert_eq!(spin.end(time, later), first + time);
    }
}
