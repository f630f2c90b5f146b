//! The peer's first record.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use numpush_message::PREAMBLE_LEN;
use numpush_os::{self as os, Ready};

use crate::deadline;
use crate::error::Error;
use crate::socket::session::Hello;

/// A peer's hello, as far as it has come.
#[derive(Default)]
pub(crate) struct Handshake {
    bytes: [u8; PREAMBLE_LEN],
    filled: usize,
}

impl Handshake {
    /// Waits for the whole of it.
    pub(super) fn wait(&mut self, socket: &OwnedFd, peer: &str) -> Result<Hello, Error> {
        let deadline = Some(Instant::now() + deadline::ANSWER);
        loop {
            os::wait(&[(socket.as_fd(), Ready::READ)], deadline)
                .map_err(Error::io("wait for", peer))?;
            if let Some(theirs) = self.read(socket, peer)? {
                return Ok(theirs);
            }
            if deadline::passed(deadline) {
                return Err(Error::Timeout {
                    operation: "handshake",
                    after: deadline::ANSWER,
                });
            }
        }
    }

    /// Reads what is there. A foreign protocol is told by its first bytes.
    pub(crate) fn read(&mut self, socket: &OwnedFd, peer: &str) -> Result<Option<Hello>, Error> {
        let missing = (PREAMBLE_LEN - self.filled) as u64;
        let gone = || Error::Disconnected {
            peer: peer.to_owned(),
            missing,
        };
        match os::receive(
            socket,
            self.bytes.get_mut(self.filled..).unwrap_or(&mut []),
            false,
        ) {
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
