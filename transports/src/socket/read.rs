//! Reading: bytes off the socket, and what the records in them change.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use numpush_message::DecodeError;
use numpush_os as os;
use numpush_session::{Arrival, Event, Fault, Refusal};

use crate::error::{Error, Operation};
use crate::socket::ending::{is_hang_up, socket_error};
use crate::socket::link::{End, Link, Queued, Receiving, Side, Unresolved};
use crate::socket::medium::{Borrow, Lend, Medium};
use crate::transfer::{PathReason, Transfer, TransferPath};

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Bytes,
    Nothing,
    /// The peer has closed in good order, and its end of the stream is here.
    End,
}

/// How a read waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// In the kernel, until something comes or it is time to look at the way.
    Blocks,
    /// It does not.
    Tries,
    /// It does not, and is made again at once: that nothing is there says nothing yet.
    Spins,
}

impl How {
    pub(super) fn of(spins: bool, blocks: bool) -> Self {
        match (spins, blocks) {
            (true, _) => Self::Spins,
            (false, true) => Self::Blocks,
            (false, false) => Self::Tries,
        }
    }
}

/// What a record that was obeyed was.
pub(super) enum Obeyed {
    /// None is there.
    Nothing,
    /// One that changed something.
    Record,
    Message(Queued),
}

/// Reads of one round: a peer that never stops must not hide the deadline of a call.
const MOST_READS: usize = 64;

impl<M: Medium> Link<M> {
    /// Takes in what can be read without waiting, up to a bound. Returns true if anything came; `None` if another thread is
    /// reading, which does the same.
    ///
    /// Messages wait in the inbox.
    pub(super) fn take_in(&self, side: Side) -> Result<Option<bool>, Error> {
        let Ok(mut receiving) = self.receiving.try_lock() else {
            return Ok(None);
        };
        receiving.left = receiving.most;
        let taken = self.take_all_in(&mut receiving, side);
        match &taken {
            Err(error @ Error::NoRoom { source, .. }) if error.is_recoverable() => {
                receiving.note_short(source.clone(), self.patience);
            }
            _ => receiving.short = None,
        }
        taken.map(Some)
    }

    fn take_all_in(&self, receiving: &mut Receiving<M>, side: Side) -> Result<bool, Error> {
        let mut any = false;
        for _ in 0..MOST_READS {
            any |= self.digest(receiving, side)?;
            if receiving.end.is_some() || self.read(receiving, How::Tries)? != Found::Bytes {
                break;
            }
            any = true;
        }
        any |= self.digest(receiving, side)?;
        Ok(any)
    }

    /// Obeys every whole record that has been read. Returns true if there was one.
    pub(super) fn digest(&self, receiving: &mut Receiving<M>, side: Side) -> Result<bool, Error> {
        let mut any = false;
        loop {
            let obeyed = match receiving.end {
                Some(_) => Ok(Obeyed::Nothing),
                None => self.obey_next(receiving),
            };
            let is_over = matches!(obeyed, Ok(Obeyed::Nothing) | Err(_));
            any |= !is_over;
            if any && is_over {
                self.wake(side.other());
            }
            match obeyed? {
                Obeyed::Nothing => return Ok(any),
                Obeyed::Record => {}
                Obeyed::Message(queued) => receiving.inbox.push_back(queued),
            }
        }
    }

    /// Obeys the next record if it is whole. A message is the caller's.
    pub(super) fn obey_next(&self, receiving: &mut Receiving<M>) -> Result<Obeyed, Error> {
        if let Some(unresolved) = receiving.unresolved.take() {
            return self.resolve(receiving, unresolved).map(Obeyed::Message);
        }
        match receiving.session.next(&mut *receiving.allocator) {
            Ok(None) => Ok(Obeyed::Nothing),
            Ok(Some(arrival)) => self.obey(receiving, arrival),
            Err(fault) => Err(self.failed(receiving, fault)),
        }
    }

