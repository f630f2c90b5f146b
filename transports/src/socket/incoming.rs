//! What comes in: records, and the waits for them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use numpush_message::{BufferAllocator, Decoder, Message, Preamble, Record, RecordKind};
use numpush_os::{self as os, Ready};

use crate::deadline;
use crate::error::{Error, Refusal};
use crate::socket::{Medium, Stream};
use crate::transfer::{PathReason, Transfer, TransferPath};
use crate::transport::Received;

pub(super) struct Incoming {
    pub(super) decoder: Decoder,
    pub(super) allocator: Box<dyn BufferAllocator>,
    pub(super) inbox: VecDeque<Received>,
    /// When the first byte of the record at hand came.
    pub(super) began: Option<Instant>,
    pub(super) next_id: u32,
    pub(super) system_calls: u32,
    /// The peer has said that nothing more comes.
    pub(super) closed: bool,
    /// Messages taken in and not acknowledged.
    pub(super) unacknowledged: Option<PendingAck>,
    /// A descriptor that came with the preamble at hand.
    pub(super) descriptor: Option<OwnedFd>,
}

pub(super) struct PendingAck {
    /// Number of the last of them.
    pub(super) last: u32,
    pub(super) count: u32,
    pub(super) bytes: u64,
}

impl<M: Medium> Stream<M> {
    /// Reads once. True if bytes came; false if none were there, or none came in a tick.
    pub(super) fn read(&mut self, block: bool) -> Result<bool, Error> {
        let incoming = &mut self.incoming;
        let rubbish = |source| Error::InvalidMessage {
            peer: self.peer.clone(),
            source,
        };
        // Descriptors come with the first byte of a preamble, and a plain read would drop them.
        let take_descriptor = M::DESCRIPTORS && incoming.decoder.is_idle();
        let spare = incoming.decoder.spare().map_err(rubbish)?;
        incoming.system_calls += 1;
        let result = if take_descriptor {
            os::receive_with_descriptor(&self.socket, spare, block)
        } else {
            os::receive(&self.socket, spare, block).map(|count| (count, os::Ancillary::default()))
        };
        let (count, ancillary) = match result {
            Ok((0, _)) if incoming.closed => return Err(self.closed()),
            Ok((0, _)) => return Err(self.gone()),
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(self.io_error("read from", error)),
        };
        if ancillary.truncated {
            return Err(self.fault(
                "it sent more descriptors than a record has, or we are out of descriptors",
            ));
        }
        let incoming = &mut self.incoming;
        if ancillary.descriptor.is_some() {
            incoming.descriptor = ancillary.descriptor;
        }
        incoming.began.get_or_insert_with(Instant::now);
        let record = incoming
            .decoder
            .filled(count, &mut *incoming.allocator)
            .map_err(rubbish)?;
        if let Some(record) = record {
            self.incoming.began = None;
            self.handle_record(record)?;
        }
        Ok(true)
    }

    pub(super) fn handle_record(&mut self, record: Record) -> Result<(), Error> {
        let descriptor = self.incoming.descriptor.take();
        match record {
            Record::Message(preamble, message) => {
                let transfer = Transfer {
                    bytes: preamble.payload_len,
                    path: TransferPath::Read,
                    reason: PathReason::OnlyWay,
                    ..Transfer::default()
                };
                self.queue_message(&preamble, message, transfer)
            }
            Record::Referenced(preamble, summary, references) => {
                let allocator = &mut *self.incoming.allocator;
                let resolved = self
                    .medium
                    .resolve(&preamble, summary, &references, allocator);
                let (message, transfer) = resolved.map_err(|source| Error::InvalidMessage {
                    peer: self.peer.clone(),
                    source,
                })?;
                self.queue_message(&preamble, message, transfer)
            }
            Record::Control(record) => self.handle_control(record, descriptor),
            _ => Err(self.fault("a record of a kind we do not know")),
        }
    }

