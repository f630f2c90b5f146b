//! The peer's first record.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use numpush_message::{Decoder, HeapAllocator, Hello, Limits, PREAMBLE_LEN};
use numpush_os::{self as os, Ready};

use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::socket::allowance;
use crate::socket::session::hello_of;

/// A peer's hello, as far as it has come.
pub(super) struct Handshake {
    decoder: Decoder,
}

impl Handshake {
    pub(super) fn new() -> Self {
        // Nothing but control records is welcome, and they have no payload.
        let limits = Limits::default().with_payload(0);
        Self {
            decoder: Decoder::new(limits),
        }
    }

    /// Waits for the whole of it.
    pub(super) fn wait(&mut self, socket: &OwnedFd, peer: &str) -> Result<Hello, Error> {
        let deadline = Deadline::after(allowance::ANSWER);
        loop {
            os::wait(&[(socket.as_fd(), Ready::READ)], deadline.instant())
                .map_err(Error::io(Operation::Wait, peer))?;
            if let Some(theirs) = self.read(socket, peer)? {
                return Ok(theirs);
            }
            if deadline.has_passed() {
                return Err(deadline.error(Operation::Handshake, peer));
            }
        }
    }

    /// Reads what is there. The first bytes identify a foreign protocol.
    pub(super) fn read(&mut self, socket: &OwnedFd, peer: &str) -> Result<Option<Hello>, Error> {
        let missing = match self.decoder.missing() {
            _ if self.decoder.is_idle() => PREAMBLE_LEN as u64,
            missing => missing,
        };
        let gone = || Error::Disconnected {
            peer: peer.to_owned(),
            missing,
        };
        let invalid = |source| Error::InvalidMessage {
            peer: peer.to_owned(),
            source,
        };
        loop {
            let spare = self.decoder.spare().map_err(invalid)?;
            let count = match os::receive(socket, spare, false) {
                Ok(0) => return Err(gone()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(_) => return Err(gone()),
            };
            let mut heap = HeapAllocator::new();
            if let Some(record) = self.decoder.filled(count, &mut heap).map_err(invalid)? {
                return hello_of(&record, peer).map(Some);
            }
        }
    }
}

impl Error {
    /// This error, which ended the handshake with `peer`.
    pub(super) fn handshake(self, peer: String) -> Self {
        let source = Box::new(self);
        Self::Handshake { peer, source }
    }
}
