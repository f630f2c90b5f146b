//! The state of a connection over a stream socket, and how its records come and go.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use numpush_message::{DecodeError, Hello, Preamble, Record, RecordKind};
use numpush_os::{self as os, Ready};

use crate::deadline::Deadline;
use crate::error::{Error, Operation, Refusal};
use crate::options::Options;
use crate::socket::handshake::Handshake;
use crate::socket::incoming::Incoming;
use crate::socket::medium::{Medium, Terms};
use crate::socket::outgoing::Outgoing;
use crate::socket::session::{ack, refuse};
use crate::transfer::{PathReason, Transfer, TransferPath};
use crate::transport::Context;

/// One side of a connection over a stream socket.
pub(crate) struct Stream<M: Medium> {
    pub(super) socket: OwnedFd,
    pub(super) medium: M,
    pub(super) peer_max: u64,
    /// What the peer takes of segments.
    terms: Terms,
    pub(super) checksums: bool,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    /// The peer's hello, while it has not come.
    handshake: Option<Handshake>,
    /// A record was left half written, or the peer broke the protocol: nothing can follow.
    pub(super) failed: bool,
}

/// A blocking read gives up this often to look at its deadlines.
const TICK: Duration = Duration::from_secs(1);

/// A blocking write gives up this soon to look whether the peer is writing too.
const SEND_TICK: Duration = Duration::from_millis(50);

impl<M: Medium> Stream<M> {
    /// Sends our hello and returns the connection. The first call that needs the peer's hello waits for it: the other
    /// side may be a listener that this very thread will ask to accept.
    pub(crate) fn open(
        socket: OwnedFd,
        medium: M,
        peer: &str,
        hello: Hello,
        options: &Options,
    ) -> Result<Self, Error> {
        os::send(&socket, &[IoSlice::new(&hello.encode())], false)
            .map_err(Error::io(Operation::Handshake, peer))?;
        let nothing_yet = Hello::new(0);
        let mut stream = Self::new(socket, medium, peer, (hello, nothing_yet), options)?;
        stream.handshake = Some(Handshake::new());
        Ok(stream)
    }

    /// The connection over a socket on which both sides have sent their hellos, ours and the peer's.
    pub(super) fn new(
        socket: OwnedFd,
        medium: M,
        peer: &str,
        (ours, theirs): (Hello, Hello),
        options: &Options,
    ) -> Result<Self, Error> {
        os::set_receive_tick(&socket, TICK).map_err(Error::io(Operation::SetUp, peer))?;
        os::set_send_tick(&socket, SEND_TICK).map_err(Error::io(Operation::SetUp, peer))?;
        Ok(Self {
            socket,
            medium,
            peer_max: theirs.max,
            terms: terms_of(&theirs),
            checksums: ours.checksums || theirs.checksums,
            incoming: Incoming::new(options.max_message, options.window, options.acknowledge),
            outgoing: Outgoing::new(),
            handshake: None,
            failed: false,
        })
    }

    /// Fails if the connection is of no more use, and waits for the peer's hello if it has not come.
    pub(super) fn ready(&mut self, cx: &Context<'_>) -> Result<(), Error> {
        if self.failed {
            return Err(cx.failed());
        }
        let Some(mut handshake) = self.handshake.take() else {
            return Ok(());
        };
        match handshake.wait(&self.socket, cx.peer) {
            Ok(theirs) => {
                self.peer_max = theirs.max;
                self.terms = terms_of(&theirs);
                self.checksums |= theirs.checksums;
                Ok(())
            }
            Err(error) => {
                let error = error.handshake(cx.peer.to_owned());
                self.fail_unless_recoverable(Err(error))
            }
        }
    }

    /// Marks the connection as failed after an error that is not recoverable, and reports the fault to a peer that made
    /// it.
    pub(super) fn fail_unless_recoverable<T>(
        &mut self,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        if let Err(error) = &result
            && !error.is_recoverable()
            && !error.is_closed()
        {
            self.failed = true;
            let reason = match error {
                Error::InvalidMessage {
                    source: DecodeError::PayloadTooLong { .. },
                    ..
                } => Some(Refusal::TooLarge),
                Error::InvalidMessage { .. } | Error::ProtocolViolation { .. } => {
                    Some(Refusal::InvalidMessage)
                }
                Error::NoRoom { .. } => Some(Refusal::NoRoom),
                _ => None,
            };
            if let Some(reason) = reason {
                let _ = os::send(&self.socket, &[IoSlice::new(&refuse(reason))], false);
            }
        }
        result
    }

