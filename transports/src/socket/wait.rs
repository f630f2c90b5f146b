//! Where calls wait.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use numpush_os::{self as os, Ready};

use crate::error::{Error, Operation};
use crate::socket::link::{Link, Side};
use crate::socket::medium::Medium;

impl<M: Medium> Link<M> {
    /// Waits until the socket is ready for `want`, another thread has something for `side`, or `until`. Returns what the
    /// socket is ready for.
    ///
    /// Fails with [`Error::Cancelled`] if the call was cancelled.
    pub(super) fn wait(
        &self,
        side: Side,
        want: Ready,
        until: Option<Instant>,
    ) -> Result<Ready, Error> {
        loop {
            let look = M::NETWORK.then(|| Instant::now() + look_every(self.patience));
            let look = look.filter(|look| until.is_none_or(|until| *look < until));
            let ready = self.wait_once(side, want, look.or(until))?;
            if ready.is_none() {
                self.check_way();
            }
            if ready.is_some() || look.is_none() {
                return Ok(ready.unwrap_or_default());
            }
        }
    }

    /// As [`Self::wait`]; `None` if nothing happened until then.
    fn wait_once(
        &self,
        side: Side,
        want: Ready,
        until: Option<Instant>,
    ) -> Result<Option<Ready>, Error> {
        self.check_cancelled()?;
        let bell = self.bell(side);
        let socket = (self.socket.as_fd(), want);
        let ready = match bell {
            None => os::wait(&[socket], until),
            Some(bell) => os::wait(&[socket, (bell.as_fd(), Ready::READ)], until),
        };
        let ready = ready.map_err(Error::io(Operation::Wait, &self.peer))?;
        if let Some(bell) = bell
            && ready.get(1).is_some_and(|bell| bell.read)
        {
            bell.quiet();
            self.check_cancelled()?;
        }
        let any = ready.iter().any(|ready| ready.any());
        Ok(ready.first().copied().filter(|_| any))
    }

    /// Hangs up if the peer's kernel has answered nothing for longer than this side's patience, though something was sent:
    /// the calls of both directions find the end then.
    pub(super) fn check_way(&self) {
        let is_cut = || os::unanswered(&self.socket).is_ok_and(|silence| silence >= self.patience);
        if M::NETWORK && is_cut() {
            let _ = os::hang_up(&self.socket);
        }
    }
}

/// How often a wait looks whether the way to the peer is still there.
pub(crate) fn look_every(patience: Duration) -> Duration {
    (patience / 4).clamp(Duration::from_millis(10), Duration::from_secs(60))
}
