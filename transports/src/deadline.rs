//! Deadlines, and waits that poll.

use std::io;
use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Operation};

/// The end of a wait, and how long the wait was meant to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    timeout: Option<Duration>,
}

impl Deadline {
    /// The end of a wait of `timeout` that begins now; `None` waits forever.
    pub(crate) fn after(timeout: impl Into<Option<Duration>>) -> Self {
        let timeout = timeout.into();
        let at = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self { at, timeout }
    }

    /// The end of a wait that does not wait.
    #[cfg(any(feature = "tcp", feature = "unix"))]
    pub(crate) fn now() -> Self {
        Self::after(Duration::ZERO)
    }

    /// True if there is no wait at all.
    #[cfg(any(feature = "tcp", feature = "unix", feature = "zmq"))]
    pub(crate) fn is_none(self) -> bool {
        self.timeout == Some(Duration::ZERO)
    }

    /// When the wait ends; `None` for never.
    pub(crate) fn instant(self) -> Option<Instant> {
        self.at
    }

    /// When this wait ends, or `other` if that is sooner.
    pub(crate) fn or_sooner(self, other: Option<Instant>) -> Option<Instant> {
        match (self.at, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// This wait, or `other` if that ends sooner.
    #[cfg(any(feature = "tcp", feature = "unix"))]
    pub(crate) fn sooner(self, other: Self) -> Self {
        match (self.at, other.at) {
            (Some(one), Some(two)) if one <= two => self,
            (Some(_), None) => self,
            _ => other,
        }
    }

    /// True if the wait is over.
    pub(crate) fn has_passed(self) -> bool {
        self.instant().is_some_and(|at| Instant::now() >= at)
    }

    /// How long the wait is still; `None` for ever.
    #[cfg(any(feature = "tcp", feature = "unix"))]
    pub(crate) fn left(self) -> Option<Duration> {
        let at = self.at?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// True if the wait should have been over for so long.
    pub(crate) fn passed_by(self, time: Duration) -> bool {
        self.instant().is_some_and(|at| Instant::now() >= at + time)
    }

    /// Waits for a change, until the deadline at the latest.
    pub(crate) fn wait<'g, T>(
        self,
        change: &Condvar,
        guard: MutexGuard<'g, T>,
    ) -> MutexGuard<'g, T> {
        match self.instant() {
            None => change.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                let waited = change.wait_timeout(guard, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// The timeout error of a wait for `peer`.
    pub(crate) fn error(self, operation: Operation, peer: &str) -> Error {
        Error::Timeout {
            operation,
            peer: peer.to_owned(),
            after: self.timeout.unwrap_or_default(),
        }
    }
}

/// Polls `ready`, less and less often, until it returns a value. Returns `None` after the deadline.
pub(crate) fn poll_until<T, E>(
    deadline: Deadline,
    ready: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    poll_with(deadline, ready, std::thread::sleep)
}

/// As [`poll_until`]; `pause` may return before its time is over if something has changed.
pub(crate) fn poll_with<T, E>(
    deadline: Deadline,
    mut ready: impl FnMut() -> Result<Option<T>, E>,
    mut pause: impl FnMut(Duration),
) -> Result<Option<T>, E> {
    let mut backoff = Backoff::new();
    loop {
        let result = ready()?;
        if result.is_some() || deadline.has_passed() {
            return Ok(result);
        }
        pause(backoff.advance());
    }
}

/// Tries to connect until the other side appears, or until the timeout.
pub(crate) fn connect_until<T>(
    endpoint: &str,
    timeout: Duration,
    mut connect: impl FnMut() -> io::Result<T>,
) -> Result<T, Error> {
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    let connected = poll_until(Deadline::after(timeout), || match connect() {
        Ok(connected) => Ok(Some(connected)),
        Err(error) if may_appear(&error) => {
            last = error;
            Ok(None)
        }
        Err(error) => Err(error),
    });
    if last.kind() == io::ErrorKind::WouldBlock && last.get_ref().is_none() {
        let full = "the listener's queue is full, and stayed so";
        last = io::Error::new(io::ErrorKind::TimedOut, full);
    }
    connected
        .and_then(|connected| connected.ok_or(last))
        .map_err(Error::io(Operation::Connect, endpoint))
}

/// True if what is not there may still come.
pub(crate) fn may_appear(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
    matches!(error.kind(), ConnectionRefused | NotFound | WouldBlock)
}

/// Sleeps that grow, between polls.
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_micros(50);
    const LONGEST: Duration = Duration::from_millis(10);

    pub(crate) fn new() -> Self {
        Self { next: Self::FIRST }
    }

    #[cfg(any(feature = "unix", feature = "zmq"))]
    pub(crate) fn sleep(&mut self) {
        std::thread::sleep(self.advance());
    }

    /// How long to sleep this time.
    pub(crate) fn advance(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(Self::LONGEST);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_timeout_asks_once() {
        let mut asked = 0;
        let result: Result<Option<()>, Error> = poll_until(Deadline::after(Duration::ZERO), || {
            asked += 1;
            Ok(None)
        });
        assert!(result.unwrap().is_none());
        assert_eq!(asked, 1);
    }

    #[test]
    fn a_deadline_too_far_to_count_is_never() {
        for timeout in [None, Some(Duration::MAX)] {
            let deadline = Deadline::after(timeout);
            assert!(!deadline.has_passed());
            assert_eq!(deadline.instant(), None);
        }
    }

    #[cfg(any(feature = "tcp", feature = "unix"))]
    #[test]
    fn the_sooner_end_counts() {
        let soon = Instant::now();
        let deadline = Deadline::after(Duration::from_secs(1000));
        assert_eq!(deadline.or_sooner(Some(soon)), Some(soon));
        assert_eq!(deadline.or_sooner(None), deadline.instant());
        assert_eq!(Deadline::after(None).or_sooner(Some(soon)), Some(soon));
    }

    #[test]
    fn sleeps_grow_up_to_a_limit() {
        let mut backoff = Backoff::new();
        let sleeps: Vec<_> = (0..12).map(|_| backoff.advance()).collect();
        assert!(sleeps.is_sorted());
        assert_eq!((sleeps[0], sleeps[11]), (Backoff::FIRST, Backoff::LONGEST));
    }

    #[test]
    fn only_what_may_appear_is_tried_again() {
        let mut tries = 0;
        let mut connect = |kind: io::ErrorKind, timeout| {
            tries = 0;
            let connected: Result<(), _> = connect_until("x", timeout, || {
                tries += 1;
                Err(kind.into())
            });
            (connected.unwrap_err().to_string(), tries)
        };
        let (text, once) = connect(io::ErrorKind::PermissionDenied, Duration::from_secs(5));
        assert_eq!((text.as_str(), once), ("cannot connect to x", 1));
        assert!(connect(io::ErrorKind::NotFound, Duration::from_millis(5)).1 > 1);
    }
}