    /// Reads once.
    pub(super) fn read(&self, receiving: &mut Receiving<M>, how: How) -> Result<Found, Error> {
        let block = how == How::Blocks;
        if receiving.left == 0 {
            return Ok(Found::Nothing);
        }
        let copies = receiving.borrower.copies();
        let most = match receiving.room.cover(&mut receiving.session, copies) {
            Ok(most) => most,
            Err(fault) => return Err(self.failed(receiving, fault)),
        };
        let session = &mut receiving.session;
        let spare = match session.spare() {
            Ok(spare) if spare.len() > receiving.left => &mut spare[..receiving.left],
            Ok(spare) => spare,
            Err(fault) => return Err(self.failed(receiving, fault)),
        };
        let most = spare.len().min(most);
        let spare = &mut spare[..most];
        // A receiver that spins looks more often than a number counts.
        receiving.system_calls = receiving.system_calls.saturating_add(1);
        let result = if M::DESCRIPTORS {
            os::receive_with_descriptor(&self.socket, spare, block)
        } else {
            os::receive(&self.socket, spare, block).map(|count| (count, os::Ancillary::default()))
        };
        let fault = match result {
            Ok((0, _)) => match session.ended() {
                Ok(()) => {
                    receiving.end(End::Closed);
                    return Ok(Found::End);
                }
                Err(fault) => Err(fault),
            },
            Ok((_, ancillary)) if ancillary.is_lost() => {
                // The kernel has let go of memory that messages are about to refer to.
                self.starved(receiving, Refusal::NoDescriptors);
                let source = os::out_of_descriptors();
                return Err(socket_error(Operation::Recv, &self.peer, source));
            }
            Ok((_, ancillary)) if ancillary.truncated => Err(Fault::Violation(
                "it sent more descriptors than a record has",
            )),
            Ok((count, ancillary)) => {
                receiving.left -= count;
                receiving.short = None;
                let allocator = &mut *receiving.allocator;
                session
                    .filled(count, ancillary.descriptor, Instant::now(), allocator)
                    .map(|()| Found::Bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && how == How::Spins => {
                return Ok(Found::Nothing);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => session
                .found_nothing(Instant::now())
                .map(|()| Found::Nothing),
            Err(error) if is_hang_up(&error) => {
                let missing = session.missing();
                Err(Fault::Ended { missing })
            }
            Err(error) => return Err(socket_error(Operation::Recv, &self.peer, error)),
        };
        fault.map_err(|fault| self.failed(receiving, fault))
    }

    /// Notes a fault, reports it to a peer that made it, and returns it.
    fn failed(&self, receiving: &mut Receiving<M>, fault: Fault) -> Error {
        let refusal = fault.refusal();
        let is_over = !fault.is_recoverable();
        let mut error = receiving.fail(fault, &self.peer);
        if !receiving.session.has_hello() {
            error = error.handshake(self.peer.clone());
        }
        if is_over {
            let mut sending = self.sending();
            if let Some(reason) = refusal {
                sending.session.refuse(reason);
                let _ = sending.drain(&self.socket);
            }
            drop(sending);
            self.wake(Side::Send);
            self.wake(Side::Receive);
        }
        error
    }

    /// Ends the connection for want of something on this side.
    fn starved(&self, receiving: &mut Receiving<M>, reason: Refusal) {
        receiving.end(End::Failed);
        let mut sending = self.sending();
        sending.session.refuse(reason);
        let _ = sending.drain(&self.socket);
        drop(sending);
        self.wake(Side::Send);
        self.wake(Side::Receive);
    }

    fn obey(
        &self,
        receiving: &mut Receiving<M>,
        arrival: Arrival<OwnedFd>,
    ) -> Result<Obeyed, Error> {
        let mut sending = self.sending();
        if let Err(fault) = sending.session.hear(&arrival) {
            drop(sending);
            return Err(self.failed(receiving, fault));
        }
        sending.set_aside();
        match arrival.event {
            Event::Released { id } => {
                let released = sending.lender.released(id);
                sending.set_aside();
                if let Err(fault) = released {
                    drop(sending);
                    return Err(self.failed(receiving, Fault::Violation(fault)));
                }
            }
            Event::Message {
                preamble,
                message,
                copied,
            } => {
                drop(sending);
                receiving.room.is_whole(preamble.id);
                let transfer = Transfer {
                    id: preamble.id,
                    bytes: preamble.payload_len,
                    copied,
                    path: TransferPath::Read,
                    reason: PathReason::OnlyWay,
                    system_calls: std::mem::take(&mut receiving.system_calls),
                };
                return Ok(Obeyed::Message(Queued {
                    preamble,
                    message,
                    transfer,
                }));
            }
            Event::Referenced {
                preamble,
                header,
                references,
            } => {
                drop(sending);
                let unresolved = Unresolved {
                    preamble,
                    header,
                    references,
                };
                return self.resolve(receiving, unresolved).map(Obeyed::Message);
            }
            Event::Segment { number, descriptor } => {
                drop(sending);
                self.accept_segment(receiving, number, descriptor)?;
            }
            Event::Skipped { preamble } => {
                if preamble.flags.references {
                    if !M::DESCRIPTORS || sending.session.is_flooded() {
                        drop(sending);
                        let fault = "it refers to memory where none is passed, or does not read";
                        return Err(self.failed(receiving, Fault::Violation(fault)));
                    }
                    sending.session.release(preamble.id);
                }
                // Nobody takes it, so its credit is owed at once: the peer may wait for it, and the program for the peer.
                receiving.session.take(&preamble);
                receiving.room.taken(preamble.id, &mut receiving.session);
                sending.session.owe(receiving.session.debt());
            }
            Event::Refused(reason) => {
                drop(sending);
                return Err(self.failed(receiving, Fault::Refused(reason)));
            }
            _ => {}
        }
        Ok(Obeyed::Record)
    }

    /// Returns a message in segments of the peer. Without room it waits, and the next call tries again.
    fn resolve(
        &self,
        receiving: &mut Receiving<M>,
        unresolved: Unresolved,
    ) -> Result<Queued, Error> {
        let Unresolved {
            preamble,
            header,
            references,
        } = &unresolved;
        let allocator = &mut *receiving.allocator;
        let copied = if receiving.borrower.copies() {
            let room = &mut receiving.room;
            room.cover_copy(preamble.id, preamble.payload_len)
        } else {
            Ok(())
        };
        let borrower = &mut receiving.borrower;
        let resolved = copied.map_err(DecodeError::from).and_then(|()| {
            borrower.resolve(preamble.id, header.buffer_lens(), references, allocator)
        });
        let (buffers, transfer) = match resolved.map_err(Fault::from) {
            Ok(resolved) => resolved,
            Err(fault) => {
                if fault.is_recoverable() {
                    receiving.unresolved = Some(unresolved);
                }
                return Err(self.failed(receiving, fault));
            }
        };
        let Unresolved {
            preamble, header, ..
        } = unresolved;
        let message = match header.resolve(buffers) {
            Ok(message) => message,
            Err(error) => return Err(self.failed(receiving, error.into())),
        };
        receiving.room.is_whole(preamble.id);
        let transfer = Transfer {
            id: preamble.id,
            bytes: preamble.payload_len,
            system_calls: std::mem::take(&mut receiving.system_calls),
            ..transfer
        };
        Ok(Queued {
            preamble,
            message,
            transfer,
        })
    }

    fn accept_segment(
        &self,
        receiving: &mut Receiving<M>,
        number: u64,
        descriptor: Option<OwnedFd>,
    ) -> Result<(), Error> {
        let Ok(segment) = u32::try_from(number) else {
            let fault = Fault::Violation("the number of a segment has 32 bits");
            return Err(self.failed(receiving, fault));
        };
        let accepted = receiving.borrower.accept_segment(segment, descriptor);
        accepted.map_err(|source| {
            if source.kind() == io::ErrorKind::OutOfMemory {
                self.starved(receiving, Refusal::NoRoom);
            } else {
                let fault = Fault::Violation("it offers memory that cannot be mapped");
                self.failed(receiving, fault);
            }
            Error::io(Operation::Map, &self.peer)(source)
        })
    }
}
