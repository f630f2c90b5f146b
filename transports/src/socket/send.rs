//! Sending a message, and the waits for room.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use numpush_message::{Buffer, Encoder, Flags, Message, Preamble};
use numpush_os::{self as os, Ready};
use numpush_session::{Blocked, Tag};

use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::socket::ending::{ends_the_way, socket_error};
use crate::socket::link::{Link, Sending, Side};
use crate::socket::medium::{Lend, Medium, SMALL, Way};
use crate::socket::recv::ANSWER;
use crate::socket::write::Progress;
use crate::transfer::{PathReason, Transfer, TransferPath};

/// How long a call may wait, and what it does with a message that the socket does not take in that time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) deadline: Deadline,
    /// The rest of a message is kept and goes with later calls, and that is no error.
    pub(super) keeps_rest: bool,
}

/// A thread that waits for another one, or for memory, looks this often.
const TICK: Duration = Duration::from_millis(10);

/// A call whose time is over goes on for so long if the peer has sent something: it may be what the call waits for.
const GRACE: Duration = Duration::from_millis(20);

/// With so many messages on their way the peer's acknowledgements are read now and then, so that they do not pile up.
const READ_EVERY: usize = 64;

impl<M: Medium> Link<M> {
    /// Writes a message as its medium plans it, once there is credit and room for it.
    pub(super) fn send_message(
        &self,
        message: &Message<'_>,
        tag: Tag,
        terms: Terms,
    ) -> Result<Transfer, Error> {
        let checksums = self.await_hello(Operation::Send, terms.deadline)?;
        let flags = Flags {
            checksums,
            ..Flags::default()
        };
        // The header is encoded, and every limit checked, before anything is copied or promised.
        let mut encoder = Encoder::new(message, flags).map_err(Error::Message)?;
        // A message that can go by reference takes less credit than one that is written.
        let mut charge = if M::DESCRIPTORS && !checksums && message.payload_len() >= SMALL {
            let flags = Flags {
                references: true,
                ..Flags::default()
            };
            let preamble = *encoder.preamble();
            Preamble { flags, ..preamble }.charge()
        } else {
            encoder.charge()
        };
        loop {
            let mut sending = self.make_room(message, &encoder, charge, terms.deadline)?;
            sending.system_calls = 0;
            let medium_terms = sending.terms();
            let plan = sending.lender.plan(message, medium_terms);
            let start = Started::of(&plan.way);
            if let Way::Refer { references, .. } = &plan.way {
                encoder = encoder.by_reference(references);
            }
            let Ok(id) = sending.session.begin(&mut encoder, tag) else {
                // It takes more credit than was thought.
                charge = encoder.charge();
                encoder = Encoder::new(message, flags).map_err(Error::Message)?;
                continue;
            };
            for announcement in &plan.announce {
                let segment = announcement.segment.into();
                match &announcement.descriptor {
                    Some(descriptor) => sending.session.announce(segment, Arc::clone(descriptor)),
                    None => sending.session.forget(segment),
                }
            }
            sending.lender.commit(plan, id);
            let transfer = Transfer {
                id,
                bytes: message.payload_len(),
                copied: message.copied_bytes() + start.copied,
                path: start.path,
                reason: start.reason,
                ..Transfer::default()
            };
            if start.refers {
                // Head and references are owned, so the record joins the queue: nothing of it can be lost half-way.
                let (record, _) = encoder.into_owned();
                sending.session.keep(record, Vec::new());
                return self.drain_out(sending, transfer, terms);
            }
            return self.write_out(sending, encoder, message, transfer, terms);
        }
    }

    /// Waits for the peer's hello. Returns whether payloads carry checksums.
    pub(super) fn await_hello(
        &self,
        operation: Operation,
        deadline: Deadline,
    ) -> Result<bool, Error> {
        let mut greeting = None;
        loop {
            let sending = self.sending();
            if sending.session.peer().is_some() {
                return Ok(sending.session.has_checksums());
            }
            drop(sending);
            let greeting = *greeting.get_or_insert_with(|| Deadline::after(ANSWER));
            let sooner = deadline.sooner(greeting);
            if let Err(error) = self.wait_to_send(operation, sooner) {
                return Err(if error.is_timeout() && !deadline.has_passed() {
                    self.give_up_greeting(greeting)
                } else {
                    error
                });
            }
        }
    }

