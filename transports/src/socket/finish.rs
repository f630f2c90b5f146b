//! The end of a connection: flush, close, and leaving in good order.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use numpush_os::{self as os, Ready};
use numpush_session::Blocked;

use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::socket::ending::is_hang_up;
use crate::socket::link::{End, Link};
use crate::socket::medium::{Borrow, Medium};
use crate::socket::write::Progress;

/// How long a dropped connection that has messages on their way waits for the peer to take them.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How often it is looked whether the peer's kernel has everything: nothing reports that.
const MOMENT: Duration = Duration::from_millis(1);

impl<M: Medium> Link<M> {
    /// Waits until every message is acknowledged.
    pub(super) fn flush_messages(
        &self,
        operation: Operation,
        deadline: Deadline,
    ) -> Result<(), Error> {
        drop(self.settled(deadline));
        loop {
            let sending = self.sending();
            if sending.session.status().in_flight == 0 && sending.session.is_drained() {
                return Ok(());
            }
            if sending.session.is_broken() {
                return Err(self.gone());
            }
            drop(sending);
            if let Err(error) = self.wait_to_send(operation, deadline) {
                // The peer may have acknowledged everything before it hung up.
                return match self.sending().session.status().in_flight {
                    0 => Ok(()),
                    _ => Err(error),
                };
            }
        }
    }

    /// Waits until every message is acknowledged, then reports that no more come.
    pub(super) fn close_sending(&self, deadline: Deadline) -> Result<(), Error> {
        self.flush_messages(Operation::Close, deadline)?;
        loop {
            let mut sending = self.sending();
            match sending.session.close() {
                Ok(()) => {}
                Err(Blocked::Busy) => {
                    drop(sending);
                    self.wait_to_send(Operation::Close, deadline)?;
                    continue;
                }
                // Every message has arrived, and a peer that is gone need not hear that no more come.
                Err(_) => return Ok(()),
            }
            match sending.drain(&self.socket) {
                Ok(Progress::Done) => return Ok(()),
                Ok(Progress::Full) => {}
                Err(error) if is_hang_up(&error) => {
                    sending.broken();
                    return Ok(());
                }
                Err(error) => {
                    drop(sending);
                    return Err(self.write_failed(error));
                }
            }
            drop(sending);
            self.wait_to_write(Operation::Close, deadline)?;
        }
    }

    /// The error of a call that finds the peer gone.
    pub(super) fn gone(&self) -> Error {
        Error::Disconnected {
            peer: self.peer.clone(),
            missing: 0,
        }
    }
}

impl<M: Medium> Link<M> {
    /// Leaves in good order, without waiting longer than `linger`: the kernel throws away what it has not sent if bytes of the
    /// peer (its acknowledgements) are unread, so they are read first.
    pub(super) fn leave(&self, linger: Duration) {
        if self.forks != os::forks() {
            return;
        }
        let until = Instant::now() + linger;
        let mut receiving = self.receiving();
        let mut sending = self.sending();
        if sending.session.is_broken() {
            return;
        }
        // If the peer has acknowledged every message, or its kernel has all that was written, only the end itself is on its way.
        // To wait until the peer's kernel has that would take 40 ms, for as long as it delays an acknowledgement (tcp(7)).
        let mut is_quiet = sending.session.is_drained()
            && (sending.session.status().in_flight == 0
                || os::unacknowledged(&self.socket).is_ok_and(|bytes| bytes == 0));
        if !matches!(receiving.end, Some(End::Failed)) {
            // What was taken is acknowledged; what waits in the inbox is not.
            sending.session.owe(receiving.session.debt());
            for id in receiving.borrower.take_releases() {
                sending.session.release(id);
            }
            // A peer that never hears of its acknowledgement sends the message again.
            is_quiet &= !sending.session.owes_ack();
            sending.session.pay();
            // What a thread has sent that panics may not be all.
            if !std::thread::panicking() {
                let _ = sending.session.close();
            }
        }
        drop(receiving);
        loop {
            match sending.drain(&self.socket) {
                Ok(Progress::Done) => break,
                Ok(Progress::Full) if Instant::now() >= until => break,
                Ok(Progress::Full) => {
                    drop(sending);
                    let _ = os::wait(&[(self.socket.as_fd(), Ready::WRITE)], Some(until));
                    sending = self.sending();
                }
                Err(_) => return,
            }
        }
        drop(sending);
        let _ = os::end_writing(&self.socket);
        let mut scratch = [0; 4096];
        // Once the peer's kernel has it all, nothing can be thrown away.
        while !M::KEEPS_SENT
            && Instant::now() < until
            && os::unacknowledged(&self.socket).is_ok_and(|bytes| bytes > 0)
        {
            let soon = Instant::now() + if is_quiet { Duration::ZERO } else { MOMENT };
            let ready = os::wait(&[(self.socket.as_fd(), Ready::READ)], Some(soon));
            let readable = ready.is_ok_and(|ready| ready.first().is_some_and(|ready| ready.read));
            if is_quiet && !readable {
                return;
            }
            if readable && !matches!(os::receive(&self.socket, &mut scratch, false), Ok(1..)) {
                return;
            }
        }
    }
}
