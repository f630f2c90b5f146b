//! Where calls wait.

use std::os::fd::AsFd;
use std::time::Instant;

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
        Ok(ready.first().copied().unwrap_or_default())
    }
}
