//! Sending: how a message is written, and the waits for room.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use numpush_message::{
    Backing, Buffer, Encoder, Flags, Message, PREAMBLE_LEN, Payload, RecordKind, Stamp,
};
use numpush_os::{self as os, Ready};

use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::socket::medium::{Announcement, Medium, SMALL, Way, goes_by_file};
use crate::socket::session::control;
use crate::socket::stream::{Stream, violation};
use crate::transfer::{PathReason, Transfer, TransferPath};
use crate::transport::Context;

/// Bytes of one write. In one call of 256 MiB the sender sleeps in the kernel for long stretches; in steps of some MiB
/// it kept pace with the receiver, at no measurable cost in calls.
const WRITE_STEP: usize = 4 << 20;

impl<M: Medium> Stream<M> {
    /// Writes a message as its medium plans it, once the window has room for it.
    pub(super) fn send_message(
        &mut self,
        message: &Message<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Transfer, Error> {
        let bytes = message.payload_len();
        Context::check_size(bytes, self.peer_max, "the peer")?;
        let id = self.outgoing.next_id;
        // The header is encoded, and every limit checked, before anything is copied or promised.
        let flags = Flags::with_checksums(self.checksums);
        let mut encoder = Encoder::new(message, flags).map_err(Error::Message)?;
        encoder.stamp(Stamp {
            id,
            ..Stamp::default()
        });
        self.make_room(bytes, cx)?;
        self.await_release(message, cx)?;
        self.queue_control(true);
        self.outgoing.system_calls = 0;
        let plan = self.medium.plan(message, self.terms());
        let mut transfer = Transfer {
            bytes,
            copied: message.copied_bytes(),
            ..Transfer::default()
        };
        let mut held = Vec::new();
        self.announce_all(&plan.announce, cx)?;
        match &plan.way {
            Way::Write(reason) => {
                self.write(&mut encoder, false, cx)?;
                (transfer.path, transfer.reason) = (TransferPath::Write, *reason);
            }
            Way::SendFile => {
                self.write(&mut encoder, true, cx)?;
                (transfer.path, transfer.reason) =
                    (TransferPath::SendFile, PathReason::StableDescriptor);
                held = backed(message);
            }
            Way::Refer { references, copied } => {
                self.refer(&encoder.by_reference(references), cx)?;
                transfer.copied += copied;
                (transfer.path, transfer.reason) = if *copied > 0 {
                    (TransferPath::SegmentCopy, PathReason::PlainMemory)
                } else {
                    (TransferPath::Reference, PathReason::StableDescriptor)
                };
            }
        }
        self.medium.commit(plan, id);
        self.outgoing.message_sent(bytes, held);
        transfer.system_calls = self.outgoing.system_calls;
        Ok(transfer)
    }

    /// Waits until the window has room for `bytes`, or is empty.
    fn make_room(&mut self, bytes: u64, cx: &mut Context<'_>) -> Result<(), Error> {
        let window = cx.options.window;
        // Acknowledgements of many messages must not pile up unread in the socket, nor releases of large ones while they hold
        // memory: all that is there is read, or enough of it.
        let holds_memory = M::DESCRIPTORS && bytes >= SMALL && self.outgoing.in_flight() > 0;
        if holds_memory || self.outgoing.in_flight() >= 64 {
            for _ in 0..1024 {
                if !self.read(false, cx)? {
                    break;
                }
            }
        }
        self.read_until(Operation::Send, cx, |this| {
            this.outgoing.has_room(bytes, window)
        })
    }

    /// Waits a little for the peer to return memory, where that is cheaper than to make more of it.
    fn await_release(&mut self, message: &Message<'_>, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(wait) = self.medium.release_wait(message) else {
            return Ok(());
        };
        let until = Deadline::after(wait);
        while self.medium.release_wait(message).is_some() && !until.has_passed() {
            self.write_control(cx)?;
            if self.wait(Ready::READ, until, cx)?.0.read {
                self.read(false, cx)?;
            }
        }
        Ok(())
    }

    /// Writes a record, control records first. With `by_file`, buffers with a descriptor go by sendfile.
    fn write(
        &mut self,
        encoder: &mut Encoder<'_>,
        by_file: bool,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        let aside = |buffer: &Buffer<'_>| by_file && goes_by_file(buffer);
        let mut block = true;
        let mut started = false;
        while let Some(next) = encoder.next() {
            self.outgoing.system_calls += 1;
            let backing = next
                .buffer
                .filter(|buffer| aside(buffer))
                .and_then(|buffer| buffer.backing());
            let result = match backing {
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
                    let fault = "the file of a buffer was truncated while it was sent";
                    return Err(violation(fault, cx));
                }
                Ok(count) => {
                    let owed = count.min(self.outgoing.control.len());
                    self.outgoing.control.drain(..owed);
                    started = started || count > owed;
                    encoder.advance(count - owed);
                    block = block && count >= whole.min(1 << 20);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => block = false,
                Err(error) => return Err(self.write_failed(error, cx)),
            }
            if !block && encoder.next().is_some() {
                self.wait_to_write(started, cx)?;
            }
        }
        Ok(())
    }

