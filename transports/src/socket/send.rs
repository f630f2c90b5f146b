//! Sending a message: how it goes, and the waits until it can begin.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use numpush_message::{Encoder, Flags, Message, Preamble};
use numpush_os::Ready;
use numpush_session::{Blocked, Tag};

use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::socket::deliver::{Begun, Terms};
use crate::socket::link::{Link, Sending};
use crate::socket::medium::{Lend, Medium, SMALL, Way};
use crate::socket::outgoing::Outgoing;
use crate::socket::recv::ANSWER;
use crate::transfer::{PathReason, Transfer, TransferPath};

/// After so many messages the peer's acknowledgements are read, so that they do not pile up.
const READ_EVERY: usize = 128;

impl<M: Medium> Link<M> {
    /// Writes a message as its medium plans it, once there is credit and room for it.
    pub(super) fn send_message(
        &self,
        message: Outgoing<'_>,
        tag: Tag,
        terms: Terms,
    ) -> Result<Transfer, Error> {
        let (sending, begun, transfer) = self.begin_message(message, tag, terms.deadline)?;
        self.deliver(sending, begun, transfer, terms)
    }

    /// Begins a message once there is credit and room for it. Returns the outgoing direction, locked.
    pub(super) fn begin_message<'l, 'm>(
        &'l self,
        outgoing: Outgoing<'m>,
        tag: Tag,
        deadline: Deadline,
    ) -> Result<(MutexGuard<'l, Sending<M>>, Begun<'m>, Transfer), Error> {
        let mut sending = self.ready_to_send(deadline)?;
        let message = outgoing.message();
        let checksums = sending.session.has_checksums();
        let flags = Flags {
            checksums,
            ..Flags::default()
        };
        // The header is encoded, and every limit checked, before anything is copied or promised.
        let encoder = outgoing.encoder(flags, &mut sending.last_head);
        let mut encoder = encoder.map_err(Error::Message)?;
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
            sending = self.make_room(sending, message, &encoder, charge, deadline)?;
            sending.system_calls = 0;
            let medium_terms = sending.terms();
            let plan = sending.lender.plan(message, medium_terms);
            let start = Started::of(&plan.way, message.payload_len());
            if let Way::Refer { references, .. } = &plan.way {
                encoder = encoder.by_reference(references);
            }
            let Ok(id) = sending.session.begin(&mut encoder, tag) else {
                // It takes more credit than was thought.
                charge = encoder.charge();
                let again = outgoing.encoder(flags, &mut sending.last_head);
                encoder = again.map_err(Error::Message)?;
                continue;
            };
            sending.since_look += 1;
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
            let begun = if start.refers {
                // Head and references are owned, so the record joins the queue: nothing of it can be lost half-way.
                sending.session.keep(encoder.into_owned().0, Vec::new());
                Begun::Queued(id)
            } else {
                Begun::here(encoder, message, start.path == TransferPath::SendFile)
            };
            return Ok((sending, begun, transfer));
        }
    }

    /// A call that sends begins: returns the outgoing direction, locked, once the peer's hello is there.
    pub(super) fn ready_to_send(
        &self,
        deadline: Deadline,
    ) -> Result<MutexGuard<'_, Sending<M>>, Error> {
        let sending = self.settled(deadline);
        if sending.session.peer().is_some() {
            return Ok(sending);
        }
        drop(sending);
        self.await_hello(Operation::Send, deadline)
    }

    /// Waits for the peer's hello, and returns the outgoing direction, locked.
    fn await_hello(
        &self,
        operation: Operation,
        deadline: Deadline,
    ) -> Result<MutexGuard<'_, Sending<M>>, Error> {
        let greeting = Deadline::after(ANSWER);
        loop {
            let sending = self.sending();
            if sending.session.peer().is_some() {
                return Ok(sending);
            }
            drop(sending);
            let sooner = deadline.sooner(greeting);
            if let Err(error) = self.wait_to_send(operation, sooner) {
                if !error.is_timeout() {
                    return Err(error);
                }
                let mut receiving = self.receiving();
                // It may have come last.
                if receiving.session.has_hello() {
                    continue;
                }
                return Err(match deadline.has_passed() {
                    true => error,
                    false => self.give_up_greeting(&mut receiving, greeting),
                });
            }
        }
    }

    /// Waits until the message can begin. The outgoing direction is locked before and after.
    pub(super) fn make_room<'l>(
        &'l self,
        mut sending: MutexGuard<'l, Sending<M>>,
        message: &Message<'_>,
        encoder: &Encoder<'_>,
        charge: u64,
        deadline: Deadline,
    ) -> Result<MutexGuard<'l, Sending<M>>, Error> {
        let preamble = encoder.preamble();
        let (payload, header) = (preamble.payload_len, preamble.header_len.into());
        // Acknowledgements of many messages must not pile up unread in the socket, nor releases of large ones while they hold
        // memory.
        let in_flight = sending.session.status().in_flight;
        let holds_memory = M::DESCRIPTORS && payload >= SMALL && in_flight > 0;
        if holds_memory || in_flight > 0 && sending.since_look >= READ_EVERY {
            sending.since_look = 0;
            drop(sending);
            let mut want = Ready::BOTH;
            self.take_in_or_hold(&mut want)?;
            sending = self.sending();
        }
        let mut waited = false;
        loop {
            let blocked = match sending.session.check(payload, header, charge) {
                Ok(()) => {
                    let medium_terms = sending.terms();
                    let wait = sending.lender.release_wait(message, medium_terms);
                    // A call whose time would be over by then has better use for it.
                    let has_time =
                        |&wait: &Duration| deadline.left().is_none_or(|left| left > wait);
                    let Some(wait) = wait.filter(has_time).filter(|_| !waited) else {
                        return Ok(sending);
                    };
                    drop(sending);
                    self.await_release(message, Deadline::after(wait))?;
                    waited = true;
                    sending = self.sending();
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
            let waited = self.wait_to_send(Operation::Send, deadline);
            sending = self.sending();
            if let Err(error) = waited {
                // What came last may have been what it waited for.
                let is_late = error.is_timeout();
                if !is_late || sending.session.check(payload, header, charge).is_err() {
                    return Err(error);
                }
            }
        }
    }

    /// Waits a little for the peer to return memory, where that is cheaper than to make more of it.
    fn await_release(&self, message: &Message<'_>, until: Deadline) -> Result<(), Error> {
        let is_worth_it = || {
            let mut sending = self.sending();
            let terms = sending.terms();
            sending.lender.release_wait(message, terms).is_some()
        };
        while is_worth_it() && !until.has_passed() {
            match self.wait_to_send(Operation::Send, until) {
                Err(error) if error.is_timeout() => return Ok(()),
                result => result?,
            }
        }
        Ok(())
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
    fn of(way: &Way, payload: u64) -> Self {
        let (path, reason, copied) = match way {
            Way::Write(reason) => (TransferPath::Write, *reason, 0),
            Way::SendFile => (TransferPath::SendFile, PathReason::StableDescriptor, 0),
            // Most of it decides.
            Way::Refer { copied, .. } if *copied <= payload / 2 => (
                TransferPath::Reference,
                PathReason::StableDescriptor,
                *copied,
            ),
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
