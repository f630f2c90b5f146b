//! A connection whose thread waits somewhere else, for many of them at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::error::Error;
use crate::socket::link::{End, Link, Side};
use crate::socket::medium::Medium;
use crate::transfer::Received;

impl<M: Medium> Link<M> {
    /// As `recv_message` without a wait. Of the time since the last call only `excused` was not the peer's.
    pub(super) fn poll_message(self: &Arc<Self>, excused: Duration) -> Result<Received, Error> {
        let mut receiving = self.receiving();
        if !receiving.session.is_idle() {
            receiving.session.excuse(excused);
        }
        drop(receiving);
        let result = self.recv_message(Deadline::now(), false);
        if matches!(result, Err(Error::NoRoom { .. })) {
            // What goes out does not wait for what comes in.
            self.pay_all();
        }
        result
    }

    /// Reads and writes what goes without a wait, after the peer's last message. Returns true once the peer has hung up.
    pub(super) fn attend(&self) -> Result<bool, Error> {
        self.settle();
        self.take_in(Side::Receive)?;
        self.pay_all();
        let is_broken = self.sending().session.is_broken();
        let receiving = self.receiving();
        match &receiving.end {
            None => Ok(is_broken),
            Some(End::Closed) => Ok(true),
            Some(end) => Err(Error::ended(end, &self.peer)),
        }
    }

    /// When the record at hand is overdue.
    pub(super) fn due(&self) -> Option<Instant> {
        self.receiving().session.deadline()
    }

    /// True once the peer has said hello.
    pub(super) fn is_greeted(&self) -> bool {
        self.receiving().session.has_hello()
    }
}
