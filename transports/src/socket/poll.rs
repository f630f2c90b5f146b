//! A connection whose thread waits somewhere else, for many of them at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::error::Error;
use crate::socket::link::{End, Link, Side};
use crate::socket::medium::Medium;
use crate::socket::wait::look_every;
use crate::transfer::Received;

impl<M: Medium> Link<M> {
    /// As `recv_message` without a wait. Of the time since the last call only `excused` was not the peer's.
    pub(super) fn poll_message(self: &Arc<Self>, excused: Duration) -> Result<Received, Error> {
        self.receiving().session.excuse(excused);
        let result = self.recv_message(Deadline::now(), false);
        match &result {
            // What goes out does not wait for what comes in.
            Err(Error::NoRoom { .. }) => drop(self.pay_all()),
            Err(Error::Timeout { .. }) => {
                self.look_at_way();
                if self.sending().session.is_broken() {
                    let disconnected = Error::Disconnected {
                        peer: self.peer.clone(),
                        missing: 0,
                    };
                    return Err(self.explain(disconnected));
                }
            }
            _ => {}
        }
        result
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
    pub(super) fn attend(&self) -> Result<bool, Error> {
        self.settle();
        self.take_in(Side::Receive)?;
        self.pay_all();
        self.look_at_way();
        let is_broken = self.sending().session.is_broken();
        let receiving = self.receiving();
        match &receiving.end {
            None => Ok(is_broken),
            Some(End::Closed) => Ok(true),
            Some(end) => Err(Error::ended(end, &self.peer)),
        }
    }

    /// When the record at hand is overdue, or it is time to look whether the way to the peer is still there.
    pub(super) fn due(&self) -> Option<Instant> {
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
