//! What goes out: messages, acknowledgements, and what is held until the peer has them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::time::Instant;

use numpush_message::{
    Backing, Buffer, Encoder, Flags, Message, PREAMBLE_LEN, Payload, RecordKind, Reference,
};
use numpush_os::{self as os, Ready};

use crate::deadline;
use crate::error::Error;
use crate::socket::session::control;
use crate::socket::{Announcement, Medium, Plan, SMALL, Stream, is_hang_up};
use crate::transfer::{PathReason, Transfer, TransferPath};

#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) next_id: u32,
    /// Messages on their way, with what they hold until the peer has them.
    pub(super) in_flight: VecDeque<InFlight>,
    pub(super) in_flight_bytes: u64,
    /// Control records that have not been written.
    pub(super) control: Vec<u8>,
    pub(super) system_calls: u32,
    pub(super) closed: bool,
}

pub(super) struct InFlight {
    pub(super) id: u32,
    pub(super) bytes: u64,
    /// Pages the kernel still reads after sendfile, and segments the peer maps.
    pub(super) _held: Vec<Buffer<'static>>,
}

impl<M: Medium> Stream<M> {
    /// Every message up to `id` has arrived. Numbers wrap; a message never sent is not acknowledged.
    pub(super) fn acknowledged(&mut self, id: u32) -> Result<(), Error> {
        if self.outgoing.next_id.wrapping_sub(id).cast_signed() <= 0 {
            return Err(self.fault("it acknowledges a message that was never sent"));
        }
        let outgoing = &mut self.outgoing;
        while outgoing
            .in_flight
            .front()
            .is_some_and(|message| id.wrapping_sub(message.id).cast_signed() >= 0)
        {
            if let Some(message) = outgoing.in_flight.pop_front() {
                outgoing.in_flight_bytes -= message.bytes;
            }
        }
        Ok(())
    }

    /// Appends what we owe the peer to the control records: releases, and an acknowledgement if it is `due`.
    ///
    /// While the inbox holds a window's worth nothing is acknowledged, so that the peer pauses.
    pub(super) fn queue_control(&mut self, due: bool) {
        for id in self.medium.take_releases() {
            self.outgoing
                .control
                .extend_from_slice(&control(RecordKind::Release, id, 0));
        }
        let Some(owed) = &self.incoming.unacknowledged else {
            return;
        };
        let waiting: u64 = self
            .incoming
            .inbox
            .iter()
            .map(|message| message.transfer.bytes)
            .sum();
        if due && waiting <= self.options.window {
            self.outgoing
                .control
                .extend_from_slice(&control(RecordKind::Ack, owed.last, 0));
            self.incoming.unacknowledged = None;
        }
    }

    /// True if an acknowledgement should not wait for an answer or for more messages to go with it.
    ///
    /// A packet for each small message would cost a third of a round trip in a conversation, and half the rate in a
    /// stream: there it goes with the answer, or when nothing more is there to be read.
    pub(super) fn acknowledge_now(&self) -> Result<bool, Error> {
        let Some(owed) = &self.incoming.unacknowledged else {
            return Ok(false);
        };
        if owed.bytes > SMALL || owed.count >= 32 {
            return Ok(true);
        }
        Ok(self.outgoing.next_id == 1 && !self.has_input()?)
    }