    /// Waits until the socket is ready for `want`, or a record is overdue. False if `deadline` passed.
    pub(super) fn wait(
        &self,
        want: Ready,
        deadline: Deadline,
        cx: &Context<'_>,
    ) -> Result<(Ready, bool), Error> {
        let until = deadline.or_sooner(self.incoming.deadline());
        let ready = os::wait(&[(self.socket.as_fd(), want)], until)
            .map_err(Error::io(Operation::Wait, cx.peer))?;
        let ready = ready.first().copied().unwrap_or_default();
        if !ready.any() {
            self.check_progress(cx)?;
        }
        Ok((ready, ready.any() || !deadline.has_passed()))
    }

    /// Fails if the record at hand is overdue.
    pub(super) fn check_progress(&self, cx: &Context<'_>) -> Result<(), Error> {
        match self.incoming.deadline() {
            Some(deadline) if Instant::now() >= deadline => Err(Error::Stalled {
                peer: cx.peer.to_owned(),
                after: self.incoming.allowance(),
            }),
            _ => Ok(()),
        }
    }

    /// True if bytes wait in the socket.
    pub(super) fn has_input(&self, cx: &Context<'_>) -> Result<bool, Error> {
        let now = Some(Instant::now());
        let ready = os::wait(&[(self.socket.as_fd(), Ready::READ)], now)
            .map_err(Error::io(Operation::Wait, cx.peer))?;
        Ok(ready.first().is_some_and(|ready| ready.read))
    }

    /// Reads once. True if bytes came; false if none were there, or none came in a tick.
    pub(super) fn read(&mut self, block: bool, cx: &mut Context<'_>) -> Result<bool, Error> {
        let incoming = &mut self.incoming;
        if incoming.decoder.wants_room() {
            let record = incoming.decoder.filled(0, &mut *cx.allocator);
            let record = record.map_err(|source| cx.invalid(source))?;
            return self.take_record(record, cx).map(|()| true);
        }
        // Descriptors come with the first byte of a preamble, and a plain read would drop them.
        let take_descriptor = M::DESCRIPTORS && incoming.decoder.is_idle();
        let spare = incoming.decoder.spare();
        let spare = spare.map_err(|source| cx.invalid(source))?;
        incoming.system_calls += 1;
        let result = if take_descriptor {
            os::receive_with_descriptor(&self.socket, spare, block)
        } else {
            os::receive(&self.socket, spare, block).map(|count| (count, os::Ancillary::default()))
        };
        let (count, ancillary) = match result {
            Ok((0, _)) if incoming.closed => return Err(cx.closed()),
            Ok((0, _)) => return Err(cx.disconnected(incoming.missing())),
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(self.io_error(Operation::Recv, error, cx)),
        };
        if ancillary.is_lost() {
            let source = os::out_of_descriptors();
            return Err(Error::io(Operation::Recv, cx.peer)(source));
        }
        if ancillary.truncated {
            let fault = "it sent more descriptors than a record has";
            return Err(violation(fault, cx));
        }
        if ancillary.descriptor.is_some() {
            incoming.descriptor = ancillary.descriptor;
        }
        incoming.began.get_or_insert_with(Instant::now);
        let record = incoming.decoder.filled(count, &mut *cx.allocator);
        let record = record.map_err(|source| cx.invalid(source))?;
        self.take_record(record, cx).map(|()| true)
    }

    fn take_record(&mut self, record: Option<Record>, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(record) = record else {
            return Ok(());
        };
        self.incoming.began = None;
        self.handle_record(record, cx)
    }

    /// A whole record has come: a message goes to the inbox, a control record is obeyed at once.
    fn handle_record(&mut self, record: Record, cx: &mut Context<'_>) -> Result<(), Error> {
        let descriptor = self.incoming.descriptor.take();
        let queued = match record {
            Record::Message(preamble, message) => {
                let transfer = Transfer {
                    bytes: preamble.payload_len,
                    path: TransferPath::Read,
                    reason: PathReason::OnlyWay,
                    ..Transfer::default()
                };
                self.incoming.queue_message(&preamble, message, transfer)
            }
            Record::Referenced(preamble, header, references) => {
                let (id, lens) = (preamble.id, &header.buffer_lens);
                let resolved = self
                    .medium
                    .resolve(id, lens, &references, &mut *cx.allocator);
                // The header is gone with the attempt, so there is no second one.
                self.failed = resolved.is_err();
                let (buffers, transfer) = resolved.map_err(|source| cx.invalid(source))?;
                let message = header.resolve(buffers);
                let message = message.map_err(|source| cx.invalid(source))?;
                let transfer = Transfer {
                    bytes: preamble.payload_len,
                    ..transfer
                };
                self.incoming.queue_message(&preamble, message, transfer)
            }
            Record::Control(record, _) => return self.handle_control(record, descriptor, cx),
            _ => Err("a record of a kind we do not know"),
        };
        queued.map_err(|fault| violation(fault, cx))
    }

