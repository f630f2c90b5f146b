//! Messages over a byte stream: what tcp and unix share.
//!
//! One thread drives a link, and no other runs behind it. While it waits to write it reads, so that two peers that
//! send to each other at once both get on; messages that arrive meanwhile wait in the inbox.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use numpush_message::{
    Backing, Buffer, Decoder, Encoder, Flags, Landing, Limits, Message, PREAMBLE_LEN, Preamble, Record,
    RecordKind, Reference, Summary,
};
use numpush_os::{self as os, Ready};

use crate::contract::{Caps, Link, Received};
use crate::error::{Error, Refusal};
use crate::options::Options;
use crate::pace;
use crate::session::{Hello, control, refuse};
use crate::transfer::{Path, Reason, Transfer};

/// What a medium adds to plain bytes.
pub(crate) trait Medium: Send {
    /// Descriptors may come with a record.
    const DESCRIPTORS: bool;

    /// Decides how the payload of message `id` goes, and prepares it.
    fn plan(&mut self, message: &Message<'_>, id: u32, checksums: bool) -> Plan;

    /// How long a wait for a release would pay before `message` is planned; `None` if there is nothing to wait for.
    fn patience(&self, _message: &Message<'_>) -> Option<Duration> {
        None
    }

    /// The descriptor that came with a segment record; a record without one says to forget the segment.
    fn accept_segment(&mut self, record: &Preamble, descriptor: Option<OwnedFd>) -> io::Result<()>;

    /// The message whose buffers lie where `references` say, and how it got here.
    fn resolve(
        &mut self,
        record: &Preamble,
        summary: Summary,
        references: &[Reference],
        landing: &mut dyn Landing,
    ) -> Result<(Message<'static>, Transfer), numpush_message::DecodeError>;

    /// The peer has let go of what message `id` lent it.
    fn released(&mut self, id: u32);

    /// Messages whose ranges we have let go of since the last call.
    fn take_releases(&mut self) -> Vec<u32>;
}

/// How a payload goes.
pub(crate) enum Plan {
    /// By writing; what is left of the ledger is the reason.
    Write(Reason),
    /// By sendfile for the buffers behind a descriptor, by writing for the rest.
    SendFile,
    /// By reference: segments to announce first, then a place for each buffer.
    Refer { announce: Vec<Announcement>, references: Vec<Reference>, copied: u64 },
}

/// A segment that the peer does not know yet, or, without a descriptor, one that it should forget.
pub(crate) struct Announcement {
    pub(crate) segment: u32,
    pub(crate) descriptor: Option<std::sync::Arc<OwnedFd>>,
}

/// A link over a connected stream socket whose handshake is done.
pub(crate) struct Stream<M: Medium> {
    socket: OwnedFd,
    medium: M,
    peer: String,
    options: Options,
    peer_max: u64,
    checksums: bool,
    incoming: Incoming,
    outgoing: Outgoing,
    /// The peer's greeting, while it has not come.
    greeting: Option<Greeting>,
    broken: bool,
}

struct Incoming {
    decoder: Decoder,
    landing: Box<dyn Landing>,
    inbox: VecDeque<Received>,
    /// When the first byte of the record at hand came.
    began: Option<Instant>,
    next_id: u32,
    system_calls: u32,
    /// The peer has said that nothing more comes.
    closed: bool,
    /// Messages taken in and not acknowledged.
    unacknowledged: Option<Owed>,
    /// A descriptor that came with the preamble at hand.
    descriptor: Option<OwnedFd>,
}

struct Owed {
    /// Number of the last of them.
    last: u32,
    count: u32,
    bytes: u64,
}

#[derive(Default)]
struct Outgoing {
    next_id: u32,
    /// Messages on their way, with what they hold until the peer has them.
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: u64,
    /// Control records that have not been written.
    control: Vec<u8>,
    system_calls: u32,
    closed: bool,
}

struct InFlight {
    id: u32,
    bytes: u64,
    /// Pages the kernel still reads after sendfile, and segments the peer maps.
    _held: Vec<Buffer<'static>>,
}

/// Messages up to this size are acknowledged together, and buffers below it are not worth a call of their own.
pub(crate) const SMALL: u64 = 64 << 10;

/// A blocking call gives up this often to look at its deadlines.
const TICK: Duration = Duration::from_secs(1);

/// A blocking write gives up this soon to look whether the peer is writing too.
const SEND_TICK: Duration = Duration::from_millis(50);

impl<M: Medium> Stream<M> {
    /// Greets the peer and makes the link. The peer's greeting is awaited by the first call that needs it: the other
    /// side may be a listener that this very thread will ask to accept.
    pub(crate) fn open(
        socket: OwnedFd,
        medium: M,
        peer: String,
        hello: Hello,
        options: Options,
        landing: Box<dyn Landing>,
    ) -> Result<Self, Error> {
        os::send(&socket, &[IoSlice::new(&hello.encode())], false).map_err(Error::io("greet", &peer))?;
        let nothing_yet = Hello { max_message: 0, checksums: false, segments: false };
        let mut link = Self::greeted(socket, medium, peer, hello, nothing_yet, options, landing)?;
        link.greeting = Some(Greeting::default());
        Ok(link)
    }

    /// Makes the link of a socket whose peers have greeted each other.
    pub(crate) fn greeted(
        socket: OwnedFd,
        medium: M,
        peer: String,
        ours: Hello,
        theirs: Hello,
        options: Options,
        landing: Box<dyn Landing>,
    ) -> Result<Self, Error> {
        os::set_receive_tick(&socket, TICK).map_err(Error::io("set up", &peer))?;
        os::set_send_tick(&socket, SEND_TICK).map_err(Error::io("set up", &peer))?;
        let incoming = Incoming {
            decoder: Decoder::new(Limits::default().with_payload(options.max_message)),
            landing,
            inbox: VecDeque::new(),
            began: None,
            next_id: 1,
            system_calls: 0,
            closed: false,
            unacknowledged: None,
            descriptor: None,
        };
        let outgoing = Outgoing { next_id: 1, ..Outgoing::default() };
        let (peer_max, checksums) = (theirs.max_message, ours.checksums || theirs.checksums);
        let greeting = None;
        Ok(Self {
            socket,
            medium,
            peer,
            options,
            peer_max,
            checksums,
            incoming,
            outgoing,
            greeting,
            broken: false,
        })
    }

    /// Fails if the link is of no more use, and waits for the peer's greeting if it has not come.
    fn ready(&mut self) -> Result<(), Error> {
        self.check_usable()?;
        let Some(mut greeting) = self.greeting.take() else { return Ok(()) };
        let result = greeting.wait(&self.socket, &self.peer);
        match result {
            Ok(theirs) => {
                self.peer_max = theirs.max_message;
                self.checksums |= theirs.checksums;
                Ok(())
            }
            Err(error) => {
                let error = Error::Handshake { peer: self.peer.clone(), source: Box::new(error) };
                self.settle(Err(error))
            }
        }
    }

    fn check_usable(&self) -> Result<(), Error> {
        if self.broken { Err(Error::Broken { peer: self.peer.clone() }) } else { Ok(()) }
    }

    /// Marks the link as broken after an error that is not harmless, and tells the peer if the fault is its.
    fn settle<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && !error.is_harmless()
            && !matches!(error, Error::Closed { .. })
        {
            self.broken = true;
            let reason = match error {
                Error::Rubbish { source: numpush_message::DecodeError::PayloadTooLong { .. }, .. } => {
                    Some(Refusal::TooLarge)
                }
                Error::Rubbish { .. } | Error::Session { .. } => Some(Refusal::Rubbish),
                _ => None,
            };
            if let Some(reason) = reason {
                let _ = os::send(&self.socket, &[IoSlice::new(&refuse(reason))], false);
            }
        }
        result
    }

    fn gone(&self) -> Error {
        Error::Disconnected { peer: self.peer.clone(), missing: self.incoming.missing() }
    }

    fn io_error(&self, operation: &'static str, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::TimedOut => {
                self.gone()
            }
            _ => Error::Io { operation, endpoint: self.peer.clone(), source },
        }
    }

    /// Reads once. True if bytes came; false if none were there, or none came in a tick.
    fn read(&mut self, block: bool) -> Result<bool, Error> {
        let incoming = &mut self.incoming;
        if incoming.closed {
            return Err(Error::Closed { peer: self.peer.clone() });
        }
        let rubbish = |source| Error::Rubbish { peer: self.peer.clone(), source };
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
            Ok((0, _)) => return Err(self.gone()),
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(self.read_error(error)),
        };
        if ancillary.truncated {
            return Err(
                self.fault("it sent more descriptors than a record has, or we are out of descriptors")
            );
        }
        let incoming = &mut self.incoming;
        if ancillary.descriptor.is_some() {
            incoming.descriptor = ancillary.descriptor;
        }
        incoming.began.get_or_insert_with(Instant::now);
        let record = incoming.decoder.filled(count, &mut *incoming.landing).map_err(rubbish)?;
        if let Some(record) = record {
            self.incoming.began = None;
            self.take(record)?;
        }
        Ok(true)
    }

    fn fault(&self, fault: &'static str) -> Error {
        Error::Session { peer: self.peer.clone(), fault }
    }

    /// A peer that refuses us and hangs up may reset the connection; what it said is what counts.
    fn read_error(&self, error: io::Error) -> Error {
        self.io_error("read from", error)
    }

    fn take(&mut self, record: Record) -> Result<(), Error> {
        let descriptor = self.incoming.descriptor.take();
        match record {
            Record::Message(preamble, message) => {
                let transfer = Transfer {
                    bytes: preamble.payload_len,
                    path: Path::Read,
                    reason: Reason::OnlyWay,
                    ..Transfer::default()
                };
                self.arrived(&preamble, message, transfer)
            }
            Record::Referenced(preamble, summary, references) => {
                let landing = &mut *self.incoming.landing;
                let resolved = self.medium.resolve(&preamble, summary, &references, landing);
                let (message, transfer) =
                    resolved.map_err(|source| Error::Rubbish { peer: self.peer.clone(), source })?;
                self.arrived(&preamble, message, transfer)
            }
            Record::Control(record) => self.obey(record, descriptor),
            _ => Err(self.fault("a record of a kind we do not know")),
        }
    }

    fn arrived(
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
        let transfer = Transfer { system_calls: std::mem::take(&mut incoming.system_calls), ..transfer };
        let owed = incoming.unacknowledged.get_or_insert(Owed { last: 0, count: 0, bytes: 0 });
        owed.last = preamble.id;
        owed.count += 1;
        owed.bytes += preamble.payload_len;
        incoming.inbox.push_back(Received { message, transfer });
        Ok(())
    }

    fn obey(&mut self, record: Preamble, descriptor: Option<OwnedFd>) -> Result<(), Error> {
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
                Err(Error::Refused { peer: self.peer.clone(), reason })
            }
            RecordKind::Segment => {
                let accepted = self.medium.accept_segment(&record, descriptor);
                accepted.map_err(Error::io("map a segment of", &self.peer))
            }
            _ => Err(self.fault("a record that has no place here")),
        }
    }

    /// Every message up to `id` has arrived. Numbers wrap; a message never sent is not acknowledged.
    fn acknowledged(&mut self, id: u32) -> Result<(), Error> {
        if self.outgoing.next_id.wrapping_sub(id).cast_signed() <= 0 {
            return Err(self.fault("it acknowledges a message that was never sent"));
        }
        let outgoing = &mut self.outgoing;
        while outgoing.in_flight.front().is_some_and(|message| id.wrapping_sub(message.id).cast_signed() >= 0)
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
    fn queue_control(&mut self, due: bool) {
        for id in self.medium.take_releases() {
            self.outgoing.control.extend_from_slice(&control(RecordKind::Release, id, 0));
        }
        let Some(owed) = &self.incoming.unacknowledged else { return };
        let waiting: u64 = self.incoming.inbox.iter().map(|message| message.transfer.bytes).sum();
        if due && waiting <= self.options.window {
            self.outgoing.control.extend_from_slice(&control(RecordKind::Ack, owed.last, 0));
            self.incoming.unacknowledged = None;
        }
    }

    /// True if an acknowledgement should not wait for an answer or for more messages to go with it.
    ///
    /// A packet for each small message would cost a third of a round trip in a conversation, and half the rate in a
    /// stream: there it goes with the answer, or when nothing more is there to be read.
    fn acknowledge_now(&self) -> Result<bool, Error> {
        let Some(owed) = &self.incoming.unacknowledged else { return Ok(false) };
        if owed.bytes > SMALL || owed.count >= 32 {
            return Ok(true);
        }
        Ok(self.outgoing.next_id == 1 && !self.has_input()?)
    }

    /// Writes as many control records as the socket takes now.
    fn write_control(&mut self) -> Result<(), Error> {
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

    /// Waits until the socket is ready for `want`, or a record is overdue. False if `deadline` passed.
    fn wait(&self, want: Ready, deadline: Option<Instant>) -> Result<(Ready, bool), Error> {
        let until = pace::nearer(deadline, self.incoming.deadline());
        let ready =
            os::wait(&[(self.socket.as_fd(), want)], until).map_err(Error::io("wait for", &self.peer))?;
        let ready = ready.first().copied().unwrap_or_default();
        if !ready.any() {
            self.check_pace()?;
        }
        Ok((ready, ready.any() || !pace::passed(deadline)))
    }

    fn check_pace(&self) -> Result<(), Error> {
        match self.incoming.deadline() {
            Some(deadline) if Instant::now() >= deadline => {
                Err(Error::Stalled { peer: self.peer.clone(), after: self.incoming.allowance() })
            }
            _ => Ok(()),
        }
    }

    fn next_message(&mut self) -> Result<Received, Error> {
        let timeout = self.options.recv_timeout;
        let deadline = pace::deadline(timeout);
        loop {
            if let Some(received) = self.incoming.inbox.pop_front() {
                let due = self.acknowledge_now()?;
                self.queue_control(due);
                self.write_control()?;
                return Ok(received);
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
                    self.check_pace()?;
                }
                continue;
            }
            let want = if blocked_control { Ready::BOTH } else { Ready::READ };
            let (ready, in_time) = self.wait(want, deadline)?;
            if ready.read {
                self.read(false)?;
            }
            if !in_time {
                return Err(Error::Timeout { operation: "recv", after: timeout.unwrap_or_default() });
            }
        }
    }

    /// True if bytes wait in the socket.
    fn has_input(&self) -> Result<bool, Error> {
        let now = Some(Instant::now());
        let ready = os::wait(&[(self.socket.as_fd(), Ready::READ)], now);
        Ok(ready.map_err(Error::io("wait for", &self.peer))?.first().is_some_and(|ready| ready.read))
    }

    /// Takes in what has come, until `done` or the deadline of `operation`.
    fn read_until(
        &mut self,
        operation: &'static str,
        deadline: Option<Instant>,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Error> {
        while !done(self) {
            self.queue_control(true);
            self.write_control()?;
            let want = if self.outgoing.control.is_empty() { Ready::READ } else { Ready::BOTH };
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

    fn send_message(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        let bytes = message.payload_len();
        for (limit, whose) in [(self.options.max_message, "this side"), (self.peer_max, "the peer")] {
            if bytes > limit {
                return Err(Error::TooLarge { len: bytes, limit, whose });
            }
        }
        let id = self.outgoing.next_id;
        // The header is encoded, and every limit checked, before anything is copied or promised.
        let flags = Flags { checksums: self.checksums, references: false };
        let mut encoder = Encoder::new(message, id, flags).map_err(Error::Message)?;
        let deadline = pace::deadline(self.options.send_timeout);
        self.make_room(bytes, deadline)?;
        self.await_release(message)?;
        self.queue_control(true);
        self.outgoing.system_calls = 0;
        let plan = self.medium.plan(message, id, self.checksums);
        let mut transfer = Transfer { bytes, copied: message.prepared(), ..Transfer::default() };
        let mut held = Vec::new();
        match plan {
            Plan::Write(reason) => {
                self.write(&mut encoder, false, deadline)?;
                (transfer.path, transfer.reason) = (Path::Write, reason);
            }
            Plan::SendFile => {
                self.write(&mut encoder, true, deadline)?;
                (transfer.path, transfer.reason) = (Path::SendFile, Reason::StableDescriptor);
                held = backed(message);
            }
            Plan::Refer { announce, references, copied } => {
                let flags = Flags { checksums: false, references: true };
                let encoder = Encoder::new(message, id, flags).map_err(Error::Message)?;
                self.refer(&encoder, &announce, &references, deadline)?;
                transfer.copied += copied;
                transfer.path = if copied > 0 { Path::SegmentCopy } else { Path::Reference };
                transfer.reason = if copied > 0 { Reason::PlainMemory } else { Reason::StableDescriptor };
                held = backed(message);
            }
        }
        self.outgoing.next_id = id.wrapping_add(1);
        self.outgoing.in_flight.push_back(InFlight { id, bytes, _held: held });
        self.outgoing.in_flight_bytes += bytes;
        transfer.system_calls = self.outgoing.system_calls;
        Ok(transfer)
    }

    /// Waits until the window has room for `bytes`, or is empty.
    fn make_room(&mut self, bytes: u64, deadline: Option<Instant>) -> Result<(), Error> {
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
    fn await_release(&mut self, message: &Message<'_>) -> Result<(), Error> {
        let Some(patience) = self.medium.patience(message) else { return Ok(()) };
        let until = Instant::now() + patience;
        while self.medium.patience(message).is_some() && Instant::now() < until {
            self.write_control()?;
            if self.wait(Ready::READ, Some(until))?.0.read {
                self.read(false)?;
            }
        }
        Ok(())
    }

    /// Writes a record, control records first.
    fn write(
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
            let result = match next.buffer.filter(|buffer| aside(buffer)).and_then(|buffer| buffer.backing())
            {
                Some(backing) if self.outgoing.control.is_empty() => {
                    send_file(&self.socket, backing, &next, self.checksums)
                }
                _ => {
                    let mut slices = Vec::with_capacity(8);
                    if !self.outgoing.control.is_empty() {
                        slices.push(IoSlice::new(&self.outgoing.control));
                    }
                    encoder.gather(&mut slices, usize::MAX, aside);
                    os::send(&self.socket, &slices, block)
                }
            };
            let whole = encoder.next().map_or(0, |next| next.bytes.len());
            match result {
                Ok(0) => return Err(self.fault("the file behind a buffer was truncated while it was sent")),
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
    fn wait_to_write(&mut self, started: bool, deadline: Option<Instant>) -> Result<(), Error> {
        let want = if self.incoming.closed { Ready::WRITE } else { Ready::BOTH };
        let (ready, in_time) = self.wait(want, deadline)?;
        if ready.read && want.read {
            self.read(false)?;
        }
        if in_time {
            return Ok(());
        }
        // Half a record cannot be taken back.
        self.broken = started;
        Err(Error::Timeout { operation: "send", after: self.options.send_timeout.unwrap_or_default() })
    }

    /// If the peer refused us before it hung up, that is the reason to tell.
    fn write_failed(&mut self, error: io::Error) -> Error {
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
    fn refer(
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
                match os::send_with_descriptor(&self.socket, &[IoSlice::new(&record)], &**descriptor, false) {
                    Ok(PREAMBLE_LEN) => break,
                    // The descriptor went with the first byte; the rest goes as any control record.
                    Ok(count) => {
                        self.outgoing.control.extend_from_slice(record.get(count..).unwrap_or(&[]));
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
            self.outgoing.control.extend_from_slice(&u64::from(reference.segment).to_le_bytes());
            self.outgoing.control.extend_from_slice(&reference.offset.to_le_bytes());
        }
        self.write_all_control(deadline)
    }

    fn write_all_control(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        self.write_control()?;
        while !self.outgoing.control.is_empty() {
            self.wait_to_write(true, deadline)?;
            self.write_control()?;
        }
        Ok(())
    }

    fn flush_messages(&mut self, operation: &'static str) -> Result<(), Error> {
        let deadline = pace::deadline(self.options.send_timeout);
        self.read_until(operation, deadline, |this| this.outgoing.in_flight.is_empty())
    }

    fn say_goodbye(&mut self) -> Result<(), Error> {
        if self.outgoing.closed {
            return Ok(());
        }
        self.flush_messages("close")?;
        self.queue_control(true);
        self.outgoing.control.extend_from_slice(&control(RecordKind::Close, 0, 0));
        self.outgoing.closed = true;
        self.write_all_control(pace::deadline(self.options.send_timeout))
    }
}

impl Incoming {
    fn missing(&self) -> u64 {
        if self.decoder.is_idle() { 0 } else { self.decoder.missing() }
    }

    fn allowance(&self) -> Duration {
        pace::for_record(self.decoder.payload_len())
    }

    /// When the record at hand must be whole.
    fn deadline(&self) -> Option<Instant> {
        self.began.map(|began| began + self.allowance())
    }
}

impl<M: Medium> Link for Stream<M> {
    fn send(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        self.ready()?;
        let result = self.send_message(message);
        self.settle(result)
    }

    fn recv(&mut self) -> Result<Received, Error> {
        if let Some(received) = self.incoming.inbox.pop_front() {
            return Ok(received);
        }
        self.ready()?;
        let result = self.next_message();
        self.settle(result)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.ready()?;
        let result = self.flush_messages("flush");
        self.settle(result)
    }

    fn close(&mut self) -> Result<(), Error> {
        self.ready()?;
        let result = self.say_goodbye();
        self.settle(result)
    }

    fn set_timeouts(&mut self, send: Option<Duration>, recv: Option<Duration>) {
        (self.options.send_timeout, self.options.recv_timeout) = (send, recv);
    }

    fn caps(&self) -> Caps {
        Caps {
            two_way: true,
            acknowledges: true,
            notices_death: true,
            limits_size: true,
            passes_descriptors: M::DESCRIPTORS,
        }
    }

    fn peer(&self) -> &str {
        &self.peer
    }
}

impl<M: Medium> Drop for Stream<M> {
    /// Leaves in good order, without waiting long: the kernel throws away what it has not sent if bytes of the peer
    /// (its acknowledgements) are unread, so they are read first.
    fn drop(&mut self) {
        if self.broken || self.outgoing.closed {
            return;
        }
        self.queue_control(true);
        let goodbye = control(RecordKind::Close, 0, 0);
        self.outgoing.control.extend_from_slice(&goodbye);
        let until = Instant::now() + LINGER;
        let mut scratch = [0; 4096];
        while Instant::now() < until && !self.outgoing.control.is_empty() {
            match os::send(&self.socket, &[IoSlice::new(&self.outgoing.control)], false) {
                Ok(count) => drop(self.outgoing.control.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let _ = os::wait(&[(self.socket.as_fd(), Ready::WRITE)], Some(until));
                }
                Err(_) => return,
            }
        }
        if self.outgoing.in_flight.is_empty() {
            return;
        }
        let _ = os::end_writing(&self.socket);
        while Instant::now() < until {
            let _ = os::wait(&[(self.socket.as_fd(), Ready::READ)], Some(until));
            if !matches!(os::receive(&self.socket, &mut scratch, false), Ok(1..)) {
                return;
            }
        }
    }
}

/// How long a dropped link that has messages on their way waits for the peer to take them.
const LINGER: Duration = Duration::from_secs(2);

impl<M: Medium> fmt::Debug for Stream<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("peer", &self.peer)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

/// Buffers behind a descriptor go by sendfile if they are large enough to be worth a call of their own.
pub(crate) fn goes_by_file(buffer: &Buffer<'_>) -> bool {
    buffer.len() as u64 >= SMALL && buffer.backing().is_some()
}

fn send_file(
    socket: &OwnedFd,
    backing: &Backing,
    next: &numpush_message::Payload<'_>,
    summed: bool,
) -> io::Result<usize> {
    // With checksums the bytes are read piece by piece, each while it is in the cache.
    let count = if summed { next.bytes.len().min(256 << 10) } else { next.bytes.len() };
    os::send_file(socket, &*backing.file, backing.offset + next.at as u64, count)
}

/// The buffers of a message that are shared, so that they can be held.
fn backed(message: &Message<'_>) -> Vec<Buffer<'static>> {
    let shared =
        message.buffers().into_iter().filter(|buffer| buffer.backing().is_some() && !buffer.is_borrowed());
    shared.map(|buffer| buffer.clone().into_owned_or_copy()).collect()
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

/// A peer's hello, as far as it has come.
#[derive(Default)]
pub(crate) struct Greeting {
    bytes: [u8; PREAMBLE_LEN],
    filled: usize,
}

impl Greeting {
    /// Waits for the whole of it.
    fn wait(&mut self, socket: &OwnedFd, peer: &str) -> Result<Hello, Error> {
        let deadline = Some(Instant::now() + pace::ANSWER);
        loop {
            os::wait(&[(socket.as_fd(), Ready::READ)], deadline).map_err(Error::io("wait for", peer))?;
            if let Some(theirs) = self.read(socket, peer)? {
                return Ok(theirs);
            }
            if pace::passed(deadline) {
                return Err(Error::Timeout { operation: "handshake", after: pace::ANSWER });
            }
        }
    }

    /// Reads what is there. A foreign protocol is told by its first bytes.
    pub(crate) fn read(&mut self, socket: &OwnedFd, peer: &str) -> Result<Option<Hello>, Error> {
        let missing = (PREAMBLE_LEN - self.filled) as u64;
        let gone = || Error::Disconnected { peer: peer.to_owned(), missing };
        match os::receive(socket, self.bytes.get_mut(self.filled..).unwrap_or(&mut []), false) {
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