    /// Waits for room in the socket, and takes in what the peer sends meanwhile.
    fn wait_to_write(&mut self, started: bool, cx: &mut Context<'_>) -> Result<(), Error> {
        // Half a record cannot be left for a want of room in the other direction.
        let want = if self.incoming.closed || self.incoming.decoder.wants_room() {
            Ready::WRITE
        } else {
            Ready::BOTH
        };
        let (ready, in_time) = self.wait(want, cx.deadline, cx)?;
        if ready.read && want.read {
            match self.read(false, cx) {
                Err(error @ Error::NoRoom { .. }) if error.is_recoverable() => {}
                result => drop(result?),
            }
        }
        if in_time {
            return Ok(());
        }
        // Half a record cannot be taken back.
        self.failed = started;
        Err(cx.timeout(Operation::Send))
    }

    /// The error of a write. If the peer refused us before it hung up, that is the reason to report.
    fn write_failed(&mut self, error: io::Error, cx: &mut Context<'_>) -> Error {
        for _ in 0..64 {
            match self.read(false, cx) {
                Ok(true) => {}
                Err(refused @ Error::Refused { .. }) => return refused,
                _ => break,
            }
        }
        self.io_error(Operation::Send, error, cx)
    }

    /// Writes announcements with their descriptors. Each counts when it was written: the peer has it then, even if the
    /// message does not follow.
    fn announce_all(
        &mut self,
        announce: &[Announcement],
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        for announcement in announce {
            if let Some(descriptor) = &announcement.descriptor {
                self.write_all_control(cx)?;
                self.announce(announcement.segment, descriptor, cx)?;
            } else {
                self.outgoing
                    .queue(RecordKind::Segment, announcement.segment.into());
            }
            self.medium.announced(announcement);
        }
        Ok(())
    }

    /// Writes header and references.
    fn refer(&mut self, encoder: &Encoder<'_>, cx: &mut Context<'_>) -> Result<(), Error> {
        let owed = self.outgoing.control.len();
        self.outgoing.control.extend_from_slice(encoder.head());
        let len = self.outgoing.control.len() - owed;
        self.write_control(cx)?;
        while !self.outgoing.control.is_empty() {
            let started = self.outgoing.control.len() < len;
            let waited = self.wait_to_write(started, cx);
            if !started && waited.is_err() {
                // Nothing of the record has gone: it is taken back, and what is owed stays.
                let owed = self.outgoing.control.len() - len;
                self.outgoing.control.truncate(owed);
            }
            waited?;
            self.write_control(cx)?;
        }
        Ok(())
    }

    /// Writes a segment record with its descriptor.
    fn announce(
        &mut self,
        segment: u32,
        descriptor: &OwnedFd,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        let record = control(RecordKind::Segment, segment.into(), 0);
        loop {
            self.outgoing.system_calls += 1;
            let slices = [IoSlice::new(&record)];
            match os::send_with_descriptor(&self.socket, &slices, descriptor, false) {
                Ok(PREAMBLE_LEN) => return Ok(()),
                // The descriptor went with the first byte; the rest goes as any control record.
                Ok(count) => {
                    let rest = record.get(count..).unwrap_or(&[]);
                    self.outgoing.control.extend_from_slice(rest);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait_to_write(false, cx)?;
                }
                Err(error) => return Err(self.write_failed(error, cx)),
            }
        }
    }

    /// Writes all control records. What is left after an error is written later.
    fn write_all_control(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.write_control(cx)?;
        while !self.outgoing.control.is_empty() {
            self.wait_to_write(false, cx)?;
            self.write_control(cx)?;
        }
        Ok(())
    }

    /// Waits until every message is acknowledged.
    pub(super) fn flush_messages(
        &mut self,
        operation: Operation,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        self.read_until(operation, cx, |this| this.outgoing.in_flight() == 0)
    }

    /// Waits until every message is acknowledged, then reports that no more come.
    pub(super) fn close_outgoing(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        if self.outgoing.closed {
            return Ok(());
        }
        self.flush_messages(Operation::Close, cx)?;
        self.queue_control(true);
        self.outgoing
            .queue(RecordKind::Close, self.outgoing.next_id - 1);
        self.outgoing.closed = true;
        self.write_all_control(cx)
    }
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
    let offset = backing.offset + next.at as u64;
    os::send_file(socket, &*backing.file, offset, count)
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
