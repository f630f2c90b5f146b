use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::failpoint::point;

/// A descriptor that becomes readable at a time, so that a wait for many descriptors ends then; timerfd_create(2).
#[derive(Debug)]
pub struct Timer(TimerFd);

impl Timer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// What timerfd_create(2) reports.
    pub fn new() -> io::Result<Self> {
        point("timerfd_create")?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        Ok(Self(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?))
    }

    /// Makes the descriptor readable from `at` on, and unreadable before that; `None` for never.
    ///
    /// # Errors
    /// What timerfd_settime(2) reports.
    pub fn set(&self, at: Option<Instant>) -> io::Result<()> {
        point("timerfd_settime")?;
        let Some(at) = at else {
            return Ok(self.0.unset()?);
        };
        // Zero would unset it.
        let left = at.saturating_duration_since(Instant::now());
        let left = TimeSpec::from(left.max(Duration::from_nanos(1)));
        Ok(self
            .0
            .set(Expiration::OneShot(left), TimerSetTimeFlags::empty())?)
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::{Ready, wait};

    #[test]
    fn a_timer_is_readable_from_its_time_on() {
        let timer = Timer::new().unwrap();
        let is_over = |until| wait(&[(timer.as_fd(), Ready::READ)], Some(until)).unwrap()[0].read;
        assert!(!is_over(Instant::now()));
        let far = Instant::now() + Duration::from_secs(1000);
        timer.set(Some(Instant::now())).unwrap();
        assert!(is_over(far) && is_over(far));
        timer.set(Some(far)).unwrap();
        assert!(!is_over(Instant::now()));
        timer.set(Some(Instant::now())).unwrap();
        timer.set(None).unwrap();
        assert!(!is_over(Instant::now()));
    }
}
