//! A message that was begun: written, taken back, or kept for later calls.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::MutexGuard;

use numpush_message::{Buffer, Encoder, Message};
use numpush_os as os;

use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::socket::ending::{ends_the_way, socket_error};
use crate::socket::link::{Link, Sending, Side};
use crate::socket::medium::{Lend, Medium};
use crate::socket::write::Progress;
use crate::transfer::Transfer;

/// How long a call may wait, and what it does with a message that the socket does not take in that time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) deadline: Deadline,
    /// The rest of a message is kept and goes with later calls, and that is no error.
    pub(super) keeps_rest: bool,
}

/// A message that was begun and is not written whole.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time; a box would cost an allocation for each message"
)]
pub(super) enum Begun<'m> {
    /// Its bytes are written from where they lie.
    Here {
        encoder: Encoder<'m>,
        /// Buffers with a descriptor go by sendfile: the kernel reads these pages until the peer has them.
        by_file: Option<Vec<Buffer<'static>>>,
    },
    /// It is in the queue, under this number.
    Queued(u64),
}

impl<'m> Begun<'m> {
    /// A message that is written from where it lies, by sendfile or by writes.
    pub(super) fn here(encoder: Encoder<'m>, message: &Message<'_>, by_file: bool) -> Self {
        let by_file = by_file.then(|| backed(message));
        Self::Here { encoder, by_file }
    }

    /// Writes what waits before it, and it.
    ///
    /// It ends early, as if the socket were full, once it has written `most` bytes of it.
    pub(super) fn write<M: Medium>(
        &mut self,
        sending: &mut Sending<M>,
        socket: &OwnedFd,
        most: usize,
    ) -> io::Result<Progress> {
        match self {
            Self::Here { encoder, by_file } => {
                sending.write(socket, encoder, by_file.is_some(), most)
            }
            Self::Queued(_) => sending.drain(socket),
        }
    }

    /// True if any of it goes by sendfile.
    #[cfg(feature = "tokio")]
    pub(super) fn is_by_file(&self) -> bool {
        matches!(
            self,
            Self::Here {
                by_file: Some(_),
                ..
            }
        )
    }

    /// It is written whole.
    pub(super) fn done<M: Medium>(self, sending: &mut Sending<M>) {
        if let Self::Here { by_file, .. } = self {
            sending.session.done(by_file.unwrap_or_default());
        }
    }

    /// The peer is gone, and nothing more of it is written.
    pub(super) fn abandon<M: Medium>(self, sending: &mut Sending<M>) {
        if let Self::Here { .. } = self {
            sending.session.done(Vec::new());
        }
    }

    /// Undoes it if no byte of it is written: the peer never hears of it.
    pub(super) fn take_back<M: Medium>(&self, sending: &mut Sending<M>) -> bool {
        match self {
            Self::Here { encoder, .. } if encoder.is_begun() => return false,
            Self::Here { encoder, .. } => sending.session.cancel(encoder),
            Self::Queued(id) => {
                if !sending.session.take_back() {
                    return false;
                }
                // Its memory is free again.
                let _ = sending.lender.released(*id);
            }
        }
        true
    }

    /// Leaves the rest of it to later calls. Returns how many bytes were copied for that.
    pub(super) fn keep<M: Medium>(self, sending: &mut Sending<M>) -> u64 {
        let Self::Here { encoder, by_file } = self else {
            return 0;
        };
        let (rest, copied) = encoder.into_owned();
        sending.session.keep(rest, by_file.unwrap_or_default());
        copied
    }
}

