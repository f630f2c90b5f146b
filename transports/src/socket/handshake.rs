//! The peer's first record.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use numpush_message::PREAMBLE_LEN;
use numpush_os::{self as os, Ready};

use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::socket::allowance;
use crate::socket::session::Hello;

/// A peer's hello, as far as it has come.
#[derive(Default)]
pub(super) struct Handshake {
    bytes: [u8; PREAMBLE_LEN],
    filled: usize,
}

impl Handshake {
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
        let missing = (PREAMBLE_LEN - self.filled) as u64;
        let gone = || Error::Disconnected {
            peer: peer.to_owned(),
            missing,
        };
        let rest = self.bytes.get_mut(self.filled..).unwrap_or(&mut []);
        match os::receive(socket, rest, false) {
            Ok(0) => return Err(gone()),
            Ok(count) => self.filled += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(_) => return Err(gone()),
        }
        let known = self.filled.min(numpush_message::MAGIC.len());
        if self.bytes[..known] != numpush_message::MAGIC[..known] || self.filled == PREAMBLE_LEN {
            return Hello::decode(&self.bytes, peer).map(Some);
        }
        Ok(None)
    }
}

impl Error {
    /// This error, which ended the handshake with `peer`.
    pub(super) fn handshake(self, peer: String) -> Self {
        let source = Box::new(self);
        Self::Handshake { peer, source }
    }
}