    /// Writes as many control records as the socket takes now.
    pub(super) fn write_control(&mut self) -> Result<(), Error> {
        while !self.outgoing.control.is_empty() {
            self.outgoing.system_calls += 1;
            match os::send(&self.socket, &[IoSlice::new(&self.outgoing.control)], false) {
                Ok(count) => drop(self.outgoing.control.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The peer is gone, and its last messages may still be here: reading tells which.
                Err(error) if is_hang_up(&error) => self.outgoing.control.clear(),
                Err(error) => return Err(self.io_error("write to", error)),
            }
        }
        Ok(())
    }

    pub(super) fn send_message(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        let bytes = message.payload_len();
        for (limit, whose) in [
            (self.options.max_message, "this side"),
            (self.peer_max, "the peer"),
        ] {
            if bytes > limit {
                return Err(Error::TooLarge {
                    len: bytes,
                    limit,
                    whose,
                });
            }
        }
        let id = self.outgoing.next_id;
        // The header is encoded, and every limit checked, before anything is copied or promised.
        let flags = Flags {
            checksums: self.checksums,
            references: false,
        };
        let mut encoder = Encoder::new(message, id, flags).map_err(Error::Message)?;
        let deadline = deadline::deadline(self.options.send_timeout);
        self.make_room(bytes, deadline)?;
        self.await_release(message)?;
        self.queue_control(true);
        self.outgoing.system_calls = 0;
        let plan = self.medium.plan(message, id, self.checksums);
        let mut transfer = Transfer {
            bytes,
            copied: message.copied_bytes(),
            ..Transfer::default()
        };
        let mut held = Vec::new();
        match plan {
            Plan::Write(reason) => {
                self.write(&mut encoder, false, deadline)?;
                (transfer.path, transfer.reason) = (TransferPath::Write, reason);
            }
            Plan::SendFile => {
                self.write(&mut encoder, true, deadline)?;
                (transfer.path, transfer.reason) =
                    (TransferPath::SendFile, PathReason::StableDescriptor);
                held = backed(message);
            }
            Plan::Refer {
                announce,
                references,
                copied,
            } => {
                self.refer(&encoder.by_reference(), &announce, &references, deadline)?;
                transfer.copied += copied;
                transfer.path = if copied > 0 {
                    TransferPath::SegmentCopy
                } else {
                    TransferPath::Reference
                };
                transfer.reason = if copied > 0 {
                    PathReason::PlainMemory
                } else {
                    PathReason::StableDescriptor
                };
                held = backed(message);
            }
        }
        self.outgoing.next_id = id.wrapping_add(1);
        self.outgoing.in_flight.push_back(InFlight {
            id,
            bytes,
            _held: held,
        });
        self.outgoing.in_flight_bytes += bytes;
        transfer.system_calls = self.outgoing.system_calls;
        Ok(transfer)
    }

    /// Waits until the window has room for `bytes`, or is empty.
    pub(super) fn make_room(&mut self, bytes: u64, deadline: Option<Instant>) -> Result<(), Error> {
        let window = self.options.window;
        let fits = |this: &Self| {
            this.outgoing.in_flight.is_empty()
                || this.outgoing.in_flight_bytes.saturating_add(bytes) <= window
        };
        // Acknowledgements of many small messages must not pile up unread in the socket.
        while self.outgoing.in_flight.len() >= 64 && self.read(false)? {}
        self.read_until("send", deadline, fits)
    }

    /// Waits a little for the peer to give memory back, where that is cheaper than to make more of it.
    pub(super) fn await_release(&mut self, message: &Message<'_>) -> Result<(), Error> {
        let Some(release_wait) = self.medium.release_wait(message) else {
            return Ok(());
        };
        let until = Instant::now() + release_wait;
        while self.medium.release_wait(message).is_some() && Instant::now() < until {
            self.write_control()?;
            if self.wait(Ready::READ, Some(until))?.0.read {
                self.read(false)?;
            }
        }
        Ok(())
    }

    /// Writes a record, control records first.
    pub(super) fn write(
        &mut self,
        encoder: &mut Encoder<'_>,
        by_file: bool,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let aside = |buffer: &Buffer<'_>| by_file && goes_by_file(buffer);
        let mut block = true;
        let mut started = false;
        while let Some(next) = encoder.next() {
            self.outgoing.system_calls += 1;
            let result = match next
                .buffer
                .filter(|buffer| aside(buffer))
                .and_then(|buffer| buffer.backing())
            {
                Some(backing) if self.outgoing.control.is_empty() => {
                    send_file(&self.socket, backing, &next, self.checksums)
                }
                _ => {
                    let mut slices = Vec::with_capacity(8);
                    if !self.outgoing.control.is_empty() {
                        slices.push(IoSlice::new(&self.outgoing.control));
                    }
                    encoder.gather(&mut slices, WRITE_STEP, aside);
                    os::send(&self.socket, &slices, block)
                }
            };
            let whole = encoder.next().map_or(0, |next| next.bytes.len());
            match result {
                Ok(0) => {
                    return Err(
                        self.fault("the file behind a buffer was truncated while it was sent")
                    );
                }
                Ok(count) => {
                    let owed = count.min(self.outgoing.control.len());
                    self.outgoing.control.drain(..owed);
                    started = started || count > owed;
                    encoder.advance(count - owed);
                    block = block && count >= whole.min(1 << 20);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => block = false,
                Err(error) => return Err(self.write_failed(error)),
            }
            if !block && encoder.next().is_some() {
                self.wait_to_write(started, deadline)?;
            }
        }
        Ok(())
    }

    /// Waits for room in the socket, and takes in what the peer sends meanwhile.
    pub(super) fn wait_to_write(
        &mut self,
        started: bool,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let want = if self.incoming.closed {
            Ready::WRITE
        } else {
            Ready::BOTH
        };
        let (ready, in_time) = self.wait(want, deadline)?;
        if ready.read && want.read {
            self.read(false)?;
        }
        if in_time {
            return Ok(());
        }
        // Half a record cannot be taken back.
        self.broken = started;
        Err(Error::Timeout {
            operation: "send",
            after: self.options.send_timeout.unwrap_or_default(),
        })
    }

    /// If the peer refused us before it hung up, that is the reason to tell.
    pub(super) fn write_failed(&mut self, error: io::Error) -> Error {
        for _ in 0..64 {
            match self.read(false) {
                Ok(true) => {}
                Err(refused @ Error::Refused { .. }) => return refused,
                _ => break,
            }
        }
        self.io_error("write to", error)
    }

    /// Writes announcements with their descriptors, then header and references.
    pub(super) fn refer(
        &mut self,
        encoder: &Encoder<'_>,
        announce: &[Announcement],
        references: &[Reference],
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        for announcement in announce {
            let record = control(RecordKind::Segment, announcement.segment, 0);
            let Some(descriptor) = &announcement.descriptor else {
                self.outgoing.control.extend_from_slice(&record);
                continue;
            };
            self.write_all_control(deadline)?;
            loop {
                self.outgoing.system_calls += 1;
                match os::send_with_descriptor(
                    &self.socket,
                    &[IoSlice::new(&record)],
                    &**descriptor,
                    false,
                ) {
                    Ok(PREAMBLE_LEN) => break,
                    // The descriptor went with the first byte; the rest goes as any control record.
                    Ok(count) => {
                        self.outgoing
                            .control
                            .extend_from_slice(record.get(count..).unwrap_or(&[]));
                        break;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.wait_to_write(false, deadline)?
                    }
                    Err(error) => return Err(self.write_failed(error)),
                }
            }
        }
        self.outgoing.control.extend_from_slice(encoder.head());
        for reference in references {
            self.outgoing
                .control
                .extend_from_slice(&u64::from(reference.segment).to_le_bytes());
            self.outgoing
                .control
                .extend_from_slice(&reference.offset.to_le_bytes());
        }
        self.write_all_control(deadline)
    }

    pub(super) fn write_all_control(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        self.write_control()?;
        while !self.outgoing.control.is_empty() {
            self.wait_to_write(true, deadline)?;
            self.write_control()?;
        }
        Ok(())
    }

    pub(super) fn flush_messages(&mut self, operation: &'static str) -> Result<(), Error> {
        let deadline = deadline::deadline(self.options.send_timeout);
        self.read_until(operation, deadline, |this| {
            this.outgoing.in_flight.is_empty()
        })
    }

    pub(super) fn close_outgoing(&mut self) -> Result<(), Error> {
        if self.outgoing.closed {
            return Ok(());
        }
        self.flush_messages("close")?;
        self.queue_control(true);
        self.outgoing
            .control
            .extend_from_slice(&control(RecordKind::Close, 0, 0));
        self.outgoing.closed = true;
        self.write_all_control(deadline::deadline(self.options.send_timeout))
    }
}

/// Buffers behind a descriptor go by sendfile if they are large enough to be worth a call of their own.
pub(crate) fn goes_by_file(buffer: &Buffer<'_>) -> bool {
    buffer.len() as u64 >= SMALL && buffer.backing().is_some()
}

fn send_file(
    socket: &OwnedFd,
    backing: &Backing,
    next: &Payload<'_>,
    summed: bool,
) -> io::Result<usize> {
    // With checksums the bytes are read piece by piece, each while it is in the cache.
    let count = if summed {
        next.bytes.len().min(256 << 10)
    } else {
        next.bytes.len()
    };
    os::send_file(
        socket,
        &*backing.file,
        backing.offset + next.at as u64,
        count,
    )
}

/// The buffers of a message that are shared, so that they can be held.
fn backed(message: &Message<'_>) -> Vec<Buffer<'static>> {
    let shared = message
        .buffers()
        .filter(|buffer| buffer.backing().is_some() && !buffer.is_borrowed());
    shared
        .map(|buffer| buffer.clone().into_owned_or_copy())
        .collect()
}

/// Bytes of one write. In one call of 256 MiB the sender sleeps in the kernel for long stretches; in steps of some MiB
/// it kept pace with the receiver, at no measurable cost in calls.
const WRITE_STEP: usize = 4 << 20;