    fn handle_control(
        &mut self,
        record: Preamble,
        descriptor: Option<OwnedFd>,
        cx: &Context<'_>,
    ) -> Result<(), Error> {
        let handled = match record.kind {
            RecordKind::Ack => self.outgoing.acknowledged(record.ack),
            RecordKind::Release => self.medium.released(record.id),
            RecordKind::Close => {
                self.incoming.closed = true;
                Ok(())
            }
            RecordKind::Refuse => {
                return Err(Error::Refused {
                    peer: cx.peer.to_owned(),
                    reason: Refusal::from_wire(u32::try_from(record.id).unwrap_or(u32::MAX)),
                });
            }
            RecordKind::Segment => {
                let Ok(segment) = u32::try_from(record.id) else {
                    return Err(violation("the number of a segment has 32 bits", cx));
                };
                let accepted = self.medium.accept_segment(segment, descriptor);
                return accepted.map_err(Error::io(Operation::Map, cx.peer));
            }
            _ => Err("a record that has no place here"),
        };
        handled.map_err(|fault| violation(fault, cx))
    }

    /// What a plan must keep to.
    pub(super) fn terms(&self) -> Terms {
        Terms {
            checksums: self.checksums,
            ..self.terms
        }
    }

    /// Takes in what has come, until `done` or the deadline of the call.
    pub(super) fn read_until(
        &mut self,
        operation: Operation,
        cx: &mut Context<'_>,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Error> {
        while !done(self) {
            self.queue_control(true);
            self.write_control(cx)?;
            let want = if self.outgoing.control.is_empty() {
                Ready::READ
            } else {
                Ready::BOTH
            };
            let (ready, in_time) = self.wait(want, cx.deadline, cx)?;
            if ready.read {
                self.read(false, cx)?;
            }
            if !in_time {
                return Err(cx.timeout(operation));
            }
        }
        Ok(())
    }

    /// Appends what we owe the peer to the control records: releases, and an acknowledgement if it is `due`.
    pub(super) fn queue_control(&mut self, due: bool) {
        for id in self.medium.take_releases() {
            self.outgoing.queue(RecordKind::Release, id);
        }
        for segment in self.medium.take_forgets() {
            self.outgoing.queue(RecordKind::Segment, segment.into());
        }
        if due && let Some(last) = self.incoming.take_ack() {
            self.outgoing.control.extend_from_slice(&ack(last));
        }
    }

    /// Writes as many control records as the socket takes now.
    pub(super) fn write_control(&mut self, cx: &Context<'_>) -> Result<(), Error> {
        while !self.outgoing.control.is_empty() {
            self.outgoing.system_calls += 1;
            match os::send(&self.socket, &[IoSlice::new(&self.outgoing.control)], false) {
                Ok(count) => drop(self.outgoing.control.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The peer is gone, and its last messages may still be here: reading shows which.
                Err(error) if is_hang_up(&error) => self.outgoing.control.clear(),
                Err(error) => return Err(self.io_error(Operation::Send, error, cx)),
            }
        }
        Ok(())
    }

    pub(super) fn io_error(
        &self,
        operation: Operation,
        source: io::Error,
        cx: &Context<'_>,
    ) -> Error {
        match source.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::TimedOut => cx.disconnected(self.incoming.missing()),
            _ => Error::io(operation, cx.peer)(source),
        }
    }
}

fn terms_of(theirs: &Hello) -> Terms {
    Terms {
        segments: theirs.segments,
        descriptors: theirs.descriptors,
        checksums: theirs.checksums,
    }
}

/// The peer did what the protocol forbids.
pub(super) fn violation(fault: &'static str, cx: &Context<'_>) -> Error {
    Error::ProtocolViolation {
        peer: cx.peer.to_owned(),
        fault,
    }
}

/// The peer, or the way to it, is gone.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
    )
}
