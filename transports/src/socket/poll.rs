//! A connection whose thread waits somewhere else, for many of them at once.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_os::{self as os, Ready};

use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::socket::link::{End, Link, Side};
use crate::socket::medium::Medium;
use crate::socket::wait::look_every;
use crate::transfer::Received;

impl<M: Medium> Link<M> {
    /// A call begins: of the time since the last one only `time` was not the peer's.
    pub(super) fn excuse(&self, time: Duration) {
        self.receiving().session.excuse(time);
    }

    /// As `recv_message` without a wait.
    pub(super) fn poll_message(self: &Arc<Self>) -> Result<Received, Error> {
        {
            let mut receiving = self.receiving();
            receiving.left = receiving.most;
        }
        let result = self.recv_message(Deadline::now(), false);
        match &result {
            // What goes out does not wait for what comes in.
            Err(Error::NoRoom { .. }) => {
                self.look_at_way();
                self.pay_all();
            }
            Err(Error::Timeout { .. }) => {
                self.check_cancelled()?;
                self.look_at_way();
                if self.sending().session.is_broken() && !self.has_more()? {
                    return Err(self.explain(self.gone()));
                }
            }
            _ => {}
        }
        result
    }

    /// True if something has come that was not looked at.
    fn has_more(&self) -> Result<bool, Error> {
        let now = Some(Instant::now());
        let ready = os::wait(&[(self.socket.as_fd(), Ready::READ)], now);
        let ready = ready.map_err(Error::io(Operation::Wait, &self.peer))?;
        let has_bytes = self.receiving().session.has_bytes();
        Ok(has_bytes || ready.first().is_some_and(|ready| ready.read))
    }

    /// Looks whether the way to the peer is still there, if it is time.
    fn look_at_way(&self) {
        let mut receiving = self.receiving();
        if receiving.look_at_way.is_some_and(|at| Instant::now() >= at) {
            receiving.look_at_way = None;
            drop(receiving);
            self.check_way();
        }
    }

    /// Reads and writes what goes without a wait, after the peer's last message. Returns true once the peer has hung up.
    pub(super) fn attend(self: &Arc<Self>) -> Result<bool, Error> {
        self.settle();
        let taken = self.take_in(Side::Receive);
        self.pay_all();
        self.look_at_way();
        taken?;
        let is_broken = self.sending().session.is_broken();
        let receiving = self.receiving();
        match &receiving.end {
            None => Ok(is_broken),
            Some(End::Closed) => Ok(true),
            Some(end) => Err(Error::ended(end, &self.peer)),
        }
    }

    /// When the record at hand is overdue, or it is time to look whether the way to the peer is still there.
    ///
    /// If that time is over it looks now, whoever calls: a call that only sends looks nowhere else, and its wait would be over
    /// before it began.
    pub(super) fn due(&self) -> Option<Instant> {
        self.look_at_way();
        let mut receiving = self.receiving();
        let is_underway = M::NETWORK && self.sending().session.status().in_flight > 0;
        receiving.look_at_way = is_underway.then(|| {
            let next = || Instant::now() + look_every(self.patience);
            receiving.look_at_way.unwrap_or_else(next)
        });
        let overdue = receiving.session.deadline();
        overdue.into_iter().chain(receiving.look_at_way).min()
    }

    /// True once the peer has said hello.
    pub(super) fn is_greeted(&self) -> bool {
        self.receiving().session.has_hello()
    }
}