    pub(super) fn queue_message(
        &mut self,
        preamble: &Preamble,
        message: Message<'static>,
        transfer: Transfer,
    ) -> Result<(), Error> {
        let incoming = &mut self.incoming;
        if preamble.id != incoming.next_id {
            return Err(self.fault("a message is missing or came twice"));
        }
        incoming.next_id = incoming.next_id.wrapping_add(1);
        let transfer = Transfer {
            system_calls: std::mem::take(&mut incoming.system_calls),
            ..transfer
        };
        let owed = incoming.unacknowledged.get_or_insert(PendingAck {
            last: 0,
            count: 0,
            bytes: 0,
        });
        owed.last = preamble.id;
        owed.count += 1;
        owed.bytes += preamble.payload_len;
        incoming.inbox.push_back(Received { message, transfer });
        Ok(())
    }

    pub(super) fn handle_control(
        &mut self,
        record: Preamble,
        descriptor: Option<OwnedFd>,
    ) -> Result<(), Error> {
        match record.kind {
            RecordKind::Ack => self.acknowledged(record.id),
            RecordKind::Release => {
                self.medium.released(record.id);
                self.acknowledged(record.id)
            }
            RecordKind::Close => {
                self.incoming.closed = true;
                Ok(())
            }
            RecordKind::Refuse => {
                let reason = Refusal::from_wire(record.id);
                Err(Error::Refused {
                    peer: self.peer.clone(),
                    reason,
                })
            }
            RecordKind::Segment => {
                let accepted = self.medium.accept_segment(&record, descriptor);
                accepted.map_err(Error::io("map a segment of", &self.peer))
            }
            _ => Err(self.fault("a record that has no place here")),
        }
    }

    pub(super) fn check_progress(&self) -> Result<(), Error> {
        match self.incoming.deadline() {
            Some(deadline) if Instant::now() >= deadline => Err(Error::Stalled {
                peer: self.peer.clone(),
                after: self.incoming.allowance(),
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn next_message(&mut self) -> Result<Received, Error> {
        let timeout = self.options.recv_timeout;
        let deadline = deadline::deadline(timeout);
        loop {
            if let Some(received) = self.incoming.inbox.pop_front() {
                let due = self.acknowledge_now()?;
                self.queue_control(due);
                self.write_control()?;
                return Ok(received);
            }
            if self.incoming.closed {
                return Err(self.closed());
            }
            // Before waiting, what is owed is paid: the peer may be waiting for it.
            if self.incoming.decoder.is_idle() {
                let due = self.incoming.unacknowledged.is_some() && !self.has_input()?;
                self.queue_control(due);
                self.write_control()?;
            }
            let blocked_control = !self.outgoing.control.is_empty();
            if timeout.is_none() && !blocked_control {
                if !self.read(true)? {
                    self.check_progress()?;
                }
                continue;
            }
            let want = if blocked_control {
                Ready::BOTH
            } else {
                Ready::READ
            };
            let (ready, in_time) = self.wait(want, deadline)?;
            if ready.read {
                self.read(false)?;
            }
            if !in_time {
                return Err(Error::Timeout {
                    operation: "recv",
                    after: timeout.unwrap_or_default(),
                });
            }
        }
    }

    /// True if bytes wait in the socket.
    pub(super) fn has_input(&self) -> Result<bool, Error> {
        let now = Some(Instant::now());
        let ready = os::wait(&[(self.socket.as_fd(), Ready::READ)], now);
        Ok(ready
            .map_err(Error::io("wait for", &self.peer))?
            .first()
            .is_some_and(|ready| ready.read))
    }

    /// Takes in what has come, until `done` or the deadline of `operation`.
    pub(super) fn read_until(
        &mut self,
        operation: &'static str,
        deadline: Option<Instant>,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Error> {
        while !done(self) {
            self.queue_control(true);
            self.write_control()?;
            let want = if self.outgoing.control.is_empty() {
                Ready::READ
            } else {
                Ready::BOTH
            };
            let (ready, in_time) = self.wait(want, deadline)?;
            if ready.read {
                self.read(false)?;
            }
            if !in_time {
                let after = self.options.send_timeout.unwrap_or_default();
                return Err(Error::Timeout { operation, after });
            }
        }
        Ok(())
    }
}

impl Incoming {
    pub(super) fn missing(&self) -> u64 {
        if self.decoder.is_idle() {
            0
        } else {
            self.decoder.missing()
        }
    }

    pub(super) fn allowance(&self) -> Duration {
        deadline::for_record(self.decoder.payload_len())
    }

    /// When the record at hand must be whole.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.began.map(|began| began + self.allowance())
    }
}
