//! The beginning of a connection: the peer's hello, and what becomes of a peer that says something else.

use numpush_os as os;
use numpush_session::Refusal;

use crate::error::Error;
use crate::socket::link::Link;
use crate::socket::medium::Medium;
use crate::socket::read::{Found, How, Obeyed};

impl<M: Medium> Link<M> {
    /// Reads what is there of the peer's hello. Returns true if all of it is here.
    pub(super) fn greet(&self) -> Result<bool, Error> {
        let mut receiving = self.receiving();
        loop {
            if receiving.session.has_hello() {
                return Ok(true);
            }
            if let Some(end) = &receiving.end {
                return Err(Error::ended(end, &self.peer));
            }
            match self.obey_next(&mut receiving)? {
                Obeyed::Nothing => {}
                Obeyed::Record => continue,
                // The session lets none come before the hello.
                Obeyed::Message(queued) => receiving.inbox.push_back(queued),
            }
            if self.read(&mut receiving, How::Tries)? == Found::Nothing {
                return Ok(false);
            }
        }
    }

    /// Sends away a peer without a connection. It hears why if its socket has room for that; nobody waits for it.
    pub(super) fn send_away(&self, reason: Option<Refusal>) {
        let mut sending = self.sending();
        if let Some(reason) = reason {
            sending.session.refuse(reason);
        }
        let _ = sending.drain(&self.socket);
        drop(sending);
        let _ = os::end_writing(&self.socket);
        // The kernel throws away what it has not sent if bytes of the peer are unread.
        let mut scratch = [0; 4096];
        for _ in 0..MOST_READS {
            if !matches!(os::receive(&self.socket, &mut scratch, false), Ok(1..)) {
                return;
            }
        }
    }
}

/// A peer that never stops must not hold up the others.
const MOST_READS: u32 = 16;

impl Error {
    /// This error, which ended the handshake with `peer`.
    pub(super) fn handshake(self, peer: String) -> Self {
        match self {
            Self::Handshake { .. } => self,
            error => Self::Handshake {
                peer,
                source: Box::new(error),
            },
        }
    }
}