    /// Waits until the message can begin, and returns the outgoing direction, locked.
    fn make_room(
        &self,
        message: &Message<'_>,
        encoder: &Encoder<'_>,
        charge: u64,
        deadline: Deadline,
    ) -> Result<MutexGuard<'_, Sending<M>>, Error> {
        let preamble = encoder.preamble();
        let (payload, header) = (preamble.payload_len, preamble.header_len.into());
        // Acknowledgements of many messages must not pile up unread in the socket, nor releases of large ones while they hold
        // memory.
        let in_flight = self.sending().session.status().in_flight;
        let holds_memory = M::DESCRIPTORS && payload >= SMALL && in_flight > 0;
        if holds_memory || in_flight > 0 && in_flight.is_multiple_of(READ_EVERY) {
            let mut want = Ready::BOTH;
            self.take_in_or_hold(&mut want)?;
        }
        let mut waited = false;
        loop {
            let mut sending = self.sending();
            let blocked = match sending.session.check(payload, header, charge) {
                Ok(()) => {
                    let Some(wait) = sending.lender.release_wait(message).filter(|_| !waited)
                    else {
                        return Ok(sending);
                    };
                    drop(sending);
                    self.await_release(message, Deadline::after(wait).sooner(deadline))?;
                    waited = true;
                    continue;
                }
                Err(blocked) => blocked,
            };
            if let Some(error) = Error::blocked(blocked, &self.peer) {
                drop(sending);
                return Err(self.explain(error));
            }
            if blocked == Blocked::Credit {
                sending.session.ask_for_credit();
            }
            drop(sending);
            self.wait_to_send(Operation::Send, deadline)?;
        }
    }

    /// Waits a little for the peer to return memory, where that is cheaper than to make more of it.
    fn await_release(&self, message: &Message<'_>, until: Deadline) -> Result<(), Error> {
        while self.sending().lender.release_wait(message).is_some() && !until.has_passed() {
            match self.wait_to_send(Operation::Send, until) {
                Err(error) if error.is_timeout() => return Ok(()),
                result => result?,
            }
        }
        Ok(())
    }

    /// Writes a message that was begun, with what waits before it.
    fn write_out<'l>(
        &'l self,
        mut sending: MutexGuard<'l, Sending<M>>,
        mut encoder: Encoder<'_>,
        message: &Message<'_>,
        mut transfer: Transfer,
        terms: Terms,
    ) -> Result<Transfer, Error> {
        let by_file = transfer.path == TransferPath::SendFile;
        // The kernel reads these pages until the peer has them.
        let held = || if by_file { backed(message) } else { Vec::new() };
        // sendfile(2) has no flag that says it should not wait.
        let nonblocking = by_file.then(|| Nonblocking::new(&self.socket)).transpose();
        let _nonblocking = match nonblocking {
            Ok(nonblocking) => nonblocking,
            Err(error) => {
                sending.session.cancel(&encoder);
                return Err(socket_error(Operation::Send, &self.peer, error));
            }
        };
        loop {
            match sending.write(&self.socket, &mut encoder, by_file) {
                Ok(Progress::Done) => {
                    sending.session.done(held());
                    transfer.system_calls = std::mem::take(&mut sending.system_calls);
                    drop(sending);
                    self.wake(Side::Receive);
                    return Ok(transfer);
                }
                Ok(Progress::Full) => {}
                Err(error) if ends_the_way(&error) => {
                    sending.session.done(Vec::new());
                    drop(sending);
                    return Err(self.write_failed(error));
                }
                Err(error) if !encoder.is_begun() => {
                    sending.session.cancel(&encoder);
                    drop(sending);
                    return Err(self.write_failed(error));
                }
                // No memory, for example: what has gone cannot be taken back, so the rest goes with later calls.
                Err(error) => {
                    sending.session.keep(encoder.into_owned().0, held());
                    drop(sending);
                    return Err(self.kept(self.write_failed(error), transfer.id));
                }
            }
            drop(sending);
            let waited = self.wait_on(terms);
            sending = self.sending();
            let Err(error) = waited else {
                continue;
            };
            if sending.session.is_broken() {
                sending.session.done(Vec::new());
                return Err(error);
            }
            if !encoder.is_begun() && !terms.keeps_rest {
                sending.session.cancel(&encoder);
                return Err(error);
            }
            // Half a record cannot be taken back: the rest is kept and goes with the next calls.
            let (rest, copied) = encoder.into_owned();
            transfer.copied += copied;
            sending.session.keep(rest, held());
            transfer.system_calls = std::mem::take(&mut sending.system_calls);
            drop(sending);
            if terms.keeps_rest && error.is_timeout() {
                return Ok(transfer);
            }
            return Err(self.unfinished(error, transfer.id));
        }
    }

    /// Writes what waits, with a message in it that was just queued.
    fn drain_out<'l>(
        &'l self,
        mut sending: MutexGuard<'l, Sending<M>>,
        mut transfer: Transfer,
        terms: Terms,
    ) -> Result<Transfer, Error> {
        let id = sending.session.last_id();
        loop {
            match sending.drain(&self.socket) {
                Ok(Progress::Done) => break,
                Ok(Progress::Full) => {}
                Err(error) => {
                    let taken_back = !ends_the_way(&error) && sending.session.take_back();
                    if taken_back {
                        let _ = sending.lender.released(id);
                    }
                    drop(sending);
                    let is_kept = !taken_back && !ends_the_way(&error);
                    let error = self.write_failed(error);
                    return Err(if is_kept { self.kept(error, id) } else { error });
                }
            }
            drop(sending);
            let waited = self.wait_on(terms);
            sending = self.sending();
            match waited {
                Ok(()) => {}
                Err(error) if terms.keeps_rest && error.is_timeout() => break,
                Err(error) if sending.session.is_broken() => return Err(error),
                Err(error) => {
                    if sending.session.take_back() {
                        // The peer never hears of it, so its memory is free again.
                        let _ = sending.lender.released(id);
                        return Err(error);
                    }
                    drop(sending);
                    return Err(self.unfinished(error, id));
                }
            }
        }
        transfer.system_calls = std::mem::take(&mut sending.system_calls);
        Ok(transfer)
    }

    /// Waits for room in the socket, as far as the terms of the call allow it.
    fn wait_on(&self, terms: Terms) -> Result<(), Error> {
        if terms.keeps_rest && terms.deadline.has_passed() {
            return Err(terms.deadline.error(Operation::Send, &self.peer));
        }
        self.wait_to_write(Operation::Send, terms.deadline)
    }

    /// The error of a call that ended with half a message written.
    fn unfinished(&self, error: Error, id: u64) -> Error {
        if error.is_timeout() || matches!(error, Error::Cancelled { .. }) {
            return self.kept(error, id);
        }
        error
    }

    fn kept(&self, error: Error, id: u64) -> Error {
        Error::Unfinished {
            peer: self.peer.clone(),
            id,
            source: Box::new(error),
        }
    }

    /// Waits for what lets a message begin: the peer's hello, credit, or acknowledgements.
    pub(super) fn wait_to_send(
        &self,
        operation: Operation,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let mut sending = self.sending();
        sending.session.pay();
        let drained = sending.drain(&self.socket);
        drop(sending);
        let want = match drained {
            Ok(Progress::Done) => Ready::READ,
            Ok(Progress::Full) => Ready::BOTH,
            Err(error) => return Err(self.write_failed(error)),
        };
        self.wait_and_read(operation, want, deadline)
    }

    /// Waits for room in the socket.
    pub(super) fn wait_to_write(
        &self,
        operation: Operation,
        deadline: Deadline,
    ) -> Result<(), Error> {
        self.wait_and_read(operation, Ready::BOTH, deadline)
    }

    /// Waits, and takes in what the peer sends meanwhile.
    fn wait_and_read(
        &self,
        operation: Operation,
        mut want: Ready,
        deadline: Deadline,
    ) -> Result<(), Error> {
        self.check_cancelled()?;
        // What has been read already needs no wait, and what cannot be taken in now is looked at again soon.
        let taken = self.take_in_or_hold(&mut want)?;
        let is_late = |at: Instant| Instant::now() > at + GRACE;
        if taken && deadline.instant().is_some_and(is_late) {
            // A flood of the peer's must not hide the deadline.
            return Err(deadline.error(operation, &self.peer));
        }
        if taken {
            return Ok(());
        }
        let mut until = deadline.instant();
        if let Ok(receiving) = self.receiving.try_lock() {
            if let Some(end) = &receiving.end {
                return Err(self.explain(Error::ended(end, &self.peer)));
            }
            until = deadline.or_sooner(receiving.session.deadline());
        }
        if !want.read {
            until = Deadline::after(TICK).or_sooner(until);
        }
        let ready = self.wait(Side::Send, want, until)?;
        if ready.read && !want.read && !want.write {
            // poll(2) reports a hang-up though nobody asked, and what came before it has no room here.
            self.sending().session.broken();
            return Err(Error::Disconnected {
                peer: self.peer.clone(),
                missing: 0,
            });
        }
        if ready.read && want.read {
            let mut again = want;
            self.take_in_or_hold(&mut again)?;
        }
        if deadline.has_passed() && !ready.write {
            return Err(deadline.error(operation, &self.peer));
        }
        Ok(())
    }

    /// Takes in what is there. If there is no room for it, or another thread reads, the socket need not be watched for it.
    fn take_in_or_hold(&self, want: &mut Ready) -> Result<bool, Error> {
        match self.take_in(Side::Send) {
            Ok(Some(taken)) => Ok(taken),
            Ok(None) | Err(Error::NoRoom { .. }) => {
                want.read = false;
                Ok(false)
            }
            Err(error) => Err(self.explain(error)),
        }
    }

    /// The error of a write. What the peer sent before it hung up can still be received, and its reason is the one to report.
    pub(super) fn write_failed(&self, error: io::Error) -> Error {
        if !ends_the_way(&error) {
            // No memory, for example: nothing of this write went, and the call may be made again.
            return socket_error(Operation::Send, &self.peer, error);
        }
        self.sending().session.broken();
        if error.kind() == io::ErrorKind::UnexpectedEof {
            // The file of a buffer was truncated while it was sent: half a record cannot be taken back.
            return socket_error(Operation::Send, &self.peer, error);
        }
        match self.take_in(Side::Send) {
            Err(refused @ Error::Refused { .. }) => refused,
            _ => self.explain(Error::Disconnected {
                peer: self.peer.clone(),
                missing: 0,
            }),
        }
    }

    /// The reason that the peer gave, if it gave one, in place of `error`.
    fn explain(&self, error: Error) -> Error {
        let Ok(receiving) = self.receiving.try_lock() else {
            return error;
        };
        match &receiving.end {
            Some(end @ crate::socket::link::End::Refused(_)) => Error::ended(end, &self.peer),
            _ => error,
        }
    }
}

/// A socket whose calls do not wait, as long as this lives.
struct Nonblocking<'l>(&'l OwnedFd);

impl<'l> Nonblocking<'l> {
    fn new(socket: &'l OwnedFd) -> io::Result<Self> {
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

/// How a message goes, as its plan says.
#[derive(Clone, Copy)]
struct Started {
    path: TransferPath,
    reason: PathReason,
    copied: u64,
    refers: bool,
}

impl Started {
    fn of(way: &Way) -> Self {
        let (path, reason, copied) = match way {
            Way::Write(reason) => (TransferPath::Write, *reason, 0),
            Way::SendFile => (TransferPath::SendFile, PathReason::StableDescriptor, 0),
            Way::Refer { copied: 0, .. } => {
                (TransferPath::Reference, PathReason::StableDescriptor, 0)
            }
            Way::Refer { copied, .. } => {
                (TransferPath::SegmentCopy, PathReason::PlainMemory, *copied)
            }
        };
        Self {
            path,
            reason,
            copied,
            refers: matches!(way, Way::Refer { .. }),
        }
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
