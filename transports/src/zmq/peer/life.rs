//! Signs of life: ours for a peer that does not see its pings answered, and its own.

use std::time::{Duration, Instant};

use numpush_zmtp::Command;

use crate::zmq::heartbeat::Beat;
use crate::zmq::lost::Lost;
use crate::zmq::peer::Peer;

impl Peer {
    /// True if pings of it may lie behind a message that nobody takes.
    pub(in crate::zmq) fn may_ping(&self) -> bool {
        self.is_open() && self.is_held && self.minor > 0 && !self.is_deaf
    }

    /// Says that this side is there, though its pings are not seen: it asks for no more than bytes now and then.
    pub(in crate::zmq) fn pulse(&mut self) {
        // What waits says as much.
        if self.may_ping() && self.outbound.is_empty() && !self.in_hand {
            self.outbound.say(&Command::Pong(&[]));
            self.may_write = true;
        }
    }

    /// Whether it is still there is looked at from now on.
    pub(in crate::zmq) fn begin_heartbeat(&mut self, time: Option<Duration>) {
        // Who speaks version 3.0 knows no ping.
        if self.minor > 0 {
            self.heartbeat.begin(time, Instant::now());
        }
    }

    /// Asks it whether it is there, if it has said nothing for its time. Fails if it was asked in vain.
    pub(in crate::zmq) fn look_for_life(&mut self, now: Instant) -> Result<(), Lost> {
        let is_blind = !self.wants().read || self.is_deaf;
        match self.heartbeat.look(now, is_blind) {
            Beat::Nothing => {}
            Beat::Silent(time) => return Err(Lost::Silent(time)),
            Beat::Ask(time) => {
                // It gives this side up in its turn if it hears nothing for that long.
                let ttl = u16::try_from(time.as_millis().div_ceil(50)).unwrap_or(u16::MAX);
                self.outbound.say(&Command::Ping { ttl, context: &[] });
                self.may_write = true;
            }
        }
        Ok(())
    }
}