impl<M: Medium> Link<M> {
    /// Writes a message that was begun, with what waits before it.
    pub(super) fn deliver<'l>(
        &'l self,
        mut sending: MutexGuard<'l, Sending<M>>,
        mut begun: Begun<'_>,
        mut transfer: Transfer,
        terms: Terms,
    ) -> Result<Transfer, Error> {
        // sendfile(2) has no flag that says it should not wait.
        let by_file = matches!(
            begun,
            Begun::Here {
                by_file: Some(_),
                ..
            }
        );
        let nonblocking = by_file.then(|| Nonblocking::new(&self.socket)).transpose();
        let _nonblocking = match nonblocking {
            Ok(nonblocking) => nonblocking,
            Err(error) => {
                begun.take_back(&mut sending);
                return Err(socket_error(Operation::Send, &self.peer, error));
            }
        };
        let mut waited = false;
        loop {
            match begun.write(&mut sending, &self.socket, usize::MAX) {
                Ok(Progress::Done) => {
                    begun.done(&mut sending);
                    transfer.system_calls = std::mem::take(&mut sending.system_calls);
                    drop(sending);
                    if waited {
                        // Meanwhile the other side of this connection found the stream in the middle of a record.
                        self.wake(Side::Receive);
                    }
                    return Ok(transfer);
                }
                Ok(Progress::Full) => {}
                Err(error) => return Err(self.not_written(sending, begun, transfer, error)),
            }
            drop(sending);
            let room = self.wait_on(terms);
            waited = true;
            sending = self.sending();
            if let Err(error) = room {
                return self.not_in_time(sending, begun, transfer, terms, error);
            }
        }
    }

    /// The error of a message that could not be written.
    pub(super) fn not_written(
        &self,
        mut sending: MutexGuard<'_, Sending<M>>,
        begun: Begun<'_>,
        transfer: Transfer,
        error: io::Error,
    ) -> Error {
        if ends_the_way(&error) {
            begun.abandon(&mut sending);
        } else if !begun.take_back(&mut sending) {
            // No memory, for example: what has gone cannot be taken back, so the rest goes with later calls.
            let copied = transfer.copied + begun.keep(&mut sending);
            drop(sending);
            return self.kept(self.write_failed(error), transfer.id, copied);
        }
        drop(sending);
        self.write_failed(error)
    }

    /// What becomes of a message that the socket did not take before a wait ended with `error`.
    pub(super) fn not_in_time(
        &self,
        mut sending: MutexGuard<'_, Sending<M>>,
        begun: Begun<'_>,
        mut transfer: Transfer,
        terms: Terms,
        error: Error,
    ) -> Result<Transfer, Error> {
        if sending.session.is_broken() {
            begun.abandon(&mut sending);
            return Err(error);
        }
        let is_kept = terms.keeps_rest && error.is_timeout();
        if !is_kept && begun.take_back(&mut sending) {
            return Err(error);
        }
        // Half a record cannot be taken back: the rest is kept and goes with the next calls.
        transfer.copied += begun.keep(&mut sending);
        transfer.system_calls = std::mem::take(&mut sending.system_calls);
        if is_kept {
            return Ok(transfer);
        }
        if error.is_recoverable() {
            return Err(self.kept(error, transfer.id, transfer.copied));
        }
        Err(error)
    }

    /// Waits for room in the socket, as far as the terms of the call allow it.
    pub(super) fn wait_on(&self, terms: Terms) -> Result<(), Error> {
        if terms.keeps_rest && terms.deadline.has_passed() {
            return Err(terms.deadline.error(Operation::Send, &self.peer));
        }
        self.wait_to_write(Operation::Send, terms.deadline)
    }

    /// The error of a call that ended with a message whose rest goes with later calls.
    pub(super) fn kept(&self, error: Error, id: u64, copied: u64) -> Error {
        Error::Unfinished {
            peer: self.peer.clone(),
            id,
            copied,
            source: Box::new(error),
        }
    }
}

/// A socket whose calls do not wait, as long as this lives.
pub(super) struct Nonblocking<'l>(&'l OwnedFd);

impl<'l> Nonblocking<'l> {
    pub(super) fn new(socket: &'l OwnedFd) -> io::Result<Self> {
        os::set_nonblocking(socket, true)?;
        Ok(Self(socket))
    }
}

impl Drop for Nonblocking<'_> {
    fn drop(&mut self) {
        // It cannot fail on a descriptor that is open, and if it did, no call of ours would wait that should not.
        let _ = os::set_nonblocking(self.0, false);
    }
}

/// The buffers of a message that have a descriptor and are shared, so that they can be held.
fn backed(message: &Message<'_>) -> Vec<Buffer<'static>> {
    let shared = message
        .buffers()
        .filter(|buffer| buffer.backing().is_some() && !buffer.is_borrowed());
    shared
        .map(|buffer| buffer.clone().into_owned_or_copy())
        .collect()
}
